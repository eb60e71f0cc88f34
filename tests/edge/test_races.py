"""What a client does twice at once, on purpose: one of them wins, none is a 500, nothing is doubled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.edge import wire
from tests.edge.site import Site


def at_once(count: int, ask: Callable[[int], wire.Answer]) -> list[wire.Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def test_twenty_first_requests_of_one_user_make_one_session(tokens):
    """A3, SES-12: the derived session is made once, by whoever is first."""
    before, token = tokens.count, tokens.token("ralf")
    answers = at_once(20, lambda _: tokens.ask("POST", "/", token=token))
    assert {answer.status for answer in answers} <= {200, 409}
    assert tokens.count == before + 1
    assert tokens.ask("GET", "/who", token=token).json["new"] is False


def test_an_end_among_many_requests_is_an_end(plain: Site):
    """SES-08, SES-09, row 9: each request is before it or after it; after its answer there are no more."""
    sid, before = plain.started(), plain.count
    targets = ["/who", "/", "/set", "/end", "/end", "/stream", "/get", "/"] * 3
    bodies = {"/set": b'{"a":1}'}

    def ask(number: int) -> wire.Answer:
        target = targets[number]
        method = "POST" if target in {"/", "/set", "/end"} else "GET"
        return plain.ask(method, target, sid=sid, body=bodies.get(target, b""))

    answers = at_once(len(targets), ask)
    assert {answer.status for answer in answers} <= {200, 401, 404, 409}
    assert plain.count == before - 1
    assert plain.ask("GET", "/who", sid=sid).status == 401


def test_two_logins_of_one_session_make_one_user_session_and_no_500(plain):
    """SES-11: the id that was presented dies, whoever wins."""
    sid, before = plain.started(), plain.count
    answers = at_once(6, lambda number: plain.ask("POST", f"/login?user=racer-{number}", sid=sid))
    assert {answer.status for answer in answers} <= {200, 401, 404, 409}
    assert [answer.status for answer in answers].count(200) == 1
    assert plain.count == before
    assert plain.ask("GET", "/who", sid=sid).status == 401


def test_six_rotations_of_one_session_leave_one_session(plain):
    """SES-11."""
    sid, before = plain.started(), plain.count
    answers = at_once(6, lambda _: plain.ask("POST", "/rotate", sid=sid))
    assert {answer.status for answer in answers} <= {200, 401, 404, 409}
    assert plain.count == before
    winners = [answer.header("x-session-id") for answer in answers if answer.status == 200]
    assert [plain.ask("GET", "/who", sid=each).status for each in winners].count(200) == 1


def test_a_request_whose_session_is_rotated_meanwhile_is_no_500(plain):
    """SES-11, SES-18: a late write finds its session under the new id, or is told that it did not."""
    sid = plain.started()
    with plain.server.connect() as waiting:
        waiting.sendall(wire.request("GET", "/slow/rotated", [("X-Session-ID", sid)]))
        plain.run(plain.gates.arrived("rotated"))
        new = plain.ask("POST", "/rotate", sid=sid).header("x-session-id")
        plain.run(plain.gates.open("rotated"))
        answer = wire.answer_of(wire.read_all(waiting))
    assert answer is not None
    assert answer.status in {200, 401, 404, 409}
    kept = plain.ask("GET", "/get", sid=new).json
    assert kept == ({"slow": True} if answer.status == 200 else {})


def test_rotating_an_id_refills_no_limit(serve):
    """SES-11: counters move along."""
    site: Site = serve(limits="4/minute per session")
    sid = site.started()
    for _ in range(2):
        sid = site.ask("POST", "/rotate", sid=sid).header("x-session-id") or ""
    assert [site.ask("GET", "/who", sid=sid).status for _ in range(2)] == [200, 429]


def test_logging_in_and_out_refills_no_limit_of_the_client(serve):
    """SES-16: a new session each time is still the same client."""
    site: Site = serve(limits="6/minute per client")
    site.clock.advance(120_000)
    sid = site.started()
    statuses = []
    for number in range(8):
        answer = site.ask("POST", f"/login?user=phoenix-{number}", sid=sid)
        statuses.append(answer.status)
        sid = answer.header("x-session-id") or sid
    assert statuses == [200] * 5 + [429] * 3


def test_dropping_the_id_buys_no_more_than_the_budget_for_making_sessions(serve):
    """SES-16: with the default limits, a client that forgets its session each time makes 60 a minute."""
    site: Site = serve(limits="100/minute per session", create_limit="60/minute per user")
    site.clock.advance(120_000)
    statuses = [site.ask("GET", "/who").status for _ in range(70)]
    assert (statuses.count(200), statuses.count(429)) == (60, 10)


def test_dropping_or_inventing_a_cookie_buys_nothing(serve):
    """Interface.md section 3: without a session the client counts; so it does for each invented cookie."""
    site: Site = serve(session_cookie="session", cookie_secure="off", limits="5/minute per session")
    site.clock.advance(120_000)
    assert [site.ask("GET", "/get").status for _ in range(7)] == [200] * 5 + [429] * 2
    invented = [f"session=a{letter * 11}.{'x' * 43}" for letter in "abcdefgh"]
    assert {site.ask("GET", "/get", ("Cookie", cookie)).status for cookie in invented} == {429}


def test_a_lowercase_method_gets_around_no_limit(serve, known_fault):
    """Appendix A: some frameworks read `post` as POST, so a limit `for POST` must too, unless the server refuses it."""
    known_fault("h11", "asgi: uvicorn with h11 hands `post` on as it came, and `for POST` does not match it")
    site: Site = serve(limits="2/minute per client for POST /who")
    site.clock.advance(120_000)
    answers = [site.raw(wire.request("post", "/who")) for _ in range(4)]
    statuses = [0 if answer is None else answer.status for answer in answers]
    assert 200 not in statuses[2:]
    assert statuses[-1] in {0, 400, 429, 501}, statuses
