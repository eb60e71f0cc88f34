"""What the contract asks of a session's record: made once, read to the byte, changed by compare-and-set."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from sessionware.core.admission import Binding, Caps
from sessionware.core.facts import Renewed, SessionLimits, Touched
from sessionware.core.session import Proof, Session
from sessionware.core.store import OPERATION_KEEP_MS, Log, Making
from sessionware.errors import Conflict, SessionNotFound
from sessionware.testing.contract.exam import Exam, at_once, law, raises
from sessionware.testing.contract.scene import Scene

EVERY_BYTE = bytes(range(256))
HOSTILE = ("*", "%", "_", "'; DROP TABLE sessions; --", '"', "{}", "{0}:x", "?[a-z]", "\\", "a\nb", "ü—🙂", "-1", "nil")


class Records(Exam):
    """`create`, `get` and `update`."""

    @law
    async def test_a_fresh_store_is_empty(self, scene: Scene) -> None:
        assert await scene.get(scene.make.key("work")) is None
        page = await scene.page()
        assert (page.sessions, page.total, page.cursor) == ((), 0, "")
        assert await scene.reap() == []

    @law
    async def test_what_was_created_can_be_read(self, scene: Scene) -> None:
        work = scene.make.session("work", data=b"d", metadata=b"m")
        made = await scene.create(work)
        assert made.outcome is Making.CREATED
        assert made.session is not None
        assert made.session.without_payload() == work.without_payload()
        assert made.evicted == ()
        assert await scene.get(work) == work

    @law
    async def test_every_field_of_a_session_comes_back(self, scene: Scene) -> None:
        full = scene.make.session(
            None, proof=Proof.ID, user_id="u1", issuer="i1", org_id="o1", groups=("g1", "g2"), client="1.2.3.4",
            started_by=b"t" * 16, idle=1234, absolute_at=scene.now + 9999, hits=7, revision=3, metadata=b"m", data=b"d",
            bindings={"tools": "http://a:1/mcp", "files": "http://b:2/mcp"},
        )  # fmt: skip
        await scene.create(full)
        assert await scene.get(full) == full

    @law
    async def test_payloads_come_back_to_the_byte(self, scene: Scene) -> None:
        work = await scene.start(data=EVERY_BYTE, metadata=b"\0" + EVERY_BYTE + b"\0")
        assert await scene.get(work) == work
        await scene.update(work, data=b"\0", metadata=EVERY_BYTE[::-1])
        found = await scene.read(work)
        assert (found.data, found.metadata) == (b"\0", EVERY_BYTE[::-1])

    @law
    async def test_a_large_payload_comes_back_to_the_byte(self, scene: Scene) -> None:
        large = EVERY_BYTE * 800  # 200 KiB
        work = await scene.start(data=large, metadata=large[:65_536])
        assert await scene.get(work) == work
        answer = await scene.admit(work)
        assert answer.session is not None
        assert answer.session.data == large

    @law
    async def test_hostile_text_is_only_text(self, scene: Scene) -> None:
        """ST-05: names, users and pools are never part of a pattern, a query or a key's structure."""
        made = [
            await scene.start(text, user=text, org_id=text, groups=(text,), client=text, bindings={text: text})
            for text in HOSTILE
        ]
        for text, session in zip(HOSTILE, made, strict=True):
            assert await scene.get(session) == session
            owned = await scene.listed(owner=session.birth.owner, bucket=session.key.bucket)
            assert owned == [session.without_payload()], f"{text!r} lists other sessions"
        assert await scene.delete(made[0]) is not None
        assert await scene.total() == len(HOSTILE) - 1

    @law
    async def test_a_name_means_something_beside_its_owner_only(self, scene: Scene) -> None:
        """A24, and the decision on A4: bob's `work` is not alice's."""
        alices = await scene.start("work", user="alice", data=b"a")
        bobs = await scene.start("work", user="bob", data=b"b")
        assert await scene.get(alices) == alices
        assert await scene.get(bobs) == bobs
        await scene.end(alices)
        assert await scene.get(bobs) == bobs

    @law
    async def test_a_taken_name_is_shown_to_its_owner_and_left_as_it_is(self, scene: Scene) -> None:
        """A43."""
        work = await scene.start("work", data=b"first")
        scene.later(1000)
        again = await scene.create(scene.make.session("work", data=b"second"))
        assert again.outcome is Making.EXISTS
        assert again.session is not None
        assert again.session.without_payload() == work.without_payload()
        stranger = scene.make.session("work", owner=scene.make.owner("bob"))
        taken = await scene.create(stranger)
        assert (taken.outcome, taken.session) == (Making.EXISTS, None), "bob was shown alice's session"
        assert await scene.get(work) == work

    @law
    async def test_fifty_creates_of_one_name_make_exactly_one(self, scene: Scene) -> None:
        """A3."""
        sessions = [scene.make.session("work", data=str(number).encode()) for number in range(50)]
        made = await at_once(50, lambda number: scene.create(sessions[number]))
        outcomes = [each.outcome for each in made]
        assert (outcomes.count(Making.CREATED), outcomes.count(Making.EXISTS)) == (1, 49)
        assert await scene.get(sessions[0]) == sessions[outcomes.index(Making.CREATED)]
        assert await scene.total() == 1

    @law
    async def test_a_repeated_create_gets_its_first_answer(self, scene: Scene) -> None:
        caps, operation = Caps(per_owner=1), scene.make.operation()
        await scene.start("old", caps=caps)
        work = scene.make.session("work")
        first = await scene.create(work, caps, operation=operation)
        again = await scene.create(work, caps, operation=operation)
        assert len(first.evicted) == 1
        assert again.outcome is Making.CREATED
        assert again.session is not None
        assert again.session.without_payload() == work.without_payload()
        assert again.evicted == (), "an end was handed over twice"
        assert await scene.total() == 1

    @law
    async def test_parallel_repeats_of_a_create_all_succeed_once(self, scene: Scene) -> None:
        work, operation = scene.make.session("work"), scene.make.operation()
        made = await at_once(10, lambda _: scene.create(work, operation=operation))
        assert [each.outcome for each in made] == [Making.CREATED] * 10
        assert await scene.total() == 1

    @law
    async def test_an_operation_is_remembered_for_a_while_only(self, scene: Scene) -> None:
        work, operation = scene.make.session("work", idle=0), scene.make.operation()
        await scene.create(work, operation=operation)
        scene.later(OPERATION_KEEP_MS - 1)
        assert (await scene.create(work, operation=operation)).outcome is Making.CREATED
        scene.later(1)
        assert (await scene.create(work, operation=operation)).outcome is Making.EXISTS

    @law
    async def test_an_operation_belongs_to_its_owner_and_its_method(self, scene: Scene) -> None:
        operation = scene.make.operation()
        alices, bobs = scene.make.session("work"), scene.make.session("work", user="bob")
        assert (await scene.create(alices, operation=operation)).session is not None
        made = await scene.create(bobs, operation=operation)
        assert made.session is not None
        assert made.session.key == bobs.key, "bob got alice's answer"
        answer = await scene.admit(alices, operation=operation, once=True)
        assert answer.tallies == ()
        linked = await scene.store.link(scene.make.link(alices), operation=operation, now=scene.now)
        assert linked.link.session == alices.key

    @law
    async def test_a_refused_create_is_not_remembered(self, scene: Scene) -> None:
        caps, operation = Caps(per_owner=1, evict=False), scene.make.operation()
        old, work = await scene.start("old", caps=caps), scene.make.session("work")
        assert (await scene.create(work, caps, operation=operation)).outcome is Making.FULL
        await scene.end(old)
        assert (await scene.create(work, caps, operation=operation)).outcome is Making.CREATED

    @law
    async def test_an_update_writes_payload_and_lifetime_and_moves_the_revision(self, scene: Scene) -> None:
        """C3, C24: and it counts as activity."""
        work = await scene.start(data=b"old", metadata=b"old")
        await scene.admit(work, candidate=Binding("tools", "http://a:1/mcp"))
        stored = await scene.read(work)
        scene.later(1000)
        written = await scene.update(stored, data=b"new", metadata=b"", idle=5000)
        wanted = replace(
            stored, data=b"new", metadata=b"", idle=5000, revision=stored.revision + 1,
            seen_at=scene.now, expires_at=scene.now + 5000,
        )  # fmt: skip
        assert written.without_payload() == wanted.without_payload()
        assert await scene.get(work) == wanted

    @law
    async def test_an_update_leaves_a_payload_that_is_none_as_it_is(self, scene: Scene) -> None:
        work = await scene.start(data=b"data", metadata=b"metadata")
        await scene.update(work, data=None, metadata=None)
        half = await scene.update(await scene.read(work), data=None, metadata=b"new")
        found = await scene.read(work)
        assert (found.data, found.metadata) == (b"data", b"new")
        assert (found.revision, half.revision) == (work.revision + 2, work.revision + 2)

    @law
    async def test_an_update_writes_nothing_else(self, scene: Scene) -> None:
        work = await scene.start()
        await scene.record(SessionLimits(work.key, {"calls": 5}))
        await scene.admit(work, candidate=Binding("tools", "a"))
        await scene.link(work)
        stored = await scene.read(work)
        await scene.update(replace(stored, limits={}, bindings={}, links=(), hits=0), data=b"new")
        found = await scene.read(work)
        kept = (found.limits, found.bindings, found.links, found.hits)
        assert kept == (stored.limits, stored.bindings, stored.links, stored.hits)

    @law
    async def test_a_stale_update_conflicts_and_changes_nothing(self, scene: Scene) -> None:
        work = await scene.start(data=b"first")
        await scene.update(work, data=b"second")
        stands = await scene.read(work)
        scene.later(1000)
        error = await raises(Conflict, scene.update(work, data=b"stale", idle=1))
        assert error.revision == stands.revision
        assert await scene.get(work) == stands

    @law
    async def test_an_update_never_makes_a_session(self, scene: Scene) -> None:
        work = scene.make.session("work")
        await raises(SessionNotFound, scene.update(work))
        await scene.create(work)
        await scene.end(work)
        await raises(SessionNotFound, scene.update(work))
        assert await scene.get(work) is None

    @law
    async def test_concurrent_changes_are_never_lost(self, scene: Scene) -> None:
        """A39, C3, SES-18: a loser sees the conflict and tries again."""
        work = await scene.start(data=b"0")

        async def add_one(_: int) -> None:
            while True:
                stored = await scene.read(work)
                assert stored.data is not None
                await asyncio.sleep(0)  # let the others read the same
                try:
                    await scene.update(stored, data=str(int(stored.data) + 1).encode())
                except Conflict:
                    continue
                return

        await at_once(20, add_one)
        found = await scene.read(work)
        assert (found.data, found.revision) == (b"20", work.revision + 20)

    @law
    async def test_the_revision_moves_on_content_only(self, scene: Scene) -> None:
        work = await scene.start()
        lease = scene.make.lease()
        await scene.admit(work, leases=(lease,), spends=(scene.make.spend(),), candidate=Binding("tools", "a"))
        await scene.record(
            Touched(work.key, scene.now, 3),
            Renewed(work.key.bucket, scene.make.operation(), work.key, (lease,), scene.now + 1000),
        )
        await scene.store.rebind(work.key, pool="tools", was="a", to="b", now=scene.now)
        await scene.link(work)
        await scene.store.append(work.key, Log.CONTEXT, b"x", keep=5, now=scene.now)
        assert (await scene.read(work)).revision == work.revision
        await scene.record(SessionLimits(work.key, {"calls": 5}))
        assert (await scene.read(work)).revision == work.revision + 1

    @law
    async def test_anonymous_sessions_are_kept_apart(self, scene: Scene) -> None:
        """SES-01 at the store: 20 anonymous creates are 20 live sessions, whatever one owner may have."""
        made: list[Session] = [scene.make.anonymous() for _ in range(20)]
        await at_once(20, lambda number: scene.create(made[number], Caps()))
        assert await scene.total() == 20
        for session in made:
            assert await scene.get(session) == session
