"""ST-02: whatever a real server refuses with, the store is unavailable and says why; never "allowed"."""

import asyncio
import time
from threading import Thread

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.store import Store
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.redis_words import Refused, say
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import take, until_it_answers, used

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")

DEADLINE_MS = 200


async def refused(store: Store, make: Maker) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await take(store, make)
    return str(caught.value)


def test_a_server_that_hangs_up_without_a_word_is_named_and_asked_after() -> None:
    """A35: PostgreSQL's port, or one that wants TLS."""

    async def story() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(StoreUnavailable) as caught:
                async with open_store(f"redis://:geheim@127.0.0.1:{port}/0"):
                    pass
            assert f"at 127.0.0.1:{port} was lost" in str(caught.value)
            assert "is it Redis, and does it want TLS (rediss://)?" in str(caught.value)
            assert "geheim" not in str(caught.value)

    asyncio.run(story())


def test_a_server_that_wants_a_password_that_the_url_does_not_have_is_named() -> None:
    """A35."""

    async def story(url: str) -> None:
        async with open_store(url):
            pass

    with RedisServer("--requirepass", "geheim") as server, pytest.raises(ConfigError) as caught:
        asyncio.run(story(server.url))
    assert str(caught.value).startswith(f"Redis at 127.0.0.1:{server.port} refused INFO: NOAUTH")
    assert str(caught.value).endswith("check the user and the password in the store's URL")


def test_a_server_that_is_silent_where_tls_is_asked_for_may_speak_none() -> None:
    """A35: it waits for the end of a line, we for its handshake."""

    async def story(url: str) -> None:
        async with open_store(url):
            pass

    with RedisServer() as server, pytest.raises(StoreUnavailable, match="If not, write redis instead of rediss"):
        asyncio.run(story(server.url.replace("redis://", "rediss://")))


def test_a_server_that_cannot_save_is_unavailable_and_well_again_when_it_can() -> None:
    """MISCONF: `stop-writes-on-bgsave-error`, Redis's own default."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await take(store, make)
            (server.folder / "taken.rdb").mkdir()  # the file cannot be put where a folder is
            for words in (("save", "3600 100000"), ("dbfilename", "taken.rdb")):
                say(server.port, "CONFIG", "SET", *words)
            say(server.port, "BGSAVE")
            async with asyncio.timeout(5):
                while "rdb_last_bgsave_status:err" not in say(server.port, "INFO", "persistence"):
                    await asyncio.sleep(0.01)
            assert "MISCONF" in await refused(store, make)
            say(server.port, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
            assert (await take(store, make)).outcome is Outcome.ADMITTED
            say(server.port, "CONFIG", "SET", "save", "")  # else it would not end without having saved

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_replica_without_its_primary_is_unavailable() -> None:
    """MASTERDOWN: `replica-serve-stale-data no`."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await take(store, make)
            say(server.port, "CONFIG", "SET", "replica-serve-stale-data", "no")
            say(server.port, "REPLICAOF", "127.0.0.1", 1)
            assert "MASTERDOWN" in await refused(store, make)
            say(server.port, "REPLICAOF", "NO", "ONE")
            assert (await take(store, make)).outcome is Outcome.ADMITTED

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_server_that_is_loading_is_unavailable_until_it_has() -> None:
    """LOADING: a restart with much data, made slow by a delay per key."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            for number in range(100):  # while it loads, a server answers after every two megabytes
                say(server.port, "SET", f"filler-{number}", "x" * 100_000)
            await take(store, make)
            say(server.port, "CONFIG", "SET", "rdbcompression", "no")
            say(server.port, "CONFIG", "SET", "key-load-delay", 10_000)
            loading = Thread(target=say, args=(server.port, "DEBUG", "RELOAD"))
            loading.start()
            async with asyncio.timeout(10):
                while True:
                    try:
                        await take(store, make)
                    except StoreUnavailable as error:
                        if "LOADING" in str(error):
                            break
                    await asyncio.sleep(0.005)
            await asyncio.to_thread(loading.join)
            assert (await take(store, make)).outcome is Outcome.ADMITTED

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_user_who_may_no_longer_run_scripts_is_refused_by_name() -> None:
    """NOPERM: an ACL that was changed under us."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await take(store, make)
            say(server.port, "ACL", "SETUSER", "default", "-evalsha")
            said = await refused(store, make)
            assert "NOPERM" in said
            assert "evalsha" in said

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_password_that_was_changed_is_no_reason_to_give_up_and_is_not_shown() -> None:
    """NOAUTH, WRONGPASS: known on the next connection; the old password may be given back."""

    async def scenario(server: RedisServer) -> None:
        say(server.port, "CONFIG", "SET", "requirepass", "hunter2")
        async with open_store(server.url.replace("redis://", "redis://:hunter2@"), timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            await take(store, make)
            say(server.port, "CONFIG", "SET", "requirepass", "hunter3", password="hunter2")
            say(server.port, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="hunter3")

            async def why() -> str:
                return await refused(store, make)

            async with asyncio.timeout(5):
                while "WRONGPASS" not in (said := await why()):
                    await asyncio.sleep(0.01)
            assert "check the user and the password in the store's URL" in said
            assert "hunter" not in said
            say(server.port, "CONFIG", "SET", "requirepass", "hunter2", password="hunter3")
            await until_it_answers(store)
            assert (await take(store, make)).outcome is Outcome.ADMITTED

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_paused_server_costs_one_deadline_and_what_it_did_late_counts_once() -> None:
    """CLIENT PAUSE: the calls wait in the server, are given up here, and run when the pause is over."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            await take(store, make)
            say(server.port, "CLIENT", "PAUSE", 500)
            begun = time.monotonic()
            answers = await asyncio.gather(*[take(store, make) for _ in range(5)], return_exceptions=True)
            took = time.monotonic() - begun
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert DEADLINE_MS / 1000 <= took + 0.001 < DEADLINE_MS / 1000 + 0.25
            await until_it_answers(store)
            assert await used(store, make) == 6

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_start_that_is_refused_for_a_moment_is_tried_again() -> None:
    """A server that is still a replica, or has no replicas yet, when the worker starts."""

    async def scenario(server: RedisServer) -> None:
        say(server.port, "REPLICAOF", "127.0.0.1", 1)

        async def promote() -> None:
            await asyncio.sleep(0.3)
            with pytest.raises(Refused):
                say(server.port, "SET", "anything", "x")
            say(server.port, "REPLICAOF", "NO", "ONE")

        promoting = asyncio.create_task(promote())
        async with open_store(server.url) as store:
            assert (await take(store, Maker.of(store))).outcome is Outcome.ADMITTED
        await promoting

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_server_without_auth_does_not_quote_the_password() -> None:
    """ST-07: Redis repeats the arguments of a command that it does not know."""

    async def scenario(url: str) -> None:
        with pytest.raises(StoreUnavailable, match="refused AUTH: ERR unknown command") as caught:
            async with open_store(url):
                pass
        causes = (caught.value, caught.value.__cause__, caught.value.__context__)
        assert not any("sesame" in str(cause) for cause in causes)

    with RedisServer("--rename-command", "AUTH", "") as server:
        asyncio.run(scenario(server.url.replace("://", "://:open-sesame@")))
