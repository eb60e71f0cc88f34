"""How long a session lives, and that nothing brings a dead one back."""

from concurrent.futures import ThreadPoolExecutor

from tests.edge.site import Site

TTL_S = 60
AGE_S = 150


def mortal(serve) -> Site:
    site: Site = serve(session_ttl=str(TTL_S), session_max_age=str(AGE_S), limits="off")
    return site


def statuses(site: Site, sid: str, count: int) -> list[int]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: site.ask("GET", "/who", sid=sid).status, range(count)))


def test_an_idle_session_is_dead_at_its_time_for_all_who_come_at_once(serve):
    """SES-07, SES-08, section 5 row 9: at + 0.0 s, 50 parallel touches; no resurrection."""
    site = mortal(serve)
    sid = site.started()
    site.clock.advance(TTL_S * 1000 - 1)
    assert site.ask("GET", "/who", sid=sid).status == 200
    site.clock.advance(TTL_S * 1000)
    assert statuses(site, sid, 50) == [401] * 50
    assert site.ask("POST", "/set", sid=sid, body=b'{"a":1}').status == 401


def test_activity_never_reaches_beyond_the_absolute_age(serve):
    """SES-07: touched every 30 s, dead at 150 s."""
    site = mortal(serve)
    sid = site.started()
    lived = []
    for _ in range(6):
        site.clock.advance(30_000)
        lived.append(site.ask("POST", "/set", sid=sid, body=b'{"a":1}').status)
    assert lived == [200, 200, 200, 200, 401, 401]


def test_an_expired_session_is_answered_like_one_that_never_was(serve):
    """SES-08: but for the `reason`, which its holder is told."""
    site = mortal(serve)
    sid = site.started()
    site.clock.advance(TTL_S * 1000)
    expired, unknown = (site.ask("GET", "/who", sid=text) for text in (sid, "a" + sid[1:12] + "." + "z" * 43))
    assert expired.status == unknown.status == 401
    assert [pair for pair in expired.headers if pair[0] != "date"] == [
        pair for pair in unknown.headers if pair[0] != "date"
    ]
    assert (expired.json.pop("reason"), unknown.json.pop("reason")) == ("expired", "unknown")
    assert {**expired.json, "reason": ""} == {**unknown.json, "reason": ""}


def test_an_end_is_final_at_once(plain):
    """SES-09: for every later request, and a second end is nobody's."""
    sid = plain.started()
    assert plain.ask("POST", "/end", sid=sid).status == 200
    assert statuses(plain, sid, 10) == [401] * 10
    assert plain.ask("POST", "/end", sid=sid).status == 401


def test_the_service_ends_a_session_of_a_running_server(plain):
    """SES-10: an administrator ends one from outside a request."""
    sid = plain.started()
    plain.run(plain.sessionware.sessions.close(sid))
    assert plain.ask("GET", "/who", sid=sid).status == 401


def test_a_rotated_id_dies_at_once(plain):
    """SES-11."""
    sid = plain.started()
    assert plain.ask("POST", "/set", sid=sid, body=b'{"a":1}').status == 200
    new = plain.run(plain.sessionware.sessions.rotate(sid)).id
    assert new != sid
    assert plain.ask("GET", "/who", sid=sid).status == 401
    assert plain.ask("GET", "/get", sid=new).json == {"a": 1}


def test_a_request_that_rotates_its_session_hands_the_new_id_out(plain):
    """SES-11, SES-15: old id dead, new id sent once, never cached."""
    sid = plain.started()
    answer = plain.ask("POST", "/rotate", sid=sid)
    new = answer.header("x-session-id")
    assert new is not None
    assert new != sid
    assert answer.header("cache-control") == "private, no-store"
    assert plain.ask("GET", "/who", sid=sid).status == 401
    assert plain.ask("GET", "/who", sid=new).json["session"] == new


def test_a_login_changes_the_id(plain):
    """SES-11: session fixation is over when somebody logs in."""
    sid = plain.started()
    answer = plain.ask("POST", "/login?user=alice", sid=sid)
    new = answer.header("x-session-id")
    assert new not in {None, sid}
    assert plain.ask("GET", "/who", sid=sid).status == 401
    assert plain.ask("GET", "/who", sid=new).json["user"] == "alice"


def test_a_user_never_has_more_sessions_than_may_be(serve, believing):
    """SES-12: twelve at once, three may live; the newest do."""
    site = serve(
        **believing,
        max_sessions_per_user="3",
    )
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: site.ask("GET", "/who", sid=f"work-{number}", user="hugo"), range(12)))
    assert {answer.status for answer in answers} <= {200, 429}
    live = [number for number in range(12) if _is_live(site, f"work-{number}")]
    assert len(live) == 3


def _is_live(site: Site, name: str) -> bool:
    found = site.run(_names(site))
    return name in found


async def _names(site: Site) -> set[str | None]:
    sessions = site.sessionware.sessions
    page = await sessions.list(by=sessions.user("hugo"))
    return {session.name for session in page.sessions}


def test_the_answer_that_hands_out_an_id_is_never_cached_and_the_next_does_not_repeat_it(plain):
    """SES-15."""
    first = plain.ask("GET", "/who")
    assert first.header("cache-control") == "private, no-store"
    second = plain.ask("GET", "/who", sid=first.header("x-session-id"))
    assert (second.header("cache-control"), second.header("x-session-id")) == (None, None)
    for header in ("access-control-allow-origin", "access-control-expose-headers"):
        assert first.header(header) is None
