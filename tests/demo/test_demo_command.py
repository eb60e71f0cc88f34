"""`sessionware demo` as a visitor meets it: every command that it prints works when it is pasted, and it ends clean."""

import json
import os
import re
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from sessionware.cli import INTERRUPTED
from tests.servers import ServerDied, children_of, plain_environ, wait_a_little
from tests.serving import soon
from tests.standalone.running_proxy import command

END = "Ctrl-C stops everything."
START_TRIES = 3_000
PASTED_WITHIN_S = 50
ENDED_WITHIN_S = 30  # half of what a server may take to start


@contextmanager
def demo(folder):
    """A running demo, and what it says."""
    said = folder / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            command("demo", "--port", "0"), env=plain_environ(), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(START_TRIES):
            if END in said.read_text("utf-8"):
                break
            if process.poll() is not None:
                raise ServerDied(said.read_text("utf-8"))
            wait_a_little(process)
        yield process, said.read_text("utf-8")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def running():
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as (process, said):
        yield process, said, folder


def commands_in(said):
    """What follows each comment."""
    lines = said.splitlines()
    return [after.strip() for line, after in pairwise(lines) if line.startswith("  # ")]


def paste(line, folder):
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, env=plain_environ(), stdin=subprocess.DEVNULL, check=False,
        capture_output=True, text=True, timeout=PASTED_WITHIN_S,
    )  # fmt: skip


def test_ctrl_c_ends_it_while_its_servers_still_start(tmp_path):
    with (tmp_path / "said").open("w") as out:
        process = subprocess.Popen(
            command("demo", "--port", "0"), env=plain_environ(), cwd=tmp_path,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        assert soon(lambda: len(children_of(process.pid)) == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDED_WITHIN_S) == INTERRUPTED
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(180)  # a dozen commands, each of which is a start of Python
def test_every_command_that_it_prints_works_when_pasted(running):
    _, said, folder = running
    lines = commands_in(said)
    assert len(lines) == 7
    ended = [paste(line, folder) for line in lines]
    tools, remembered, recalled, who, progress, refused, legacy = ended
    assert [each.returncode for each in (tools, remembered, recalled, who, progress, legacy)] == [0] * 6
    assert "remember(text, handle?)" in tools.stdout
    assert json.loads(remembered.stdout)["remembered"] == "Alice likes tea"
    assert recalled.stdout == "Alice likes tea\n"
    assert json.loads(who.stdout)["server"] in {"one", "two"}
    assert "progress 2/4" in progress.stderr
    assert (refused.returncode, refused.stdout.count("slept")) == (1, 3)
    assert "Rate limit exceeded" in refused.stderr
    assert legacy.stdout == "1\n"


def test_what_it_prints_for_an_editor_is_json_with_our_address(running):
    _, said, _ = running
    found = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
    (server,) = found["mcpServers"].values()
    base = server["url"].removesuffix("/mcp")
    assert httpx2.get(f"{base}/ready").json()["upstreams"] == {"default": {"one": "up", "two": "up"}}
    assert set(re.findall(r"http://127\.0\.0\.1:\d+", said)) == {base}


def test_ctrl_c_ends_everything(tmp_path):
    with demo(tmp_path) as (process, _):
        children = children_of(process.pid)
        assert len(children) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_its_servers_do_not_outlive_it_when_it_is_killed(tmp_path):
    with demo(tmp_path) as (process, _):
        children = children_of(process.pid)
        assert len(children) == 2
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
