"""How the answers of an app are written: framing, what an app does wrong, and clients that leave."""

import asyncio
import threading
from typing import Any

import pytest

from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.proxy.incoming import GONE_KEY
from tests.standalone.bounded_server import WAIT_S, BoundedServer, echo, status_of

GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def answering(
    *bodies: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None, breaks: bool = False
) -> App:
    """An app that always gives this answer; `breaks`: and fails then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        for each in bodies:
            await send({"type": "http.response.body", "body": each, "more_body": True})
        if breaks:
            raise ValueError("this app breaks")
        await send({"type": "http.response.body", "body": b""})

    return app


def answer(app: App, sent: bytes = GET) -> tuple[list[bytes], bytes]:
    """The lines of the head but its date, and what follows."""
    with BoundedServer(app) as server:
        head, _, body = server.answer_to(sent).partition(b"\r\n\r\n")
    return [line for line in head.split(b"\r\n") if not line.startswith(b"date: ")], body


def test_a_body_of_unknown_length_is_sent_in_chunks():
    head, body = answer(answering(b"one", b"", b"and two"))
    assert head == [b"HTTP/1.1 200 OK", b"connection: close", b"transfer-encoding: chunked"]
    assert body == b"3\r\none\r\n7\r\nand two\r\n0\r\n\r\n"


def test_a_body_of_known_length_is_sent_as_it_is():
    head, body = answer(answering(b"one", b"two", headers=[(b"Content-Length", b"6")]))
    assert head == [b"HTTP/1.1 200 OK", b"content-length: 6", b"connection: close"]
    assert body == b"onetwo"


def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection():
    """RFC 9112 6.1."""
    head, body = answer(answering(b"one", b"two"), b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert head == [b"HTTP/1.1 200 OK", b"connection: close"]
    assert body == b"onetwo"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]])
def test_an_answer_to_head_has_no_body(headers):
    _, body = answer(answering(b"12345", headers=headers), GET.replace(b"GET", b"HEAD"))
    assert body == b""


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]])
def test_an_answer_that_can_have_no_body_has_none_and_its_connection_lives(status, headers):
    """RFC 9110 8.6: a 304 may say how long its representation is."""
    request = GET.replace(b"connection: close\r\n", b"")
    with BoundedServer(answering(status=status, headers=headers)) as server:
        answers = server.answer_to(request + GET).split(b"\r\n\r\n")
    assert [status_of(each) for each in answers] == [status, status, 0]


@pytest.mark.parametrize("body", [b"four", b"six666"])
def test_an_answer_of_another_length_than_announced_is_cut(body):
    with BoundedServer(answering(body, headers=[(b"content-length", b"5")])) as server, server.connect() as client:
        client.sendall(GET.replace(b"connection: close\r\n", b""))
        received = b""
        while part := client.recv(1 << 16):  # closed, although nobody asked for that
            received += part
    assert not received.endswith(b"\r\n\r\n" + body[:5].ljust(5, b"?"))


def test_an_answer_that_breaks_off_is_cut_after_what_was_sent():
    _, body = answer(answering(b"one", breaks=True))
    assert body == b"3\r\none\r\n"


@pytest.mark.parametrize(
    "header",
    [(b"x-a", b"b\r\nx-c: d"), (b"x-a", b"b\nc"), (b"x-a", b"b\rc"), (b"x-a", b"\0"), (b"x a", b"b"), (b"x-a:", b"b")],
)
def test_a_header_that_would_be_two_never_leaves(header):
    head, body = answer(answering(b"x", headers=[header]))
    assert head[0] == b"HTTP/1.1 500 Internal Server Error"
    assert b"x-c" not in b"".join(head)
    assert body == b"Internal Server Error"


def test_an_app_that_fails_or_says_nothing_is_a_500_and_the_connection_closes():
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)

    head, _ = answer(silent, GET.replace(b"connection: close\r\n", b""))
    assert head[0] == b"HTTP/1.1 500 Internal Server Error"
    assert b"connection: close" in head


def test_a_body_in_many_parts_reaches_the_app_whole():
    body = b"".join(b"1\r\n%c\r\n" % (number % 26 + 97) for number in range(5_000)) + b"0\r\n\r\n"
    request = GET.replace(b"GET", b"POST").replace(b"host: a", b"host: a\r\ntransfer-encoding: chunked") + body
    _, said = answer(echo, request)
    assert said.startswith(b"POST / 5000 ")


def test_everybody_who_waits_learns_that_the_client_has_gone():
    """Also those behind whom another request was read, and two who wait for the same."""
    gone, is_running = threading.Semaphore(0), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await receive()  # there is no body
        is_running.set()

        async def wait() -> Any:
            while (await receive())["type"] != "http.disconnect":
                continue
            gone.release()

        await asyncio.gather(wait(), wait())

    with BoundedServer(app) as server:
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2)
            assert is_running.wait(WAIT_S)
        assert gone.acquire(timeout=WAIT_S)
        assert gone.acquire(timeout=WAIT_S)


def test_whoever_asked_to_be_told_learns_at_once_that_the_client_has_gone():
    """Nobody needs to wait in `receive` for that."""
    gone, is_running = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        over = asyncio.Event()
        scope[GONE_KEY](over.set)
        is_running.set()
        await over.wait()
        gone.set()

    with BoundedServer(app) as server:
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert is_running.wait(WAIT_S)
        assert gone.wait(WAIT_S)


def test_who_was_answered_is_not_told_that_the_client_has_gone():
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[GONE_KEY](lambda: told.append(scope["path"]))
        await echo(scope, receive, send)

    with BoundedServer(app) as server:
        server.answer_to(GET)
        server.answer_to(GET)
    assert told == []
