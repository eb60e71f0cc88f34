"""What a client may present as a session id: judged alike behind every server, before any call of the store."""

import re

import pytest

from tests.edge import wire
from tests.edge.site import STRANGER, Site

SHAPE = re.compile(r"[auo][a-z2-7]{11}\.[A-Za-z0-9_-]{43}")
MALFORMED: dict[str, str | bytes] = {
    "path": "../../../../etc/passwd",
    "encoded path": "..%2f",
    "path inside": "a/../b",
    "dot": ".",
    "dots": "..",
    "glob": "*",
    "hash tag": "{tag}",
    "sql": "'; DROP TABLE sessions; --",
    "high byte": b"\xff\xfe",
    "utf-8": "sitzung-ü".encode(),
    "encoded NUL": "abc%00def",
    "tab inside": "abc\tdef",
    "space inside": "abc def",
    "two in one": "abc, def",
    "semicolon": "abc;def",
    "quoted": '"abc"',
    "markup": "<script>alert(1)</script>",
    "encoded line end": "abc%0d%0aSet-Cookie:x=1",
    "escape": b"\x1b[31mred",
    "empty": "",
    "one too long": "x" * 129,
    "10 KB": "x" * 10_240,
    "handle": "s-" + "a" * 34,
    "reserved": "current",
    "cut": STRANGER[:30],
    "altered": STRANGER + "!",
    "padded": STRANGER + "=",
    "two dots": "aaaaaaaaaaaa..",
    "json": '{"$gt":""}',
    "format": "%s%n%x",
    "jndi": "${jndi:ldap://evil}",
}


def is_refused_before_the_store(site: Site, *headers: wire.Header) -> None:
    before = site.lookups, site.count
    answer = site.ask("GET", "/who", *headers)
    # h11 and hypercorn refuse some control characters themselves.
    assert answer.status == 400, answer
    assert answer.code in {"invalid_session_id", None}
    assert "x-session-id" not in dict(answer.headers)
    assert (site.lookups, site.count) == before


def test_minted_ids_are_long_random_and_never_alike(plain):
    """SES-01."""
    ids = [plain.started() for _ in range(60)]
    assert len(set(ids)) == len({sid.split(".")[1] for sid in ids}) == 60
    assert [sid for sid in ids if not SHAPE.fullmatch(sid)] == []


ECHOED = pytest.mark.xfail(strict=True, reason="core/ids: check_name repeats a name that begins like a handle")


@pytest.mark.parametrize("name", [pytest.param(name, marks=ECHOED if name == "handle" else ()) for name in MALFORMED])
def test_what_is_no_id_is_400_without_a_call_of_the_store(plain, logs, name):
    """SES-06, ASGI-07, section 5 rows 4, 5, 7: not echoed, not logged."""
    value = MALFORMED[name]
    is_refused_before_the_store(plain, ("X-Session-ID", value))
    shown = value.decode("latin-1") if isinstance(value, bytes) else value
    if len(shown) > 10:
        assert shown not in plain.ask("GET", "/who", ("X-Session-ID", value)).raw.decode("latin-1")
        assert shown not in logs


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_an_enormous_id_is_refused_by_the_server_or_by_us(plain, logs, size):
    """SES-06, section 5 row 5: 400 or 431, whoever notices first."""
    before = plain.lookups
    answer = plain.raw(wire.request(headers=[("X-Session-ID", "x" * size)]))
    assert answer is None or answer.status in {400, 431}
    assert plain.lookups == before
    assert "x" * 200 not in logs


@pytest.mark.parametrize("letter", "auo")
def test_an_id_that_we_never_made_opens_nothing_and_is_never_adopted(plain, logs, letter):
    """SES-02, section 5 row 1; starsessions and Litestar adopt it."""
    sid, before = letter + STRANGER[1:], plain.count
    for _ in range(2):
        answer = plain.ask("GET", "/who", sid=sid)
        assert (answer.status, answer.code) in {(401, "session_invalid"), (401, "identity_required")}
        assert sid.encode() not in answer.raw
    assert plain.count == before
    assert sid not in logs


@pytest.mark.parametrize(
    "name", ["work", "session1", "2f1c1d5e-4b1f-4c52-9d3b-6b0f3f0c7a11", "x" * 43, "user:1", "__proto__"]
)
def test_a_stranger_may_not_choose_a_name(plain, name):
    """SES-02, row 1: 43 random valid characters are a name, and a name needs its owner."""
    before = plain.count
    answer = plain.ask("GET", "/who", sid=name)
    assert (answer.status, answer.code) == (401, "identity_required")
    assert (plain.count, answer.header("x-session-id")) == (before, None)


def test_two_session_ids_are_400_whatever_they_are(plain):
    """SES-05, section 5 row 3: neither the first nor the last wins, and equal ones are refused too."""
    valid = plain.started()
    for pair in [(valid, STRANGER), (STRANGER, valid), (valid, valid), (valid, "")]:
        is_refused_before_the_store(plain, *[("X-Session-ID", sid) for sid in pair])
    is_refused_before_the_store(plain, ("x-session-id", valid), ("X-SESSION-ID", valid))
    is_refused_before_the_store(plain, ("X-Session-ID", f"{valid},{valid}"))
    is_refused_before_the_store(plain, ("X-Session-ID", f"{valid} {valid}"))


def test_a_header_name_is_read_in_any_case_and_its_value_without_the_blanks_around_it(plain, known_fault):
    """SES-05, RFC 9110 5.5."""
    known_fault("httptools", "asgi/reading: httptools leaves blanks behind a value, which must be stripped")
    valid = plain.started()
    for header in [("x-SESSION-id", valid), ("X-Session-ID", f"  {valid}"), ("X-Session-ID", f"\t{valid} \t ")]:
        assert plain.ask("GET", "/who", header).json["session"] == valid


@pytest.mark.parametrize(
    "name", ["X_Session_ID", "X-Session_ID", "X-Session-IDs", "X-Session", "XSession-ID", "Session-ID"]
)
def test_a_header_of_another_name_is_as_good_as_absent(serve, name):
    """Section 5 row 6: underscore variants are not the header."""
    site = serve(on_missing="reject")
    before = site.count
    answer = site.ask("GET", "/who", (name, STRANGER))
    assert (answer.status, answer.json["error"], site.count) == (401, "No session ID provided", before)
    assert answer.header("www-authenticate") == "Session"


def test_a_folded_header_is_read_as_one_line_or_refused(plain):
    """Appendix A: obs-fold passes h11 and hypercorn, with a blank in place of the fold."""
    valid = plain.started()
    before = plain.lookups
    answer = plain.ask("GET", "/who", ("X-Session-ID", f"{valid}\r\n {valid}"))
    assert (answer.status, plain.lookups) == (400, before)
    folded = plain.ask("GET", "/who", ("X-Session-ID", f"\r\n {valid}"))
    assert folded.status == 400 or folded.json["session"] == valid


def test_an_id_in_the_url_counts_nowhere_by_default(plain):
    """SES-13: neither in the query nor in a body or a cookie that nobody asked for."""
    valid = plain.started()
    for target in [f"/who?session={valid}", f"/who?X-Session-ID={valid}", f"/who?session_id={valid}", f"/who/{valid}"]:
        answer = plain.ask("GET", target, ("Accept", "text/event-stream"))
        assert answer.json["session"] != valid
    assert plain.ask("GET", "/who", ("Cookie", f"session={valid}; __Host-session={valid}")).json["session"] != valid
    posted = plain.ask(
        "POST", "/who", ("Content-Type", "application/json"), body=b'{"session_id":"%s"}' % valid.encode()
    )
    assert posted.json["session"] != valid


def test_an_id_in_the_query_counts_for_get_event_streams_only(serve, logs):
    """Interface.md section 4, SESSION_QUERY: a query id on anything else is as good as absent, and is never logged."""
    site = serve(session_query="session")
    valid, events = site.started(), ("Accept", "text/event-stream")
    target = f"/who?session={valid}"
    assert site.ask("GET", target, events).json["session"] == valid
    for method, headers in [("POST", [events]), ("DELETE", [events]), ("GET", []), ("GET", [("Accept", "*/*")])]:
        assert site.ask(method, target, *headers).json["session"] != valid
    for bad in [f"{target}&session={valid}", f"{target}&session={STRANGER}", "/who?session=../x", "/who?session="]:
        assert site.ask("GET", bad, events).status == 400
    assert site.ask("GET", target, events, sid=STRANGER).status == 400
    assert valid not in logs


def test_an_id_behind_thousands_of_other_query_fields_is_found_or_refused(serve):
    """SES-13, row 5: never a 500."""
    site = serve(session_query="session")
    target = f"/who?{'a=1&' * 3000}session={site.started()}"
    assert site.ask("GET", target, ("Accept", "text/event-stream")).status in {200, 400, 414}


def test_a_legacy_mcp_id_that_cannot_be_ours_opens_nothing(plain):
    """Row 1, for `Mcp-Session-Id`."""
    before = plain.count
    for text in ["../x", "work", STRANGER, "x" * 500]:
        assert plain.ask("POST", "/who", ("Mcp-Session-Id", text)).status in {401, 404}
    assert plain.count == before
