"""What an upstream gone bad answers: nothing of it splits an answer, tells of our insides, or takes the proxy down."""

import json
import socket
import threading
import time

import httpx2
import pytest

from sessionware.assembly.proxying import proxy
from tests.edge import wire
from tests.proxy.hostile_upstream import canned
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, call, first_asked, modern
from tests.proxy.telling_upstream import json_answer, telling
from tests.standalone.bounded_server import BoundedServer

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
RESULT = b'{"jsonrpc":"2.0","id":5,"result":{}}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(RESULT)
PLAIN = OK + LENGTH + RESULT


def asked(door, **headers):
    return httpx2.post(f"{door.url}/mcp", headers=modern("tools/call", "pid", **headers), json=call("pid"))


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\x00" * 100,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", OK + b"Content-Length: -1\r\n\r\na",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"X: a\rb\r\n" + LENGTH + RESULT, OK + b"X: a\x00b\r\n" + LENGTH + RESULT,
        OK + b" folded\r\n" + LENGTH + RESULT,
        OK + b"X Y: a\r\n" + LENGTH + RESULT, OK + b": a\r\n" + LENGTH + RESULT,
        OK + b"Content-Type: text/html\r\n" + LENGTH + RESULT, OK + b"X: " + b"a" * 70_000 + b"\r\n" + LENGTH + RESULT,
        OK + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + LENGTH + RESULT,
        b"HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: //evil.test/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: javascript:alert(1)\r\nContent-Length: 0\r\n\r\n",
    ],
)  # fmt: skip
def test_px14_what_is_no_answer_is_502_and_asked_once(answer):
    """PX-12 and PX-06, too: nothing is asked twice, and nobody is followed."""
    with canned(answer) as upstream, serving(upstream.url) as door:
        found = asked(door)
    assert (found.status_code, found.json()["error"]["code"], found.json()["id"]) == (502, -31502, 5)
    assert len(upstream.heard) == 1
    assert "evil" not in found.text + str(found.headers)
    assert upstream.url.split("/")[2] not in found.text + str(found.headers)


HIDDEN = {
    "Server": "Secret/1.0", "X-Powered-By": "Secret", "Set-Cookie": "session=stolen; Path=/", "Via": "1.1 secret",
    "X-Session-ID": "u-secret", "X-Sessionware-Spend": "tokens=1", "X-Sessionware-Reinitialized": "secret",
    "X-Forwarded-For": "10.0.0.1", "Alt-Svc": 'h3="secret:443"', "Clear-Site-Data": '"*"', "Refresh": "0;url=secret",
    "Access-Control-Allow-Origin": "https://evil.test", "Access-Control-Allow-Credentials": "true",
    "Mcp-Session-Id": "secret-session", "Content-Location": "http://10.0.0.7/secret", "Connection": "X-Own",
    "Keep-Alive": "timeout=secret", "Upgrade": "h2c", "X_Session_ID": "secret", "Proxy-Authenticate": "Basic secret",
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_px14_an_upstream_says_nothing_in_our_name(name):
    head = OK + f"{name}: {HIDDEN[name]}\r\n".encode()
    with canned(head + LENGTH + RESULT) as upstream, serving(upstream.url) as door:
        found = asked(door)
    assert found.status_code == 200
    assert HIDDEN[name] not in found.headers.get_list(name)
    assert "secret" not in str(found.headers).lower()


@pytest.mark.parametrize(
    ("challenge", "left"),
    [
        ('Bearer resource_metadata="http://10.0.0.7/x"', "Bearer"),
        ('Bearer error="a", resource_metadata="http://10.0.0.7/x"', 'Bearer error="a"'),
        ('Bearer resource_metadata="http://10.0.0.7/x", error="a"', 'Bearer error="a"'),
        ('Bearer error="a", Resource_Metadata=http://10.0.0.7/x, scope="b"', 'Bearer error="a", scope="b"'),
    ],
)
def test_an_upstream_s_own_address_is_not_told_where_ours_is_not_known(challenge, left):
    answer = f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode()
    with canned(answer) as upstream, serving(upstream.url, host="0.0.0.0") as door:
        found = asked(door, Host="mcp.test")
    assert (found.status_code, found.headers["www-authenticate"]) == (401, left)


@pytest.mark.parametrize(
    "session_id",
    ["", "a b", "a\tb", "\xff", "a" * 5000, "first\r\nMcp-Session-Id: second", "a,b\r\nMcp-Session-Id: a,b"],
)
def test_a_session_id_that_no_version_allows_begins_no_session(session_id):
    head = OK + f"Mcp-Session-Id: {session_id}\r\n".encode("latin-1")
    with canned(head + LENGTH + RESULT) as upstream, serving(upstream.url) as door:
        found = httpx2.post(f"{door.url}/mcp", headers=FORMS, json=HELLO)
    assert found.status_code == 200
    assert {"mcp-session-id", "x-session-id"}.isdisjoint(found.headers)


def test_only_initialize_s_answer_can_name_a_session():
    """mcp.md, legacy 6: never adopt a session id from a response to anything else."""
    head = OK + b"Mcp-Session-Id: planted\r\n"
    with canned(head + LENGTH + RESULT) as upstream, serving(upstream.url) as door:
        for headers in [FORMS, FORMS | {"MCP-Protocol-Version": "2025-11-25"}, modern("initialize"), modern("ping")]:
            message = HELLO if headers.get("Mcp-Method") == "initialize" else call("pid")
            found = httpx2.post(f"{door.url}/mcp", headers=headers, json=message)
            assert found.status_code in {200, 400}
            assert "mcp-session-id" not in found.headers


@pytest.mark.parametrize(
    ("spend", "charged"),
    [
        ("tokens=99999999999999", 0),
        ("tokens=-5", 0),
        ("tokens=1e3", 0),
        ("tokens=7,evil", 7),
        (",".join(["tokens=1"] * 50), 16),
    ],
)
def test_a_spend_that_cannot_be_read_is_left_out(spend, charged):
    answer = json_answer({"jsonrpc": "2.0", "id": 5, "result": {}}, x_sessionware_spend=spend)
    settings = TOKENS | {"limits": f"{max(charged, 1)} tokens/hour per user"}
    with telling(answer) as upstream, serving(upstream.url, **settings) as door:
        sent = [asked(door, Authorization=f"Bearer {token('alice')}").status_code for _ in range(2)]
    assert sent == [200, 429 if charged else 200]


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 100\r\n\r\n" + RESULT,
        OK + b"Transfer-Encoding: chunked\r\n\r\n24\r\n" + RESULT + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + RESULT,
        OK + b"Transfer-Encoding: chunked\r\n\r\n24\r\n" + RESULT + b"XX0\r\n\r\n",
    ],
)
def test_px11_an_answer_that_breaks_off_is_seen_to_break_off(answer):
    """No fake last chunk: whoever reads it knows that it is not whole."""
    body = json.dumps(call("pid")).encode()
    sent = wire.request("POST", "/mcp", modern("tools/call", "pid").items(), body, host="localhost")
    with canned(answer) as upstream, serving(upstream.url) as door, door.connect() as client:
        client.sendall(sent)
        received = wire.read_all(client)
    if received.startswith(b"HTTP/1.1 200"):
        assert not received.endswith(b"0\r\n\r\n")
        assert b"content-length: 36" not in received.lower()
    else:  # the fault came with the head
        assert received.startswith(b"HTTP/1.1 502")


def test_px08_a_compressed_answer_is_passed_on_as_it_is():
    """Nobody here unpacks 190 MiB."""
    bomb = b"\x1f\x8b" + b"\x00" * 5000
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    body = json.dumps(call("pid")).encode()
    headers = modern("tools/call", "pid", **{"Accept-Encoding": "gzip"})
    sent = wire.request("POST", "/mcp", headers.items(), body, host="localhost")
    with canned(head + bomb) as upstream, serving(upstream.url) as door:
        answer = wire.exchange(door.connect(), sent)
    assert answer is not None
    assert answer.body == bomb
    assert answer.header("content-encoding") == "gzip"


def test_row_37_a_client_that_reads_nothing_stalls_its_upstream_and_nobody_else():
    """PX-09: a slow reader fills no memory of ours, but the buffers of sockets."""
    sent_upstream, stop = [0], threading.Event()

    def flood(listening):
        connection, _ = first_asked(listening, b"POST /mcp")
        connection.setblocking(False)
        events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b": x\n\n" * 200_000
        while not stop.is_set():
            try:
                sent_upstream[0] += connection.send(events)
            except BlockingIOError:
                stop.wait(0.05)
            except OSError:
                break
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=flood, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        body = json.dumps(call("pid")).encode()
        sent = wire.request("POST", "/mcp", modern("tools/call", "pid").items(), body, host="localhost")
        with BoundedServer(proxy(environ={}, upstreams=url, limits="off")) as door:
            client = door.connect()
            client.sendall(sent)
            assert is_still(lambda: sent_upstream[0])
            stalled = sent_upstream[0]
            client.close()
            thread.join(5)  # the upstream hears of it: its socket breaks
            assert not thread.is_alive()
        stop.set()
    assert 0 < stalled < 16 << 20


def is_still(count):
    """Whether it stops growing for a while."""
    deadline, last, since = time.monotonic() + 20, -1, time.monotonic()
    waiting = threading.Event()
    while time.monotonic() < deadline:
        now = count()
        if now != last:
            last, since = now, time.monotonic()
        if now > 0 and time.monotonic() - since > 1:
            return True
        waiting.wait(0.05)
    return False
