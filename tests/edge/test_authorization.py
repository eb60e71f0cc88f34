"""Authorization as a header: one of it, one scheme, one blank, one token; and whose session a token opens."""

import pytest

from tests.edge.site import STRANGER
from tests.edge.test_tokens import is_the_one_refusal

NONE_OF_OURS = ["Basic YWxpY2U6c2VjcmV0", "Digest x", "Token abc", "Negotiate abc"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(tokens, scheme):
    """JWT-14."""
    assert tokens.ask("GET", "/who", ("Authorization", f"{scheme} {tokens.token()}")).json["user"] == "alice"


@pytest.mark.parametrize(
    "form",
    [
        "Bearer  {}", "Bearer\t{}", "Bearer \t{}", "Bearer {} x", "Bearer {},{}", "Bearer {}\tx", "Bearer", "Bearer ",
        "Bearer,{}", "Bearer={}", "Bearer:{}", "Bearer\xa0{}", "Bearer {}\xa0", 'Bearer "{}"', "Bearer '{}'",
        "Bearer Bearer {}", "Bearer <{}>",
    ],
)  # fmt: skip
def test_a_bearer_that_is_not_one_blank_and_one_token_is_refused(tokens, form):
    """JWT-14: whoever writes Bearer means to prove something; it never falls back to a stranger."""
    before = tokens.count
    answer = tokens.ask("GET", "/who", ("Authorization", form.format(*[tokens.token()] * 2)))
    is_the_one_refusal(answer)
    assert tokens.count == before


def test_blanks_around_the_whole_value_are_not_part_of_it(tokens, known_fault):
    """JWT-14, RFC 9110 5.5: every server must mean the same."""
    known_fault("httptools", "asgi/reading: httptools leaves blanks behind a value, which must be stripped")
    assert tokens.ask("GET", "/who", ("Authorization", f" \t Bearer {tokens.token()} \t")).json["user"] == "alice"


def test_two_authorizations_are_400(tokens):
    """JWT-14: in any order, equal or not, of any scheme."""
    good, bad = f"Bearer {tokens.token()}", f"Bearer {tokens.token(aud='x')}"
    before = tokens.lookups
    for pair in [(good, bad), (bad, good), (good, good), (good, NONE_OF_OURS[0]), (NONE_OF_OURS[0], good), (good, "")]:
        answer = tokens.ask("GET", "/who", *[("Authorization", each) for each in pair])
        assert (answer.status, answer.code) == (400, "ambiguous_credentials")
    assert tokens.lookups == before


@pytest.mark.parametrize("value", NONE_OF_OURS)
def test_another_scheme_proves_nobody(tokens, value):
    assert tokens.ask("GET", "/who", ("Authorization", value)).json["user"] is None


def test_a_token_anywhere_else_proves_nobody(tokens):
    """JWT-14: not in the query, a body, a cookie or a header of a similar name."""
    token = tokens.token()
    for target in [f"/who?access_token={token}", f"/who?token={token}", f"/who?authorization=Bearer%20{token}"]:
        assert tokens.ask("GET", target).json["user"] is None
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert tokens.ask("POST", "/who", form, body=b"access_token=" + token.encode()).json["user"] is None
    for name in ["Cookie", "X-Authorization", "Proxy-Authorization", "Authorization_", "X-Access-Token"]:
        assert tokens.ask("GET", "/who", (name, f"Bearer {token}")).json["user"] is None
    assert (
        tokens.ask("GET", "/who", ("Cookie", f"access_token={token}; Authorization=Bearer {token}")).json["user"]
        is None
    )


def test_a_folded_authorization_is_read_as_one_line_or_refused(tokens):
    """Appendix A: obs-fold."""
    answer = tokens.ask("GET", "/who", ("Authorization", f"Bearer\r\n {tokens.token()}"))
    assert answer.status in {400, 401} or answer.json["user"] == "alice"


def test_a_users_name_counts_from_nobody_but_a_trusted_proxy(plain, tokens):
    """A15, section 5 row 6: X-User-Id of an untrusted peer is as good as absent."""
    for site in (plain, tokens):
        for name in ["X-User-Id", "X_User_Id", "X-Sessionware-User", "X-Forwarded-User", "Remote-User"]:
            assert site.ask("GET", "/who", (name, "admin")).json["user"] is None
    assert tokens.ask("GET", "/who", ("X-User-Id", "admin"), user="alice").json["user"] == "alice"


def test_a_trusted_proxy_names_one_user_or_none(serve, believing):
    """A15: two names, an empty one, a list, controls; and it may not contradict the token."""
    site = serve(
        trusted_proxies="127.0.0.1",
        **believing,
    )
    assert site.ask("GET", "/who", ("X-User-Id", "alice")).json["user"] == "alice"
    assert site.ask("GET", "/who", ("X-User-Id", "élise".encode())).json["user"] == "élise"
    assert site.ask("GET", "/who", ("X-User-Id", "alice"), user="alice").json["user"] == "alice"
    wrong: list[list[str | bytes]] = [["alice", "bob"], ["alice", "alice"], ["alice,bob"], ["a" * 256], [b"a\x85b"]]
    for values in wrong:
        assert site.ask("GET", "/who", *[("X-User-Id", value) for value in values]).status == 400
    assert site.ask("GET", "/who", ("X-User-Id", "bob"), user="alice").status == 400


def test_another_users_id_is_as_good_as_an_unknown_one(tokens):
    """SES-03, SES-04: with alice's token, bob's live session, one that never was, and a stranger's."""
    sessions = tokens.sessionware.sessions
    bobs = tokens.run(_start(sessions, "bob")).id
    anonymous = tokens.started()
    answers = [
        tokens.ask("GET", "/who", sid=sid, user="alice") for sid in (bobs, bobs[:13] + "y" * 43, STRANGER, anonymous)
    ]
    assert [(each.status, each.body) for each in answers] == [(403, answers[0].body)] * 4
    assert len({tuple(pair for pair in each.headers if pair[0] != "date") for each in answers}) == 1
    assert tokens.ask("GET", "/who", sid=bobs, user="bob").json["session"] == bobs
    assert tokens.ask("GET", "/who", sid=bobs).status in {401, 403}, "possession alone opens no session of a token"


async def _start(sessions, user):
    return await sessions.start(by=sessions.user(user))


def test_a_name_is_its_owners_alone(tokens):
    """A16, SES-03: bob's `work` is not alice's."""
    tokens.ask("POST", "/set", sid="work", user="alice", body=b'{"secret":"alices"}')
    assert tokens.ask("GET", "/get", sid="work", user="bob").json == {}
    assert tokens.ask("GET", "/get", sid="work", user="alice").json == {"secret": "alices"}
    assert tokens.ask("GET", "/who", sid="work").status == 401


def test_the_sid_of_a_token_can_point_to_nobody_elses_session(tokens):
    """JWT-09, SES-04: whatever a `sid` holds is a name inside its owner's space."""
    bobs = tokens.run(_start(tokens.sessionware.sessions, "bob")).id
    for sid in [bobs, "../x", "s-" + "a" * 34, "current", "a\r\nb", "\ud800", "x" * 3000, 5, ["x"], ""]:
        answer = tokens.ask("GET", "/who", token=tokens.token("alice", sid=sid))
        assert (answer.status, answer.json["user"], answer.json["session"] == bobs) == (200, "alice", False)


@pytest.mark.parametrize("groups", [["\ud800"], ["a", 5], {"a": 1}, 5, "pro", ["x" * 5000], [["a"]], None])
def test_groups_of_any_shape_break_nothing(tokens, groups):
    assert tokens.ask("GET", "/who", token=tokens.token("grete", groups=groups)).status in {200, 401}
