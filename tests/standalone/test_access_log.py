"""The log of requests: one line each, and nothing in it that opens a session or forges a line (LOG-01)."""

import asyncio
import io
import json
import re

import pytest

from sessionware.client.mcp import McpClient
from sessionware.standalone.access_log import PATH_MAX, AccessLog, shown_path
from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy

OPEN = ("--limits", "off", "--create-limit", "off")
LINE = re.compile(
    r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info sessionware\.access: POST /mcp 200 [0-9.]+ ms ref=s-[a-z2-7]{8} "
    r"pool=default upstream=127\.0\.0\.1:\d+ request_id=[0-9a-f]{8}-[0-9a-f]+"
)


def of_access(log):
    return [line for line in log.splitlines() if "sessionware.access" in line]


def test_each_request_has_its_line(proxy):
    with McpClient(f"{proxy.url}/mcp", is_legacy=True) as client:
        client.call("pid", {})
    assert soon(lambda: "DELETE /mcp 200" in proxy.log)
    lines = [line for line in of_access(proxy.log) if "POST /mcp 200" in line and " ref=" in line]
    assert lines
    assert all(LINE.fullmatch(line) for line in lines)


def test_ids_tokens_and_queries_are_not_in_it(proxy):
    session = proxy.post("/session/start").json()["session_id"]
    mine = {"x-session-id": session, "authorization": "Bearer eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"}
    for path in (f"/session/{session}/status", f"/%73ession/{session}/ping", f"/sessions/{session}", f"/x/{session}"):
        proxy.get(path, headers=mine)
    proxy.get("/mcp?token=eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl&session_id=swk_abcdef0123456789", headers=mine)
    proxy.get("/last")
    assert proxy.has_logged("GET /last 404")
    assert "GET /session/{id}/status 200" in proxy.log
    for secret in (session, session.partition(".")[2], "c2lnbmF0dXJl", "swk_abcdef", "token=", "?"):
        assert secret not in "".join(of_access(proxy.log)), secret


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log01_nothing_sent_begins_another_line(upstreams, log_format):
    with RunningProxy("--upstreams", upstreams, "--log-format", log_format, *OPEN) as proxy:
        before = len(of_access(proxy.log))
        proxy.get("/a%0d%0ainfo sessionware.access: GET /forged 200%1b[31m%00%e2%80%ae%7f")
        proxy.get("/%ff%fe", headers={"x-request-id": "x\x09y forged"})
        proxy.get("/last")
        assert proxy.has_logged("GET /last 404")
        lines = of_access(proxy.log)
    assert len(lines) - before == 3
    assert all(line.isprintable() for line in lines)
    assert "forged 200" in lines[before]
    assert not lines[before].startswith("info")
    assert "y forged" not in lines[before + 1]


def test_json_lines_have_a_field_for_everything(upstreams):
    with RunningProxy("--upstreams", upstreams, "--log-format", "json", *OPEN) as proxy:
        with McpClient(f"{proxy.url}/mcp", is_legacy=True) as client:
            client.call("pid", {})
        proxy.get("/nowhere", headers={"x-request-id": "from-the-balancer.1"})
        assert proxy.has_logged("from-the-balancer.1")
        entries = [json.loads(line) for line in (proxy.said + proxy.log).splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*[set(entry) for entry in entries])
    called = next(entry for entry in entries if entry.get("status") == 200 and "ref" in entry)
    assert set(called) == {
        "time", "level", "logger", "message", "method", "path", "status", "ms", "ref", "pool", "upstream", "request_id"
    }  # fmt: skip
    assert called["message"] == "POST /mcp 200"
    assert [entry["request_id"] for entry in entries if entry.get("path") == "/nowhere"] == ["from-the-balancer.1"]


def test_at_the_level_of_warnings_requests_are_not_logged(upstreams):
    with RunningProxy("--upstreams", upstreams, "--log-level", "warning", *OPEN) as proxy:
        assert proxy.get("/nowhere").status_code == 404
        proxy.ask_to_stop()
        assert proxy.exit_code() == 0
        assert "sessionware.access" not in proxy.log
        assert "asked to stop" not in proxy.log


def test_probes_that_go_well_fill_no_log(proxy):
    for path in ("/health", "/ready", "/metrics"):
        assert proxy.get(path).status_code == 200
    proxy.post("/health")
    assert proxy.has_logged("POST /health 405")
    assert "GET /health" not in proxy.log


def test_the_upstream_is_told_the_id_of_the_request(proxy):
    with McpClient(f"{proxy.url}/mcp") as client:
        headers = json.loads(client.call("whoami", {}).content[0]["text"])["headers"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", headers["x-request-id"])
    assert proxy.has_logged(f"request_id={headers['x-request-id']}")


def test_paths_are_shown_without_what_opens_a_session():
    minted = "aabcdefghijk." + "S" * 43
    assert shown_path("/session/my-name/ping") == "/session/{id}/ping"
    assert shown_path("/session/start") == "/session/start"
    assert shown_path("/session/current/status") == "/session/current/status"
    assert shown_path(f"/app/{minted}/x") == "/app/{id}/x"
    assert shown_path(f"/app/{minted[:40]}") == "/app/{id}"
    assert shown_path("/mcp") == "/mcp"
    assert len(shown_path("/" + "x" * 10_000)) == PATH_MAX


def test_a_stream_that_nobody_reads_stops_no_request():
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    async def write():
        log = AccessLog("text", stream=Gone())
        scope = {"method": "GET", "path": "/", "headers": []}
        for _ in range(3_000):
            log.write(scope, 200, 1_000_000)
        log.flush()

    asyncio.run(write())
