"""What the tests of the wire share: both event loops, an upstream, a wire, and the proof that nothing is left."""

import asyncio
import functools
import inspect
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from sessionware.proxy.addresses import parse_address
from sessionware.proxy.standing import place_of
from sessionware.proxy.wire import Deadlines, UpstreamRequest, Wire, WireFault, WireLimits
from sessionware.testing import ScriptedUpstream
from sessionware.testing.scripted_upstream import Say, answer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
BOUND = 20
UNBOUNDED = WireLimits()
QUICK = Deadlines(connect=0.3, head=0.3, idle=0.3)
GET = UpstreamRequest("GET", b"/")
POST = UpstreamRequest("POST", b"/mcp", ((b"content-type", b"application/json"),), b"{}")
OK = (Say(answer(200, b"ok")),)


def on_both_loops(story):
    """Run an async test once on asyncio and once on uvloop, and see that it leaves no task and no file behind."""

    @pytest.mark.parametrize("loop", LOOPS)
    @functools.wraps(story)
    def test(loop, **arguments):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(leaving_nothing(story, arguments))

    test.__signature__ = signature_with_loop(story)
    return test


def signature_with_loop(story):
    own = inspect.signature(story)
    first = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    return own.replace(
        parameters=[*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.parameters.values()), first]
    )


async def leaving_nothing(story, arguments):
    await asyncio.get_running_loop().run_in_executor(None, int)  # the loop's own threads and files exist from here on
    before = open_files()
    async with asyncio.timeout(BOUND):
        await story(**arguments)
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while len(asyncio.all_tasks()) > 1 or open_files() - before:
                await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert open_files() - before == set()


def open_files():
    """Sockets and files by what they are; a loop's own event descriptors come and go."""
    found = set()
    for number in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(number.readlink()))
    return {one for one in found if one.startswith(("socket:", "/"))}


@asynccontextmanager
async def scene(*turns, limits=UNBOUNDED, tls=None, client_tls=None, **more):
    """An upstream that plays these turns, and a wire to it; both are closed, and no connection outlives them."""
    async with ScriptedUpstream(*turns, tls=tls, **more) as upstream:
        wire = Wire(place_of(parse_address(upstream.url)), limits, tls=client_tls)
        try:
            yield upstream, wire
        finally:
            await wire.aclose()
            await upstream.until(open_connections=0)


async def ask(wire, request=GET, deadlines=QUICK):
    """The whole answer, or what stopped it: (status, body, None) or (status or None, body so far, fault)."""
    status, body = None, b""
    try:
        response = await wire.send(request, deadlines=deadlines)
        status = response.status
        async for part in response:
            body += part
    except WireFault as fault:
        return status, body, (type(fault).__name__, str(fault.reason))
    return status, body, None
