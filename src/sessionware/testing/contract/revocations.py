"""What the contract asks of `revoke`: in force when it returns, for one token or for one owner before an instant."""

from __future__ import annotations

from sessionware.core.admission import Outcome, Token
from sessionware.core.facts import OwnerRevocation, TokenRevocation
from sessionware.core.session import EndReason
from sessionware.core.windows import NEVER
from sessionware.testing.contract.exam import Exam, law
from sessionware.testing.contract.scene import Scene

DAY = 86_400_000


class Revocations(Exam):
    """A22 at the store."""

    @law
    async def test_a_revoked_token_is_refused_everywhere_and_no_other(self, scene: Scene) -> None:
        """JWT-13."""
        work, bad, good = await scene.start(), scene.make.token("bad"), scene.make.token("good")
        assert await scene.revoke(TokenRevocation(bad.hash, NEVER)) == []
        assert await scene.outcome(work, token=bad) is Outcome.REVOKED
        assert await scene.outcome(owner=work.birth.owner, token=bad) is Outcome.REVOKED
        template = scene.make.new(scene.make.session("new"))
        assert await scene.outcome(template.session, new=template, token=bad) is Outcome.REVOKED
        assert await scene.get(template.session) is None
        assert await scene.outcome(work, token=good) is Outcome.ADMITTED
        assert (await scene.read(work)).hits == 1

    @law
    async def test_revoking_a_token_ends_the_sessions_that_it_started(self, scene: Scene) -> None:
        bad, good = scene.make.token("bad"), scene.make.token("good")
        started = [await scene.start(name, started_by=bad.hash) for name in ("one", "two")]
        others = await scene.start("good", started_by=good.hash)
        derived = await scene.start("default")
        ended = await scene.revoke(TokenRevocation(bad.hash, NEVER))
        assert {each.session.key for each in ended} == {session.key for session in started}
        assert {(each.reason, each.ended_at) for each in ended} == {(EndReason.REVOKED, scene.now)}
        assert [await scene.lives(session) for session in (*started, others, derived)] == [False, False, True, True]
        assert await scene.why_gone(started[0]) is EndReason.REVOKED
        assert await scene.revoke(TokenRevocation(bad.hash, NEVER)) == []

    @law
    async def test_a_revoked_token_is_remembered_until_it_would_have_expired(self, scene: Scene) -> None:
        work, token = await scene.start(idle=0), scene.make.token()
        await scene.revoke(TokenRevocation(token.hash, scene.now + 2000))
        await scene.revoke(TokenRevocation(token.hash, scene.now + 1000))
        scene.later(1999)
        await scene.reap()
        assert await scene.outcome(work, token=token) is Outcome.REVOKED
        scene.later(1)
        assert await scene.outcome(work, token=token) is Outcome.ADMITTED

    @law
    async def test_an_owner_is_refused_with_what_was_issued_before(self, scene: Scene) -> None:
        """SES-10: logout everywhere is one instant, not a scan."""
        owner, before = scene.make.owner(), scene.now
        scene.later(5000)
        await scene.revoke(OwnerRevocation(scene.make.bucket(), owner, before))
        outcomes = [
            await scene.outcome(owner=owner, token=scene.make.token("any", issued_at=before + late))
            for late in (-1000, 0, 1, 5000)
        ]
        assert outcomes == [Outcome.REVOKED, Outcome.REVOKED, Outcome.ADMITTED, Outcome.ADMITTED]
        bob = scene.make.owner("bob")
        assert await scene.outcome(owner=bob, token=scene.make.token(issued_at=0)) is Outcome.ADMITTED

    @law
    async def test_revoking_an_owner_ends_the_sessions_that_were_made_before(self, scene: Scene) -> None:
        old = await scene.start("old")
        scene.later(1)
        edge = await scene.start("edge")
        scene.later(1)
        new, bobs = await scene.start("new"), await scene.start("bobs", user="bob", created_at=scene.now - 2)
        ended = await scene.revoke(OwnerRevocation(old.key.bucket, old.birth.owner, edge.birth.created_at))
        assert {each.session.key for each in ended} == {old.key, edge.key}
        assert {each.reason for each in ended} == {EndReason.REVOKED}
        assert [await scene.lives(session) for session in (old, edge, new, bobs)] == [False, False, True, True]
        assert await scene.outcome(new) is Outcome.ADMITTED

    @law
    async def test_an_old_token_does_not_open_a_new_session(self, scene: Scene) -> None:
        await scene.revoke(OwnerRevocation(scene.make.bucket(), scene.make.owner(), scene.now))
        old = Token(scene.make.token().hash, scene.now)
        scene.later(1000)
        work = await scene.start()
        assert await scene.outcome(work, token=old) is Outcome.REVOKED
        template = scene.make.new(scene.make.session("new"))
        assert await scene.outcome(template.session, new=template, token=old) is Outcome.REVOKED
        assert await scene.outcome(work) is Outcome.ADMITTED

    @law
    async def test_an_earlier_instant_takes_nothing_back(self, scene: Scene) -> None:
        owner, bucket, now = scene.make.owner(), scene.make.bucket(), scene.now
        await scene.revoke(OwnerRevocation(bucket, owner, now))
        await scene.revoke(OwnerRevocation(bucket, owner, now - 5000))
        assert await scene.outcome(owner=owner, token=scene.make.token(issued_at=now)) is Outcome.REVOKED
        scene.later(400 * DAY)
        await scene.reap()
        assert await scene.outcome(owner=owner, token=scene.make.token(issued_at=now)) is Outcome.REVOKED

    @law
    async def test_a_session_that_was_made_too_late_to_be_ended_is_refused(self, scene: Scene) -> None:
        """A worker whose clock lags made it after the revocation, with an instant before it."""
        await scene.revoke(OwnerRevocation(scene.make.bucket(), scene.make.owner(), scene.now))
        work = await scene.start("work")
        answer = await scene.admit(work)
        assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, EndReason.REVOKED)
        scene.later(1)
        template = scene.make.new(scene.make.session("work"))
        anew = await scene.admit(template.session, new=template)
        assert (anew.outcome, anew.is_new) == (Outcome.ADMITTED, True)
        assert [(ended.session.key, ended.reason) for ended in anew.evicted] == [(work.key, EndReason.REVOKED)]

    @law
    async def test_what_has_expired_is_not_revoked_any_more(self, scene: Scene) -> None:
        token = scene.make.token()
        work = await scene.start(idle=1000, started_by=token.hash)
        scene.later(1000)
        assert await scene.revoke(TokenRevocation(token.hash, NEVER)) == []
        assert await scene.revoke(OwnerRevocation(work.key.bucket, work.birth.owner, scene.now)) == []
        assert [ended.reason for ended in await scene.reap()] == [EndReason.EXPIRED]

    @law
    async def test_a_hundred_sessions_of_one_owner_end_together(self, scene: Scene) -> None:
        """SES-10."""
        made = [await scene.start(None) for _ in range(100)]
        ended = await scene.revoke(OwnerRevocation(scene.make.bucket(), scene.make.owner(), scene.now))
        assert {each.session.key for each in ended} == {session.key for session in made}
        assert await scene.total() == 0
