"""What the contract asks of a listing: complete, without duplicates, bounded, and without payloads."""

from __future__ import annotations

from sessionware.core.admission import Binding
from sessionware.core.session import Session
from sessionware.core.store import PAGE_MAX
from sessionware.testing.contract.exam import Exam, at_once, law, raises
from sessionware.testing.contract.scene import Scene


class Listing(Exam):
    """`list`."""

    @law
    async def test_pages_are_complete_and_never_repeat(self, scene: Scene) -> None:
        """C5."""
        made = [await scene.start(f"{number}", user=f"user {number % 7}") for number in range(40)]
        scene.later(1)
        made += [await scene.start_anonymous() for _ in range(20)]
        for limit in (1, 7, 60, 61):
            listed = [session.key for session in await scene.listed(limit=limit)]
            assert len(listed) == 60, f"{len(listed)} sessions in pages of {limit}"
            assert set(listed) == {session.key for session in made}

    @law
    async def test_a_page_is_no_longer_than_asked(self, scene: Scene) -> None:
        for number in range(5):
            await scene.start(str(number))
        sizes, cursor = [], ""
        for _ in range(3):
            page = await scene.page(limit=2, cursor=cursor)
            sizes.append(len(page.sessions))
            cursor = page.cursor
        assert (sizes, cursor) == ([2, 2, 1], "")
        exact = await scene.page(limit=5)
        assert (len(exact.sessions), exact.cursor, exact.total) == (5, "", 5)

    @law
    async def test_no_page_is_longer_than_the_store_allows(self, scene: Scene) -> None:
        for user in range(11):
            made = [scene.make.session(None, user=str(user)) for _ in range(100)]
            await at_once(100, lambda number, made=made: scene.create(made[number]))  # type: ignore[misc]
        page = await scene.page(limit=10**9)
        assert (len(page.sessions), page.total) == (PAGE_MAX, 1100)
        assert len(await scene.listed(limit=10**9)) == 1100

    @law
    async def test_a_listing_shows_sessions_as_they_are_without_their_payload(self, scene: Scene) -> None:
        work = await scene.start(data=b"d" * 1000, metadata=b"m", org_id="acme", groups=("g",))
        await scene.admit(work, candidate=Binding("tools", "a"))
        stored = await scene.read(work)
        assert await scene.listed() == [stored.without_payload()]
        assert (stored.data, stored.hits) == (b"d" * 1000, 1)

    @law
    async def test_an_owner_sees_his_own(self, scene: Scene) -> None:
        """D15: only alice's, oldest first."""
        alices = [await start_at(scene, user="alice", number=number) for number in range(5)]
        bobs = await start_at(scene, user="bob", number=9)
        for limit in (2, 100):
            listed = await scene.listed(owner=scene.make.owner("alice"), bucket=alices[0].key.bucket, limit=limit)
            assert listed == [session.without_payload() for session in alices]
        listed = await scene.listed(owner=scene.make.owner("bob"), bucket=bobs.key.bucket)
        assert [session.key for session in listed] == [bobs.key]
        assert await scene.listed(owner=scene.make.owner("carol"), bucket=scene.make.bucket("carol")) == []

    @law
    async def test_counting_sends_no_sessions(self, scene: Scene) -> None:
        """D14: how many of one user, how many in all."""
        for number in range(4):
            await scene.start(str(number), user="alice" if number else "bob")
        page = await scene.page(limit=0)
        assert (page.sessions, page.cursor, page.total) == ((), "", 4)
        mine = await scene.page(owner=scene.make.owner("alice"), bucket=scene.make.bucket("alice"), limit=0)
        assert (mine.sessions, mine.cursor, mine.total) == ((), "", 3)

    @law
    async def test_counts_per_upstream_follow_every_change(self, scene: Scene) -> None:
        """What `least_sessions` chooses by."""
        made = [await scene.start(str(number), user=str(number)) for number in range(4)]
        for number, session in enumerate(made):
            await scene.admit(session, candidate=Binding("tools", "a" if number else "b"))
        await scene.admit(made[0], candidate=Binding("files", "a"))
        assert await upstreams(scene) == {("tools", "a"): 3, ("tools", "b"): 1, ("files", "a"): 1}
        await scene.store.rebind(made[1].key, pool="tools", was="a", to="b", now=scene.now)
        await scene.store.rebind(made[0].key, pool="files", was="a", to=None, now=scene.now)
        await scene.end(made[2])
        assert await upstreams(scene) == {("tools", "a"): 1, ("tools", "b"): 2}
        scene.later(made[3].idle)
        await scene.reap()
        assert await upstreams(scene) == {}

    @law
    async def test_the_expired_are_not_shown_and_counted_until_they_are_swept(self, scene: Scene) -> None:
        await scene.start("short", idle=1000)
        long = await scene.start("long")
        scene.later(1000)
        page = await scene.page()
        assert (page.sessions, page.total) == ((long.without_payload(),), 2)
        await scene.reap()
        assert await scene.total() == 1

    @law
    async def test_a_cursor_survives_the_session_it_points_at(self, scene: Scene) -> None:
        made = [await start_at(scene, user="alice", number=number) for number in range(6)]
        page = await scene.page(limit=3)
        for session in page.sessions:
            await scene.end(session)
        rest = await scene.page(limit=10, cursor=page.cursor)
        listed = {session.key for session in rest.sessions}
        assert listed == {session.key for session in made} - {session.key for session in page.sessions}

    @law
    async def test_a_cursor_of_nobody_is_refused(self, scene: Scene) -> None:
        """ST-05."""
        await scene.start()
        for cursor in ("x", "' OR 1=1 --", "*", "9" * 400, "\0"):
            await raises(ValueError, scene.page(cursor=cursor))


async def start_at(scene: Scene, *, user: str, number: int) -> Session:
    """A session that is a millisecond younger than the one before."""
    scene.later(1)
    return await scene.start(str(number), user=user)


async def upstreams(scene: Scene) -> dict[tuple[str, str], int]:
    return (await scene.page(limit=0)).upstreams
