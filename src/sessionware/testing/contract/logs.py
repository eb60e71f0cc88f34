"""What the contract asks of a session's logs: bounded, in order, to the byte, gone with their session."""

from __future__ import annotations

from sessionware.core.session import Session
from sessionware.core.store import Log
from sessionware.errors import SessionNotFound
from sessionware.testing.contract.exam import Exam, at_once, law, raises
from sessionware.testing.contract.scene import Scene


class Logs(Exam):
    """`append` and `tail` (B4, B5)."""

    @law
    async def test_the_newest_items_come_oldest_first(self, scene: Scene) -> None:
        """B5: the two newest, in order; none when none are asked for."""
        work = await scene.start()
        assert await tail(scene, work, 5) == []
        for number in range(5):
            assert await append(scene, work, b"%d" % number) == number + 1
        assert await tail(scene, work, 2) == [b"3", b"4"]
        assert await tail(scene, work, 1) == [b"4"]
        assert await tail(scene, work, 99) == [b"0", b"1", b"2", b"3", b"4"]
        assert await tail(scene, work, 0) == []

    @law
    async def test_a_log_is_bounded_and_still_counts(self, scene: Scene) -> None:
        work = await scene.start()
        counts = [await append(scene, work, b"%d" % number, keep=3) for number in range(10)]
        assert counts == list(range(1, 11))
        assert await tail(scene, work, 99) == [b"7", b"8", b"9"]
        assert await append(scene, work, b"10", keep=1) == 11
        assert await tail(scene, work, 99) == [b"10"]

    @law
    async def test_a_log_that_keeps_nothing_only_counts(self, scene: Scene) -> None:
        work = await scene.start()
        await append(scene, work, b"kept")
        assert await append(scene, work, b"gone", keep=0) == 2
        assert await tail(scene, work, 99) == []

    @law
    async def test_items_come_back_to_the_byte(self, scene: Scene) -> None:
        work = await scene.start()
        items = [b"", b"\0", bytes(range(256)), b"x" * 65_536, "ü'{}*%".encode()]
        for item in items:
            await append(scene, work, item)
        assert await tail(scene, work, 99) == items

    @law
    async def test_parallel_items_are_all_kept(self, scene: Scene) -> None:
        work = await scene.start()
        counts = await at_once(30, lambda number: append(scene, work, b"%d" % number, keep=100))
        assert sorted(counts) == list(range(1, 31))
        assert set(await tail(scene, work, 99)) == {b"%d" % number for number in range(30)}

    @law
    async def test_logs_are_kept_apart(self, scene: Scene) -> None:
        work, other = await scene.start("work"), await scene.start("other")
        await append(scene, work, b"context")
        await scene.store.append(work.key, Log.EVENTS, b"event", keep=10, now=scene.now)
        assert await tail(scene, work, 9) == [b"context"]
        assert list(await scene.store.tail(work.key, Log.EVENTS, 9, now=scene.now)) == [b"event"]
        assert await tail(scene, other, 9) == []

    @law
    async def test_a_log_ends_with_its_session(self, scene: Scene) -> None:
        work = await scene.start("work")
        await append(scene, work, b"secret")
        await scene.end(work)
        await raises(SessionNotFound, tail(scene, work, 9))
        await raises(SessionNotFound, append(scene, work, b"late"))
        again = await scene.start("work")
        assert await tail(scene, again, 9) == []
        assert await append(scene, again, b"new") == 1

    @law
    async def test_writing_a_log_is_no_activity(self, scene: Scene) -> None:
        work = await scene.start()
        scene.later(1000)
        await append(scene, work, b"x")
        await tail(scene, work, 1)
        assert await scene.get(work) == work


async def append(scene: Scene, session: Session, item: bytes, *, keep: int = 10) -> int:
    return await scene.store.append(session.key, Log.CONTEXT, item, keep=keep, now=scene.now)


async def tail(scene: Scene, session: Session, count: int) -> list[bytes]:
    return list(await scene.store.tail(session.key, Log.CONTEXT, count, now=scene.now))
