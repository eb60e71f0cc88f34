"""Every way in which an upstream can misbehave: the outcome, how often it was asked, and that nothing is left open."""

import asyncio
import socket

import pytest

from sessionware.proxy.wire import Address, Deadlines, UpstreamRequest, Wire
from sessionware.testing.scripted_upstream import (
    Close,
    Flood,
    HalfClose,
    Reset,
    Say,
    SkipBody,
    Stall,
    answer,
)
from tests.proxy.wire.scene import GET, OK, POST, QUICK, ask, on_both_loops, scene

HEAD_REQUEST = UpstreamRequest("HEAD", b"/")
H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"transfer-encoding: chunked\r\n\r\n"
SSE = CHUNKED + b"d\r\ndata: hello\n\n\r\n"

UNANSWERED = ("MayBeDelivered", "closed_unanswered")
MALFORMED = ("BadAnswer", "malformed")
TRUNCATED = ("BadAnswer", "truncated")

ONE_EXCHANGE = {
    "reset after the request": (POST, [Reset()], (None, b"", UNANSWERED)),
    "reset before the body is read": (POST, [SkipBody(), Reset()], (None, b"", UNANSWERED)),
    "closed after the request": (POST, [Close()], (None, b"", UNANSWERED)),
    "half closed without an answer": (POST, [HalfClose(), Stall()], (None, b"", UNANSWERED)),
    "GET on a new connection closed": (GET, [Close()], (None, b"", UNANSWERED)),
    "no head": (POST, [Stall()], (None, b"", ("MayBeDelivered", "head_timeout"))),
    "half a head": (POST, [Say(H + b"a: "), Stall()], (None, b"", ("BadAnswer", "head_timeout"))),
    "half a head and closed": (POST, [Say(H + b"a: "), Close()], (None, b"", TRUNCATED)),
    "garbage": (POST, [Say(b"\x16\x03\x01\x02\x00garbage"), Stall()], (None, b"", MALFORMED)),
    "a huge head": (POST, [Say(H + b"a: " + b"b" * 200_000), Stall()], (None, b"", MALFORMED)),
    "an endless head": (POST, [Flood(b"a: b\r\n" * 1000)], (None, b"", MALFORMED)),
    "response splitting": (POST, [Say(H + b"a: b\nset-cookie: evil=1\r\n\r\n")], (None, b"", MALFORMED)),
    "two lengths": (POST, [Say(H + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab")], (None, b"", MALFORMED)),
    "switched protocols": (
        POST,
        [Say(b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), Stall()],
        (None, b"", MALFORMED),
    ),
    "a bad chunk": (POST, [Say(CHUNKED + b"2\r\nab\r\nxx\r\n")], (200, b"ab", MALFORMED)),
    "endless chunk extensions": (POST, [Say(CHUNKED + b"1;"), Flood(b"x" * 1000)], (200, b"", MALFORMED)),
    "a length too long": (POST, [Say(H + b"content-length: 9\r\n\r\nabc"), Close()], (200, b"abc", TRUNCATED)),
    "a length too short": (POST, [Say(H + b"content-length: 2\r\n\r\nabc")], (200, b"ab", None)),
    "chunks without end": (POST, [Say(CHUNKED + b"2\r\nab\r\n"), Close()], (200, b"ab", TRUNCATED)),
    "a slow body": (POST, [Say(SSE), Stall()], (200, b"data: hello\n\n", ("BadAnswer", "idle_timeout"))),
    "until closed": (POST, [Say(H + b"\r\nabc"), Close()], (200, b"abc", None)),
    "connection: close": (POST, [Say(answer(200, b"ok", (b"connection", b"close"))), Stall()], (200, b"ok", None)),
    "continue and early hints": (
        POST,
        [Say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"), Say(answer(201, b"ok"))],
        (201, b"ok", None),
    ),
    "trailers": (POST, [Say(CHUNKED + b"2\r\nab\r\n0\r\nx-sum: 1\r\n\r\n")], (200, b"ab", None)),
    "bytes one by one": (POST, [Say(CHUNKED + b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", size=1)], (200, b"abcd", None)),
    "204 with a body": (POST, [Say(b"HTTP/1.1 204 X\r\ncontent-length: 2\r\n\r\nab")], (204, b"", None)),
    "HEAD with a body": (HEAD_REQUEST, [Say(H + b"content-length: 2\r\n\r\nab")], (200, b"", None)),
    "HEAD without": (HEAD_REQUEST, [Say(H + b"content-length: 2\r\n\r\n")], (200, b"", None)),
    "a redirect": (POST, [Say(answer(307, b"", (b"location", b"http://127.0.0.1:1/")))], (307, b"", None)),
    "compressed": (POST, [Say(answer(200, b"\x1f\x8b", (b"content-encoding", b"gzip")))], (200, b"\x1f\x8b", None)),
    "an error": (POST, [Say(answer(503, b"later"))], (503, b"later", None)),
}


@pytest.mark.parametrize("name", ONE_EXCHANGE)
@on_both_loops
async def test_an_upstream_is_asked_once_and_the_next_request_is_served(name):
    request, turn, expected = ONE_EXCHANGE[name]
    async with scene(turn, OK) as (upstream, wire):
        assert await ask(wire, request) == expected
        assert len(upstream.requests) == 1
        assert await ask(wire, POST) == (200, b"ok", None)
        assert [received.method for received in upstream.requests] == [request.method, "POST"]


@on_both_loops
async def test_a_refused_connection_delivers_nothing():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wire = Wire(Address(host="127.0.0.1", port=taken.getsockname()[1]))
        assert await ask(wire, POST) == (None, b"", ("NotDelivered", "connect_refused"))
        await wire.aclose()


@on_both_loops
async def test_a_missing_socket_file_delivers_nothing(tmp_path):
    wire = Wire(Address(unix_path=str(tmp_path / "none.sock")))
    assert await ask(wire, POST) == (None, b"", ("NotDelivered", "connect_refused"))
    await wire.aclose()


@on_both_loops
async def test_a_connection_that_never_opens_is_given_up_in_time():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.socket() as first, socket.socket() as second:  # fill the backlog: the kernel then drops what comes
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(address)
            wire = Wire(Address(host="127.0.0.1", port=address[1]))
            assert await ask(wire, POST) == (None, b"", ("NotDelivered", "connect_timeout"))
            await wire.aclose()


@on_both_loops
async def test_a_connection_closed_at_once_may_have_taken_the_request():
    async with scene(OK, on_connect=[Close()]) as (upstream, wire):
        status, body, fault = await ask(wire, POST)
        assert (status, body) == (None, b"")
        assert fault in {UNANSWERED, ("NotDelivered", "connect_refused")}
        assert upstream.requests == []


@on_both_loops
async def test_a_stream_that_never_ends_flows_at_once_and_closes_when_it_is_let_go():
    async with scene([Say(SSE), Stall()]) as (upstream, wire):
        response = await wire.send(POST, deadlines=Deadlines())
        assert (response.status, await anext(response), response.is_whole) == (200, b"data: hello\n\n", False)
        await response.aclose()
        await response.aclose()
        await upstream.until(open_connections=0)
        assert not response.is_whole


@on_both_loops
async def test_cancelling_who_waits_for_the_head_closes_the_connection():
    async with scene([Stall()]) as (upstream, wire):
        waiting = asyncio.create_task(wire.send(POST))
        await upstream.until(requests=1)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        await upstream.until(open_connections=0)


@on_both_loops
async def test_cancelling_who_waits_for_a_part_closes_the_connection():
    async with scene([Say(SSE), Stall()]) as (upstream, wire):
        response = await wire.send(POST)
        await anext(response)
        waiting = asyncio.ensure_future(anext(response))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await upstream.until(open_connections=0)


@on_both_loops
async def test_a_reader_stops_when_another_task_lets_the_answer_go():
    async with scene([Say(SSE), Stall()]) as (upstream, wire):
        response = await wire.send(POST)
        await anext(response)

        async def rest():
            return [part async for part in response]

        reading = asyncio.create_task(rest())
        await asyncio.sleep(0)
        await response.aclose()
        assert (await reading, response.is_whole) == ([], False)
        await upstream.until(open_connections=0)


@on_both_loops
async def test_closing_the_wire_breaks_open_answers_and_refuses_new_requests():
    async with scene([Say(SSE), Stall()]) as (_, wire):
        response = await wire.send(POST)
        await wire.aclose()
        assert await anext(response) == b"data: hello\n\n"
        with pytest.raises(Exception, match="we closed the connection"):
            await anext(response)
        assert await ask(wire, POST) == (None, b"", ("NotDelivered", "wire_closed"))


@on_both_loops
async def test_a_reader_who_is_slow_stalls_the_upstream():
    async with scene([Say(H + b"\r\n"), Flood(b"x" * 65536)]) as (upstream, wire):
        response = await wire.send(POST, deadlines=Deadlines())
        largest = len(await anext(response))
        before = -1
        while before != upstream.sent:  # until not even the kernel's buffers take more
            before = upstream.sent
            await asyncio.sleep(0.2)
        largest = max(largest, len(await anext(response)))
        assert largest <= 64 * 1024
        assert upstream.sent < 32 * 1024 * 1024
        for _ in range(2000):
            largest = max(largest, len(await anext(response)))
        assert largest <= 64 * 1024
        assert upstream.sent > before
        await response.aclose()


@on_both_loops
async def test_an_upstream_that_reads_nothing_stalls_the_body_and_breaks_it_in_time():
    taken = 0

    async def endless():
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 65536

    async with scene([SkipBody(), Stall(reads_on=False), Close()]) as (upstream, wire):
        fault = (await ask(wire, UpstreamRequest("POST", b"/", (), endless())))[2]
        assert fault == ("MayBeDelivered", "write_timeout")
        assert taken < 1000
        upstream.go_on()


@on_both_loops
async def test_an_early_answer_is_given_while_the_body_is_still_being_sent():
    is_over = asyncio.Event()

    async def body():
        try:
            yield b"first"
            await is_over.wait()
            yield b"never"
        finally:
            is_over.set()

    refusal = answer(413, b"too large", (b"connection", b"close"))
    async with scene([SkipBody(), Say(refusal), Stall()], OK) as (upstream, wire):
        assert await ask(wire, UpstreamRequest("POST", b"/", (), body())) == (413, b"too large", None)
        await is_over.wait()  # the body was let go
        await upstream.until(open_connections=0)
        assert await ask(wire, POST) == (200, b"ok", None)


@on_both_loops
async def test_a_body_that_fails_is_raised_and_closes_the_connection():
    async def body():
        yield b"first"
        raise ZeroDivisionError

    async with scene(OK) as (upstream, wire):
        with pytest.raises(ZeroDivisionError):
            await wire.send(UpstreamRequest("POST", b"/", (), body()), deadlines=QUICK)
        await upstream.until(open_connections=0)
        assert upstream.requests == []
