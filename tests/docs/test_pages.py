"""Every page of the docs is true: its Python runs, its settings load, its limits are read, its shapes are sent."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import Any

import httpx2
import pytest

from sessionware.api import ApiOptions, SessionApi, caller_of
from sessionware.assembly import Sessionware
from sessionware.cli import main
from sessionware.config.load import load
from sessionware.core.limit_grammar import parse_limits
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock
from sessionware.testing.tokens import FakeIssuer
from tests.docs.blocks import DOCS, ROOT, blocks, named
from tests.docs.exercises import EXERCISES, exercise

PAGES = sorted(DOCS.glob("*.md"))
HAVE_TESTS_OF_THEIR_OWN = {"write-a-store.md", "settings.md", "stores.md", "architecture.md"}
OWN_PROCESS = {"frameworks.md", "observability.md"}  # Django and logging are set up once in a process


@pytest.mark.parametrize("name", [page.name for page in PAGES if page.name not in HAVE_TESTS_OF_THEIR_OWN])
def test_the_python_of_a_page_does_what_the_page_says(name):
    if name not in OWN_PROCESS:
        exercise(name)
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.exercises", name],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_page_with_python_is_asked_what_it_promises():
    with_python = {page.name for page in PAGES if blocks(page, "python")} - HAVE_TESTS_OF_THEIR_OWN
    assert with_python - EXERCISES.keys() == {"testing.md"}  # its blocks are tests themselves
    assert EXERCISES.keys() - with_python == set()


def test_every_page_is_in_the_index_and_begins_with_its_one_title():
    index = (DOCS / "README.md").read_text("utf-8")
    for page in PAGES:
        outside = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1, page.name
        assert outside.startswith("# "), page.name
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_of_a_page_are_loaded_without_a_word(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("BwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSY=\n")
    for block in blocks(page, "sh"):
        lines = [line.removeprefix("export ") for line in block.text.splitlines() if "SESSIONWARE_" in line]
        variables = dict(shlex.split(line, comments=True)[0].split("=", 1) for line in lines)
        mended = {name: _mended(value, tmp_path) for name, value in variables.items()}
        assert _said(load(environ=mended).warnings) == [], block.text
    for block in blocks(page, "toml"):
        tomllib.loads(block.text)
        file = tmp_path / "sessionware.toml"
        file.write_text(_mended(block.text, tmp_path))
        assert _said(load(environ={}, file=file).warnings) == [], block.text


def _mended(text: str, folder: Any) -> str:
    return text.replace("/run/secrets/sessionware_keys", f"{folder}/keys")


def _said(warnings: Any) -> list[str]:
    """A block shows one thing at a time: that another is missing beside it is no fault of the page."""
    return [each for each in warnings if "does nothing" not in each and "nobody gets in" not in each]


def test_every_command_of_the_docs_exists(capsys):
    seen = set()
    for page in PAGES:
        for block in blocks(page, "sh"):
            for words in re.findall(r"(?:^|\| )sessionware ((?:[a-z][a-z-]*(?: |$))+)", block.text, re.MULTILINE):
                command = words.split()[: 2 if words.startswith(("key", "sessions")) else 1]
                seen.add(" ".join(command))
                with pytest.raises(SystemExit) as stopped:
                    main([*command, "--help"])
                assert stopped.value.code == 0, command
    assert {"config", "key add", "key list", "key revoke", "keys new", "explain-token"} <= seen


def test_the_terminal_of_the_command_line_page_shows_what_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSIONWARE_STORE", "sqlite:///s.db")
    asyncio.run(_start({"alice": "work", "bob": "home"}))
    shown = "".join(block.text for block in blocks(DOCS / "command-line.md", "console"))
    _, *told = re.split(r"^\$ sessionware (.*)\n", shown, flags=re.MULTILINE)
    for command, answer in zip(told[::2], told[1::2], strict=True):
        assert main(shlex.split(command)) == 0, command
        assert _alike(capsys.readouterr().out) == _alike(answer), command


async def _start(names: dict[str, str]) -> None:
    async with Sessionware.from_env(store_timeout=10) as sessionware:
        for user, name in names.items():
            await sessionware.sessions.start(name, by=sessionware.sessions.user(user))


def _alike(said: str) -> list[str]:
    """Without handles and digits, which are new each time, and the order of what begins in one millisecond."""
    return sorted(re.sub(r"\d", "0", re.sub(r"s-[a-z2-7]{8,34}", "s-", re.sub(r"\.\d{3}Z", "Z", said))).split("\n"))


def test_the_limits_of_the_page_on_clients_are_read():
    (block,) = blocks(DOCS / "clients.md", "limits")
    assert [limit.text for limit in parse_limits(block.text)] == block.text.splitlines()


def test_the_limits_of_the_limits_page_are_read_and_the_bad_ladder_is_refused():
    examples, bad, ladder = (block.text for block in blocks(DOCS / "limits.md", "limits"))
    assert len(parse_limits(examples)) == len(examples.splitlines())
    assert [limit.name for limit in parse_limits(ladder)] == ["daily"] * 4
    with pytest.raises(ConfigError, match="differ in scope"):
        parse_limits(bad)
    fault = next(block.text for block in blocks(DOCS / "limits.md", "text") if "did you mean" in block.text)
    with pytest.raises(ConfigError) as caught:
        parse_limits("100/minute")
    assert fault.rstrip() == str(caught.value).rstrip()


def test_every_json_block_is_json():
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block.text)


def test_the_shapes_of_the_session_api_page_are_those_that_are_sent():
    asyncio.run(_compare(named(DOCS / "session-api.md", "json")))


async def _compare(written: dict[str, str]) -> None:
    issuer, clock = FakeIssuer(), ManualClock()
    keywords = {
        "jwt_issuer": issuer.name, "jwt_public_key": issuer.keys[0].pem, "jwt_audience": "api",
        "limits": ["100/minute per session", "1_000_000 tokens/day per user"],
    }  # fmt: skip
    settings = load(keywords=keywords, environ={}).settings
    headers = {"Authorization": f"Bearer {issuer.token('alice')}", "X-Session-ID": "work"}
    async with Sessionware(settings, store=MemoryStore(clock=clock)) as sessionware:
        api = SessionApi(lambda: sessionware.sessions, caller_of(lambda: sessionware.engine), options=ApiOptions())
        transport = httpx2.ASGITransport(api)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            started = {"session_id": "work", "metadata": {"device": "laptop"}}
            sent = {"start": await client.post("/session/start", json=started)}
            await client.post("/session/work/context", json={"role": "user", "content": "hello"})
            for name, method in (
                ("ping", "POST"), ("status", "GET"), ("context", "GET"), ("usage", "GET"), ("metrics", "GET"),
                ("health", "GET"), ("pending", "GET"), ("interrupt", "POST"),
            ):  # fmt: skip
                sent[name] = await client.request(method, f"/session/work/{name}")
            sent["ticket"] = await client.post("/session/ticket")
            sent["sessions"] = await client.get("/sessions")
            await client.post("/session/start", json={"session_id": "other"})
            sent["closed"] = await client.delete("/sessions?except=current")
            sent["close"] = await client.post("/session/work/close")
            sent["error"] = await client.post("/session/work/close")
    assert sent.keys() == written.keys()
    for name, answer in sent.items():
        assert _shape(answer.json()) == _shape(json.loads(written[name])), name
    assert json.loads(written["start"]) | {"ref": ""} == sent["start"].json() | {"ref": ""}
    assert json.loads(written["error"]) == sent["error"].json()


def _shape(value: Any) -> Any:
    """The keys, in their order, down to the first row of a list."""
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shape(each) for each in value[:1]]
    return None
