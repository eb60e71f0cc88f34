"""How sessions begin: ids, names, owners, caps and budgets."""

import asyncio
import re

import pytest

from sessionware.config.settings import IssuerSettings
from sessionware.core.facts import TokenRevocation
from sessionware.core.session import EndReason
from sessionware.errors import (
    AllFull,
    IdentityRequired,
    InvalidSessionId,
    InvalidToken,
    InvalidValue,
    OwnerFull,
    PayloadTooLarge,
    PermissionDenied,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
    TooManySessions,
)
from sessionware.service.refusals import OverLimit, SessionDead
from sessionware.testing import Fault
from tests.service.scene import in_scene


@in_scene()
async def test_a10_a_start_under_a_token_belongs_to_its_user(s):
    """A10, D4."""
    made = await s.sessions.start("work", by=s.actor("alice"), metadata={"a": 1})
    assert (made.id, made.session.user_id, made.session.metadata) == ("work", "alice", {"a": 1})
    assert s.witness.starts == []
    await s.runtime.observers.settled()
    assert s.witness.starts == [made.session.record.key]


@in_scene()
async def test_a12_e4_without_an_id_one_is_made_with_256_random_bits(s):
    """A12, E4, E12, SES-01."""
    ids = {(await s.sessions.start(by=s.stranger())).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"a[a-z2-7]{11}\.[A-Za-z0-9_-]{43}", each) for each in ids)
    assert await s.sessions.count() == 20


@in_scene(max_sessions_per_user=100, create_limit="")
async def test_a3_of_fifty_who_start_one_name_at_once_exactly_one_does(s):
    """A3, A43."""
    alice = s.actor()
    answers = await asyncio.gather(*[s.sessions.start("one", by=alice) for _ in range(50)], return_exceptions=True)
    assert sum(isinstance(each, SessionExists) for each in answers) == 49


@in_scene()
async def test_a24_names_are_scoped_per_owner(s):
    """A24, A28: two sessions of one user live side by side, and another user may use the same name."""
    for name in ("alice-work", "alice-personal", "user-alice-x-1"):
        await s.sessions.start(name, by=s.actor())
    await s.sessions.start("alice-work", by=s.actor("bob"))
    assert await s.sessions.count(by=s.actor()) == 3


@pytest.mark.parametrize("name", ["../x", "", "x" * 129, "a b", "a\0b", ".", "..", "start", "current", "s-abc", "ü"])
def test_a28_what_is_no_name_is_refused_before_any_lookup(name):
    """A28, SES-06."""

    @in_scene()
    async def story(s):
        with pytest.raises(InvalidSessionId):
            await s.sessions.start(name, by=s.actor())
        assert s.store.calls.total() == 0

    story()


@in_scene()
async def test_nobody_starts_a_session_under_an_id_that_the_server_made(s):
    """SES-02: no adoption of a client's id."""
    made = await s.sessions.start(by=s.stranger())
    await s.sessions.close(made.id, by=s.holder(made))
    with pytest.raises(InvalidSessionId, match="must not look like an id"):
        await s.sessions.start(made.id, by=s.stranger())


@in_scene()
async def test_a_name_needs_somebody_to_whom_it_belongs(s):
    with pytest.raises(IdentityRequired):
        await s.sessions.start("work", by=s.stranger())


@in_scene(anonymous="off")
async def test_where_an_identity_is_required_a_stranger_starts_nothing(s):
    with pytest.raises(IdentityRequired):
        await s.sessions.start(by=s.stranger())


@in_scene(anonymous="named")
async def test_a9_named_anonymous_sessions_share_one_owner_without_a_user(s):
    """A9."""
    made = await s.sessions.start("user-alice-session-1", by=s.stranger())
    assert (made.id, made.session.user_id) == ("user-alice-session-1", None)
    with pytest.raises(SessionExists):
        await s.sessions.start("user-alice-session-1", by=s.stranger())
    minted = await s.sessions.start(by=s.stranger())
    assert minted.id.startswith("a")  # who chooses no name shares nothing
    assert (await s.sessions.get(minted.id, by=s.holder(minted))).id == minted.id


@in_scene(require_org=True)
async def test_d11_an_organisation_is_required_where_the_settings_say_so(s):
    """D11."""
    with pytest.raises(PermissionDenied):
        await s.sessions.start("work", by=s.actor())


@in_scene()
async def test_b8_the_sixth_session_evicts_the_oldest(s):
    """B8, B6, weak spot 24: the reason is told to the owner."""
    alice = s.actor()
    for number in range(6):
        await s.sessions.start(f"n{number}", by=alice)
        s.clock.advance(1)
    with pytest.raises(SessionDead) as gone:
        await s.sessions.get("n0", by=alice)
    assert gone.value.reason is EndReason.EVICTED
    assert await s.sessions.count(by=alice) == 5
    assert [reason for _, reason in s.witness.ends] == [EndReason.EVICTED]


@in_scene(max_sessions_per_user=5)
async def test_b8_twenty_parallel_starts_never_leave_more_than_five(s):
    """B8."""
    alice = s.actor()
    await asyncio.gather(*[s.sessions.start(by=alice) for _ in range(20)])
    assert await s.sessions.count(by=alice) == 5


@in_scene(max_sessions_per_user=2, on_user_full="refuse")
async def test_a_full_owner_is_refused_with_the_refs_of_what_lives(s):
    alice = s.actor()
    refs = tuple([(await s.sessions.start(f"n{number}", by=alice)).session.ref for number in range(2)])
    with pytest.raises(OwnerFull) as full:
        await s.sessions.start(by=alice)
    assert set(full.value.refs) == set(refs)


@in_scene(max_sessions=3)
async def test_d9_of_twenty_parallel_starts_exactly_the_cap_succeed(s):
    """D9."""
    answers = await asyncio.gather(*[s.sessions.start(by=s.stranger()) for _ in range(20)], return_exceptions=True)
    refused = [each for each in answers if isinstance(each, AllFull)]
    assert len(refused) == 17
    assert str(refused[0]) == "maximum concurrent sessions reached"


@in_scene(max_sessions_per_client=2)
async def test_one_client_holds_only_so_many_anonymous_sessions(s):
    for _ in range(2):
        await s.sessions.start(by=s.stranger())
    with pytest.raises(TooManySessions):
        await s.sessions.start(by=s.stranger())
    await s.sessions.start(by=s.actor())  # a user's are counted by the user


@in_scene(create_limit="2/minute per user")
async def test_ses16_making_sessions_has_a_budget(s):
    """SES-16."""
    for _ in range(2):
        await s.sessions.start(by=s.stranger())
    with pytest.raises(OverLimit) as over:
        await s.sessions.start(by=s.stranger())
    assert (over.value.name, over.value.allowance) == ("create", 2)
    assert over.value.refused.retry_after is not None
    await s.sessions.start(by=s.actor())
    await s.sessions.start()  # the application itself has no budget


@in_scene()
async def test_c1_a_ttl_of_two_seconds_is_over_after_two_seconds(s):
    """C1, A20: gone at once, before any sweep."""
    await s.sessions.start("short", by=s.actor(), ttl=2)
    s.clock.advance(1_999)
    await s.sessions.get("short", by=s.actor())
    s.clock.advance(1)
    with pytest.raises(SessionNotFound):
        await s.sessions.get("short", by=s.actor())


@pytest.mark.parametrize("ttl", [0, -1, True, float("nan"), float("inf"), "2", 86_401])
def test_a_ttl_that_is_no_time_or_above_the_maximum_is_refused(ttl):
    @in_scene()
    async def story(s):
        with pytest.raises(InvalidValue, match="ttl must be"):
            await s.sessions.start(by=s.actor(), ttl=ttl)

    story()


@in_scene()
async def test_an_administrator_may_ask_for_any_ttl(s):
    made = await s.sessions.start(by=s.admin(), ttl=200_000)
    assert made.session.record.idle == 200_000_000


@in_scene()
async def test_c32_metadata_over_its_cap_is_refused_whole(s):
    """C32, SES-17."""
    with pytest.raises(PayloadTooLarge):
        await s.sessions.start(by=s.actor(), metadata={"a": "x" * 65_000 * 2})
    assert await s.sessions.count() == 0


@in_scene(session_token=True)
async def test_b26_b27_a_session_token_is_shown_once_and_asked_for_ever_after(s):
    """B26, B27, B29: only its hash is kept; after the close it is worth nothing."""
    made = await s.sessions.start(by=s.stranger(), data={"mine": 1})
    assert made.token is not None
    assert made.token.encode() not in (made.session.record.data or b"")
    assert made.session.data == {"mine": 1}
    with pytest.raises(InvalidToken):
        await s.sessions.get(made.id, by=s.holder(made))
    with pytest.raises(InvalidToken):
        await s.sessions.get(made.id, by=s.holder(made, session_token="x" * 43))
    right = s.holder(made, session_token=made.token)
    assert (await s.sessions.update(made.id, lambda data: {**data, "n": 1}, by=right)).data == {"mine": 1, "n": 1}
    await s.sessions.close(made.id, by=right)
    with pytest.raises(SessionNotFound):
        await s.sessions.get(made.id, by=right)


@in_scene()
async def test_a_revoked_token_starts_nothing(s):
    """A22."""
    alice = s.actor()
    hash_ = alice.identity.token.hash
    await s.store.revoke(TokenRevocation(hash_, s.clock.now() + 1000), now=s.clock.now())
    with pytest.raises(InvalidToken):
        await s.sessions.start(by=alice)


@in_scene()
async def test_c35_when_the_store_is_down_nothing_is_started(s):
    """C35."""
    s.store.always("admit", Fault.REFUSED)
    with pytest.raises(StoreUnavailable):
        await s.sessions.start(by=s.actor())


@in_scene()
async def test_the_app_acts_as_one_user_where_a_name_needs_one(s):
    with pytest.raises(InvalidValue, match="say by="):
        await s.sessions.start("work")
    made = await s.sessions.start("work", by=s.sessions.user("alice"))
    assert (await s.sessions.get("work", by=s.actor("alice"))).handle == made.session.handle


@pytest.mark.parametrize("user", ["", "x" * 300, "a\nb"])
def test_d10_an_empty_or_foul_user_id_is_no_user(user):
    """D10."""

    @in_scene()
    async def story(s):
        with pytest.raises(InvalidValue, match="invalid user ID"):
            s.sessions.user(user)

    story()


@in_scene(issuers=(IssuerSettings(issuer="https://a"), IssuerSettings(issuer="https://b")))
async def test_with_several_issuers_it_must_be_said_whose_user_is_meant(s):
    with pytest.raises(InvalidValue, match="https://a, https://b"):
        s.sessions.user("alice")
    assert s.sessions.user("alice", iss="https://a") != s.sessions.user("alice", iss="https://b")


@in_scene()
async def test_nothing_that_is_logged_shows_an_id_or_a_token(s):
    made = await s.sessions.start(by=s.stranger())
    shown = repr([made, made.session, s.holder(made, session_token="secret")])
    assert made.id not in shown
    assert "secret" not in shown
