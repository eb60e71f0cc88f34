"""Limits as clients meet them: how many pass, and what the others are told."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.edge import wire
from tests.edge.site import Site
from tests.serving import soon


def parallel(site: Site, count: int, **who: Any) -> list[wire.Answer]:
    """So many requests at once."""
    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(lambda _: site.ask("GET", "/who", **who), range(count)))


def test_of_many_at_once_exactly_as_many_pass_as_may(serve):
    """Section 5 row 24, with one process: and each refusal says when to come again."""
    site = serve(limits="10/minute per session")
    sid = site.started()
    answers = parallel(site, 60, sid=sid)
    assert sorted(answer.status for answer in answers) == [200] * 9 + [429] * 51
    for answer in answers:
        if answer.status == 429:
            is_a_full_refusal(answer)


def is_a_full_refusal(answer: wire.Answer) -> None:
    """ASGI-08: Retry-After is a whole number of seconds, at least 1; nothing is below zero."""
    told = answer.json
    assert (told["code"], told["error"], told["allowance"]) == ("rate_limited", "Rate limit exceeded", 10)
    assert int(answer.header("retry-after") or "") >= 1
    assert int(answer.header("retry-after-ms") or "") == told["retry_after_ms"] > 0
    assert ";r=0;" in (answer.header("ratelimit") or "")
    assert (answer.header("cache-control"), answer.header("content-type")) == ("no-store", "application/problem+json")


def test_what_remains_counts_down_and_never_below_zero(serve):
    """ASGI-08."""
    site = serve(limits="3/minute per session")
    sid = site.started()
    answers = [site.ask("GET", "/who", sid=sid) for _ in range(4)]
    remaining = [(answer.header("ratelimit") or "").split(";")[1] for answer in answers]
    assert ([answer.status for answer in answers], remaining) == ([200, 200, 429, 429], ["r=1", "r=0", "r=0", "r=0"])
    site.clock.advance(answers[-1].json["retry_after_ms"])
    assert site.ask("GET", "/who", sid=sid).status == 200


def test_limits_hold_in_mounted_apps_and_included_routers(serve):
    """slowapi stops limiting under include_router."""
    site = serve(limits="4/minute per session")
    sid = site.started()
    paths = ["/mounted/items/1", "/mounted/items/2", "/mounted/", "/mounted/items/3", "/mounted/items/4"]
    answers = [site.ask("GET", path, sid=sid) for path in paths]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].json["session"] == sid


def test_a_limit_for_one_path_takes_nothing_from_another(serve):
    """ASGI-09: in whatever order one caller asks, with the same headers each time."""
    site = serve(
        limits="2/minute per session for POST /who; 3/minute per session for GET /who,/mounted/**; 9/minute per session"
    )
    sid = site.started()
    asked = [
        ("POST", "/who"),
        ("GET", "/get"),
        ("GET", "/mounted/"),
        ("POST", "/who"),
        ("GET", "/who"),
        ("POST", "/who"),
        ("GET", "/get"),
    ]
    statuses = [site.ask(method, path, sid=sid).status for method, path in asked]
    assert statuses == [200, 200, 200, 200, 200, 429, 200]
    assert [site.ask("GET", path, sid=sid).status for path in ("/mounted/", "/get", "/get", "/get")] == [
        429,
        200,
        200,
        429,
    ]


def test_a_limit_that_is_set_for_one_session_holds_from_its_next_request_on(serve):
    """Interface.md section 5: by `set_limits`, whatever is remembered of the caller."""
    site = serve(limits="calls=50/minute per session")
    sid, other = site.started(), site.started()
    assert [site.ask("GET", "/who", sid=sid).status for _ in range(3)] == [200] * 3
    site.run(site.sessionware.sessions.set_limits({"calls": 5}, session=sid))
    assert [site.ask("GET", "/who", sid=sid).status for _ in range(2)] == [200, 429]
    assert site.ask("GET", "/who", sid=other).status == 200


def test_a_stream_begins_once_and_is_limited(serve):
    """ASGI-09; slowapi repeats `http.response.start` in streams."""
    site = serve(limits="3/minute per session")
    sid = site.started()
    answers = [site.ask("GET", "/stream", sid=sid) for _ in range(3)]
    assert [(answer.status, answer.heads) for answer in answers] == [(200, 1), (200, 1), (429, 1)]
    assert answers[0].body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert answers[0].header("content-type") == "text/event-stream; charset=utf-8"


def test_a_slow_request_of_one_client_delays_no_other(serve):
    """Litestar's limiter serialises unrelated clients."""
    site = serve(limits="50/minute per session; 3 concurrent per session")
    one, two = site.started(), site.started()
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("GET", "/slow/delay", [("X-Session-ID", one)]))
        site.run(site.gates.arrived("delay"))
        assert site.ask("GET", "/who", sid=two).json["session"] == two
        assert site.ask("GET", "/who", sid=one).json["session"] == one
        site.run(site.gates.open("delay"))
        answer = wire.answer_of(wire.read_all(waiting))
    assert answer is not None
    assert answer.body == b"let go"


def test_no_request_costs_more_than_one_call_however_many_keys_there_are(serve):
    """`limits` sweeps all keys on every hit: one admission is all that a request may cost."""
    site = serve(limits="1000/minute per session; 5000/minute per client")
    sid = site.started()
    for _ in range(50):
        site.started()
    before = dict(site.store.calls)
    for _ in range(10):
        site.ask("GET", "/who", sid=sid)
    asked = {name: site.store.calls[name] - before.get(name, 0) for name in site.store.calls}
    assert asked["admit"] == 10
    assert {name: asked.get(name, 0) for name in ("list", "get", "reap", "create")} == {
        "list": 0,
        "get": 0,
        "reap": 0,
        "create": 0,
    }


def test_a_slot_is_free_again_however_its_request_ended(serve):
    """ASGI-05, ASGI-09: answered, failed, abandoned."""
    site = serve(limits="1 concurrent per session")
    sid = site.started()
    assert site.ask("GET", "/fail", sid=sid).status == 500
    assert site.ask("GET", "/who", sid=sid).status == 200
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("GET", "/slow/slot", [("X-Session-ID", sid)]))
        site.run(site.gates.arrived("slot"))
        refused = site.ask("GET", "/who", sid=sid)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert int(refused.header("retry-after") or "") >= 1
        site.run(site.gates.open("slot"))
        wire.read_all(waiting)
    assert until_free(site, sid)


def until_free(site: Site, sid: str) -> bool:
    """Whether the session's only slot is free, soon: releases are told to the store in the background."""
    return soon(lambda: site.ask("GET", "/who", sid=sid).status == 200)


def test_a_slot_whose_client_hung_up_is_free_when_the_app_has_finished(serve):
    """ASGI-05: a disconnect leaks nothing."""
    site = serve(limits="1 concurrent per session")
    sid = site.started()
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("GET", "/slow/gone", [("X-Session-ID", sid)]))
        site.run(site.gates.arrived("gone"))
    site.run(site.gates.open("gone"))
    assert until_free(site, sid)


def test_a_quota_is_taken_to_the_unit_and_given_back_when_the_work_fails(serve):
    """ASGI-05, B23: spends, a reservation that is settled, and one whose request is refused."""
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    assert site.ask("POST", "/spend?tokens=60", sid=sid).status == 200
    over = site.ask("POST", "/spend?tokens=41", sid=sid)
    assert (over.status, over.json["error"]) == (429, "Quota exceeded for tokens: 101/100")
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("POST", "/reserve/quota?tokens=40", [("X-Session-ID", sid)]))
        site.run(site.gates.arrived("quota"))
        assert site.ask("POST", "/spend?tokens=1", sid=sid).status == 429
        site.run(site.gates.open("quota"))
        wire.read_all(waiting)
    assert site.ask("POST", "/spend?tokens=20", sid=sid).status == 200
    assert site.ask("GET", "/who", sid=sid).status == 429, "an exhausted quota refuses further work"


def test_a_reservation_dies_with_its_request(serve):
    """ASGI-05: the app raises before the first byte; everything is given back."""
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    with site.server.connect() as waiting:
        waiting.sendall(wire.request("POST", "/reserve/doomed?tokens=60&fail=1", [("X-Session-ID", sid)]))
        site.run(site.gates.arrived("doomed"))
        assert site.ask("POST", "/spend?tokens=41", sid=sid).status == 429
        site.run(site.gates.open("doomed"))
        answer = wire.answer_of(wire.read_all(waiting))
    assert answer is not None
    assert answer.status == 500
    assert site.ask("POST", "/spend?tokens=99", sid=sid).status == 200


def test_a_refused_spend_is_told_as_fully_as_a_refused_request(serve):
    """ASGI-08, interface.md section 5: `quota_exceeded`, whose limit, when it resets, and the RateLimit headers."""
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    assert site.ask("POST", "/spend?tokens=60", sid=sid).status == 200
    over = site.ask("POST", "/spend?tokens=41", sid=sid)
    told = {name: over.json.get(name) for name in ("code", "scope", "used", "allowance")}
    assert told == {"code": "quota_exceeded", "scope": "session", "used": 60, "allowance": 100}
    assert "resets_at" in over.json
    assert int(over.header("retry-after") or "") >= 1
    assert over.header("ratelimit-policy") is not None
    assert over.header("ratelimit") is not None


def test_amounts_that_are_none_are_the_apps_fault_and_take_nothing(serve):
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    for amount in ["-1", "99999999999999999999"]:
        assert site.ask("POST", f"/spend?tokens={amount}", sid=sid).status in {400, 422, 429, 500}
    assert site.ask("POST", "/spend?tokens=99", sid=sid).status == 200


def test_strangers_cannot_fill_the_store(serve):
    """SES-16: the budget for making sessions counts per client before anything is written."""
    site = serve(create_limit="5/minute per user", max_sessions_per_client="8")
    site.clock.advance(120_000)
    before = site.count
    statuses = [site.ask("GET", "/who").status for _ in range(12)]
    assert (statuses.count(200), statuses.count(429), site.count - before) == (5, 7, 5)
    site.clock.advance(180_000)
    answers = [site.ask("GET", "/who") for _ in range(5)]
    assert [answer.status for answer in answers].count(200) == 3
    assert answers[-1].status == 429
    assert answers[-1].code in {"too_many_sessions", "rate_limited"}


def test_the_whole_installation_has_a_cap(serve):
    """SES-16: over it 503, and sessions that live go on."""
    site = serve(max_sessions="3")
    sids = [site.started() for _ in range(3)]
    answer = site.ask("GET", "/who")
    assert (answer.status, answer.json["error"]) == (503, "maximum concurrent sessions reached")
    assert [site.ask("GET", "/who", sid=sid).status for sid in sids] == [200] * 3


def test_whoever_finds_the_installation_full_is_told_when_to_come_again(serve):
    """SES-16: 503 and Retry-After at the cap."""
    site = serve(max_sessions="1")
    answers = [site.ask("GET", "/who") for _ in range(2)]
    assert answers[-1].status == 503
    assert int(answers[-1].header("retry-after") or "0") >= 1
