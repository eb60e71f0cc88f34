"""How the API learns who calls in a running installation: as the middleware does, and without touching anything."""

import asyncio

import httpx2

from sessionware.api import ApiOptions, SessionApi, caller_of
from sessionware.assembly.installation import Sessionware
from sessionware.config.settings import Settings
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock


def running(story, **settings):
    async def tell():
        store = MemoryStore(clock=ManualClock())
        async with Sessionware(Settings(**settings), store=store) as sessionware:
            caller = caller_of(lambda: sessionware.engine)
            api = SessionApi(lambda: sessionware.sessions, caller, options=ApiOptions())
            transport = httpx2.ASGITransport(api, client=("127.0.0.1", 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
                await story(http)

    asyncio.run(tell())


def test_a15_a_trusted_proxy_says_who_the_user_is():
    """A15, A11."""

    async def story(http):
        headers = {"x-user-id": "alice"}
        answer = await http.post("/session/start", content=b'{"session_id":"s"}', headers=headers)
        assert (answer.status_code, answer.json()["user_id"]) == (201, "alice")
        listed = (await http.get("/sessions", headers=headers | {"x-session-id": "s"})).json()
        assert [(row["name"], row["current"], row["client"]) for row in listed["sessions"]] == [
            ("s", True, "127.0.0.1")
        ]
        found = await http.get("/session/current/status", headers=headers)
        assert found.status_code == 404  # the derived session `default` is not made by looking at it

    running(story, trusted_proxies=("private",))


def test_a15_anybody_else_only_says_so():
    """A15."""

    async def story(http):
        answer = await http.post("/session/start", headers={"x-user-id": "alice"})
        assert (answer.status_code, answer.json()["user_id"]) == (201, None)
        session_id = answer.json()["session_id"]
        headers = {"x-session-id": session_id}
        assert (await http.get("/session/current/status", headers=headers)).json()["session_id"] == session_id
        assert (await http.get("/sessions", headers={"authorization": "Bearer x"})).status_code in {200, 401}

    running(story)


def test_a_page_of_another_site_cannot_use_a_visitors_cookie():
    """CSRF: the cookie travels by itself, so the origin must be ours."""

    async def story(http):
        made = (await http.post("/session/start")).json()["session_id"]
        headers = {"cookie": f"session={made}", "origin": "https://evil.test"}
        answer = await http.post("/session/current/close", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert (await http.get("/session/current/status", headers=headers)).status_code == 200
        answer = await http.post("/session/current/close", headers={"cookie": f"session={made}"})
        assert answer.status_code == 200

    running(story, session_cookie="session")


def test_two_ids_that_disagree_are_refused_before_anything_is_asked():
    """SES-05."""

    async def story(http):
        answer = await http.get("/sessions", headers=[("x-session-id", "a"), ("x-session-id", "b")])
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_session_id")

    running(story)
