"""A stream whose app takes its time over the first part: what ended meanwhile ends it too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World, token

PARTS = 100


async def think(request: Request) -> StreamingResponse:
    """Begins when it is told to."""
    request.app.state.reached.set()
    await request.app.state.opened.wait()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(PARTS):
            yield b"."
            await asyncio.sleep(0.01)

    return StreamingResponse(body())


async def close(there: World) -> None:
    [session] = (await there.sessionware.sessions.list(everyone=True)).sessions
    await there.sessionware.sessions.close(session.handle)


async def revoke_token(there: World) -> None:
    await there.sessionware.sessions.revoke(token=token("alice"))


async def revoke_user(there: World) -> None:
    await there.sessionware.sessions.revoke(user="alice")


async def close_another(there: World) -> None:
    other = await there.sessionware.sessions.start()
    await there.sessionware.sessions.close(other.id)


@pytest.mark.parametrize("user", ["alice", ""])
@pytest.mark.parametrize(("act", "ends"), [
    (close, True), (revoke_token, True), (revoke_user, True), (close_another, False)
])  # fmt: skip
def test_a_stream_that_begins_after_the_end_does_not_go_on(
    act: Callable[[World], Awaitable[None]], ends: bool, user: str
) -> None:
    """SES-09, section 4: closed within a second; of a revocation there is no grace."""

    @scenario_of([Route("/", think)])()
    async def run(there: World) -> None:
        app: Any = there.app.app
        state = app.state
        state.reached, state.opened = asyncio.Event(), asyncio.Event()
        answer = asyncio.ensure_future(there.get(user=user))
        await state.reached.wait()
        await act(there)
        await asyncio.sleep(0.05)  # until this worker has heard of it
        state.opened.set()
        is_whole = len((await answer).content) == PARTS
        assert is_whole is (not ends or (not user and act is not close))

    run()
