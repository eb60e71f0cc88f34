"""Bodies and streams pass the middleware as they come, and what an app does wrong stays the app's."""

import json

import pytest

from tests.edge import wire
from tests.edge.site import Site

CHUNKED = b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"


def test_a_body_reaches_the_app_byte_by_byte(plain):
    """ASGI-05: nothing reads it before the app does, of any size and framing."""
    sid = plain.started()
    for body in [b"\x00\xff" * 50_000, b"x", b"[" * 100_000]:
        assert plain.ask("POST", "/echo", ("Content-Type", "application/json"), sid=sid, body=body).body == body
    chunked = wire.request("POST", "/echo", [("X-Session-ID", sid), ("Transfer-Encoding", "chunked")]) + CHUNKED
    answer = plain.raw(chunked)
    assert answer is not None
    assert answer.body == b"hello, world"


def test_a_body_that_comes_late_is_waited_for_by_the_app_alone(plain):
    """ASGI-05: the session is judged before the body is there."""
    sid = plain.started()
    head = wire.request("POST", "/echo", [("X-Session-ID", sid), ("Content-Length", "4")])
    with plain.server.connect() as connection:
        connection.sendall(head + b"ab")
        assert plain.ask("GET", "/who", sid=sid).status == 200
        connection.sendall(b"cd")
        answer = wire.answer_of(wire.read_all(connection))
    assert answer is not None
    assert answer.body == b"abcd"


def test_a_refused_request_is_answered_without_its_body(plain):
    """ASGI-05: a bad id needs no upload to be refused; nor is 100-continue promised to it."""
    head = wire.request(
        "POST", "/echo", [("X-Session-ID", "../x"), ("Content-Length", "1000000"), ("Expect", "100-continue")]
    )
    answer = plain.raw(head)
    assert answer is not None
    assert answer.status in {100, 400}
    assert b"invalid_session_id" in answer.raw


def test_what_a_stream_changes_after_its_head_is_kept(plain):
    sid = plain.started()
    assert plain.ask("GET", "/stream", sid=sid).heads == 1
    assert plain.ask("GET", "/get", sid=sid).json == {"seen": 2}


def test_a_handler_that_raises_saves_nothing_and_begins_once(plain):
    """ASGI-05: the framework's 500 passes, with no trace of ours in it."""
    sid = plain.started()
    answer = plain.ask("GET", "/fail", sid=sid)
    assert (answer.status, answer.heads, answer.body) in {(500, 1, b"Internal Server Error"), (500, 1, b"")}
    assert plain.ask("GET", "/get", sid=sid).json == {}


def test_more_than_a_session_may_hold_is_refused_whole(serve):
    """SES-17: the app gets an exception, nothing is cut, and what was there stays."""
    site = serve(max_data="1k")
    sid = site.started()
    assert site.ask("POST", "/set", sid=sid, body=b'{"a":1}').status == 200
    answer = site.ask("POST", "/big?bytes=5000", sid=sid)
    assert answer.status in {413, 500}, answer
    assert answer.body != b"kept"
    assert site.ask("GET", "/get", sid=sid).json == {"a": 1}


def test_deep_json_in_a_session_breaks_nothing(plain):
    """SES-17: 100k levels are the app's 500; what is kept can be read again; the server lives."""
    sid = plain.started()
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert plain.ask("POST", "/set", sid=sid, body=deep).status >= 400
    for levels in [50, 500, 900]:
        body = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
        if plain.ask("POST", "/set", sid=sid, body=body).status == 200:
            assert plain.ask("GET", "/get", sid=sid).json == json.loads(body)
    assert plain.ask("GET", "/who", sid=sid).json["session"] == sid


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"\\u0000":1}',
        b'{"":1}',
        b'{"__class__":"x"}',
        b'{"a":' + b"9" * 400 + b"}",
    ],
)
def test_odd_values_are_kept_as_they_are_or_refused_loudly(plain, body):
    """SES-17: nothing half kept, and no session that can never be read again."""
    sid = plain.started()
    assert plain.ask("POST", "/set", sid=sid, body=b'{"before":1}').status == 200
    status = plain.ask("POST", "/set", sid=sid, body=body).status
    after = plain.ask("GET", "/get", sid=sid)
    if status == 200:
        assert "before" in after.json or after.status == 500
        assert plain.ask("GET", "/who", sid=sid).status == 200
    else:
        assert after.json == {"before": 1}


def test_writers_of_one_session_lose_nothing_to_each_other(plain):
    """SES-18: each touches a key of its own, all at once."""
    sid = plain.started()
    waiting = [plain.server.connect() for _ in range(12)]
    for number, connection in enumerate(waiting):
        connection.sendall(wire.request("POST", "/set", [("X-Session-ID", sid)], b'{"k%d":%d}' % (number, number)))
    answers = wire.all_of([finished(connection) for connection in waiting])
    assert {answer.status for answer in answers} == {200}
    assert plain.ask("GET", "/get", sid=sid).json == {f"k{number}": number for number in range(12)}


def finished(connection) -> wire.Answer | None:
    with connection:
        return wire.answer_of(wire.read_all(connection))


def held(site: Site, sid: str, gate: str, *first: str) -> wire.Answer:
    """A request that writes after other requests, in `first`, have ended its session."""
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("GET", f"/slow/{gate}", [("X-Session-ID", sid)]))
        site.run(site.gates.arrived(gate))
        for target in first:
            assert site.ask("POST", target, sid=sid).status == 200
        site.run(site.gates.open(gate))
        answer = wire.answer_of(wire.read_all(waiting))
    assert answer is not None
    return answer


def test_a_request_whose_session_ended_meanwhile_neither_resurrects_it_nor_is_a_500(plain):
    """SES-08, SES-09: a late write finds nothing to write to."""
    sid, before = plain.started(), plain.count
    answer = held(plain, sid, "late", "/end")
    assert answer.status in {200, 401, 404, 409}, answer
    assert plain.count == before - 1
    assert plain.ask("GET", "/who", sid=sid).status == 401
