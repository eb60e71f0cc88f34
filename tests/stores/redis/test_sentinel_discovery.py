"""How the store finds the primary that Sentinels watch, and what it says when it cannot."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from sessionware.core.admission import Outcome
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.address import RedisAddress, SentinelAddress, read_sentinels
from sessionware.stores.redis.node import Node
from sessionware.stores.redis.sentinels import Sentinels
from sessionware.testing.build import Maker
from tests.redis_groups import MASTER_NAME, RedisReplicas
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer, free_port
from tests.stores.deeds import some_prefix, take, until_it_answers

pytestmark = pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES")


@pytest.fixture
def group() -> Iterator[RedisReplicas]:
    """A primary, two replicas and three sentinels that a test may harm."""
    with RedisReplicas() as group:
        yield group


def seeds_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


async def refusal(url: str) -> str:
    with pytest.raises(ConfigError) as caught:
        async with open_store(url):
            pass
    return str(caught.value)


def test_a_name_that_no_sentinel_watches_ends_the_start_and_says_what_to_check(redis_sentinel_url: str) -> None:
    said = asyncio.run(refusal(redis_sentinel_url.replace(f"/{MASTER_NAME}/", "/othermaster/")))
    assert said.startswith("store redis+sentinel://127.0.0.1:")
    assert "watches nothing under the name 'othermaster': check the name in the store's URL" in said


def test_a_server_that_is_no_sentinel_is_told_apart(redis_url: str) -> None:
    place = redis_url.partition("://")[2].partition("/")[0]
    said = asyncio.run(refusal(f"redis+sentinel://{place}/mymaster"))
    assert f"{place} is no Sentinel" in said
    assert "write redis:// for a server" in said


def test_a_sentinel_that_is_taken_for_a_server_says_how_it_is_written(redis_sentinel_url: str) -> None:
    place = seeds_of(redis_sentinel_url).partition(",")[0]
    said = asyncio.run(refusal(f"redis://{place}/0"))
    assert f"is a Sentinel: write redis+sentinel://{place}/NAME" in said


def test_sentinels_that_do_not_answer_are_all_named() -> None:
    """Away is not wrong: a worker may start before them, and is told until then whom it waits for."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and says nothing
            refusing, mute = free_port(), silent.getsockname()[1]
            sentinels = Sentinels(read_sentinels(f"redis+sentinel://127.0.0.1:{refusing},127.0.0.1:{mute}/mymaster"))
            with pytest.raises(StoreUnavailable) as caught:
                await sentinels.find()
            await sentinels.close()
        said = str(caught.value)
        assert f"no Sentinel of redis+sentinel://127.0.0.1:{refusing},127.0.0.1:{mute}/mymaster/0" in said
        assert "check the hosts and ports" in said

    asyncio.run(scenario())


def test_one_sentinel_that_answers_is_enough_and_the_others_are_learnt(group: RedisReplicas) -> None:
    """The only one of the URL dies, then the primary: those that it named are asked."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            seeds = f"127.0.0.1:{free_port()},127.0.0.1:{silent.getsockname()[1]},{group.addresses[0]}"
            async with open_store(group.url.replace(seeds_of(group.url), seeds)) as store:
                make = Maker.of(store)
                await take(store, make)
                group.sentinels[0].kill9()
                old = group.kill_primary()
                await until_it_answers(store, within=10)
                assert (await take(store, make)).outcome is Outcome.ADMITTED
                group.wait_for_new_primary(old)

    asyncio.run(scenario())


def test_the_latest_election_counts_among_sentinels_that_disagree(group: RedisReplicas) -> None:
    """One that was set up anew, or missed the failover, names another primary, and is the first of the URL."""

    async def scenario(lonely: RedisServer) -> None:
        group.wait_for_new_primary(group.kill_primary())  # the first election
        seeds = f"127.0.0.1:{lonely.port},{seeds_of(group.url)}"
        sentinels = Sentinels(read_sentinels(group.url.replace(seeds_of(group.url), seeds)))
        expected = group.primary.port
        for _ in range(20):
            assert (await sentinels.find()).primary.port == expected
        await sentinels.close()

    with (
        RedisServer() as elsewhere,
        RedisServer(sentinel=f"sentinel monitor {MASTER_NAME} 127.0.0.1 {elsewhere.port} 1\n") as lonely,
    ):
        assert say(lonely.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1] == str(elsewhere.port)
        asyncio.run(scenario(lonely))


def test_sentinels_and_data_have_credentials_of_their_own() -> None:
    """ST-07: and what is wrong with them is said without them."""

    async def scenario(group: RedisReplicas) -> None:
        protected = f"{group.url}?prefix={some_prefix()}&sentinel_password=look%26see"
        async with open_store(protected) as store:
            assert (await take(store, Maker.of(store))).outcome is Outcome.ADMITTED
            group.kill_primary()
            await until_it_answers(store, within=10)
            assert (await take(store, Maker.of(store))).outcome is Outcome.ADMITTED
        wrong = group.url_for(user="app", password="wrong-secret")
        said = await refusal(f"{wrong}?sentinel_password=look%26see")
        assert "check the user and the password in the store's URL" in said
        for sentinel_password in ("", "&sentinel_password=wrong-secret"):
            told = await refusal(f"{group.url}?prefix=x:{sentinel_password}")
            assert "check sentinel_user and sentinel_password in the store's URL" in told
            said += told
        assert "secret" not in said
        assert "look" not in said

    with RedisReplicas(user="app", password="pass-secret", sentinel_password="look&see") as group:
        asyncio.run(scenario(group))


def test_a_server_that_follows_another_is_not_taken_for_the_primary(group: RedisReplicas) -> None:
    """Sentinels may name one that is being promoted, or was demoted again."""

    async def scenario() -> None:
        replica = RedisAddress("127.0.0.1", group.replicas[0].port)

        async def found() -> RedisAddress:
            return replica

        node = Node(replica, timeout=1, calibrated=None, find=found)
        for opening in (node.open, node.wire):
            with pytest.raises(StoreUnavailable, match=r"is no primary \(slave\)"):
                await opening()
        await node.close()

    asyncio.run(scenario())


def test_a_store_that_was_left_may_be_entered_again(redis_sentinel_url: str) -> None:
    async def scenario() -> None:
        store = open_store(f"{redis_sentinel_url}?prefix={some_prefix()}")
        for name in (b"one", b"two"):
            async with store:
                make = Maker.of(store)
                session = make.session(name.decode())
                await store.create(make.new(session), operation=name, now=make.now)
                ends = [store.delete(session.key, now=make.now) for _ in range(5)]
                assert len([each for each in await asyncio.gather(*ends) if each]) == 1
            with pytest.raises(StoreUnavailable, match="is closed"):
                await take(store, make)

    asyncio.run(scenario())


def test_a_name_may_lead_to_an_ipv6_address() -> None:
    """A34."""
    address = SentinelAddress((RedisAddress("::1", 26379),), "mymaster", RedisAddress("", 0, password="x"))
    assert repr(address.data.at("fe80::7", 6379)) == "redis://[fe80::7]:6379/0?prefix=sw:"
    assert repr(address) == "redis+sentinel://[::1]:26379/mymaster/0?prefix=sw:"
