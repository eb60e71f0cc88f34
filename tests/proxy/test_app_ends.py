"""What ends here ends upstream: sessions that are closed, and those that could not be kept."""

import httpx2
import pytest

from sessionware.credentials.presented import Presented
from sessionware.service.actors import Actor
from sessionware.stores.memory import MemoryStore
from sessionware.testing import Fault, FaultyStore
from tests.proxy.standing_proxy import TOKENS, installed, serving, token
from tests.proxy.stories import FORMS, HELLO, asked, begun
from tests.serving import Server, soon


class Upstream:
    """A server that begins sessions, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        self.asked.append((scope["method"], headers.get(b"mcp-session-id")))
        number = len(self.asked)
        head = [(b"content-type", b"application/json"), (b"mcp-session-id", b"theirs-%d" % number)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b'{"jsonrpc":"2.0","id":1,"result":{}}'})


@pytest.fixture
def upstream():
    return Upstream()


@pytest.fixture
def url(upstream):
    with Server(upstream) as server:
        yield f"{server.url}/mcp"


def test_a_session_that_is_closed_ends_upstream(upstream, url):
    with installed(url) as (server, sessionware):
        legacy_id = begun(server)
        assert asked(server, legacy_id).headers.get("mcp-session-id") is None
        server.run(sessionware.sessions.close(legacy_id))
        assert soon(lambda: ("DELETE", b"theirs-1") in upstream.asked)
        assert asked(server, legacy_id).status_code == 404
    assert upstream.asked == [("POST", None), ("POST", b"theirs-1"), ("DELETE", b"theirs-1")]


def test_a_session_that_cannot_be_kept_ends_upstream_and_is_503(upstream, url):
    store = FaultyStore(MemoryStore())
    with serving(url, store=store) as server:
        store.on("link", Fault.REFUSED)
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
        assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (503, -31503, 1)
        assert "Mcp-Session-Id" not in answer.headers
        assert begun(server)
    assert upstream.asked == [("POST", None), ("DELETE", b"theirs-1"), ("POST", None)]


def test_a_session_that_is_deleted_is_told_once(upstream, url):
    with serving(url) as server:
        legacy_id = begun(server)
        headers = {"Mcp-Session-Id": legacy_id, "MCP-Protocol-Version": "2025-11-25"}
        assert httpx2.delete(f"{server.url}/mcp", headers=headers).status_code == 200
        assert asked(server, legacy_id).status_code == 404
    assert upstream.asked == [("POST", None), ("DELETE", b"theirs-1")]


def test_a_store_that_is_away_is_503_in_json_rpc(url):
    store = FaultyStore(MemoryStore())
    with serving(url, store=store) as server:
        store.always("admit", Fault.REFUSED)
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (503, -31503, 1)


def test_the_longest_unused_of_too_many_ends_upstream_too(upstream, url):
    """MAX_LINKS: whoever makes room is told upstream, and is 404 here."""
    who = {"Authorization": f"Bearer {token('alice')}", "X-Session-ID": "one"}
    with serving(url, max_links="2", **TOKENS) as server:
        first, second = begun(server, **who), begun(server, **who)
        assert asked(server, first, **who).status_code == 200
        begun(server, **who)
        assert soon(lambda: ("DELETE", b"theirs-2") in upstream.asked)
        assert asked(server, second, **who).status_code == 404
        assert asked(server, first, **who).status_code == 200
    assert [each for each in upstream.asked if each[0] == "DELETE"] == [("DELETE", b"theirs-2")]


def test_what_an_adopted_session_had_upstream_ends(upstream, url):
    """`adopt` moves the session to another partition: its legacy ids stay behind, and their sessions upstream end."""
    with installed(url, **TOKENS) as (server, sessionware):
        legacy_id = begun(server)
        presented = Presented(authorization=(f"Bearer {token('alice')}",))
        alice = server.run(sessionware.engine.resolver.identify(presented, sessionware.engine.runtime.now()))
        server.run(sessionware.sessions.adopt(legacy_id, by=Actor(identity=alice)))
        assert soon(lambda: ("DELETE", b"theirs-1") in upstream.asked)
        assert asked(server, legacy_id).status_code == 404
