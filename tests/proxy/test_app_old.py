"""HTTP+SSE (2024-11-05) through the proxy: the stream's first event names our path and an id of ours."""

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from sessionware.assembly.proxying import proxy
from sessionware.core.store import Query
from sessionware.stores.memory import MemoryStore
from sessionware.testing import Fault, FaultyStore
from sessionware.testing.scripted_upstream import Close, Say, ScriptedUpstream, Stall, answer
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, installed, serving, token
from tests.proxy.stories import HELLO, LIST, SESSIONS
from tests.serving import AT_ONCE_S, LoopThread, Server, soon

OLD_HELLO = json.loads(json.dumps(HELLO).replace("2025-11-25", "2024-11-05"))
UNKNOWN = {
    "jsonrpc": "2.0", "id": 5,
    "error": {
        "code": -31404, "message": "Session not found: initialize again", "data": {"code": "session_not_found"}
    },
}  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n"
ENDPOINT = b"event: endpoint\ndata: /messages/?session_id=theirs\n\n"
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "pid", "arguments": {}}}


@pytest.fixture(scope="module")
def olds():
    with replicas(2, "--transport", "sse") as servers:
        yield servers


def pool(servers):
    return "old[sse]=" + ",".join(each.url for each in servers)


@pytest.fixture
def proxied(olds):
    with serving(pool(olds), **TOKENS) as server:
        yield server


def bearer(user, session=None):
    return {"Authorization": f"Bearer {token(user)}"} | ({"X-Session-ID": session} if session else {})


@contextmanager
def opened(server, **headers):
    """A stream that is open, and the path that its first event names."""
    given = {"Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx2.stream("GET", f"{server.url}/old/sse", headers=given, timeout=10) as stream:
        assert stream.status_code == 200, stream.read()
        lines = stream.iter_lines()
        assert next(lines) == "event: endpoint"
        endpoint = next(lines).removeprefix("data: ")
        assert endpoint.startswith("/old/messages?session_id=")
        yield stream, lines, endpoint


@contextmanager
def scripted(*turns):
    """An upstream that does just that, and its address."""
    with LoopThread("a scripted upstream") as thread:
        upstream = ScriptedUpstream(*turns)
        thread.run(upstream.__aenter__())
        try:
            yield upstream, f"http://127.0.0.1:{upstream.port}"
        finally:
            thread.run(upstream.__aexit__(None, None, None))


def said(server, endpoint, message=LIST, **headers):
    return httpx2.post(server.url + endpoint, json=message, headers=headers)


def heard(lines):
    """The next message of the stream."""
    return json.loads(next(line for line in lines if line.startswith("data: {")).removeprefix("data: "))


def test_the_official_client_finds_what_each_session_has_remembered(proxied, olds):
    async def story():
        async with AsyncExitStack() as running:
            clients = {}
            for who in SESSIONS:
                transport = sse_client(f"{proxied.url}/old/sse", headers=bearer(*who))
                clients[who] = await running.enter_async_context(Client(transport, mode="legacy"))
            kept = await asyncio.gather(
                *[called(client, "remember", text="/".join(who)) for who, client in clients.items()]
            )
            pids = {json.loads(each)["pid"] for each in kept}
            found = [await asyncio.gather(*[called(each, "recall") for each in clients.values()]) for _ in range(3)]
            return pids, found

    async def called(client, tool, **arguments):
        return (await client.call_tool(tool, arguments)).content[0].text

    pids, found = asyncio.run(story())
    assert found == [["/".join(who) for who in SESSIONS]] * 3
    assert pids <= {each.pid for each in olds}


def test_a_message_may_come_to_another_proxy_than_its_stream(olds, tmp_path):
    store = f"sqlite:///{tmp_path}/shared.db"
    with serving(pool(olds), store=store) as one, serving(pool(olds), store=store) as two:
        for _ in range(4):
            with opened(one) as (_, lines, endpoint):
                assert said(two, endpoint, OLD_HELLO).status_code == 202
                assert heard(lines)["result"]["protocolVersion"] == "2024-11-05"
                said(two, endpoint, {"jsonrpc": "2.0", "method": "notifications/initialized"})
                said(two, endpoint, CALL)
                assert int(heard(lines)["result"]["content"][0]["text"]) in {each.pid for each in olds}


def test_an_unknown_id_and_somebody_else_s_are_answered_alike(proxied):
    with opened(proxied, **bearer("alice")) as (_, lines, endpoint):
        unknown = endpoint[:-4] + "AAAA"
        answers = [said(proxied, endpoint, **bearer("bob")), said(proxied, unknown, **bearer("alice"))]
        answers.append(said(proxied, "/old/messages?session_id=nothing-of-ours", **bearer("alice")))
        assert [(each.status_code, each.json()) for each in answers] == [(404, UNKNOWN)] * 3
        assert said(proxied, endpoint, OLD_HELLO, **bearer("alice")).status_code == 202
        assert heard(lines)["id"] == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?session_id=", 404), ("?session_id=a&session_id=b", 400), ("?sessionId=a", 400), ("?a" * 200, 400)],
)
def test_a_message_that_does_not_name_one_stream_is_refused_in_json_rpc(proxied, query, status):
    with opened(proxied, **bearer("alice")) as (_, _, endpoint):
        ours = parse_qs(urlsplit(endpoint).query)["session_id"][0]
        headers = bearer("alice") | {"Mcp-Session-Id": ours}  # this version has no such header
        answer = said(proxied, f"/old/messages{query}", **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, -31000 - status)


def test_the_upstream_s_id_and_our_secrets_stay_on_their_side(proxied):
    with opened(proxied, **bearer("alice", "one")) as (stream, lines, endpoint):
        assert "mcp-session-id" not in stream.headers
        assert said(proxied, endpoint, OLD_HELLO, **bearer("alice", "one")).status_code == 202
        heard(lines)
        said(proxied, endpoint, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **bearer("alice"))
        call = CALL | {"params": {"name": "whoami", "arguments": {}}}
        answer = said(proxied, endpoint, call, **bearer("alice"))
        told = json.loads(heard(lines)["result"]["content"][0]["text"])
    ours = parse_qs(urlsplit(endpoint).query)["session_id"][0]
    assert told["session"] not in {"", ours}
    assert told["session"] not in str(answer.headers) + str(stream.headers) + endpoint
    assert ours not in json.dumps(told)
    assert {"authorization", "x-session-id", "mcp-session-id"}.isdisjoint(told["headers"])


def test_a_client_that_goes_ends_the_stream_upstream_and_what_was_made_for_it():
    with ExitStack() as running:
        upstream, url = running.enter_context(scripted([Say(HEAD + ENDPOINT), Stall()]))
        server, sessionware = running.enter_context(installed(f"old[sse]={url}/sse"))
        with opened(server) as (_, _, endpoint):
            assert upstream.open_connections == 1
        began = time.monotonic()
        assert soon(lambda: not upstream.open_connections)
        assert time.monotonic() - began < AT_ONCE_S
        assert soon(lambda: sessions_of(server, sessionware) == [])
        assert said(server, endpoint).status_code == 404


def sessions_of(server, sessionware):
    async def ask():
        runtime = sessionware.engine.runtime
        page = await runtime.store.list(Query(), now=runtime.now())
        return [await runtime.store.get(each.key, now=runtime.now()) for each in page.sessions]

    return server.run(ask())


def test_a_named_session_outlives_its_streams(olds):
    with installed(pool(olds), **TOKENS) as (server, sessionware):
        with opened(server, **bearer("alice", "one")):
            assert [len(each.links) for each in sessions_of(server, sessionware)] == [1]
        assert soon(lambda: [len(each.links) for each in sessions_of(server, sessionware)] == [0])


def test_a_dead_upstream_ends_the_stream_and_its_messages_are_503_or_404():
    with replicas(1, "--transport", "sse") as [only], serving(pool([only])) as server:
        with opened(server) as (_, lines, endpoint):
            only.kill9()
            began = time.monotonic()
            assert not [line for line in lines if line.startswith("data")]
            assert time.monotonic() - began < AT_ONCE_S
        assert soon(lambda: said(server, endpoint).status_code == 404)


def test_a_session_that_is_closed_closes_its_stream(olds):
    with installed(pool(olds), **TOKENS) as (server, sessionware):
        with opened(server, **bearer("alice")) as (_, lines, endpoint):
            [session] = sessions_of(server, sessionware)
            began = time.monotonic()
            server.run(sessionware.engine.runtime.end(session.key))
            assert [line for line in lines if line] == []
            assert time.monotonic() - began < AT_ONCE_S
        assert said(server, endpoint, **bearer("alice")).status_code == 404


def test_limits_count_tool_calls_and_never_the_handshake(olds):
    with serving(pool(olds), limits="2/day per session", **TOKENS) as server:
        for _ in range(3):
            with opened(server, **bearer("alice", "one")) as (_, _, endpoint):
                assert said(server, endpoint, OLD_HELLO, **bearer("alice")).status_code == 202
                said(server, endpoint, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **bearer("alice"))
        with opened(server, **bearer("alice", "one")) as (_, _, endpoint):
            said(server, endpoint, OLD_HELLO, **bearer("alice"))
            answers = [said(server, endpoint, CALL, **bearer("alice")) for _ in range(3)]
    assert [each.status_code for each in answers] == [202, 202, 429]
    assert (answers[2].json()["id"], answers[2].json()["error"]["code"]) == (7, -31429)


def test_the_stream_s_id_is_in_no_log(olds, caplog):
    app, lines = proxy(environ={}, upstreams=pool(olds), limits="off"), []

    async def logging_access(scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":  # when servers write it
                lines.append(f"{scope['path']}?{scope['query_string'].decode()}")
            await send(message)

        await app(scope, receive, sending)

    caplog.set_level(logging.DEBUG)
    with Server(logging_access, lifespan="on") as server, opened(server) as (_, _, endpoint):
        assert said(server, endpoint, OLD_HELLO).status_code == 202
        assert said(server, endpoint[:-4] + "AAAA", LIST).status_code == 404
    ours = parse_qs(urlsplit(endpoint).query)["session_id"][0]
    assert lines == ["/old/sse?", "/old/messages?", "/old/messages?"]
    told = [each.getMessage() for each in caplog.records if not each.name.startswith("http")]  # the client's own
    assert [each for each in told if ours in each] == []


@pytest.mark.parametrize(
    "told",
    [
        b"event: endpoint\ndata: http://elsewhere.test/messages\n\n",
        b"event: endpoint\ndata: //elsewhere.test/messages\n\n",
        b"event: message\ndata: {}\n\n",
        b": " + b"x" * 20_000,
        b"",
    ],
)
def test_a_stream_that_names_no_endpoint_of_its_own_is_502_and_leaves_nothing_behind(told):
    with scripted([Say(HEAD + told), Close()]) as (_, url), installed(f"old[sse]={url}/sse") as (server, at):
        answer = httpx2.get(f"{server.url}/old/sse", headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, -31502)
        assert "X-Session-ID" not in answer.headers
        assert sessions_of(server, at) == []


def test_only_the_first_event_is_rewritten():
    before = b": hello\n\n"
    after = b": ping\r\n\r\nevent: endpoint\ndata: /elsewhere\n\nid: 3\ndata: {}\n\n"
    steps = [Say(HEAD + before + b"event: endpoint\r\ndata: /m?s=1\r\n\r\n" + after, size=7), Close()]
    with scripted(steps) as (_, url), serving(f"old[sse]={url}/sse") as server:
        answer = httpx2.get(f"{server.url}/old/sse", headers={"Accept": "text/event-stream"})
    head, _, rest = answer.content.removeprefix(before).partition(b"\n\n")
    assert head.startswith(b"event: endpoint\ndata: /old/messages?session_id=")
    assert rest == after


def test_a_stream_that_no_upstream_opens_leaves_nothing_behind():
    with installed("old[sse]=http://127.0.0.1:9/sse") as (server, at):
        told = httpx2.get(f"{server.url}/old/sse", headers={"Accept": "text/event-stream"})
        assert (told.status_code, told.json()["error"]["code"]) == (503, -31503)
        assert "X-Session-ID" not in told.headers
        assert sessions_of(server, at) == []


def test_an_answer_that_is_no_stream_passes_and_leaves_nothing_behind():
    refusal = answer(403, b"{}", (b"content-type", b"application/json"))
    with scripted([Say(refusal)]) as (_, url), installed(f"old[sse]={url}/sse") as (server, at):
        told = httpx2.get(f"{server.url}/old/sse", headers={"Accept": "text/event-stream"})
        assert (told.status_code, told.content) == (403, b"{}")
        assert sessions_of(server, at) == []


def test_a_message_goes_where_the_upstream_s_own_endpoint_leads():
    steps = [Say(HEAD + b"event: endpoint\ndata: /m/x?s=theirs&y=1\n\n"), Stall()], [Say(answer(202, b"Accepted"))]
    with (
        scripted(*steps) as (upstream, url),
        serving(f"old[sse]={url}/sse") as server,
        opened(server) as (_, _, endpoint),
    ):
        assert said(server, f"{endpoint}&more=1").status_code == 202
    [stream, message] = upstream.requests
    assert (stream.target, message.target) == (b"/sse", b"/m/x?s=theirs&y=1")
    assert json.loads(message.body) == LIST


def test_a_stream_that_the_store_cannot_keep_is_503():
    store = FaultyStore(MemoryStore())
    turn = [Say(HEAD + ENDPOINT), Stall()]
    with scripted(turn) as (upstream, url), serving(f"old[sse]={url}/sse", store=store) as server:
        store.on("link", Fault.REFUSED)
        told = httpx2.get(f"{server.url}/old/sse", headers={"Accept": "text/event-stream"})
        assert (told.status_code, told.json()["error"]["code"]) == (503, -31503)
        assert soon(lambda: not upstream.open_connections)
