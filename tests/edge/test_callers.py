"""Who may come at all: strangers, members, holders of keys; and for how long a word is believed."""

import pytest

from sessionware.credentials.api_keys import Revoked, append, new_key
from tests.edge.site import STRANGER, Site
from tests.edge.test_tokens import is_the_one_refusal


def test_where_strangers_may_not_come_an_identity_is_asked_for(serve, believing):
    """ANONYMOUS=off: nothing is made, and a real session's id of nobody is no way in."""
    site: Site = serve(anonymous="off", **believing)
    before = site.count
    for headers in [
        [],
        [("X-Session-ID", STRANGER)],
        [("X-Session-ID", "work")],
        [("Authorization", "Basic eDp5")],
        [("X-User-Id", "alice")],
    ]:
        answer = site.ask("GET", "/who", *headers)
        assert (answer.status, answer.code, answer.header("www-authenticate")) == (401, "identity_required", "Bearer")
    assert site.count == before
    assert site.ask("GET", "/who", user="alice").json["user"] == "alice"


@pytest.mark.parametrize(
    "groups",
    [
        [],
        None,
        ["PRO"],
        ["pro "],
        [" pro"],
        ["pr"],
        ["prof"],
        ["pro,staff"],
        "PRO",
        ["*"],
        [["pro"]],
        {"pro": True},
        [None],
    ],
)
def test_a_group_that_is_not_exactly_asked_for_is_none(serve, believing, groups):
    """REQUIRED_GROUPS: exact; strangers and their ids are turned away too."""
    site: Site = serve(required_groups="pro,staff", **believing)
    before = site.count
    assert site.ask("GET", "/who", token=site.token("gina", groups=groups)).status in {401, 403}
    assert site.ask("GET", "/who").status == 401
    assert site.ask("GET", "/who", sid=STRANGER).status == 401
    assert site.count == before
    assert site.ask("GET", "/who", token=site.token("gina", groups=["x", "pro"])).json["groups"] == ["x", "pro"]


def test_a_membership_that_ended_ends_at_once_although_the_session_lives(serve, believing):
    """SES-11: each token is asked, not what the session was born with."""
    site: Site = serve(required_groups="pro", **believing)
    assert site.ask("GET", "/who", token=site.token("gerd", groups=["pro"])).status == 200
    assert site.ask("GET", "/who", token=site.token("gerd", groups=["basic"])).status == 403


def test_a_token_is_believed_to_its_last_instant_and_no_longer(tokens):
    """JWT-07, JWT-16: what is remembered of a caller never outlives the token; leeway 30 s."""
    token = tokens.token("xenia", life=45)
    assert [tokens.ask("GET", "/who", token=token).status for _ in range(3)] == [200] * 3
    tokens.clock.advance(74_999)
    assert tokens.ask("GET", "/who", token=token).status == 200
    tokens.clock.advance(1)
    is_the_one_refusal(tokens.ask("GET", "/who", token=token))


def test_with_on_unknown_create_a_new_session_has_a_new_id(serve):
    """SES-02: even where an unknown id is answered with a session, it is not that one."""
    site: Site = serve(on_unknown="create")
    answers = [site.ask("GET", "/who", sid=STRANGER) for _ in range(2)]
    ids = {answer.json["session"] for answer in answers}
    assert (len(ids), STRANGER in ids) == (2, False)
    assert [answer.header("x-session-id") for answer in answers] == [answer.json["session"] for answer in answers]


def test_where_names_are_free_a_minted_looking_one_is_not(serve):
    """ANONYMOUS=named: development; an id in our form is still ours to make."""
    site: Site = serve(anonymous="named")
    assert site.ask("GET", "/who", sid="work").json["session"] == "work"
    assert site.ask("GET", "/who", sid=STRANGER).status == 401
    for bad in ["../x", "current", "s-" + "a" * 34, STRANGER[:20]]:
        assert site.ask("GET", "/who", sid=bad).status == 400


@pytest.fixture
def key_file(tmp_path):
    return tmp_path / "keys.jsonl"


def test_a_static_key_opens_in_either_header_and_only_whole(kind, key_file, logs):
    """API_KEYS_FILE: wrong, cut, twice, beside a token: refused alike, never logged; revoked: out within a second."""
    with Site(kind, api_keys_file=str(key_file)) as site:
        text, key = new_key("kurt", now=site.clock.now(), org=None, groups=["pro"], scopes=[])
        append(key_file, key)
        site.clock.advance(2_000)
        for header in [("X-API-Key", text), ("Authorization", f"Bearer {text}")]:
            assert site.ask("GET", "/who", header).json["user"] == "kurt"
        prefix = text[: text.rindex("_") + 1]
        for wrong in [
            text[:-1],
            text + "x",
            text.upper(),
            prefix,
            prefix + "x" * 43,
            "swk_",
            "swk",
            "x" * 5000,
            f"{text} x",
            f'"{text}"',
        ]:
            is_the_one_refusal(site.ask("GET", "/who", ("X-API-Key", wrong)))
        for pair in [[("X-API-Key", text)] * 2, [("X-API-Key", text), ("Authorization", f"Bearer {text}")]]:
            assert site.ask("GET", "/who", *pair).status == 400
        assert text not in logs
        append(key_file, Revoked(revoked=key.id, at=site.clock.now()))
        site.clock.advance(2_000)
        is_the_one_refusal(site.ask("GET", "/who", ("X-API-Key", text)))


def test_a_head_request_is_a_get_without_a_body(plain):
    """SES-15: it makes and hands out a session as a GET does, and finds it again."""
    answer = plain.ask("HEAD", "/get")
    sid = answer.header("x-session-id")
    assert (answer.raw.partition(b"\r\n\r\n")[2], answer.header("cache-control")) == (b"", "private, no-store")
    assert plain.ask("GET", "/who", sid=sid).json["session"] == sid


def test_the_apps_own_state_passes_and_a_session_stays_out_of_it(plain):
    """ASGI-02: the lifespan's state reaches each request, and no request's session reaches another."""
    answers = [plain.ask("GET", target) for target in ("/who", "/health", "/who", "/health")]
    assert [answer.json["born"] for answer in answers] == ["with the app"] * 4
    assert [answer.json["guarded"] for answer in answers] == [True, False, True, False]


@pytest.mark.parametrize(
    "limits",
    [
        {"requests-60s-user": -1},
        {"requests-60s-user": 1e30},
        {"requests-60s-user": True},
        {"": 5},
        ["x"],
        "x",
        5,
        {"x" * 1000: 1},
        {"requests-60s-user": {"a": 1}},
    ],
)
def test_limits_that_a_token_claims_in_a_wrong_shape_change_nothing(serve, believing, limits):
    """JWT-09: an issuer's mistake neither opens nor breaks anything."""
    site: Site = serve(limits="requests-60s-user=3/minute per user", jwt_claim_limits="limits", **believing)
    site.clock.advance(120_000)
    token = site.token("lola", limits=limits)
    assert [site.ask("GET", "/who", token=token).status for _ in range(4)] == [200, 200, 200, 429]
