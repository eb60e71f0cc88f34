"""The notebook as its users meet it, on a real server."""

import json

import httpx2
import pytest
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def server(start):
    with start("examples.litestar_app") as app:
        yield app


@pytest.fixture
def client(server):
    """A client that sends back the id that it was given."""
    with httpx2.Client(base_url=server.url) as client:
        client.headers["X-Session-ID"] = client.get("/notes").headers["x-session-id"]
        yield client


def write(client, *texts):
    return [client.post("/notes", json={"text": text}).status_code for text in texts]


def test_e4_the_first_answer_hands_the_id_out_and_the_second_call_finds_the_same_session(server):
    first = httpx2.post(f"{server.url}/notes", json={"text": "one"})
    again = httpx2.get(f"{server.url}/notes", headers={"X-Session-ID": first.headers["x-session-id"]})
    assert again.json() == {"user": None, "notes": ["one"]}
    assert "x-session-id" not in again.headers


def test_e6_a_note_in_a_is_seen_in_a_only(server, client):
    write(client, "mine")
    assert client.get("/notes").json()["notes"] == ["mine"]
    assert httpx2.get(f"{server.url}/notes").json()["notes"] == []


def test_e12_generated_ids_are_unique(server):
    assert len({httpx2.get(f"{server.url}/notes").headers["x-session-id"] for _ in range(10)}) == 10


def test_a_login_keeps_the_notes_under_a_new_id(client):
    write(client, "before")
    answer = client.post("/login", json={"user": "alice"})
    assert answer.json() == {"user": "alice"}
    assert client.get("/notes").status_code == 401
    client.headers["X-Session-ID"] = answer.headers["x-session-id"]
    assert client.get("/notes").json() == {"user": "alice", "notes": ["before"]}


def test_a_guard_refuses_with_our_answer_and_other_routes_go_on(client):
    """B40: 10 a minute; the sliding minute may begin anew meanwhile, and then lets a few more through."""
    allowed = 0
    while (answer := client.post("/notes", json={"text": "x"})).status_code == 201:
        allowed += 1
    assert 10 <= allowed < 20
    assert (answer.status_code, answer.json()["limit"]) == (429, "requests-minute-session-post-notes")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/notes/0").json() == {"text": "x"}


def test_notes_are_streamed(client):
    write(client, "one", "two")
    with client.stream("GET", "/notes/stream") as answer:
        assert [line for line in answer.iter_lines() if line.startswith("data")] == ["data: one", "data: two"]


def test_a_socket_writes_into_the_same_session(server, client):
    headers = {"X-Session-ID": client.headers["X-Session-ID"]}
    with connect(f"{server.socket_url}/live", additional_headers=headers) as socket:
        socket.send("heard")
        assert json.loads(socket.recv()) == {"count": 1}
        assert client.get("/notes").json()["notes"] == ["heard"]


def test_the_session_api_and_the_document_are_there(server, client):
    assert client.get("/auth/session/current/status").json()["state"] == "active"
    assert client.post("/auth/session/current/close").status_code == 200
    assert client.get("/notes").status_code == 401
    document = httpx2.get(f"{server.url}/schema/openapi.json").json()
    assert {"401", "429"} <= document["paths"]["/notes"]["post"]["responses"].keys()
    assert document["security"] == [{"SessionID": []}, {"SessionBearer": []}]
