"""What the pages on the proxy show is what happens: settings load, terminals say the same, metrics exist."""

import json
import re
import shlex
import time

import httpx2
import pytest

from sessionware.cli import main
from sessionware.config.load import load
from sessionware.proxy.upstreams import pools_of
from tests.docs.blocks import DOCS, blocks
from tests.mcp_servers import McpServer
from tests.proxy.stories import LATER, asked, begun
from tests.proxy.stories import call as tool
from tests.serving import soon
from tests.standalone.calling import call
from tests.standalone.running_proxy import RunningProxy

PAGES = [DOCS / name for name in ("proxy.md", "affinity.md", "what-happens-when.md", "proxy-operations.md")]
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def servers():
    with McpServer(name=NAMES[0]) as one, McpServer(name=NAMES[1]) as two:
        yield one, two


@pytest.fixture
def proxy(servers):
    upstreams = ",".join(f"{name}@{server.url}" for name, server in zip(NAMES, servers, strict=True))
    limit = "2/minute per session for mcp tools/call"
    with RunningProxy("--upstreams", upstreams, "--anonymous", "named", "--limits", limit) as running:
        assert soon(lambda: time.time() % 60 < 56)  # what is shown happens within one minute of the limit
        yield running


def alike(said):
    """Without what is new each time: numbers and ports."""
    return re.sub(r"\d+", "0", said).splitlines()


def text_of(page, beginning):
    return next(block.text for block in blocks(page, "text") if block.text.startswith(beginning))


def pools(**given):
    """The pools that these settings of the proxy describe."""
    loaded = load(for_proxy=True, **given)
    assert loaded.proxy is not None
    return pools_of(loaded.proxy)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_of_a_page_are_those_of_the_proxy(page, tmp_path):
    for block in blocks(page, "env"):
        assert pools(environ=dict(line.split("=", 1) for line in block.text.splitlines()))
    for block in blocks(page, "toml"):
        file = tmp_path / "sessionware.toml"
        file.write_text(block.text)
        assert pools(environ={}, file=file)


def test_every_path_of_the_table_is_where_clients_find_that_pool():
    (block,) = blocks(DOCS / "proxy.md", "env")
    paths = [pool.path for pool in pools(environ=dict([block.text.strip().split("=", 1)]))]
    assert paths == ["/mcp", "/files/mcp", "/app/", "/old/sse"]
    text = (DOCS / "proxy.md").read_text("utf-8")
    assert [path for path in paths if f"| `{path}`" not in text] == []


def test_the_first_run_says_and_does_what_the_page_shows(proxy, capsys):
    page = DOCS / "proxy.md"
    assert alike(proxy.said) == alike(text_of(page, "sessionware proxy: listening"))
    (shown,) = (block.text for block in blocks(page, "console"))
    _, *told = re.split(r"^\$ sessionware (.*)\n", shown, flags=re.MULTILINE)
    assert len(told) == 8
    for command, answer in zip(told[::2], told[1::2], strict=True):
        assert main(shlex.split(command.replace("http://127.0.0.1:8080", proxy.url))) == 0, command
        assert alike(capsys.readouterr().out) == alike(answer), command


def test_the_page_shows_the_refusal_and_the_log_line_that_there_are(proxy):
    (shown,) = (json.loads(block.text) for block in blocks(DOCS / "proxy.md", "json"))
    asking = call("pid")
    asking["headers"]["x-session-id"] = "alice"
    asking["json"]["id"] = shown["id"]
    told = [proxy.post("/mcp", **asking) for _ in range(3)][-1].json()
    assert told.keys() == shown.keys()
    assert (told["id"], told["error"]["code"]) == (shown["id"], shown["error"]["code"])
    assert told["error"]["data"].keys() == shown["error"]["data"].keys()
    line = text_of(DOCS / "proxy.md", "20").split()
    assert proxy.has_logged("upstream=")
    logged = next(each for each in proxy.log.splitlines() if "upstream=" in each).split()
    assert [each.partition("=")[0] for each in logged[1:5]] == [each.partition("=")[0] for each in line[1:5]]
    assert [each.partition("=")[0] for each in logged[7:]] == [each.partition("=")[0] for each in line[7:]]


def test_readiness_is_shown_as_it_is_told(proxy):
    told = proxy.get("/ready").json()
    assert told == {"status": "ready", "upstreams": {"default": {"one": "up", "two": "up"}}}
    assert '{"status":"ready","upstreams":{"default":{"one":"up","two":"dead"}}}' in (DOCS / "proxy.md").read_text()


def test_every_metric_that_a_page_names_is_served(proxy):
    served = set(re.findall(r"^(sessionware_\w+)", proxy.get("/metrics").text, re.MULTILINE))
    served |= {name.removesuffix("_bucket") for name in served if name.endswith("_bucket")}
    named = {name for page in PAGES for name in re.findall(r"\bsessionware_[a-z_]+", page.read_text("utf-8"))}
    labelled = {"sessionware_degraded_total"}  # a series of it exists once something was degraded
    assert len(named) > 10
    assert named - served - labelled == set()


def test_every_code_of_the_table_follows_from_its_status():
    text = (DOCS / "what-happens-when.md").read_text("utf-8")
    found = re.findall(r"\b(\d{3}) `-(\d{5})`", text)
    assert len(found) > 20
    assert [pair for pair in found if int(pair[1]) != 31000 + int(pair[0])] == []


def test_a_killed_upstream_is_told_as_the_page_tells_it(servers):
    """C27: 503, then 404 in the legacy era; another upstream in the modern one; a last event in an open stream."""
    page = (DOCS / "what-happens-when.md").read_text("utf-8")
    operations = (DOCS / "proxy-operations.md").read_text("utf-8")
    upstreams = ",".join(f"{name}@{server.url}" for name, server in zip(NAMES, servers, strict=True))
    with RunningProxy("--upstreams", upstreams, "--anonymous", "named", "--limits", "off") as proxy:
        mine = begun(proxy)
        pid = json.loads(told_by(asked(proxy, mine, tool("whoami"))))["pid"]
        doomed = next(server for server in servers if server.pid == pid)
        moved = [name for name in ("alice", "bob", "carol") if where(proxy, name) == pid]
        assert len(moved) == 1  # four sessions are two on each
        sleeping = {"json": tool("sleep", 8, seconds=60), "headers": LATER | {"Mcp-Session-Id": mine}}
        sleeping["json"]["params"]["_meta"] = {"progressToken": 1}
        with httpx2.stream("POST", f"{proxy.url}/mcp", timeout=30, **sleeping) as stream:
            parts = stream.iter_text()
            next(parts)
            doomed.kill9()
            rest = "".join(parts)
        try:
            last = next(line for line in page.splitlines() if '"id":8,"error"' in line).strip()
            assert last in rest
            waiting = asked(proxy, mine)
            assert (waiting.status_code, waiting.headers["Retry-After"]) == (503, "1")
            assert where(proxy, moved[0]) not in {pid, None}
            assert soon(lambda: asked(proxy, mine).status_code == 404)
            assert asked(proxy, mine).json()["error"]["code"] == -31404
            name = doomed.name
            assert proxy.has_logged(f"upstream {name} is dead: it takes no connections")
            for line in (
                "closed the connection before its answer was whole", f"a session is lost with upstream {name}",
                f"moved from {name} to ",
            ):  # fmt: skip
                assert line in proxy.log
                assert line.replace(f" {name}", " one") in operations
        finally:
            doomed.start()


def test_a_refused_call_as_a_result_is_the_one_that_the_page_shows(servers):
    (shown,) = (json.loads(block.text) for block in blocks(DOCS / "what-happens-when.md", "json"))
    options = ("--limits", "0/minute per session for mcp tools/call", "--mcp-limit-answer", "tool_result")
    with RunningProxy("--upstreams", servers[0].url, *options) as proxy:
        told = asked(proxy, begun(proxy), tool("pid", shown["id"])).json()
    refusal = told["result"]["_meta"]["sessionware/refusal"]
    assert told.keys() == shown.keys()
    assert told["result"].keys() == shown["result"].keys()
    assert refusal.keys() == shown["result"]["_meta"]["sessionware/refusal"].keys()


def told_by(answer):
    """The text of a tool's result that came as an event."""
    line = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
    return json.loads(line.removeprefix("data: "))["result"]["content"][0]["text"]


def where(proxy, session):
    """Which process a modern session is at."""
    asking = call("pid")
    asking["headers"]["x-session-id"] = session
    answer = proxy.post("/mcp", **asking)
    return int(answer.json()["result"]["content"][0]["text"]) if answer.status_code == 200 else None
