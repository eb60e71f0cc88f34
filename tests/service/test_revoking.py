"""Revoked tokens and users, and tickets."""

import json
from base64 import urlsafe_b64encode

import pytest

from sessionware.core.admission import Admission, Outcome, Token
from sessionware.core.identity import Claims, prove
from sessionware.core.session import EndReason
from sessionware.errors import InvalidToken, InvalidValue
from sessionware.service import Actor
from sessionware.service.refusals import SessionDead
from sessionware.service.tickets import TICKET_MS, read_ticket, write_ticket
from tests.service.scene import ISSUER, in_scene


def token_text(**claims):
    def part(value):
        return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2ln"


@in_scene()
async def test_a22_revoking_a_jti_ends_the_sessions_it_started_and_refuses_the_token(s):
    """A22."""
    alice, bob = s.actor("alice"), s.actor("bob")
    mine = await s.sessions.start("work", by=alice)
    await s.sessions.start("work", by=bob)
    assert await s.sessions.revoke(jti="alice-token", iss="https://issuer.test") == [mine.session.handle]
    with pytest.raises(InvalidToken):
        await s.sessions.list(by=alice)
    with pytest.raises(InvalidToken):
        await s.sessions.start("new", by=alice)
    with pytest.raises(SessionDead) as gone:  # unknown comes before revoked
        await s.sessions.get("work", by=alice)
    assert gone.value.reason is EndReason.REVOKED
    assert (await s.sessions.get("work", by=bob)).id == "work"
    assert [reason for _, reason in s.witness.ends] == [EndReason.REVOKED]


@in_scene()
async def test_a_token_may_be_revoked_by_its_text_or_without_a_jti(s):
    alice = s.actor()
    await s.sessions.start("work", by=alice)
    text = token_text(iss=ISSUER, jti="alice-token", exp=2_000_000_000)
    assert len(await s.sessions.revoke(token=text)) == 1
    plain = token_text(iss=ISSUER, sub="bob")
    named = Token(s.store.addresses.token_without_jti(plain.rpartition(".")[0].encode()), s.clock.now())
    bob = Actor(identity=prove(Claims(issuer=ISSUER, user_id="bob", token=named), addresses=s.store.addresses))
    await s.sessions.start("work", by=bob)
    assert len(await s.sessions.revoke(token=plain)) == 1


@in_scene()
async def test_ses10_revoking_a_user_ends_all_they_have_and_nothing_they_start_later(s):
    """SES-10."""
    alice = s.actor()
    for _ in range(3):
        await s.sessions.start(by=alice)
    s.clock.advance(1)
    assert len(await s.sessions.revoke(user="alice")) == 3
    with pytest.raises(InvalidToken):
        await s.sessions.start(by=alice)
    s.clock.advance(1)
    later = Actor(identity=s.identity("alice", jti="later"))
    await s.sessions.start(by=later)
    assert await s.sessions.count(by=later) == 1


@pytest.mark.parametrize(
    "what",
    [
        {}, {"token": "x"}, {"token": "a.b.c"}, {"jti": ""}, {"jti": "a", "user": "b"},
        {"jti": "a", "exp": -1}, {"jti": "a", "exp": 1e30}, {"jti": "a", "exp": float("nan")}, {"user": ""},
    ],
)  # fmt: skip
def test_what_names_no_token_and_no_user_revokes_nothing(what):
    @in_scene()
    async def story(s):
        with pytest.raises(InvalidValue):
            await s.sessions.revoke(**what)
        assert s.store.calls["revoke"] == 0

    story()


@in_scene()
async def test_a_ticket_opens_its_session_once(s):
    """E8: for clients that can send no header."""
    alice = s.actor()
    made = await s.sessions.start("default", by=alice)
    text = await s.sessions.ticket(by=alice)
    addresses = s.store.addresses
    ticket = read_ticket(text, addresses=addresses, now=s.clock.now())
    identity = ticket.identity(addresses=addresses)
    assert identity is not None
    assert (ticket.session, identity.user_id, identity.token) == (
        made.session.record.key,
        "alice",
        alice.identity.token,
    )

    def ask():
        return s.store.admit(
            Admission(
                s.clock.now(), ticket.session.bucket, s.runtime.operation(), key=ticket.session,
                owner=identity.owner, token=identity.token, spends=(ticket.use(addresses=addresses),),
            )
        )  # fmt: skip

    assert (await ask()).outcome is Outcome.ADMITTED
    s.clock.advance(TICKET_MS - 1)
    assert (await ask()).outcome is Outcome.LIMITED


@in_scene()
async def test_an_anonymous_session_gets_a_ticket_without_its_id_in_it(s):
    made = await s.sessions.start(by=s.stranger())
    text = await s.sessions.ticket(by=s.holder(made))
    ticket = read_ticket(text, addresses=s.store.addresses, now=s.clock.now())
    assert ticket.identity(addresses=s.store.addresses) is None
    assert made.id not in text


@in_scene()
async def test_a_ticket_that_is_old_altered_or_another_installations_is_none(s):
    made = await s.sessions.start(by=s.stranger())
    addresses, now = s.store.addresses, s.clock.now()
    text = write_ticket(made.session.record.key, None, addresses=addresses, now=now, entropy=s.runtime.entropy)
    other = type(addresses)(bytes(32))
    for broken in ("", "x", text[:-4], "A" + text[1:], text.swapcase(), "ü", "a" * 5000):
        with pytest.raises(InvalidToken):
            read_ticket(broken, addresses=addresses, now=now)
    with pytest.raises(InvalidToken):
        read_ticket(text, addresses=other, now=now)
    with pytest.raises(InvalidToken):
        read_ticket(text, addresses=addresses, now=now + TICKET_MS)
