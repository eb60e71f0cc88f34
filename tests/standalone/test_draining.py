"""The orderly end: not ready at once, still serving, nobody cut who can finish in time (security.md 2.8)."""

import asyncio
import re
import signal
import socket
import threading
import time

import httpx2
import pytest

from sessionware.standalone.server import Drain
from tests.serving import soon
from tests.standalone.bounded_server import BoundedServer, flood, slow, status_of, until_cancelled, whole
from tests.standalone.calling import call
from tests.standalone.running_proxy import RunningProxy

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
STREAMS = 50


async def streamed(client, url, begun, **arguments):
    """The status and the text of a call; `begun` is released when its first event has come."""
    async with client.stream("POST", f"{url}/mcp", **call("sleep", **arguments)) as answer:
        text = ""
        async for part in answer.aiter_text():
            if not text:
                begun.release()
            text += part
        return answer.status_code, text


async def drained(proxy, *, seconds):
    """50 streams are open, and requests go on coming, when SIGTERM comes: their ends, and what new ones were told."""
    limits = httpx2.Limits(max_connections=200)
    begun = asyncio.Semaphore(0)
    async with httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        streams = [
            asyncio.create_task(streamed(client, proxy.url, begun, seconds=seconds, steps=3)) for _ in range(STREAMS)
        ]
        for _ in range(STREAMS):
            await begun.acquire()
        ready = [(await client.get(f"{proxy.url}/ready")).status_code]
        proxy.ask_to_stop()
        assert proxy.has_logged("asked to stop")
        statuses = []
        while True:
            try:
                ready.append((await client.get(f"{proxy.url}/ready")).status_code)
                statuses.append((await client.post(f"{proxy.url}/mcp", **call("pid"))).status_code)
            except httpx2.TransportError:
                break  # it listens no more
        return await asyncio.gather(*streams), ready, statuses


def test_streams_finish_and_nothing_that_was_accepted_fails(upstreams):
    options = ("--limits", "off", "--create-limit", "off", "--drain-delay", "1", "--drain-timeout", "20")
    with RunningProxy("--upstreams", upstreams, *options) as proxy:
        ends, ready, statuses = asyncio.run(drained(proxy, seconds=4))
        assert proxy.exit_code() == 0
        assert "connections are cut" not in proxy.log
        assert "Traceback" not in proxy.log
    assert [status for status, _ in ends] == [200] * STREAMS
    assert all("slept 4 s" in text for _, text in ends)
    assert (ready[0], set(ready[1:])) == (200, {503})
    assert set(statuses) == {200}


def test_what_does_not_finish_in_time_is_cut_and_the_exit_code_is_zero(upstreams):
    options = ("--limits", "off", "--create-limit", "off", "--drain-timeout", "1")
    with RunningProxy("--upstreams", upstreams, *options) as proxy:

        async def cut():
            begun = asyncio.Semaphore(0)
            async with httpx2.AsyncClient(timeout=60, trust_env=False) as client:
                open_stream = asyncio.create_task(streamed(client, proxy.url, begun, seconds=60))
                await begun.acquire()
                proxy.ask_to_stop()
                with pytest.raises(httpx2.TransportError):  # an end that cannot be taken for the whole
                    await open_stream

        asyncio.run(cut())
        assert proxy.exit_code() == 0
        assert re.search(r"warning sessionware: 1 connections are cut", proxy.log)
        assert "Traceback" not in proxy.log


def test_a_second_interrupt_stops_at_once(upstreams):
    with RunningProxy("--upstreams", upstreams, "--drain-delay", "30") as proxy:
        proxy.ask_to_stop(signal.SIGINT)
        assert proxy.has_logged("asked to stop")
        assert proxy.get("/ready").json()["status"] == "draining"
        assert proxy.get("/health").status_code == 200
        proxy.ask_to_stop(signal.SIGINT)
        assert proxy.exit_code() == 130


def test_a_second_sigterm_changes_nothing(upstreams):
    with RunningProxy("--upstreams", upstreams, "--drain-delay", "1") as proxy:
        for _ in range(3):
            proxy.ask_to_stop()
        assert proxy.exit_code() == 0


def test_answers_during_the_drain_close_their_connections():
    release = threading.Event()
    with BoundedServer(slow(release), drain=Drain(1.0, 10.0)) as server, server.connect() as connection:
        connection.sendall(GET)
        server.ask_to_leave()
        assert soon(lambda: status_of(server.answer_to(b"x\r\n\r\n")) == 400)  # it still serves
        release.set()
        answer = whole(connection)
        assert status_of(answer) == 200
        assert server.exit_code() == 0


def test_a_request_whose_head_is_on_its_way_is_still_served():
    with BoundedServer(drain=Drain(0.0, 10.0)) as server, server.connect() as connection:
        connection.sendall(GET[:20])
        assert soon(lambda: len(server.connections) == 1)
        server.ask_to_leave()
        assert soon(lambda: server.has_stopped_listening)
        connection.sendall(GET[20:])
        answer = whole(connection)
        assert (status_of(answer), b"connection: close" in answer) == (200, True)
        assert server.exit_code() == 0


def test_idle_connections_close_at_once():
    with BoundedServer(drain=Drain(0.0, 10.0)) as server, server.connect() as connection:
        connection.sendall(GET)
        assert status_of(connection.recv(4096)) == 200
        began = time.monotonic()
        server.ask_to_leave()
        whole(connection)
        assert server.exit_code() == 0
        assert time.monotonic() - began < 5


def test_a_stream_is_cut_when_the_time_is_up():
    with BoundedServer(until_cancelled, drain=Drain(0.0, 0.5)) as server, server.connect() as connection:
        connection.sendall(GET)
        assert soon(lambda: b"data: first" in connection.recv(4096, socket.MSG_PEEK))
        server.ask_to_leave()
        assert b"0\r\n\r\n" not in whole(connection)
        assert server.exit_code() == 0


def test_a_client_that_does_not_read_holds_up_no_end(caplog):
    with BoundedServer(flood, drain=Drain(0.0, 0.2)) as server, server.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(10)
        began = time.monotonic()
        server.ask_to_leave()
        assert server.exit_code() == 0
        assert time.monotonic() - began < 6
    assert [record for record in caplog.records if record.exc_info] == []
