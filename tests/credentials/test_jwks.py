"""JWT-11 and JWT-12: the keys of an issuer, fetched from a server that is slow, broken, huge, flapping or rotating."""

import asyncio
import os
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sessionware.credentials.discovery import documents, find_keys_url
from sessionware.credentials.fetching import FetchFailed, JsonFetcher, check_fetchable, is_fetchable
from sessionware.credentials.jwks import RemoteKeys
from sessionware.credentials.keys import KEYS_MAX, read_key_set
from sessionware.errors import ConfigError, InvalidToken, KeysUnavailable
from sessionware.testing.tokens import Answer, FakeIssuer, KeyServer, SigningKey
from tests.credentials.making import NOW, trusting, verifier_of

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class Scene:
    """A server of keys and a verifier that uses it."""

    def __init__(self, server, keys):
        self.server = server
        self.issuer = server.issuer
        self.keys = keys
        self.verifier = verifier_of(trusting(self.issuer, keys=keys))

    async def is_good(self, token, now=NOW):
        try:
            at_once = self.verifier.verify_at_once(token, now)
            return bool(at_once or await self.verifier.verify(token, now))
        except InvalidToken:
            return False

    async def settle(self):
        """Wait for the fetch that runs behind a request."""
        await self.keys.fetch(NOW, is_urgent=True)


@asynccontextmanager
async def scene(**more):
    async with KeyServer(FakeIssuer()) as server:
        keys = RemoteKeys(**({"url": server.keys_url} | more))
        try:
            yield Scene(server, keys)
        finally:
            await keys.aclose()


def run(coroutine_function):
    """Each test is one event loop."""

    def test():
        asyncio.run(coroutine_function())

    test.__name__ = coroutine_function.__name__
    test.__doc__ = coroutine_function.__doc__
    return test


@run
async def test_jwt_11_keys_are_fetched_once_and_then_known_at_once():
    async with scene() as now:
        token = now.issuer.token()
        assert now.verifier.verify_at_once(token, NOW) is None
        assert await now.is_good(token)
        assert now.verifier.verify_at_once(token, NOW + MINUTE) is not None
        assert now.server.hits == 1


@run
async def test_jwt_11_all_who_wait_share_one_fetch():
    async with scene() as now:
        now.server.gate.clear()
        waiting = [asyncio.create_task(now.is_good(now.issuer.token(str(each)))) for each in range(100)]
        while not now.server.hits:
            await asyncio.sleep(0)
        now.server.gate.set()
        assert all(await asyncio.gather(*waiting))
        assert now.server.hits == 1


@run
async def test_jwt_11_one_who_gives_up_does_not_stop_the_others():
    async with scene() as now:
        now.server.gate.clear()
        first, second = (asyncio.create_task(now.is_good(now.issuer.token())) for _ in range(2))
        while not now.server.hits:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        now.server.gate.set()
        assert await second
        assert now.server.hits == 1


@run
async def test_jwt_11_a_thousand_random_kids_are_one_fetch():
    async with scene() as now:
        assert await now.is_good(now.issuer.token())
        at = NOW + 31 * SECOND
        stranger = FakeIssuer(keys=[SigningKey(kid="key-1")])
        tokens = [stranger.token(header={"kid": os.urandom(8).hex()}) for _ in range(1000)]
        answers = await asyncio.gather(*[now.is_good(token, at) for token in tokens])
        assert not any(answers)
        assert now.server.hits == 2
        for token in tokens:
            assert not await now.is_good(token, at + 29 * SECOND)
        assert now.server.hits == 2


@run
async def test_jwt_11_forged_claims_cost_no_fetch():
    async with scene() as now:
        for more in ({"iss": "https://else"}, {"aud": "else"}, {"exp": 1}):
            assert not await now.is_good(now.issuer.token(**more))
        assert now.server.hits == 0


@run
async def test_jwt_11_a_slow_server_is_given_up_and_blocks_nobody():
    """The event loop goes on turning while the keys do not come."""
    async with scene(fetch=JsonFetcher(timeout=0.2)) as now:
        now.server.gate.clear()
        turns = 0
        task = asyncio.create_task(now.verifier.verify(now.issuer.token(), NOW))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(KeysUnavailable) as caught:
            await task
        assert caught.value.status_hint == 503
        assert turns > 100
        assert now.keys.failures == 1


@pytest.mark.parametrize("answer", [Answer.ERROR, Answer.REDIRECT, Answer.HUGE, Answer.GARBAGE, Answer.HANG_UP])
def test_jwt_11_without_any_keys_nothing_is_verified(answer, caplog):
    async def check():
        async with scene() as now:
            now.server.answer = answer
            token = now.issuer.token()
            with pytest.raises(KeysUnavailable):
                await now.verifier.verify(token, NOW)
            with pytest.raises(KeysUnavailable):  # and nobody is asked again at once
                now.verifier.verify_at_once(token, NOW + 4999)
            assert now.server.hits == 1
            assert now.server.paths["/elsewhere"] == 0
            assert now.server.sent < 16 * 1024 * 1024
            now.server.answer = Answer.KEYS
            assert await now.is_good(token, NOW + 5000)

    asyncio.run(check())
    assert "no token can be verified" in caplog.text


@pytest.mark.parametrize("answer", [Answer.ERROR, Answer.REDIRECT, Answer.HUGE, Answer.GARBAGE, Answer.HANG_UP])
def test_jwt_11_a_broken_server_leaves_the_known_keys_good_for_a_day(answer):
    async def check():
        async with scene() as now:
            assert await now.is_good(now.issuer.token())
            now.server.answer = answer
            for later in (6 * MINUTE, HOUR, 24 * HOUR - 1):
                at = NOW + later
                assert await now.is_good(now.issuer.token(now=at), at)
            at = NOW + 24 * HOUR
            with pytest.raises(KeysUnavailable):
                await now.verifier.verify(now.issuer.token(now=at), at + 31 * SECOND)
            assert now.server.hits == 5

    asyncio.run(check())


@run
async def test_jwt_11_a_broken_server_is_asked_every_30_seconds_at_most():
    async with scene() as now:
        assert await now.is_good(now.issuer.token())
        now.server.answer = Answer.ERROR
        start = NOW + 10 * MINUTE
        for later in range(0, MINUTE, SECOND):
            assert await now.is_good(now.issuer.token(now=start), start + later)
        assert now.server.hits == 1 + 2


@run
async def test_jwt_12_keys_are_renewed_behind_a_request_before_they_are_old():
    async with scene() as now:
        token = now.issuer.token(life=3600)
        assert await now.is_good(token)
        now.server.gate.clear()  # the fetch hangs; the request does not
        assert await now.is_good(token, NOW + 4 * MINUTE)
        assert now.verifier.verify_at_once(token, NOW + 4 * MINUTE + 1) is not None
        now.server.gate.set()
        await now.settle()
        assert now.server.hits == 2
        assert now.verifier.verify_at_once(token, NOW + 7 * MINUTE) is not None


@run
async def test_jwt_12_a_new_key_counts_within_the_cooldown():
    async with scene() as now:
        assert await now.is_good(now.issuer.token())
        now.issuer.rotate("key-2")
        token = now.issuer.token()
        assert not await now.is_good(token, NOW + 29_999)
        assert await now.is_good(token, NOW + 30_000)


@run
async def test_jwt_12_a_removed_key_stops_within_five_minutes():
    async with scene() as now:
        old = now.issuer.token(life=3600)
        assert await now.is_good(old)
        now.issuer.rotate("key-2")
        assert await now.is_good(old, NOW + 4 * MINUTE - 1)
        assert not await now.is_good(old, NOW + 5 * MINUTE)


@run
async def test_jwt_12_a_belief_ends_when_the_keys_grow_old():
    """So that a removed key is not carried on by a cache of verified tokens."""
    async with scene() as now:
        token = now.issuer.token(life=3600)
        assert await now.is_good(token)
        now.server.gate.clear()
        verified = await now.verifier.verify(token, NOW + 4 * MINUTE + 30 * SECOND)
        assert verified.until == NOW + 5 * MINUTE


@run
async def test_jwt_11_flapping_keys_fail_and_return_without_a_flood():
    async with scene() as now:
        good, other = list(now.issuer.keys), [SigningKey(kid="other")]
        token = now.issuer.token(life=3600)
        results = []
        for step in range(20):
            now.issuer.keys[:] = other if step % 2 else good
            results.append(await now.is_good(token, NOW + step * 30 * SECOND))
        assert True in results
        assert now.server.hits <= 20


def test_jwt_11_a_key_set_without_usable_keys_fails_closed(caplog):
    async def check():
        async with scene() as now:
            now.server.answer = Answer.EMPTY
            assert not await now.is_good(now.issuer.token())

    asyncio.run(check())
    assert "holds no key" in caplog.text


@run
async def test_jwt_11_a_clock_set_back_makes_no_keys_young_again():
    async with scene() as now:
        assert await now.is_good(now.issuer.token())
        at = NOW - HOUR
        assert now.verifier.verify_at_once(now.issuer.token(now=at), at) is None


@run
async def test_jwt_11_closing_stops_a_fetch_that_still_runs():
    async with scene() as now:
        now.server.gate.clear()
        await now.keys.fetch(NOW, is_urgent=False)
        while not now.server.hits:
            await asyncio.sleep(0)
        await now.verifier.aclose()
        await now.verifier.aclose()
        assert now.keys.look("key-1", "ES256", "P-256", NOW + SECOND).is_unavailable


def test_jwt_11_keys_outlive_the_event_loop_that_fetched_them():
    """A fetch that a closed loop left behind is not waited for."""
    issuer = FakeIssuer()
    asked = []

    async def fetch(url):
        asked.append(url)
        if len(asked) == 1:
            await asyncio.Event().wait()  # for ever: the loop ends first
        return issuer.key_set

    async def begin():
        await keys.fetch(NOW, is_urgent=False)
        while not asked:
            await asyncio.sleep(0)

    keys = RemoteKeys(url="https://idp.example/keys", fetch=fetch)
    asyncio.run(begin())
    verifier = verifier_of(trusting(issuer, keys=keys))
    assert asyncio.run(verifier.verify(issuer.token(), NOW + 31 * SECOND))


def test_jwt_11_a_set_of_too_many_keys_is_no_key_set():
    with pytest.raises(ValueError, match="101 keys, at most 100"):
        read_key_set({"keys": [{}] * (KEYS_MAX + 1)})
    broken: list[Any] = [[], {}, {"keys": {}}, None, {"keys": "x"}]
    for document in broken:
        with pytest.raises(ValueError, match="no JWK set"):
            read_key_set(document)


@pytest.mark.parametrize(
    "url",
    ["http://idp.example/keys", "ftp://x/", "https://", "//x", "", "file:///etc/passwd", "http://127.0.0.1.evil.com/", "https://u:p@idp/",
     "http://169.254.169.254/", "https://a\n.b/", "https://[::1", "http://[::2]/", "https://x:port/"],
)  # fmt: skip
def test_jwt_11_keys_come_over_https_or_from_this_host(url):
    assert not is_fetchable(url)
    with pytest.raises(ConfigError, match="must begin with https://"):
        check_fetchable("jwt_jwks_url", url)


@pytest.mark.parametrize(
    "url", ["https://idp/keys", "http://127.0.0.1:8/k", "http://localhost/k", "http://[::1]:8/", "http://127.9.9.9/"]
)
def test_jwt_11_these_may_be_asked(url):
    assert check_fetchable("x", url) == url


@run
async def test_jwt_11_the_environment_names_no_proxy():
    async with scene() as now:
        os.environ["HTTP_PROXY"] = os.environ["ALL_PROXY"] = "http://127.0.0.1:1"
        try:
            assert await now.is_good(now.issuer.token())
        finally:
            del os.environ["HTTP_PROXY"], os.environ["ALL_PROXY"]


def test_metadata_stands_in_two_places():
    assert documents("https://idp/tenant/") == (
        "https://idp/tenant/.well-known/openid-configuration",
        "https://idp/.well-known/oauth-authorization-server/tenant",
    )


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
def test_an_issuer_alone_finds_its_keys(path):
    async def check():
        async with KeyServer(FakeIssuer()) as server:
            server.issuer.name = server.url
            server.describe(path)
            now = Scene(server, RemoteKeys(issuer=server.url))
            assert await now.is_good(server.issuer.token())
            assert server.paths["/keys"] == 1
            assert await now.is_good(server.issuer.token(now=NOW + 6 * MINUTE), NOW + 6 * MINUTE)
            assert (server.paths["/keys"], server.paths[path]) == (2, 1)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"issuer": "https://else"}, "speaks for issuer 'https://else'"),
        ({"jwks_uri": "http://idp.example/"}, "names no jwks_uri"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"jwks_uri": ["https://x"]}, "names no jwks_uri"),
    ],
)
def test_metadata_of_another_issuer_or_without_safe_keys_is_refused(more, reason):
    async def check():
        async with KeyServer(FakeIssuer()) as server:
            server.issuer.name = server.url
            server.describe(**more)
            with pytest.raises(FetchFailed, match=reason):
                await find_keys_url(server.url, JsonFetcher())

    asyncio.run(check())


@run
async def test_a_foreign_issuer_cannot_point_at_this_host():
    async def fetch(url):
        return {"issuer": "https://idp.example", "jwks_uri": "http://127.0.0.1:6379/"}

    with pytest.raises(FetchFailed, match="points to this very host"):
        await find_keys_url("https://idp.example", fetch)
