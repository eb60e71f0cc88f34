"""The other ways to say which session is meant: tickets, secrets of `start`, a field of the body, each strictly."""

import json

import pytest

from tests.edge.site import STRANGER, Site

EVENTS = ("Accept", "text/event-stream")


def ticket_for(site: Site, **who: str) -> str:
    """A ticket for the presented session; a user's own is made by a first request."""
    assert site.ask("GET", "/who", **who).status == 200  # type: ignore[arg-type]
    answer = site.ask("POST", "/session/ticket", **who)  # type: ignore[arg-type]
    assert answer.status in {200, 201}, answer
    ticket = answer.json["ticket"]
    assert isinstance(ticket, str)
    return ticket


@pytest.fixture
def ticketed(serve, believing) -> Site:
    site: Site = serve(api="/", **believing)
    return site


def test_a_ticket_opens_its_session_once(ticketed):
    """Interface.md section 5: single use, for an EventSource; the id is not in it."""
    sid = ticketed.started()
    ticket = ticket_for(ticketed, sid=sid)
    assert sid not in ticket
    first, second = (ticketed.ask("GET", f"/get?ticket={ticket}", EVENTS) for _ in range(2))
    assert (first.status, first.header("x-session-id"), second.status) == (200, None, 401)
    assert second.code == "invalid_token"


def test_a_ticket_in_the_name_of_a_user_is_that_user(ticketed):
    ticket = ticket_for(ticketed, user="tina")
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS).json["user"] == "tina"


def test_a_ticket_dies_after_thirty_seconds_and_with_its_session(ticketed):
    closed = ticketed.started()
    old, ended = ticket_for(ticketed, sid=ticketed.started()), ticket_for(ticketed, sid=closed)
    assert ticketed.ask("POST", "/end", sid=closed).status == 200
    assert ticketed.ask("GET", f"/who?ticket={ended}", EVENTS).status == 401
    ticketed.clock.advance(30_000)
    assert ticketed.ask("GET", f"/who?ticket={old}", EVENTS).status == 401


def test_a_ticket_dies_with_its_owners_revocation(ticketed):
    """SES-10."""
    ticketed.clock.advance(2000)
    ticket = ticket_for(ticketed, user="tom")
    ticketed.clock.advance(1000)
    ticketed.run(ticketed.sessionware.sessions.revoke(user="tom"))
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS).status == 401


@pytest.mark.parametrize(
    "broken", ["", "x", "{}x", "x{}", "A{}", "%00", "{}%0a", "é", "x" * 5000, "AAAA" * 20, STRANGER]
)
def test_a_ticket_that_is_none_opens_nothing(ticketed, broken):
    """JWT-14, ASGI-07: nothing is made in its place, nothing of it comes back."""
    text, before = broken.format(ticket_for(ticketed, user="thea")[:-4]), ticketed.count
    answer = ticketed.ask("GET", f"/who?ticket={text}".encode(), EVENTS)
    assert answer.status in {200, 400, 401}, answer
    if answer.status == 200:
        assert (text, answer.json["user"]) == ("", None)
    else:
        assert ticketed.count == before


def test_a_ticket_beside_another_credential_is_400(ticketed):
    """SES-04."""
    ticket = ticket_for(ticketed, user="ted")
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS, user="ted").status == 400
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS, sid=ticketed.started()).status == 400
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS).json["user"] == "ted"


def test_a_ticket_counts_for_event_streams_only(ticketed):
    """Interface.md SESSION_QUERY: a URL names nobody on any other request, and the ticket is still good."""
    ticket = ticket_for(ticketed, user="tess")
    for method, headers in [("POST", [EVENTS]), ("GET", []), ("DELETE", [EVENTS])]:
        assert ticketed.ask(method, f"/who?ticket={ticket}", *headers).json["user"] is None
    assert ticketed.ask("GET", f"/who?ticket={ticket}", EVENTS).json["user"] == "tess"


@pytest.mark.xfail(strict=True, reason="asgi/reading: the first of two tickets wins")
def test_two_tickets_are_refused(ticketed):
    """SES-05, for tickets: neither wins."""
    one, two = (ticket_for(ticketed, user=user) for user in ("tara", "tilo"))
    assert ticketed.ask("GET", f"/who?ticket={one}&ticket={two}", EVENTS).status in {400, 401}


def test_the_secret_of_a_session_must_come_along_each_time(serve):
    """SESSION_TOKEN: right, wrong, none, two; a good request before it changes nothing."""
    site: Site = serve(api="/", session_token="on")
    started = site.ask("POST", "/session/start").json
    sid, secret = started["session_id"], started["token"]

    def status(*secrets: str) -> int:
        return site.ask("GET", "/who", *[("X-Session-Token", each) for each in secrets], sid=sid).status

    assert [status(secret), status(), status(secret), status(secret[:-1]), status(secret + "x")] == [
        200,
        401,
        200,
        401,
        401,
    ]
    assert [status(""), status(secret.swapcase()), status(secret, secret), status("x", secret), status(secret)][:4] == [
        401
    ] * 4
    assert status(secret) == 200


def test_an_id_in_the_body_is_found_and_the_body_reaches_the_app_whole(serve):
    """SESSION_BODY_FIELD, ASGI-05."""
    site: Site = serve(session_body_field="session_id")
    sid = site.started()
    body = json.dumps({"session_id": sid, "text": "ü" * 1000}).encode()
    assert site.ask("POST", "/echo", body=body).body == body
    assert site.ask("POST", "/who", body=body).json["session"] == sid
    assert site.ask("POST", "/who", body=body, sid=sid).json["session"] == sid
    assert site.ask("POST", "/who", body=body, sid=site.started()).status == 400
    assert site.ask("POST", "/who", body=json.dumps({"session_id": STRANGER}).encode()).status == 401
    assert site.ask("POST", "/who", body=b'{"session_id":"../x"}').status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"a":' * 20_000, b'{"session_id":' + b"[" * 30_000, b"\xff" * 500, b"{", b"nul", b"1" * 5000,
        b'{"session_id":5}', b'{"session_id":null}', b'{"session_id":{"a":1}}', b'{"x":"' + b"y" * 70_000 + b'"}',
        b'["session_id"]', b'"session_id"', b"session_id=x",
    ],
)  # fmt: skip
def test_a_body_without_an_id_of_text_is_the_apps_alone(serve, body):
    """ASGI-05, SES-17: 100k levels, no JSON, another type: handed on to the byte, never a 500."""
    site: Site = serve(session_body_field="session_id")
    answer = site.ask("POST", "/echo", ("Content-Type", "application/json"), body=body)
    assert (answer.status, answer.body == body) == (200, True)
