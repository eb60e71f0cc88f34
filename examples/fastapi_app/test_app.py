"""The chat service as its users meet it: a real server, curl-like clients, an event stream, sockets."""

import json

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from sessionware.client import SessionClient

CALLS = ["chat", "interrupt", "network-switch", "transaction-result"]


@pytest.fixture(scope="module")
def server(start):
    with start("examples.fastapi_app") as app:
        yield app


@pytest.fixture
def browser(server):
    """A client with a cookie jar, as curl -c/-b and every browser are."""
    with httpx2.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def other(server):
    """Somebody else, or the same user's other device."""
    with httpx2.Client(base_url=server.url) as client:
        yield client


def started(server) -> str:
    answer = httpx2.post(f"{server.url}/auth/session/start")
    assert answer.status_code == 201
    session_id: str = answer.json()["session_id"]
    return session_id


def contents(state) -> list[str]:
    return [message["content"] for message in state["messages"] if message["role"] == "user"]


@pytest.mark.parametrize("place", ["header", "cookie", "body", "query"])
def test_e3_the_session_id_is_optional_and_may_come_in_each_place(server, place):
    sid = started(server)
    headers = {"header": {"X-Session-ID": sid}, "cookie": {"Cookie": f"session={sid}"}}.get(place, {})
    if place == "query":
        url = f"{server.url}/api/chat/stream"
        params = {"message": "hello", "session_id": sid}
        answer = httpx2.get(url, params=params, headers={"Accept": "text/event-stream"})
    else:
        body = {"message": "hello"} | ({"session_id": sid} if place == "body" else {})
        answer = httpx2.post(f"{server.url}/api/chat", json=body, headers=headers)
    assert answer.status_code == 200
    state = httpx2.get(f"{server.url}/api/state", headers={"X-Session-ID": sid}).json()
    assert (state["turns"], contents(state)) == (1, ["hello"])


def test_e4_a_missing_id_is_made_and_handed_out_and_the_second_call_finds_the_same_session(server, browser):
    first = browser.post("/api/chat", json={"message": "one"})
    assert "session" in first.cookies
    assert browser.post("/api/chat", json={"message": "two"}).json()["turns"] == 2
    begun = httpx2.post(f"{server.url}/auth/session/start")
    assert begun.json()["session_id"] in begun.headers["set-cookie"]


def test_e5_a_legacy_client_with_a_cookie_jar_keeps_its_state(browser):
    browser.post("/api/chat", json={"message": "remember me"})
    assert contents(browser.get("/api/state").json()) == ["remember me"]


def test_a_visitor_who_only_looks_is_given_no_session(browser):
    answer = browser.get("/api/state")
    assert (answer.json()["turns"], "set-cookie" in answer.headers) == (0, False)


def test_e6_a_message_in_a_is_seen_in_a_only(browser, other):
    browser.post("/api/chat", json={"message": "for A"})
    other.post("/api/chat", json={"message": "for B"})
    assert contents(browser.get("/api/state").json()) == ["for A"]
    assert contents(other.get("/api/state").json()) == ["for B"]


def test_e12_generated_ids_are_unique(server):
    assert len({started(server) for _ in range(10)}) == 10


def test_e14_all_calls_of_a_client_belong_to_its_session(server):
    sid = started(server)
    refs = set()
    for call in CALLS:
        answer = httpx2.post(f"{server.url}/api/{call}", json={"message": "hi", "session_id": sid})
        assert answer.status_code == 200
        refs.add(answer.json()["session"])
    assert len(refs) == 1
    assert httpx2.get(f"{server.url}/api/state", headers={"X-Session-ID": sid}).json()["calls"] == CALLS[1:]


def test_a_login_keeps_what_was_said_and_kills_the_old_id(server, browser):
    browser.post("/api/chat", json={"message": "before"})
    before = browser.cookies["session"]
    assert browser.post("/api/login", json={"user": "alice", "password": "wrong"}).status_code == 403
    logged_in = browser.post("/api/login", json={"user": "alice", "password": "wonderland"}).json()
    assert (logged_in["user"], logged_in["turns"]) == ("alice", 1)
    assert browser.cookies["session"] != before
    assert contents(browser.get("/api/state").json()) == ["before"]
    assert httpx2.get(f"{server.url}/api/state", headers={"X-Session-ID": before}).status_code == 401
    browser.post("/api/logout")
    assert browser.get("/api/state").json()["user"] is None


def test_the_list_of_devices_and_log_out_everywhere_else(browser, other):
    for device in (browser, other):
        device.post("/api/login", json={"user": "bob", "password": "builder"})
    devices = browser.get("/auth/sessions").json()["sessions"]
    assert sorted(device["current"] for device in devices) == [False, True]
    assert browser.post("/api/logout-everywhere-else").json() == {"ended": 1}
    assert browser.get("/api/state").json()["user"] == "bob"
    assert other.get("/api/state").json()["user"] is None


def test_the_days_tokens_run_out_with_a_429_that_says_when_to_come_back(browser):
    browser.post("/api/login", json={"user": "alice", "password": "wonderland"})
    long = "word " * 1_500
    assert browser.post("/api/chat", json={"message": long}).status_code == 200
    refused = browser.post("/api/chat", json={"message": long})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["limit"] == "daily"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-should-retry"] == "false"
    stream = browser.get("/api/chat/stream", params={"message": long})
    assert (stream.status_code, stream.json()["code"]) == (429, "quota_exceeded")
    usage = browser.get("/auth/usage").json()
    assert [limit["limit"] for limit in usage["limits"] if limit["name"] == "daily"] == [2000]


def test_an_answer_is_streamed_word_by_word_and_settled_by_its_length(browser):
    before = used(browser)
    with browser.stream("GET", "/api/chat/stream", params={"message": "good morning"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    words = [line.removeprefix("data: ") for line in lines[:-2]]
    assert " ".join(words) == "Turn 1: you said 'good morning'."
    assert lines[-2:] == ["event: done", "data:"]
    assert [message["role"] for message in browser.get("/api/state").json()["messages"]] == ["user", "assistant"]
    assert used(browser) - before == 2 + len(words)


def used(browser) -> int:
    """How many tokens are used up; a stranger's are counted by address, across sessions."""
    tokens: int = browser.get("/auth/usage").json()["tokens"]["used"]
    return tokens


def test_a_socket_belongs_to_the_session_and_closes_with_it(server):
    with SessionClient(f"{server.url}/auth") as session:
        address = f"{server.socket_url}/api/ws"
        with connect(
            address, subprotocols=[Subprotocol("sessionware"), Subprotocol(f"session.{session.id}")]
        ) as socket:
            assert socket.subprotocol == "sessionware"
            socket.send("hello there")
            said = []
            while "done" not in (part := json.loads(socket.recv())):
                said.append(part["word"])
            assert " ".join(said) == "Turn 1: you said 'hello there'."
            headers = {"X-Session-ID": session.id}
            assert contents(httpx2.get(f"{server.url}/api/state", headers=headers).json()) == ["hello there"]
            httpx2.post(f"{server.url}/api/logout", headers=headers)
            with pytest.raises(ConnectionClosed) as caught:
                socket.recv(timeout=5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4401
        with pytest.raises(InvalidStatus) as refused, connect(f"{address}?session_id={session.id}"):
            pass
        assert refused.value.response.status_code == 401


def test_the_document_tells_of_all_this(server):
    document = httpx2.get(f"{server.url}/openapi.json").json()
    chat = document["paths"]["/api/chat"]["post"]
    assert {"401", "429"} <= chat["responses"].keys()
    assert chat["security"] == [{"SessionID": []}, {"SessionCookie": []}, {"SessionBearer": []}]


def test_a_route_has_a_limit_of_its_own(server, browser):
    """B40: 60 a minute; the sliding minute may begin anew meanwhile, and then lets a few more through."""
    allowed = 0
    while (answer := browser.post("/api/chat", json={"message": "x"})).status_code == 200:
        allowed += 1
    assert 60 <= allowed < 120
    assert (answer.status_code, answer.json()["limit"]) == (429, "requests-minute-session-post-api-chat")
    assert browser.get("/api/state").status_code == 200
    assert httpx2.post(f"{server.url}/api/chat", json={"message": "x"}).status_code == 200
