"""When what we depend on is away: 503 for our trouble, 401 for the client's, never 429 and never 500."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sessionware.testing import Fault
from sessionware.testing.tokens import Answer as KeysAnswer
from sessionware.testing.tokens import FakeIssuer, KeyServer
from tests.edge import wire
from tests.edge.site import AUDIENCE, Site
from tests.serving import LoopThread


@pytest.fixture
def alone(kind):
    """A site of this test alone, whose store may fail."""
    with Site(kind) as site:
        yield site


def test_without_its_store_a_session_is_503_and_says_when_to_come_again(alone):
    """Section 4: identity fails closed; exempt paths and malformed ids need no store."""
    sid = alone.started()
    alone.store.always("admit", Fault.REFUSED)
    for headers in [[], [("X-Session-ID", sid)]]:
        answer = alone.ask("GET", "/who", *headers)
        assert (answer.status, answer.json["error"], answer.code) == (503, "Store unavailable", "store_unavailable")
        assert 1 <= int(answer.header("retry-after") or "") <= 5
    assert alone.ask("GET", "/health").status == 200
    assert alone.ask("GET", "/who", sid="../x").status == 400


def test_what_could_not_be_saved_is_503_and_begins_once(alone):
    """Section 4: the app's answer does not leave when what it rests on is not kept."""
    sid = alone.started()
    alone.store.on("update", Fault.REFUSED)
    answer = alone.ask("POST", "/set", sid=sid, body=b'{"a":1}')
    assert (answer.status, answer.heads, answer.code) == (503, 1, "store_unavailable")
    assert alone.ask("POST", "/set", sid=sid, body=b'{"a":2}').json == {"a": 2}


def test_what_was_answered_with_503_is_not_kept_all_the_same(alone):
    """Section 4: whoever is told to come again would write twice."""
    sid = alone.started()
    alone.store.on("update", Fault.REFUSED)
    assert alone.ask("POST", "/set", sid=sid, body=b'{"a":1}').status == 503
    assert alone.ask("GET", "/get", sid=sid).json == {}


def test_a_slow_answer_of_the_store_to_one_delays_no_other(alone):
    """ASGI-06: nobody waits behind somebody else's question."""
    sid = alone.started()
    gate = alone.store.hold("admit")
    with alone.server.connect() as waiting:
        waiting.sendall(wire.request(target="/who", headers=[("X-Session-ID", sid)]))
        alone.run(gate.reached.wait())
        assert alone.ask("GET", "/who").status == 200
        alone.server.call(gate.open)
        answer = wire.answer_of(wire.read_all(waiting))
    assert answer is not None
    assert answer.json["session"] == sid


@contextmanager
def believing_site(kind: str, aside: LoopThread, issuer: FakeIssuer) -> Iterator[tuple[Site, KeyServer]]:
    """A site of its own that fetches the keys of `issuer`, and the server that it fetches them from."""
    server = KeyServer(issuer)
    aside.run(server.__aenter__())
    keys: dict[str, Any] = {"jwt_jwks_url": server.keys_url, "jwt_issuer": issuer.name, "jwt_audience": AUDIENCE}
    try:
        with Site(kind, issuer=issuer, **keys) as site:
            yield site, server
    finally:
        aside.run(server.__aexit__(None, None, None))


def test_a_slow_key_server_delays_nobody_who_brings_no_token(kind, aside):
    """JWT-11, ASGI-06: the fetch waits, the loop does not."""
    issuer = FakeIssuer("https://slow.example")
    with believing_site(kind, aside, issuer) as (site, server):
        aside.call(server.gate.clear)
        with site.server.connect() as waiting:
            waiting.sendall(wire.request(target="/who", headers=[("Authorization", f"Bearer {site.token()}")]))
            while not server.hits:
                assert site.ask("GET", "/who").status == 200
            assert site.ask("GET", "/who").status == 200
            aside.call(server.gate.set)
            answer = wire.answer_of(wire.read_all(waiting))
        assert answer is not None
        assert answer.json["user"] == "alice"
        assert server.hits == 1


def test_a_key_server_that_misbehaves_is_our_trouble_and_passes(kind, aside):
    """JWT-11: 500, a redirect, no JSON, 60 MB, no answer: 503 each time, the redirect is not followed."""
    issuer = FakeIssuer("https://bad.example")
    with believing_site(kind, aside, issuer) as (site, server):
        for trouble in (
            KeysAnswer.ERROR,
            KeysAnswer.REDIRECT,
            KeysAnswer.GARBAGE,
            KeysAnswer.HUGE,
            KeysAnswer.HANG_UP,
        ):
            server.answer = trouble
            site.clock.advance(31_000)
            answer = site.ask("GET", "/who", user="alice")
            assert (answer.status, answer.code) == (503, "keys_unavailable"), trouble
            assert site.ask("GET", "/who").status == 200
        server.answer = KeysAnswer.KEYS
        site.clock.advance(31_000)
        assert site.ask("GET", "/who", user="alice").status == 200
        assert server.paths["/elsewhere"] == 0
        assert server.sent < 8_000_000
        server.answer = KeysAnswer.ERROR
        site.clock.advance(120_000)
        assert site.ask("GET", "/who", user="alice").status == 200, "stale keys are good for a while"
