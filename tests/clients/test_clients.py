"""Every client of MCP through the proxy, over two replicas that know nothing of each other.

What the clients do about a refusal and about a lost session stands in docs/clients.md; here it is held.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.clients.callers import Caller, Refused, calling, is_legacy
from tests.mcp_servers import CONFORMANCE, replicas
from tests.proxy.standing_proxy import TOKENS, installed, serving, token
from tests.proxy.stories import SESSIONS
from tests.selection import selected_clients

GIVE_UP_S = 15.0
pytestmark = pytest.mark.parametrize("client", selected_clients())
both_ways = pytest.mark.parametrize("is_named", [True, False], ids=["named", "unnamed"])


@pytest.fixture(scope="module")
def upstreams():
    with replicas(2) as servers:
        yield servers


@pytest.fixture(scope="module")
def examined():
    """Two of those that offer prompts and resources, too."""
    with replicas(2, module=CONFORMANCE) as servers:
        yield servers


@pytest.fixture
def proxied(upstreams):
    with serving(urls(upstreams), **TOKENS) as server:
        yield server


def urls(servers):
    return ",".join(server.url for server in servers)


def connecting(client, server, user, session=None):
    named = {} if session is None else {"X-Session-ID": session}
    return calling(client, f"{server.url}/mcp", {"Authorization": f"Bearer {token(user)}"} | named)


@asynccontextmanager
async def everybody(client, server, *, is_named=True):
    """Two users with two sessions each, all connected."""
    async with AsyncExitStack() as connected:
        yield {
            (user, session): await connected.enter_async_context(
                connecting(client, server, user, session if is_named else None)
            )
            for user, session in SESSIONS
        }


async def all_at_once(callers, tool, given):
    """What each is answered: all ask at the same time, and every client counts its requests from the same number."""
    answers = await asyncio.gather(*[caller.call(tool, **given(who)) for who, caller in callers.items()])
    return dict(zip(callers, answers, strict=True))


async def remembering(caller, text):
    """Remember a text; answers what is needed to recall it (nothing where the upstream has sessions)."""
    told = json.loads(await caller.call("remember", text=text))
    return {"handle": told["handle"]} if "handle" in told else {}


@both_ways
def test_a41_each_session_finds_its_own_memory_and_never_anothers(client, proxied, is_named):
    """A41, C12, E19."""

    async def story():
        async with everybody(client, proxied, is_named=is_named) as callers:
            kept = await all_at_once(callers, "remember", lambda who: {"text": "/".join(who)})
            told = {who: json.loads(answer) for who, answer in kept.items()}
            handles = {who: {"handle": it["handle"]} if "handle" in it else {} for who, it in told.items()}
            recalled = [await all_at_once(callers, "recall", handles.get) for _ in range(3)]
            pids = [await all_at_once(callers, "pid", lambda who: {}) for _ in range(3)]
            return recalled, pids, {who: str(it["pid"]) for who, it in told.items()}, handles

    recalled, pids, remembered_by, handles = asyncio.run(story())
    assert recalled == [{who: "/".join(who) for who in SESSIONS}] * 3
    assert pids == [remembered_by] * 3
    assert is_legacy(client) == (not any(handles.values()))


def test_a5_each_session_has_a_session_of_its_own_upstream(client, proxied):
    async def story():
        async with everybody(client, proxied) as callers:
            answers = await all_at_once(callers, "whoami", lambda who: {})
            return [json.loads(answer) for answer in answers.values()], {each.version for each in callers.values()}

    seen, versions = asyncio.run(story())
    assert versions == {"2025-11-25" if is_legacy(client) else "2026-07-28"}
    assert len({one["session"] for one in seen}) == (len(SESSIONS) if is_legacy(client) else 1)
    for one in seen:
        assert {"authorization", "x-session-id"}.isdisjoint(one["headers"])


def test_a50_progress_arrives_while_the_tool_works(client, proxied):
    seen = []

    async def story():
        async with connecting(client, proxied, "alice", "one") as caller:
            return await caller.call("sleep", lambda done: seen.append((done, time.monotonic())), seconds=0.8, steps=4)

    assert asyncio.run(story()) == "slept 0.8 s"
    assert [done for done, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[-1][1] - seen[0][1] > 0.4, "they came together, at the end"


def test_a50_prompts_and_resources_come_through(client, examined):
    async def story(server):
        async with connecting(client, server, "alice", "one") as caller:
            return await caller.prompt("test_simple_prompt"), await caller.resource("test://static-text")

    with serving(urls(examined), **TOKENS) as server:
        assert asyncio.run(story(server)) == (
            "This is a simple prompt for testing.",
            "This is the content of the static text resource.",
        )


def test_a_refusal_is_understood_and_nobody_changes_era_for_it(client, upstreams):
    """The code, the limit and the wait arrive; other calls go on, and who connects meanwhile speaks the same era."""

    async def story(server):
        async with connecting(client, server, "alice", "one") as caller:
            handle = await remembering(caller, "tea")
            counted = [await caller.call("counter", **handle) for _ in range(2)]
            with pytest.raises(Refused) as refused:
                await caller.call("counter", **handle)
            recalled = await caller.call("recall", **handle)
            async with connecting(client, server, "alice", "one") as another:
                assert another.version == caller.version
            return counted, refused.value, recalled

    with serving(urls(upstreams), **TOKENS, limits="few=2/hour per session for tool counter") as server:
        counted, refused, recalled = asyncio.run(story(server))
    assert (counted, recalled) == (["1", "2"], "tea")
    assert (refused.code, refused.data["limit"], refused.data["scope"]) == (-31429, "few", "session")
    assert refused.data["retry_after_ms"] > 0


def test_a49_a_tool_that_is_not_offered_is_no_reason_to_change_era(client, upstreams):
    """Hidden from the list, refused when called: the client hears why, and goes on in its session."""
    pools = {"default": {"tools": {"exclude": ["whoami"]}}}

    async def story(server):
        async with connecting(client, server, "alice", "one") as caller:
            version = caller.version
            with pytest.raises(Refused) as refused:
                await caller.call("whoami")
            assert refused.value.code == (-31403 if is_legacy(client) else -31404)
            assert refused.value.data["code"] == "tool_not_available"
            assert int(await caller.call("pid")) in {each.pid for each in upstreams}
            assert caller.version == version

    with serving(urls(upstreams), pools=pools, **TOKENS) as server:
        asyncio.run(story(server))


def test_who_may_call_nothing_more_still_connects_in_its_own_era(client, upstreams):
    """A 429 to the probe would lock a client into the other era."""

    async def story(server):
        async with connecting(client, server, "alice", "one") as caller:
            with pytest.raises(Refused):
                await call_for_ever(caller)
        async with connecting(client, server, "alice", "one") as again:
            return caller.version, again.version

    with serving(urls(upstreams), **TOKENS, limits="3/hour per session") as server:
        before, after = asyncio.run(story(server))
    assert before == after == ("2025-11-25" if is_legacy(client) else "2026-07-28")


async def call_for_ever(caller):
    for _ in range(10):
        await caller.call("pid")


def test_what_clients_do_when_their_upstream_dies(client, proxied, upstreams):
    """Legacy: 503 for a moment, then 404 until the user connects anew. Modern: the next call goes on elsewhere."""

    dead, alive = upstreams

    async def story():
        async with AsyncExitStack() as connected:
            callers: dict[int, tuple[str, Caller]] = {}
            for session in map(str, range(20)):
                caller = await connected.enter_async_context(connecting(client, proxied, "carol", session))
                callers[int(await caller.call("pid"))] = session, caller
                if len(callers) == len(upstreams):
                    break
            session, orphan = callers[dead.pid]
            _, neighbour = callers[alive.pid]
            dead.kill9()
            codes = await codes_until_it_is_over(orphan)
            async with connecting(client, proxied, "carol", session) as again:
                return codes, [int(await each.call("pid")) for each in (neighbour, again)]

    try:
        codes, found = asyncio.run(story())
    finally:
        dead.restart()
    assert codes == ([-31503, -31404] if is_legacy(client) else [])
    assert found == [alive.pid] * 2


async def codes_until_it_is_over(caller):
    """The codes of the refusals, each once, in their order, until a call is answered or the session is unknown."""
    codes = []
    deadline = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline:
        try:
            await caller.call("pid")
        except Refused as refused:
            if refused.code not in codes:
                codes.append(refused.code)
            if refused.code == -31404:
                return codes
        else:
            return codes
        await asyncio.sleep(0.1)
    raise AssertionError(f"still refused after {GIVE_UP_S} s: {codes}")


def test_a19_whoever_says_goodbye_leaves_nothing_behind(client, upstreams):
    """A19, C11, E15: what a stranger's handshake has made ends with the connection; the modern era makes nothing."""

    async def story(server, sessions):
        async with AsyncExitStack() as connected:
            for _ in range(3):
                caller = await connected.enter_async_context(calling(client, f"{server.url}/mcp", {}))
                await caller.call("pid")
            listed = (await on(server, sessions.list(everyone=True))).sessions
            links = [(await on(server, sessions.status(each.handle))).record.links for each in listed]
        return links, await on(server, sessions.count(everyone=True))

    with installed(urls(upstreams)) as (server, installation):
        links, left = asyncio.run(story(server, installation.sessions))
    assert [[link.version for link in each] for each in links] == [["2025-11-25"]] * (3 if is_legacy(client) else 0)
    assert left == 0


async def on(server, work):
    """Done on the server's own loop, where the store lives."""
    return await asyncio.to_thread(server.run, work)
