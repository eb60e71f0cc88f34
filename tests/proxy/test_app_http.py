"""The proxy in front of plain HTTP servers: the same affinity, streaming both ways, nothing repeated."""

import json
import socket

import httpx2
import pytest

from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import first_asked
from tests.serving import Server


def echo(name):
    """An app that tells what it was asked at once, and then sends back each part of the body as it comes."""

    async def app(scope, receive, send):
        headers = [[key.decode(), value.decode()] for key, value in scope["headers"]]
        told = {"server": name, "path": scope["path"], "query": scope["query_string"].decode(), "headers": headers}
        status = 404 if scope["path"].endswith("/missing") else 200
        head = [(b"content-type", b"text/plain"), (b"server", b"secret/1"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(told).encode() + b"\n", "more_body": True})
        while True:
            message = await receive()
            is_whole = not message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": not is_whole})
            if is_whole:
                return

    return app


@pytest.fixture(scope="module")
def upstreams():
    with Server(echo("one"), lifespan="auto") as one, Server(echo("two"), lifespan="auto") as two:
        yield f"app[http]={one.url},{two.url}/base"


@pytest.fixture
def proxied(upstreams):
    with serving(upstreams, **TOKENS) as server:
        yield server


def told(answer):
    return json.loads(answer.text.partition("\n")[0])


def bearer(user, **more):
    return {"Authorization": f"Bearer {token(user)}", **more}


def test_each_session_stays_with_its_upstream(proxied):
    first: dict[str, str] = {}
    for _ in range(3):
        for session in [f"s{number}" for number in range(20)]:
            answer = httpx2.get(f"{proxied.url}/app/x", headers=bearer("alice", **{"X-Session-ID": session}))
            assert told(answer)["server"] == first.setdefault(session, told(answer)["server"])
    assert set(first.values()) == {"one", "two"}


def test_the_prefix_is_cut_off_and_told_and_no_secret_goes_on(proxied):
    answer = httpx2.post(f"{proxied.url}/app/a%20b?c=d", headers=bearer("alice", **{"X-Session-ID": "s"}), content=b"x")
    seen = told(answer)
    headers = dict(seen["headers"])
    assert seen["path"] in {"/a b", "/base/a b"}
    assert (seen["query"], headers["x-forwarded-prefix"]) == ("c=d", "/app")
    assert {"authorization", "x-session-id", "cookie"}.isdisjoint(headers)
    assert answer.text.endswith("\nx")
    assert answer.headers["x-own"] == "1"
    assert "secret" not in answer.headers["server"]


def test_what_the_upstream_answers_is_the_answer(proxied):
    answer = httpx2.get(f"{proxied.url}/app/missing", headers=bearer("alice"))
    assert answer.status_code == 404
    assert told(answer)["path"].endswith("/missing")


def test_bodies_stream_both_ways_at_once(proxied):
    head = f"POST /app/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token('alice')}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    with proxied.connect() as client:
        client.sendall(head.encode() + b"5\r\nfirst\r\n")
        received = until(client, b"first")
        assert received.startswith(b"HTTP/1.1 200")
        client.sendall(b"6\r\nsecond\r\n")
        until(client, b"second")
        client.sendall(b"0\r\n\r\n")
        until(client, b"0\r\n\r\n")


def test_a_large_body_passes_whole(proxied):
    body = bytes(range(33, 123)) * 100_000
    answer = httpx2.post(f"{proxied.url}/app/x", headers=bearer("alice"), content=body)
    assert answer.content.partition(b"\n")[2] == body


def test_head_has_no_body(proxied):
    answer = httpx2.head(f"{proxied.url}/app/x", headers=bearer("alice"))
    assert (answer.status_code, answer.content) == (200, b"")


def test_refusals_are_problems_not_json_rpc(proxied):
    refused = httpx2.get(f"{proxied.url}/app/x", headers={"Authorization": "Bearer nonsense.of.mine"})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("said", [b"", b"garbage\r\n\r\n"])
def test_an_upstream_that_answers_badly_is_502_and_asked_once(said):
    head = (
        f"POST /app/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token('alice')}\r\n"
        "Content-Length: 1\r\n\r\nx"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        serving(f"app[http]=http://127.0.0.1:{upstream.getsockname()[1]}", **TOKENS) as server,
        server.connect() as client,
    ):
        upstream.settimeout(5)
        client.sendall(head.encode())
        asked, _ = first_asked(upstream, b"\r\n\r\nx")
        with asked:
            asked.sendall(said)
        assert until(client, b"upstream_unavailable").startswith(b"HTTP/1.1 502")
        upstream.settimeout(0.2)
        with pytest.raises(TimeoutError):
            first_asked(upstream, b"x")


def test_an_upstream_that_is_silent_is_504():
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        urls = f"app[http]=http://127.0.0.1:{upstream.getsockname()[1]}"
        with serving(urls, upstream_timeout="1", **TOKENS) as server:
            answer = httpx2.get(f"{server.url}/app/x", headers=bearer("alice"))
    assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")


def test_steps_out_of_the_prefix_are_refused(proxied):
    with proxied.connect() as client:
        client.sendall(b"GET /app/../secret HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(client, b"\r\n").startswith(b"HTTP/1.1 400")


def until(connection, mark):
    received = b""
    connection.settimeout(5)
    while mark not in received:
        more = connection.recv(65536)
        assert more, received
        received += more
    return received


@pytest.mark.parametrize(
    ("trusted", "proto", "port"), [("127.0.0.1", "https", "443"), ("10.0.0.0/8", "http", "80")], ids=["trusted", "not"]
)
def test_behind_a_balancer_that_ends_tls_the_upstream_is_told_https(upstreams, trusted, proto, port):
    with serving(upstreams, trusted_proxies=trusted, allowed_hosts="mcp.example.com", **TOKENS) as server:
        answer = httpx2.get(
            f"{server.url}/app/x",
            headers=bearer("alice", **{"X-Forwarded-Proto": "https", "Host": "mcp.example.com"}),
        )
    headers = dict(told(answer)["headers"])
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == (proto, port)
    assert f"proto={proto};" in headers["forwarded"]
