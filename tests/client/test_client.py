"""The client against the real API: it starts, it always closes, and it keeps alive until there is nothing left."""

import asyncio
import threading

import httpx2
import pytest
from starlette.testclient import TestClient

from sessionware.api import SessionApi
from sessionware.client import AsyncSessionClient, SessionClient
from sessionware.client.protocol import check, opened
from sessionware.errors import (
    InvalidToken,
    LimitExceeded,
    PermissionDenied,
    SessionExists,
    SessionNotFound,
    SessionwareError,
    StoreUnavailable,
)
from sessionware.testing import Fault
from tests.api.world import in_world

URL = "http://test"


def client(w, **how):
    return AsyncSessionClient(URL, http=w.http, headers={"x-test-user": "alice"}, **how)


@in_world()
async def test_a29_the_session_is_closed_even_if_the_block_fails(w):
    """A29."""

    async def fail():
        async with client(w, session_id="work", metadata={"a": 1}, ttl=60) as session:
            assert session.id == "work"
            found = await session.status()
            assert (found["metadata"], found["ref"]) == ({"a": 1}, session.ref)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await w.sessions.count() == 0


@in_world()
async def test_the_session_is_closed_when_its_task_is_cancelled(w):
    entered = asyncio.Event()

    async def work():
        async with client(w):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    assert await w.sessions.count() == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await w.sessions.count() == 0


@in_world()
async def test_that_it_is_gone_already_is_no_trouble(w):
    async with client(w, session_id="work"):
        await w.sessions.close("work", by=w.actor())
    async with client(w, session_id="work") as session:
        assert session.id == "work"


@in_world()
async def test_an_error_of_the_block_is_never_hidden_by_trouble_at_the_close(w):
    async def fail():
        async with client(w):
            w.store.always("any", Fault.REFUSED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    w.store.heal()
    with pytest.raises(StoreUnavailable):
        async with client(w):
            w.store.always("any", Fault.REFUSED)


@in_world()
async def test_a_start_that_is_refused_raises_what_the_server_said(w):
    async with client(w, session_id="work"):
        with pytest.raises(SessionExists, match="Session already exists"):
            async with client(w, session_id="work"):
                raise AssertionError("entered")
    with pytest.raises(InvalidToken):
        async with AsyncSessionClient(URL, http=w.http, token="bad"):
            raise AssertionError("entered")


@in_world()
async def test_requests_in_the_block_name_the_session_by_its_header(w):
    async with AsyncSessionClient(URL + "/", http=w.http) as session:
        answer = await session.request("POST", "/session/current/context", json={"text": "hello"})
        assert answer.status_code == 201
        assert answer.request.headers["x-session-id"] == session.id
        assert session.id not in str(answer.request.url)
        assert session.id not in repr(session)
    with pytest.raises(RuntimeError, match="not open"):
        await session.ping()


@in_world()
async def test_b26_a_session_token_travels_with_every_request(w):
    """B26."""
    w.use(session_token=True)
    async with AsyncSessionClient(URL, http=w.http) as session:
        assert (await session.ping())["status"] == "active"


class Pings(httpx2.AsyncBaseTransport):
    """A server that counts pings and answers them from a list."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def handle_async_request(self, request):
        path = request.url.path
        self.asked.append(path)
        if path.endswith("/start"):
            body = {"session_id": "work", "ref": "s-a", "created_at": "2027-01-15T08:00:00Z"}
            return httpx2.Response(201, json=body)
        if path.endswith("/close"):
            return httpx2.Response(200, json={})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer, json={})


@pytest.mark.parametrize("last", [404, 401, 403])
def test_a30_keep_alive_goes_on_through_trouble_and_stops_when_the_session_is_gone(last):
    """A30."""

    async def story():
        server = Pings(200, 503, httpx2.ConnectError("no"), 429, 500, 200, last)
        async with (
            httpx2.AsyncClient(transport=server) as http,
            AsyncSessionClient(URL, http=http) as session,
        ):
            keeper = session.keep_alive(interval=0.001)
            assert session.keep_alive(interval=0.001) is keeper
            await asyncio.wait_for(keeper, 10)
        assert server.asked.count("/session/current/ping") == 7

    asyncio.run(story())


def test_a30_keep_alive_ends_with_the_block():
    """A30."""

    async def story():
        server = Pings(*[200] * 10_000)
        async with httpx2.AsyncClient(transport=server) as http:
            async with AsyncSessionClient(URL, http=http) as session:
                keeper = session.keep_alive(interval=3600)
                assert not keeper.done()
            assert keeper.cancelled()

    asyncio.run(story())


def test_a30_a40_the_same_for_plain_code_with_a_thread():
    """A29, A30, A40."""
    pinged = threading.Event()

    @in_world()
    async def story(w):
        http = TestClient(SessionApi(lambda: w.sessions, w.caller))
        http.event_hooks["response"] = [lambda answer: pinged.set() if "ping" in answer.url.path else None]

        def work():
            headers = {"x-test-user": "alice"}
            with SessionClient(URL, http=http, headers=headers) as session:
                assert session.status()["user_id"] == "alice"
                keeper = session.keep_alive(interval=0.001)
                assert session.keep_alive(interval=0.001) is keeper
                assert pinged.wait(10)
                assert session.request("GET", "/sessions").json()["sessions"][0]["current"]
            assert not keeper.is_alive()
            with pytest.raises(RuntimeError, match="not open"):
                session.ping()
            with SessionClient(URL, http=http, headers=headers):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(work)
        assert await w.sessions.count() == 0

    story()


def test_plain_code_hears_of_a_session_that_is_gone():
    gone = threading.Event()

    def answer(request):
        if request.url.path.endswith("/start"):
            body = {"session_id": "work", "ref": "s-a", "created_at": "2027-01-15T08:00:00Z"}
            return httpx2.Response(201, json=body)
        gone.set()
        return httpx2.Response(404, json={"error": "Session not found", "code": "session_not_found"})

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        SessionClient(URL, http=http) as session,
    ):
        keeper = session.keep_alive(interval=0.001)
        assert gone.wait(10)
        keeper.join(10)
        assert not keeper.is_alive()
        with pytest.raises(SessionNotFound):
            session.ping()


def test_a_client_of_its_own_is_closed_when_nothing_answers():
    with pytest.raises(httpx2.ConnectError), SessionClient("http://127.0.0.1:1"):
        raise AssertionError("entered")

    async def story():
        with pytest.raises(httpx2.ConnectError):
            async with AsyncSessionClient("http://127.0.0.1:1"):
                raise AssertionError("entered")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, b'{"code":"rate_limited","limit":"l","used":1,"allowance":1,"retry_after_ms":1500}', LimitExceeded),
        (429, b'{"code":"quota_exceeded","used":"x"}', LimitExceeded),
        (403, b"", PermissionDenied),
        (404, b"[]", SessionNotFound),
        (500, b"<html>", SessionwareError),
        (503, b"{", StoreUnavailable),
    ],
)
def test_every_refusal_has_its_error(status, body, error):
    with pytest.raises(error):
        check(status, body)


def test_a_server_that_is_no_session_api_is_said_to_be_none():
    with pytest.raises(SessionwareError, match="no session API"):
        opened(200, b"hello")
