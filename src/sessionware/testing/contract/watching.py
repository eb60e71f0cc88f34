"""What the contract asks of `watch`: every worker hears of ends and revocations within a second."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sessionware.core.admission import Caps
from sessionware.core.facts import (
    Event,
    Gap,
    Interrupted,
    OrgLimits,
    OrgLimitsNow,
    OwnerRevocation,
    Revoked,
    SessionGone,
    TokenRevocation,
)
from sessionware.core.session import EndReason, Override
from sessionware.core.windows import NEVER
from sessionware.testing.contract.exam import Exam, law
from sessionware.testing.contract.moving import rotate
from sessionware.testing.contract.scene import Scene, hear, hear_of


class Watching(Exam):
    """`watch`."""

    @law
    async def test_a_watch_starts_with_a_gap(self, scene: Scene) -> None:
        """Whatever happened before may have been missed: re-check."""
        assert await hear(scene.store.watch()) == Gap()

    @law
    async def test_every_end_is_heard_with_its_reason(self, scene: Scene) -> None:
        """SES-09."""
        watch = await listening(scene)
        caps = Caps(per_owner=1)
        evicted = await scene.start("evicted", caps=caps)
        ended = await scene.start("ended", caps=caps)
        await scene.end(ended, EndReason.UPSTREAM_LOST)
        expired = await scene.start("expired", idle=1000)
        scene.later(1000)
        await scene.reap()
        unlinked = await scene.start(None)
        await scene.store.unlink((await scene.link(unlinked)).key, now=scene.now)
        await hear_of(watch, SessionGone(evicted.key, EndReason.EVICTED))
        await hear_of(watch, SessionGone(ended.key, EndReason.UPSTREAM_LOST))
        await hear_of(watch, SessionGone(expired.key, EndReason.EXPIRED))
        await hear_of(watch, SessionGone(unlinked.key, EndReason.ENDED))

    @law
    async def test_an_id_that_was_rotated_away_is_heard_of(self, scene: Scene) -> None:
        """SES-11: what was opened under it must close."""
        watch = await listening(scene)
        work = await scene.start()
        await rotate(scene, work)
        await hear_of(watch, SessionGone(work.key, EndReason.ROTATED))

    @law
    async def test_revocations_are_heard(self, scene: Scene) -> None:
        watch = await listening(scene)
        work, token = await scene.start(), scene.make.token()
        by_token = TokenRevocation(token.hash, NEVER)
        by_owner = OwnerRevocation(work.key.bucket, work.birth.owner, scene.now)
        await scene.revoke(by_token)
        await hear_of(watch, Revoked(by_token))
        await scene.revoke(by_owner)
        heard = [await hear(watch), await hear(watch)]
        assert Revoked(by_owner) in heard
        assert SessionGone(work.key, EndReason.REVOKED) in heard

    @law
    async def test_an_interrupt_is_heard(self, scene: Scene) -> None:
        """E9: only for a session that is there."""
        watch = await listening(scene)
        work = await scene.start()
        await scene.record(Interrupted(scene.make.key("nothing")), Interrupted(work.key, scene.now))
        assert await hear(watch) == Interrupted(work.key, scene.now)

    @law
    async def test_the_limits_of_an_organisation_are_heard_as_they_stand(self, scene: Scene) -> None:
        watch = await listening(scene)
        acme = scene.make.owner("acme")
        await scene.record(OrgLimits(acme, {"calls": 5}))
        await hear_of(watch, OrgLimitsNow(acme, {"calls": Override(5, NEVER)}))
        await scene.record(OrgLimits(acme, {"tokens": 9}, scene.now + 1000))
        both = {"calls": Override(5, NEVER), "tokens": Override(9, scene.now + 1000)}
        await hear_of(watch, OrgLimitsNow(acme, both))
        await scene.record(OrgLimits(acme, {"calls": None}))
        await hear_of(watch, OrgLimitsNow(acme, {"tokens": Override(9, scene.now + 1000)}))

    @law
    async def test_a_new_watcher_is_told_the_limits_of_all_organisations(self, scene: Scene) -> None:
        acme, umbrella, gone = [scene.make.owner(name) for name in ("acme", "umbrella", "gone")]
        for org, limits in ((acme, {"calls": 5}), (umbrella, {"calls": 6}), (gone, {"calls": 7})):
            await scene.record(OrgLimits(org, dict(limits)))
        await scene.record(OrgLimits(gone, {"calls": None}))
        watch = scene.store.watch()
        assert await hear(watch) == Gap()
        heard = [event for event in (await hear(watch), await hear(watch)) if isinstance(event, OrgLimitsNow)]
        assert {event.org: event.limits for event in heard} == {
            acme: {"calls": Override(5, NEVER)}, umbrella: {"calls": Override(6, NEVER)}
        }  # fmt: skip

    @law
    async def test_every_watcher_hears_everything(self, scene: Scene) -> None:
        watches = [await listening(scene) for _ in range(3)]
        work = await scene.start()
        await scene.end(work)
        for watch in watches:
            await hear_of(watch, SessionGone(work.key, EndReason.ENDED))


async def listening(scene: Scene) -> AsyncIterator[Event]:
    """A watch that is known to listen: it has said its first word."""
    watch = scene.store.watch()
    assert await hear(watch) == Gap()
    return watch
