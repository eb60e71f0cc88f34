"""Which connection carries a request, when a second one may, and how many there are."""

import asyncio
import socket
import time

import pytest

from sessionware.proxy.wire import Address, Deadlines, UpstreamRequest, Wire, WireLimits
from sessionware.testing.scripted_upstream import Close, Reset, Say, Stall, answer
from tests.proxy.wire.scene import GET, OK, POST, QUICK, ask, on_both_loops, scene

DELETE = UpstreamRequest("DELETE", b"/mcp")
SLOW = Deadlines(connect=5, head=5, idle=5)


@on_both_loops
async def test_requests_in_turn_share_one_connection():
    async with scene(OK) as (upstream, wire):
        for _ in range(5):
            assert await ask(wire, POST) == (200, b"ok", None)
        assert (len(upstream.requests), upstream.accepted) == (5, 1)


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
@pytest.mark.parametrize("request_", [GET, DELETE, UpstreamRequest("HEAD", b"/")], ids=["GET", "DELETE", "HEAD"])
@on_both_loops
async def test_what_can_be_repeated_is_sent_once_more_when_a_kept_connection_fails(request_, end):
    async with scene(OK, [end], [Say(answer(200))]) as (upstream, wire):
        await ask(wire, POST)
        assert await ask(wire, request_) == (200, b"", None)
        assert (len(upstream.requests), upstream.accepted) == (3, 2)


@on_both_loops
async def test_it_is_sent_once_more_and_no_more():
    async with scene(OK, [Reset()]) as (upstream, wire):
        await ask(wire, POST)
        assert await ask(wire, GET) == (None, b"", ("MayBeDelivered", "closed_unanswered"))
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
@on_both_loops
async def test_a_post_is_never_sent_twice(end):
    async with scene(OK, [end], OK) as (upstream, wire):
        await ask(wire, POST)
        assert await ask(wire, POST) == (None, b"", ("MayBeDelivered", "closed_unanswered"))
        assert len(upstream.requests) == 2


@on_both_loops
async def test_what_stalls_is_never_sent_twice():
    async with scene(OK, [Stall()]) as (upstream, wire):
        await ask(wire, POST)
        assert await ask(wire, GET) == (None, b"", ("MayBeDelivered", "head_timeout"))
        assert len(upstream.requests) == 2


@on_both_loops
async def test_a_post_after_the_upstream_closed_an_idle_connection_goes_over_a_new_one():
    async with scene([*OK, Close()], OK) as (upstream, wire):
        assert await ask(wire, POST) == (200, b"ok", None)
        await upstream.until(open_connections=0)
        await asyncio.sleep(0.05)  # the news of it is on its way
        assert await ask(wire, POST) == (200, b"ok", None)
        assert (len(upstream.requests), upstream.accepted) == (2, 2)


@on_both_loops
async def test_a_post_is_not_lost_on_a_connection_whose_end_the_loop_has_not_heard_of():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        wire = Wire(Address(host="127.0.0.1", port=listener.getsockname()[1]))

        async def serve_one():
            accepted = (await loop.sock_accept(listener))[0]
            await loop.sock_recv(accepted, 4096)
            await loop.sock_sendall(accepted, answer(200, b"ok"))
            return accepted

        accepted, first = await asyncio.gather(serve_one(), ask(wire, POST))
        accepted.close()
        time.sleep(0.6)  # noqa: ASYNC251 - the loop is blocked: it cannot hear
        serving = loop.create_task(serve_one())
        second = await ask(wire, POST)  # takes a connection before the loop turns
        await wire.aclose()
        if serving.done():
            serving.result().close()
        serving.cancel()
        assert [first, second] == [(200, b"ok", None)] * 2


@on_both_loops
async def test_bytes_that_nobody_asked_for_close_an_idle_connection():
    async with scene([*OK, Stall(), Say(answer(200, b"poison")), Stall()], OK) as (upstream, wire):
        assert await ask(wire, POST) == (200, b"ok", None)
        upstream.go_on()
        await upstream.until(open_connections=0)
        assert await ask(wire, POST) == (200, b"ok", None)
        assert upstream.accepted == 2


@on_both_loops
async def test_a_connection_that_was_idle_for_too_long_is_closed():
    async with scene(OK, limits=WireLimits(idle_seconds=0.05)) as (upstream, wire):
        await ask(wire, POST)
        await upstream.until(open_connections=0)
        assert await ask(wire, POST) == (200, b"ok", None)


@on_both_loops
async def test_an_upstream_that_keeps_connections_shortly_is_not_trusted_at_the_last_moment():
    async with scene([Say(answer(200, b"ok", (b"keep-alive", b"timeout=1")))]) as (upstream, wire):
        await ask(wire, POST)
        await ask(wire, POST)
        assert upstream.accepted == 2


@on_both_loops
async def test_connections_and_idle_ones_are_bounded_and_all_requests_are_served_in_turn():
    async with scene(OK, limits=WireLimits(connections=3, idle_connections=2)) as (upstream, wire):
        answers = await asyncio.gather(*(ask(wire, POST, SLOW) for _ in range(40)))
        assert answers == [(200, b"ok", None)] * 40
        assert upstream.accepted <= 3
        await upstream.until(open_connections=2)


@on_both_loops
async def test_nobody_waits_for_a_connection_longer_than_for_opening_one():
    async with scene([Stall(), *OK], limits=WireLimits(connections=1)) as (upstream, wire):
        first = asyncio.create_task(ask(wire, POST, SLOW))
        await upstream.until(requests=1)
        assert await ask(wire, POST) == (None, b"", ("NotDelivered", "no_free_connection"))
        upstream.go_on()
        assert await first == (200, b"ok", None)
        assert len(upstream.requests) == 1


@on_both_loops
async def test_who_stops_waiting_for_a_connection_leaves_it_to_the_next():
    async with scene([Stall(), *OK], OK, limits=WireLimits(connections=1)) as (upstream, wire):
        first = asyncio.create_task(ask(wire, POST, SLOW))
        await upstream.until(requests=1)
        second, third = (asyncio.create_task(ask(wire, POST, SLOW)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        upstream.go_on()
        assert [await first, await third] == [(200, b"ok", None)] * 2


@on_both_loops
async def test_a_slot_is_free_again_after_each_way_to_fail():
    async with scene([Close()], [Reset()], [Say(b"garbage")], [Stall()], OK, limits=WireLimits(connections=1)) as (
        upstream,
        wire,
    ):
        for _ in range(4):
            assert (await ask(wire, POST))[2] is not None
        assert await ask(wire, POST, QUICK) == (200, b"ok", None)
        assert len(upstream.requests) == 5


@on_both_loops
async def test_answers_of_many_requests_at_once_are_never_mixed_up():
    async def echo_of(wire, number):
        body = b"%d" % number * 1000
        return (await ask(wire, UpstreamRequest("POST", b"/%d" % number, (), body), SLOW))[0]

    async with scene(*([Say(answer(200 + number % 100))] for number in range(200))) as (upstream, wire):
        assert sorted(await asyncio.gather(*(echo_of(wire, number) for number in range(200)))) == sorted(
            200 + number % 100 for number in range(200)
        )
        assert {received.target: received.body for received in upstream.requests} == {
            b"/%d" % number: b"%d" % number * 1000 for number in range(200)
        }
