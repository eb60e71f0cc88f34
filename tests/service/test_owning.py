"""Whose session is it: 403, 404, handles, administrators, presented ids."""

import pytest
from msgspec.structs import replace

from sessionware.core.ids import MintedId, SessionName
from sessionware.errors import IdentityRequired, InvalidToken, InvalidValue, PermissionDenied, SessionNotFound
from sessionware.service import Actor, Sessions
from sessionware.service.refusals import SessionDead
from sessionware.telemetry import Telemetry
from sessionware.telemetry.audit import AuditEvent
from tests.service.scene import in_scene


@in_scene()
async def test_a4_a_foreign_minted_id_is_refused_without_a_lookup(s):
    """A4, A16, A44, SES-03."""
    made = await s.sessions.start(by=s.actor("alice"))
    asked = s.store.calls.total()
    for verb in (s.sessions.get, s.sessions.ping, s.sessions.status, s.sessions.close, s.sessions.rotate):
        with pytest.raises(PermissionDenied, match="Permission denied"):
            await verb(made.id, by=s.actor("bob"))
    assert s.store.calls.total() == asked


@in_scene()
async def test_a16_a_name_that_only_alice_uses_is_nothing_to_bob(s):
    """A16."""
    await s.sessions.start("work", by=s.actor("alice"))
    with pytest.raises(SessionNotFound):
        await s.sessions.get("work", by=s.actor("bob"))


@in_scene()
async def test_an_id_made_under_a_token_is_nothing_without_the_token(s):
    """Store rule 2: answered exactly as unknown."""
    made = await s.sessions.start(by=s.actor())
    with pytest.raises(SessionDead) as gone:
        await s.sessions.get(made.id, by=s.holder(made))
    assert gone.value.reason is None


@in_scene()
async def test_a_token_beside_an_anonymous_id_is_refused(s):
    """SES-04."""
    made = await s.sessions.start(by=s.stranger())
    with pytest.raises(PermissionDenied):
        await s.sessions.get(made.id, by=s.actor())


@in_scene()
async def test_a_handle_opens_to_its_owner_and_to_administrators_only(s):
    made = await s.sessions.start("work", by=s.actor("alice"))
    handle = made.session.handle
    assert (await s.sessions.get(handle, by=s.actor("alice"))).id == "work"
    assert (await s.sessions.get(handle, by=s.admin())).id == "work"
    with pytest.raises(PermissionDenied):
        await s.sessions.get(handle, by=s.actor("bob"))
    with pytest.raises(SessionNotFound):
        await s.sessions.get(handle, by=s.stranger())


@in_scene()
async def test_a_handle_is_no_credential_but_the_presented_id_is(s):
    made = await s.sessions.start(by=s.stranger())
    handle = made.session.handle
    with pytest.raises(SessionNotFound):
        await s.sessions.get(handle, by=s.stranger())
    found = await s.sessions.get(handle, by=s.holder(made))
    assert found.id == handle  # the id itself is shown to nobody


@in_scene()
async def test_an_administrator_sees_every_session_by_id_and_handle(s):
    made = await s.sessions.start(by=s.actor("alice"), metadata={"a": 1})
    assert (await s.sessions.get(made.id, by=s.admin())).metadata == {"a": 1}
    pinged = await s.sessions.ping(made.session.handle, by=s.admin())
    assert pinged.total_requests == 1
    await s.sessions.close(made.id, by=s.admin())
    with pytest.raises(SessionNotFound):
        await s.sessions.get(made.id, by=s.admin())


@in_scene()
async def test_a_revoked_administrator_is_none(s):
    made = await s.sessions.start(by=s.actor("alice"))
    admin = s.admin()
    await s.sessions.revoke(user="root")
    with pytest.raises(InvalidToken):
        await s.sessions.get(made.id, by=admin)
    with pytest.raises(InvalidToken):
        await s.sessions.list(by=admin, everyone=True)


@in_scene()
async def test_what_administrators_do_is_refused_to_everybody_else(s):
    for act in (
        lambda by: s.sessions.cleanup(by=by),
        lambda by: s.sessions.set_limits({"create": 1}, user="bob", by=by),
        lambda by: s.sessions.revoke(user="bob", by=by),
        lambda by: s.sessions.list(by=by, everyone=True),
    ):
        with pytest.raises(PermissionDenied):
            await act(s.actor())
        with pytest.raises(IdentityRequired):
            await act(s.stranger())


@in_scene()
async def test_d15_a_listing_shows_ones_own_and_no_id(s):
    """D15, D14, A21, C5."""
    alice = s.actor("alice")
    made = [await s.sessions.start(by=alice) for _ in range(3)]
    await s.sessions.start(by=s.actor("bob"))
    await s.sessions.close(made[0].id, by=alice)
    shown = (await s.sessions.list(by=alice)).sessions
    assert {each.handle for each in shown} == {each.session.handle for each in made[1:]}
    assert not {each.id for each in shown} & {each.id for each in made}
    assert (await s.sessions.count(by=alice), await s.sessions.count()) == (2, 3)


@in_scene(max_sessions_per_user=0, create_limit="")
async def test_c5_a_listing_is_complete_over_all_its_pages(s):
    """C5."""
    for _ in range(25):
        await s.sessions.start(by=s.stranger())
    handles, cursor = [], ""
    while True:
        page = await s.sessions.list(limit=10, cursor=cursor)
        handles += [each.handle for each in page.sessions]
        cursor = page.cursor
        if not cursor:
            break
    assert len(handles) == len(set(handles)) == 25


@pytest.mark.parametrize(("cursor", "limit"), [("nonsense", 10), ("", 0), ("", -1), ("", True)])
def test_a_cursor_or_limit_that_is_none_is_refused(cursor, limit):
    @in_scene()
    async def story(s):
        with pytest.raises(InvalidValue):
            await s.sessions.list(cursor=cursor, limit=limit)

    story()


@in_scene()
async def test_who_presents_an_anonymous_session_lists_just_that(s):
    made = await s.sessions.start(by=s.stranger())
    await s.sessions.start(by=s.stranger())
    assert [each.handle for each in (await s.sessions.list(by=s.holder(made))).sessions] == [made.session.handle]
    with pytest.raises(IdentityRequired):
        await s.sessions.list(by=s.stranger())


@in_scene()
async def test_closing_all_but_the_current_one_leaves_it_alone(s):
    """Log out everywhere else."""
    alice = s.actor()
    made = [await s.sessions.start(by=alice) for _ in range(3)]
    here = Actor(identity=alice.identity, presented=MintedId(made[1].id))
    closed = await s.sessions.close_all(by=here, except_current=True)
    assert sorted(closed) == sorted([made[0].session.handle, made[2].session.handle])
    assert len(await s.sessions.close_all(by=here)) == 1


@in_scene()
async def test_the_current_session_is_the_presented_one_else_the_one_the_identity_selects(s):
    await s.sessions.start("default", by=s.actor())
    await s.sessions.start("other", by=s.actor())
    alice = s.actor()
    first = await s.sessions.ticket(by=alice)
    second = await s.sessions.ticket(by=Actor(identity=alice.identity, presented=SessionName("other")))
    assert first != second
    with pytest.raises(IdentityRequired, match="No session ID provided"):
        await s.sessions.ticket(by=s.stranger())


@in_scene(partition="org")
async def test_members_of_one_organisation_do_not_own_each_others_sessions(s):
    alice = Actor(identity=s.identity("alice", org_id="acme"))
    bob = Actor(identity=s.identity("bob", org_id="acme"))
    made = await s.sessions.start(by=alice)
    assert made.id.startswith("o")
    with pytest.raises(PermissionDenied):
        await s.sessions.get(made.id, by=bob)
    assert await s.sessions.count(by=bob) == 0


@in_scene()
async def test_adm04_what_administrators_do_is_audited_with_refs_only(s):
    """ADM-04."""
    told: list[AuditEvent] = []
    audited = Telemetry(audit=told.append)
    sessions = Sessions(replace(s.runtime, telemetry=audited))
    made = await sessions.start(by=s.actor("alice"))
    await sessions.close(made.id, by=s.admin())
    await sessions.revoke(user="alice", by=s.admin())
    admin = [(each.reason, each.user, dict(each.details)) for each in told if each.event == "admin"]
    assert admin == [("session", "root", {"ref": made.session.ref}), ("revoke", "root", {"user": "alice"})]
    assert made.id not in str(told)
