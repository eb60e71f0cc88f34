"""Neither the log nor the metrics nor an upstream learns what opens a session (TP-01, LOG-01)."""

import json

import pytest

from tests.proxy.standing_proxy import ISSUER, SECRET, token
from tests.proxy.stories import FORMS, HELLO, call
from tests.proxy.telling_upstream import json_answer, telling
from tests.standalone.running_proxy import RunningProxy

CANARY = "canary-0123456789-abcdefghijkl"
JWT = token("alice", scope="sessionware:admin")
TRUSTED = ("--jwt-secret", SECRET, "--jwt-issuer", ISSUER, "--jwt-audience", "mcp", "--limits", "off")
COOKIE = ("--session-cookie", "on", "--session-query", "sid")


def show_everything(proxy):
    """Send a session's id, a token and a canary everywhere a client could put them; the id's secret half."""
    mine = {"Authorization": f"Bearer {JWT}"}
    session = proxy.post("/session/start", headers=mine).json()["session_id"]
    shown = [
        mine | {"x-session-id": session}, mine | {"cookie": f"session={session}; other={CANARY}"},
        {"Authorization": f"Bearer {CANARY}"}, {"Authorization": f"Basic {CANARY}"}, {"x-api-key": CANARY},
        mine | {"x-session-id": f"{CANARY}@"}, mine | {"x-session-token": CANARY},
        mine | {"Mcp-Session-Id": CANARY}, mine | {"Mcp-Session-Id": session},
    ]  # fmt: skip
    for headers in shown:
        proxy.get("/app/x", headers=headers)
        proxy.post("/mcp", headers=FORMS | headers, json=call("x"))
        proxy.post("/mcp", headers=headers, json=HELLO)
    for path in (
        f"/session/{session}/status", f"/session/{session}/nothing", f"/sessions/{session}", f"/{session}",
        f"/mcp/{session}", f"/mcp?sid={session}&token={CANARY}", f"/upstreams/{session}",
    ):  # fmt: skip
        proxy.get(path, headers=mine)
    proxy.post("/tokens/revoke", headers=mine, json={"token": token("bob")})
    for wrong in (b"\r\nBad Header: x", b"\x00", b" extra"):
        with proxy.connect() as connection:
            head = f"GET /session/{session} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            connection.sendall(f"{head}Authorization: Bearer {JWT}".encode() + wrong + b"\r\n\r\n")
            while connection.recv(4096):
                pass
    return session.partition(".")[2]


# At higher levels JSON says nothing of the start, which the test waits for.
@pytest.mark.parametrize(
    ("level", "log_format"),
    [("debug", "text"), ("debug", "json"), ("info", "text"), ("info", "json"), ("error", "text")],
)
def test_tp01_log01_no_secret_is_logged_measured_or_sent_on(level, log_format):
    with telling(json_answer({"jsonrpc": "2.0", "id": 5, "result": {}}), "") as upstream:
        options = ("--upstreams", f"{upstream.url}/mcp;app[http]={upstream.url}", "--audit", "stderr")
        with RunningProxy(*options, *TRUSTED, *COOKIE, "--log-level", level, "--log-format", log_format) as proxy:
            half = show_everything(proxy)
            measured = proxy.get("/metrics").text
            assert proxy.get("/health").status_code == 200
            proxy.ask_to_stop()
            proxy.exit_code()
            said = proxy.said + proxy.log
        heard = json.dumps([[each.path, each.headers] for each in upstream.seen])
    assert upstream.seen
    signature = JWT.rpartition(".")[2]
    assert [secret for secret in (half, signature, CANARY, SECRET) if secret in said + measured] == []
    assert [secret for secret in (half, signature, SECRET) if secret in heard] == []
