"""What the Redis store survives: a full server, damaged records, an emptied server, a cancelled start."""

import asyncio
import logging
import secrets
from collections.abc import Callable

import pytest

from sessionware.core.admission import Caps, NewSession, Outcome
from sessionware.core.facts import Gap, OwnerRevocation, SessionGone, TokenRevocation
from sessionware.core.session import EndReason
from sessionware.core.store import REAP_MAX, Log, Making, Move, Query, Store
from sessionware.errors import ConfigError, PayloadUnreadable, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from sessionware.testing.clock import ManualClock
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import until_it_answers
from tests.stores.redis.test_redis_at_rest import talk

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")


def test_a_full_server_refuses_whatever_makes_sessions_and_still_ends_them() -> None:
    """B3: Redis looks at its memory only until a script's first write."""

    async def scenario(server: RedisServer) -> None:
        clock = ManualClock()
        async with open_store(server.url, clock=clock) as store:
            make = Maker.of(store)
            one, two, three, four = (
                make.session(name, idle=idle)
                for name, idle in (("one", 60_000), ("two", 1000), ("three", 60_000), ("four", 60_000))
            )
            for session in (one, two, three, four):
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            other = make.session("other")
            level = make.level(allowance=1)
            room = Caps(per_owner=1, evict=True)
            await talk(server, ("CONFIG", "SET", "maxmemory", 1))

            async def refused(new: NewSession) -> None:
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="OOM"):
                        await store.create(new, operation=make.operation(), now=clock.now())
                    with pytest.raises(StoreUnavailable, match="OOM"):
                        await store.admit(make.ask(new.session, new=new, now=clock.now()))

            await refused(make.new(other))
            await refused(make.new(other, room))
            with pytest.raises(StoreUnavailable, match="OOM"):
                await store.admit(make.ask(one, leases=(make.lease(),), touch=False, now=clock.now()))
            with pytest.raises(StoreUnavailable, match="OOM"):
                await store.move(Move(one.key, other.birth, one.revision), now=clock.now())
            with pytest.raises(StoreUnavailable, match="OOM"):
                await store.append(one.key, Log.EVENTS, b"x", keep=0, now=clock.now())
            assert (await store.list(Query(limit=0), now=clock.now())).total == 4

            assert await store.delete(one.key, now=clock.now()) is not None
            clock.advance(2000)
            await refused(make.new(other, Caps(levels=(level,))))
            assert [ended.session.key for ended in await store.reap(now=clock.now(), limit=10)] == [two.key]
            assert await store.revoke(TokenRevocation(b"t" * 16, clock.now() + 60_000), now=clock.now()) == []
            everybody = OwnerRevocation(make.bucket(), make.owner(), clock.now())
            ended = await store.revoke(everybody, now=clock.now())
            assert {each.session.key for each in ended} == {three.key, four.key}

            await talk(server, ("CONFIG", "SET", "maxmemory", 0))
            clock.advance(1)
            fresh = make.session("fresh")
            made = await store.create(make.new(fresh), operation=make.operation(), now=clock.now())
            assert made.outcome is Making.CREATED

    with RedisServer() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize("damage", [b"\xff", b"", b"\x81\xa1a\x01"])
def test_a_damaged_record_takes_no_neighbour_with_it(damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """B4."""

    async def scenario(server: RedisServer) -> None:
        clock = ManualClock()
        async with open_store(server.url, clock=clock) as store:
            make = Maker.of(store)
            bad, *good = (make.session(name, idle=1000) for name in ("bad", "one", "two"))
            for session in (bad, *good):
                await store.create(make.new(session), operation=make.operation(), now=clock.now())
            await talk(server, ("HSET", f"sw:{{00}}s:{bad.key.hash.hex()}", "b", damage))
            healthy = {session.key for session in good}
            page = await store.list(Query(), now=clock.now())
            assert {session.key for session in page.sessions} == healthy
            with pytest.raises(PayloadUnreadable):
                await store.get(bad.key, now=clock.now())
            with pytest.raises(PayloadUnreadable):
                await store.admit(make.ask(bad, now=clock.now(), touch=False))
            clock.advance(5000)
            assert {ended.session.key for ended in await store.reap(now=clock.now(), limit=10)} == healthy
            assert await store.reap(now=clock.now(), limit=10) == []
            clock.advance(31_000)
            assert {ended.session.key for ended in await store.reap(now=clock.now(), limit=10)} == healthy

    with RedisServer() as server, caplog.at_level(logging.ERROR, "sessionware.store"):
        asyncio.run(scenario(server))
    assert "left out: the record of session" in caplog.text


async def clients(server: RedisServer) -> int:
    (listing,) = await talk(server, ("CLIENT", "LIST"))
    return len(listing.splitlines()) - 1


def test_a_start_that_is_cancelled_leaves_no_connection_behind() -> None:
    """B5: at each turn of the loop that a start takes."""

    async def scenario(server: RedisServer) -> None:
        for turns in range(40):
            task = asyncio.ensure_future(open_store(server.url).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                store: Store = await task
            except asyncio.CancelledError:
                assert asyncio.all_tasks() == {asyncio.current_task()}
                continue
            await store.__aexit__(None, None, None)
        async with asyncio.timeout(5):
            while await clients(server):
                await asyncio.sleep(0.02)

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_start_that_failed_may_be_tried_again_on_the_same_store() -> None:
    async def scenario(server: RedisServer) -> None:
        store = open_store(server.url)
        await talk(server, ("HSET", "sw:meta", "buckets", 256))
        with pytest.raises(ConfigError):
            await store.__aenter__()
        await talk(server, ("DEL", "sw:meta"))
        async with store:
            await until_it_answers(store)

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_reap_hands_over_at_most_reap_max_sessions() -> None:
    """B7."""

    async def scenario(server: RedisServer) -> None:
        clock = ManualClock()
        async with open_store(server.url, clock=clock, timeout_ms=5000) as store:
            make = Maker.of(store)
            for number in range(REAP_MAX + 5):
                session = make.session(f"s{number}", idle=1000)
                await store.create(make.new(session), operation=make.operation(), now=clock.now())
            clock.advance(2000)
            assert len(await store.reap(now=clock.now(), limit=10**30)) == REAP_MAX
            assert len(await store.reap(now=clock.now(), limit=10**30)) == 5

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_revoking_an_owner_of_many_sessions_ends_all_of_them_in_order() -> None:
    """B7: in slices, and the expired ones in between are left to the reaper."""

    async def scenario(server: RedisServer) -> None:
        clock = ManualClock()
        async with open_store(server.url, clock=clock, timeout_ms=5000) as store:
            make = Maker.of(store)
            living = []
            for number in range(1700):
                clock.advance(1)
                session = make.session(f"s{number}", idle=1000 if number % 3 == 0 else 600_000)
                await store.create(make.new(session), operation=make.operation(), now=clock.now())
                living += [session.key] if number % 3 else []
            clock.advance(2000)
            revocation = OwnerRevocation(make.bucket(), make.owner(), clock.now())
            await talk(server, ("CONFIG", "RESETSTAT"))
            ended = await store.revoke(revocation, now=clock.now())
            (stats,) = await talk(server, ("INFO", "commandstats"))
            assert b"cmdstat_evalsha:calls=3," in stats  # 1133 sessions, 500 at once
            assert [each.session.key for each in ended] == living
            assert {each.reason for each in ended} == {EndReason.REVOKED}
            assert await store.revoke(revocation, now=clock.now()) == []

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_an_emptied_server_stays_the_same_installation() -> None:
    """B8: under an open connection, without any traffic."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            await talk(server, ("FLUSHALL",))
            async with asyncio.timeout(15):
                while await talk(server, ("HGET", "sw:meta", "salt")) != [store.addresses.salt]:
                    await asyncio.sleep(0.05)
            await until_it_answers(store)
            async with open_store(server.url) as second:
                assert second.addresses == store.addresses

    with RedisServer() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize(
    ("field", "value"), [("salt", b"short"), ("salt", b""), ("buckets", b"many"), ("buckets", b"")]
)
def test_a_damaged_installation_is_a_config_error_that_names_the_key(field: str, value: bytes) -> None:
    """B9."""

    async def scenario(server: RedisServer) -> None:
        await talk(server, ("HSET", "sw:meta", field, value))
        with pytest.raises(ConfigError, match="the key sw:meta is damaged"):
            async with open_store(server.url):
                pass

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_another_number_of_buckets_is_refused_without_promising_a_command() -> None:
    async def scenario(server: RedisServer) -> str:
        await talk(server, ("HSET", "sw:meta", "buckets", 256))
        with pytest.raises(ConfigError, match="256 buckets") as caught:
            async with open_store(server.url):
                pass
        return str(caught.value)

    with RedisServer() as server:
        assert "export" not in asyncio.run(scenario(server))


def test_pools_and_upstreams_are_counted_apart_whatever_their_names(redis_url: str) -> None:
    """B14."""

    async def scenario() -> None:
        async with open_store(f"{redis_url}?prefix=test-{secrets.token_hex(8)}:") as store:
            make = Maker.of(store)
            places = [("a", "b\nc"), ("a\nb", "c"), ("1:a", "b"), ("é", "1:ü")]
            for number, (pool, upstream) in enumerate(places):
                session = make.session(f"s{number}", bindings={pool: upstream})
                await store.create(make.new(session), operation=make.operation(), now=make.now)
                await store.rebind(session.key, pool=pool, was=upstream, to=upstream + "!", now=make.now)
            page = await store.list(Query(limit=0), now=make.now)
            assert page.upstreams == {(pool, upstream + "!"): 1 for pool, upstream in places}

    asyncio.run(scenario())


def test_nonsense_on_the_events_channel_is_logged_once_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """B16."""

    async def scenario(server: RedisServer) -> None:
        await talk(server, ("HSET", "sw:{00}w", "zz", b"\xff"))
        async with open_store(server.url) as store:
            make = Maker.of(store)
            session = make.session()
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            watch = store.watch()
            async with asyncio.timeout(5):
                assert await anext(watch) == Gap()
                nonsense = (
                    b"garbage",
                    b"G",
                    b"Gzz",
                    b"T",
                    b"W",
                    b"W" + b"0" * 32 + b"\xff",
                    b"I",
                    b"",
                    b"\x00",
                    b"O\xff",
                )
                await talk(server, *[("PUBLISH", "sw:events", each) for each in nonsense])
                await store.delete(session.key, now=make.now)
                while (event := await anext(watch)) != SessionGone(session.key, EndReason.ENDED):
                    assert not isinstance(event, SessionGone | Gap)

    with RedisServer() as server, caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario(server))
    assert len([line for line in caplog.messages if "is ignored" in line]) == 1


def test_absurd_bounds_are_clamped(redis_url: str) -> None:
    async def scenario() -> None:
        async with open_store(f"{redis_url}?prefix=test-{secrets.token_hex(8)}:") as store:
            make = Maker.of(store)
            session = make.session()
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            assert await store.append(session.key, Log.EVENTS, b"x", keep=10**30, now=make.now) == 1
            assert await store.tail(session.key, Log.EVENTS, 10**30, now=make.now) == [b"x"]
            assert len((await store.list(Query(limit=10**30), now=make.now)).sessions) == 1
            assert (await store.list(Query(limit=-(10**30)), now=make.now)).total == 1
            assert (await store.admit(make.ask(session))).outcome is Outcome.ADMITTED

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda url: url.removesuffix("/0") + "/99", "check the database number"),
        (lambda url: url.replace("redis://", "redis://:wrong@"), "check the user and the password"),
    ],
)
def test_a_refused_introduction_names_the_store_and_what_to_check(change: Callable[[str], str], advice: str) -> None:
    async def scenario(server: RedisServer) -> None:
        with pytest.raises(ConfigError, match=advice) as caught:
            async with open_store(change(server.url)):
                pass
        assert f"store redis://127.0.0.1:{server.port}/" in str(caught.value)
        assert "wrong" not in str(caught.value)

    with RedisServer() as server:
        asyncio.run(scenario(server))
