"""ON_UPSTREAM_LOST=reinitialize: a legacy session whose upstream is lost is begun anew, and its client is told so."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import pytest

from sessionware.core.store import Query
from sessionware.proxy.reviving import HANDSHAKE_MAX
from sessionware.telemetry.audit import AuditEvent
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, installed, serving, token
from tests.proxy.stories import FORMS, HELLO, LATER, asked, begun
from tests.serving import Server

SAID = "X-Sessionware-Reinitialized"
REVIVING = {"on_upstream_lost": "reinitialize"}
PID = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "pid", "arguments": {}}}
ALICE = {"Authorization": f"Bearer {token('alice')}"}
EVENTS: list[AuditEvent] = []


def audit(event):
    EVENTS.append(event)


def pid_of(answer):
    assert answer.status_code == 200, answer.text
    told = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
    return int(json.loads(told.removeprefix("data: "))["result"]["content"][0]["text"])


def patiently(server, legacy_id, **headers):
    """Ask until the upstream is known to be dead: a short outage is 503, and nothing else."""
    deadline = time.monotonic() + 10
    while True:
        answer = asked(server, legacy_id, PID, **headers)
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        threading.Event().wait(0.1)


def urls(servers):
    return ",".join(each.url for each in servers)


def test_a_session_of_a_dead_upstream_goes_on_elsewhere_under_its_id():
    EVENTS.clear()
    settings = REVIVING | {"audit": f"{__name__}:audit"}
    with replicas(2) as servers, installed(urls(servers), **TOKENS, **settings) as (server, sessionware):
        legacy_id = begun(server, **ALICE, **{"X-Session-ID": "one"})
        first = pid_of(asked(server, legacy_id, PID, **ALICE))
        [dead] = [each for each in servers if each.pid == first]
        [other] = [each for each in servers if each.pid != first]
        dead.kill9()
        answer = patiently(server, legacy_id, **ALICE)
        assert (pid_of(answer), answer.headers[SAID]) == (other.pid, "1")
        later = asked(server, legacy_id, PID, **ALICE)
        assert (pid_of(later), SAID in later.headers) == (other.pid, False)
        again = begun(server, **ALICE, **{"X-Session-ID": "one"})  # the session has moved, not only this link
        assert pid_of(asked(server, again, PID, **ALICE)) == other.pid
        assert sessionware.engine.runtime.telemetry.counts.reinitialized == 1
    [told] = [each for each in EVENTS if each.event == "reinitialized"]
    assert (told.user, dict(told.details)) == ("alice", {"pool": "default", "upstream": other.url.split("/")[2]})


def test_a_session_that_its_upstream_has_forgotten_is_begun_anew_there():
    with replicas(1) as [only], serving(only.url, **REVIVING) as server:
        legacy_id = begun(server)
        only.restart()
        answer = patiently(server, legacy_id)
        assert (pid_of(answer), answer.headers[SAID]) == (only.pid, "1")
        assert SAID not in asked(server, legacy_id, PID).headers


def test_another_proxy_of_the_same_store_finds_the_session_where_it_is_now(tmp_path):
    store = f"sqlite:///{tmp_path}/shared.db"
    with ExitStack() as running:
        [only] = running.enter_context(replicas(1))
        one, two = (running.enter_context(serving(only.url, store=store, **REVIVING)) for _ in range(2))
        legacy_id = begun(one)
        only.restart()
        assert patiently(one, legacy_id).headers[SAID] == "1"
        answer = patiently(two, legacy_id)
        assert (pid_of(answer), SAID in answer.headers) == (only.pid, False)


async def pinging(head, receive, send):
    """An event stream that lives, and never says anything."""
    head = [(b"content-type", b"text/event-stream"), *[pair for pair in head if pair[0] != b"content-type"]]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
        await asyncio.wait([gone], timeout=0.05)


class Forgetful:
    """An upstream that can forget all its sessions; it keeps what it was asked."""

    def __init__(self):
        self.asked, self.sessions, self.is_rude, self.breaks, self.only_pings = [], set(), False, False, False

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = dict(scope["headers"])
        message = json.loads(body or b"{}")
        named = headers.get(b"mcp-session-id")
        self.asked.append((scope["method"], message.get("method"), named, headers))
        status, told = self.answer(message, named)
        if self.breaks and message.get("method") == "tools/call":
            raise ConnectionError("gone in the middle")
        head = [(b"content-type", b"application/json")]
        if message.get("method") == "initialize" and status == 200:
            head.append((b"mcp-session-id", b"theirs-%d" % len(self.asked)))
            self.sessions.add(b"theirs-%d" % len(self.asked))
        if self.only_pings and message.get("method") == "initialize":
            await pinging(head, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    def answer(self, message, named):
        if message.get("method") != "initialize" and named not in self.sessions:
            return 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
        if self.is_rude:
            return 200, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32603, "message": "no"}}
        return (200 if "id" in message else 202), {"jsonrpc": "2.0", "id": message.get("id"), "result": {}}

    def methods(self):
        return [method for _, method, _, _ in self.asked]


@pytest.fixture
def upstream():
    return Forgetful()


@pytest.fixture
def reviving(upstream):
    with Server(upstream) as server, installed(f"{server.url}/mcp", **TOKENS, **REVIVING) as (proxied, _):
        yield proxied


def test_of_many_requests_at_once_one_begins_the_session_anew(upstream, reviving):
    legacy_id = begun(reviving, **ALICE)
    upstream.sessions.clear()
    with ThreadPoolExecutor(8) as workers:
        calls = [workers.submit(asked, reviving, legacy_id, PID, **ALICE) for _ in range(8)]
        assert [each.result().status_code for each in calls] == [200] * 8
    assert upstream.methods().count("initialize") == 2
    assert upstream.methods().count("notifications/initialized") == 1
    assert upstream.methods().count("tools/call") <= 16  # each once, and once more where it was 404


def test_the_handshake_is_said_again_as_the_client_said_it_and_nothing_of_us_leaks(upstream, reviving):
    legacy_id = begun(reviving, **ALICE)
    upstream.sessions.clear()
    asked(reviving, legacy_id, PID, **ALICE, **{"Last-Event-ID": "7"})
    (_, _, _, before), (_, _, gone, _), hello, done, call = upstream.asked
    assert (gone, hello[1:3], done[1:3], call[1:3]) == (
        b"theirs-1", ("initialize", None), ("notifications/initialized", b"theirs-3"), ("tools/call", b"theirs-3"),
    )  # fmt: skip
    assert before[b"content-length"] == hello[3][b"content-length"]
    assert before[b"x-forwarded-for"] == hello[3][b"x-forwarded-for"]
    for _, _, _, headers in (hello, done):
        assert {b"authorization", b"last-event-id", b"x-session-id"}.isdisjoint(headers)
        assert headers[b"content-type"] == b"application/json"


def test_an_upstream_that_refuses_to_begin_anew_is_404(upstream, reviving):
    legacy_id = begun(reviving, **ALICE)
    upstream.sessions.clear()
    upstream.is_rude = True
    answers = [asked(reviving, legacy_id, PID, **ALICE) for _ in range(2)]
    assert [(each.status_code, each.json()["error"]["code"], each.json()["id"]) for each in answers] == [
        (404, -31404, 3)
    ] * 2
    assert SAID not in answers[0].headers


def test_an_upstream_that_only_pings_when_it_is_asked_to_begin_anew_is_404(upstream):
    settings = TOKENS | REVIVING | {"upstream_timeout": "1s"}
    with Server(upstream) as server, serving(f"{server.url}/mcp", **settings) as proxied:
        legacy_id = begun(proxied, **ALICE)
        upstream.sessions.clear()
        upstream.only_pings = True
        answer = asked(proxied, legacy_id, PID, **ALICE)
        assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (404, -31404, 3)


def test_a_call_that_was_delivered_is_never_said_again(upstream, reviving):
    legacy_id = begun(reviving, **ALICE)
    upstream.breaks = True
    assert asked(reviving, legacy_id, PID, **ALICE).status_code in {500, 502}
    assert upstream.methods() == ["initialize", "tools/call"]


def test_what_ends_is_not_begun_anew(upstream, reviving):
    legacy_id = begun(reviving, **ALICE)
    upstream.sessions.clear()
    headers = LATER | ALICE | {"Mcp-Session-Id": legacy_id}
    assert httpx2.delete(f"{reviving.url}/mcp", headers=headers).status_code == 404
    assert upstream.methods() == ["initialize", None]


def test_a_handshake_that_is_too_long_is_not_kept(upstream, reviving):
    long = json.loads(json.dumps(HELLO))
    long["params"]["clientInfo"]["title"] = "x" * HANDSHAKE_MAX
    answer = httpx2.post(f"{reviving.url}/mcp", headers=FORMS | ALICE, json=long)
    upstream.sessions.clear()
    assert asked(reviving, answer.headers["Mcp-Session-Id"], PID, **ALICE).status_code == 404


def test_without_the_setting_no_handshake_is_kept(upstream):
    async def links():
        runtime = sessionware.engine.runtime
        page = await runtime.store.list(Query(), now=runtime.now())
        found = [await runtime.store.get(each.key, now=runtime.now()) for each in page.sessions]
        return [link.handshake for session in found if session is not None for link in session.links]

    with Server(upstream) as server, installed(f"{server.url}/mcp") as (proxied, sessionware):
        begun(proxied)
        assert proxied.run(links()) == [b""]
