"""Streams and SSE: untouched while they run, open as long as they run, closed when their session or token ends."""

import asyncio
from typing import Any

import pytest

from sessionware.core.facts import TokenRevocation
from sessionware.core.store import Query
from tests.asgi.world import World, token, world


class Source:
    """A raw ASGI app that streams what it is fed, and remembers how it ended."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ended_by: BaseException | None = None
        self.session: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.session = scope["state"]["session"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        try:
            while (part := await self.parts.get()) is not None:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except BaseException as error:
            self.ended_by = error
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Reader:
    """A client of a stream, message by message, as the server would see it."""

    def __init__(self, there: World, **headers: str) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "method": "GET", "path": "/events", "query_string": b"", "headers": raw,
            "client": ("203.0.113.7", 1), "scheme": "http", "state": {},
        }  # fmt: skip
        self.running = asyncio.ensure_future(there.app(scope, asyncio.Event().wait, self.sent.put))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.sent.get()


def live(scenario: Any, **how: Any) -> None:
    async def run() -> None:
        source = Source()
        async with world(source, **how) as there:
            await scenario(there, source)

    asyncio.run(run())


async def opened(there: World, source: Source) -> Reader:
    """A stream of alice's that has sent its first part."""
    reader = Reader(there, authorization=f"Bearer {token('alice')}")
    assert (await reader.next())["type"] == "http.response.start"
    source.parts.put_nowait(b"data: 1\n\n")
    assert await reader.next() == {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
    return reader


async def the_session(there: World) -> Any:
    (session,) = (await there.store.list(Query(), now=there.clock.now())).sessions
    return session


def test_parts_pass_as_they_come_and_the_head_only_once():
    """Slowapi repeats `response.start` for each part."""

    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        for part in (b": comment\n\n", b"data: 2\n\n"):
            source.parts.put_nowait(part)
            assert (await reader.next())["body"] == part
        source.parts.put_nowait(None)
        assert await reader.next() == {"type": "http.response.body", "body": b"", "more_body": False}
        await reader.running
        assert reader.sent.empty()

    live(scenario)


def test_a_stream_is_limited_like_any_request():
    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        refused = Reader(there, authorization=f"Bearer {token('alice')}")
        assert (await refused.next())["status"] == 429
        source.parts.put_nowait(None)
        await asyncio.gather(reader.running, refused.running)

    live(scenario, limits="1/minute per session")


def test_a_stream_ends_when_its_session_does():
    """SES-09: within a second, without an error, and what it had open is given back."""

    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        session = await the_session(there)
        await there.sessionware.sessions.close("default", by=there.sessionware.sessions.user("alice"))
        assert await reader.next() == {"type": "http.response.body", "body": b"", "more_body": False}
        await reader.running
        assert isinstance(source.ended_by, asyncio.CancelledError)
        assert there.engine.ends.waiting() == []
        assert there.engine.gate.leases.running == 0
        assert await there.store.get(session.key, now=there.clock.now()) is None

    live(scenario)


@pytest.mark.parametrize("whose", ["its own", "another"])
def test_a_stream_ends_when_its_token_is_revoked_and_not_when_another_is(whose):
    """Its session is a derived one, which lives on: other tokens of the same user may use it."""

    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        jti = "alice-1" if whose == "its own" else "bob-1"
        condemned = there.store.addresses.token("https://login.test", jti)
        await there.store.revoke(TokenRevocation(condemned, there.clock.now() + 60_000), now=there.clock.now())
        if whose == "its own":
            assert (await reader.next())["more_body"] is False
        else:
            source.parts.put_nowait(b"data: 2\n\n")
            assert (await reader.next())["body"] == b"data: 2\n\n"
            source.parts.put_nowait(None)
        await reader.running
        assert await the_session(there) is not None

    live(scenario)


def test_a_stream_ends_when_everything_of_its_user_is_revoked():
    """SES-10."""

    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        await there.sessionware.sessions.revoke(user="alice")
        assert (await reader.next())["more_body"] is False
        await reader.running
        assert (await there.get(user="alice")).status_code == 401

    live(scenario)


def test_a_stream_that_the_server_cancels_stays_cancelled():
    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        reader.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader.running
        assert there.engine.ends.waiting() == []
        assert there.engine.gate.leases.running == 0

    live(scenario)


def test_an_open_stream_counts_as_activity():
    """Weak spot 18: it is not cleaned up while it is in use."""

    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        there.clock.advance(1_700_000)
        there.engine.gate.leases.renew()
        await until_told(there)
        there.clock.advance(1_700_000)
        assert await the_session(there) is not None
        source.parts.put_nowait(None)
        await reader.running

    live(scenario)


def test_what_a_stream_changes_is_saved_when_it_ends():
    async def scenario(there: World, source: Source) -> None:
        reader = await opened(there, source)
        source.session.data["last"] = 7
        source.parts.put_nowait(None)
        await reader.running
        assert await there.data_of("alice") == {"last": 7}

    live(scenario)


async def until_told(there: World) -> None:
    """Wait until the store has heard every fact."""
    async with asyncio.timeout(5):
        while there.engine.gate.facts.waiting:
            await asyncio.sleep(0)
