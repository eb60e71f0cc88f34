"""What the contract asks of links: legacy MCP sessions inside a session, and of bindings to upstreams."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import Admitted, Outcome
from sessionware.core.session import EndReason
from sessionware.core.store import LINKS_MAX
from sessionware.errors import SessionNotFound
from sessionware.testing.contract.exam import Exam, at_once, law, raises
from sessionware.testing.contract.scene import Scene


class Links(Exam):
    """`link`, `unlink`, and admissions by link."""

    @law
    async def test_a_link_stands_for_its_session(self, scene: Scene) -> None:
        work = await scene.start(data=b"d")
        link = await scene.link(work, upstream_id="u-7", handshake=b"\0hello")
        scene.later(1000)
        answer = await scene.admit(key=None, link=link.key, owner=work.birth.owner)
        assert answer.outcome is Outcome.ADMITTED
        assert answer.session is not None
        assert (answer.session.key, answer.session.data, answer.session.hits) == (work.key, b"d", 1)
        assert answer.link is not None
        assert replace(answer.link, handshake=b"") == replace(link, seen_at=scene.now, handshake=b"")

    @law
    async def test_a_link_is_read_with_its_session(self, scene: Scene) -> None:
        work = await scene.start()
        links = [await scene.link(work, str(number), handshake=bytes([number, 0])) for number in range(3)]
        assert set((await scene.read(work)).links) == set(links)
        answer = await scene.admit(work)
        assert answer.session is not None
        assert answer.session.links == (), "links travel with `get`, not with every request"

    @law
    async def test_a_link_beside_its_session_is_checked_against_it(self, scene: Scene) -> None:
        work, other = await scene.start("work"), await scene.start("other")
        link = await scene.link(work)
        unknown = Admitted(Outcome.UNKNOWN, scene.now)
        assert await scene.outcome(work, link=link.key) is Outcome.ADMITTED
        assert await scene.admit(other, link=link.key) == unknown
        assert await scene.admit(work, link=scene.make.key_beside(work.key)) == unknown
        assert (await scene.read(work)).hits == 1

    @law
    async def test_a_lost_link_is_never_replaced_by_a_new_session(self, scene: Scene) -> None:
        """Its holder must learn that it is gone, and initialise again."""
        lost = scene.make.key_beside(scene.make.key("work"))
        template = scene.make.new(scene.make.session("work"))
        assert await scene.outcome(template.session, new=template, link=lost) is Outcome.UNKNOWN
        assert await scene.total() == 0
        work = await scene.start("work")
        assert await scene.outcome(work, new=template, link=lost) is Outcome.UNKNOWN
        assert await scene.get(work) == work

    @law
    async def test_a_link_opens_nothing_to_another_owner(self, scene: Scene) -> None:
        work = await scene.start()
        link = await scene.link(work)
        bob = scene.make.owner("bob")
        assert await scene.admit(link=link.key, owner=bob) == Admitted(Outcome.FOREIGN, scene.now)
        assert await scene.admit(link=link.key) == Admitted(Outcome.UNKNOWN, scene.now)
        assert (await scene.read(work)).links == (link,)

    @law
    async def test_a_request_that_does_not_touch_does_not_touch_the_link(self, scene: Scene) -> None:
        work = await scene.start()
        link = await scene.link(work)
        scene.later(1000)
        await scene.admit(work, link=link.key, touch=False)
        await scene.admit(work, link=link.key, spends=(scene.make.spend(allowance=0),))
        assert (await scene.read(work)).links == (link,)

    @law
    async def test_a_link_ends_with_its_session_and_is_handed_back(self, scene: Scene) -> None:
        work = await scene.start(idle=1000)
        links = [await scene.link(work, str(number)) for number in range(3)]
        scene.later(1000)
        owner = work.birth.owner
        assert await scene.outcome(link=links[0].key, owner=owner) is Outcome.UNKNOWN
        (ended,) = await scene.reap()
        assert {link.key for link in ended.session.links} == {link.key for link in links}
        assert await scene.store.unlink(links[0].key, now=scene.now) is None
        again = await scene.start("work")
        assert (await scene.read(again)).links == ()
        assert await scene.outcome(link=links[0].key, owner=owner) is Outcome.UNKNOWN

    @law
    async def test_every_kind_of_end_hands_links_back(self, scene: Scene) -> None:
        work = await scene.start()
        link = await scene.link(work)
        ended = await scene.end(work)
        assert [each.upstream_id for each in ended.session.links] == [link.upstream_id]

    @law
    async def test_unlinking_happens_once(self, scene: Scene) -> None:
        work = await scene.start()
        link = await scene.link(work)
        answers = await at_once(10, lambda _: scene.store.unlink(link.key, now=scene.now))
        unlinked = [answer for answer in answers if answer is not None]
        assert [(answer.link.key, answer.ended) for answer in unlinked] == [(link.key, None)]
        assert await scene.outcome(link=link.key, owner=work.birth.owner) is Outcome.UNKNOWN
        assert (await scene.read(work)).links == ()

    @law
    async def test_an_unnamed_session_ends_with_its_last_link(self, scene: Scene) -> None:
        """Rule 21: nobody can name it any more."""
        work = await scene.start(None)
        first, last = await scene.link(work, "first"), await scene.link(work, "last")
        answer = await scene.store.unlink(first.key, now=scene.now)
        assert answer is not None
        assert (answer.ended, await scene.lives(work)) == (None, True)
        answer = await scene.store.unlink(last.key, now=scene.now)
        assert answer is not None
        assert answer.ended is not None
        assert (answer.ended.session.key, answer.ended.reason) == (work.key, EndReason.ENDED)
        assert not await scene.lives(work)

    @law
    async def test_too_many_links_end_the_least_recently_seen(self, scene: Scene) -> None:
        work = await scene.start()
        links = []
        for number in range(3):
            links.append(await scene.link(work, str(number)))
            scene.later(1000)
        await scene.admit(work, link=links[0].key)
        new = scene.make.link(work, "new")
        answer = await scene.store.link(new, operation=scene.make.operation(), now=scene.now, at_most=3)
        assert answer.link == new
        assert [link.key for link in answer.unlinked] == [links[1].key]
        assert await scene.outcome(work, link=links[1].key) is Outcome.UNKNOWN
        assert {link.key for link in (await scene.read(work)).links} == {links[0].key, links[2].key, new.key}

    @law
    async def test_a_session_holds_a_hundred_links(self, scene: Scene) -> None:
        work = await scene.start()
        for number in range(LINKS_MAX + 2):
            await scene.link(work, str(number))
            scene.later(1)
        links = (await scene.read(work)).links
        assert len(links) == LINKS_MAX
        assert min(link.seen_at for link in links) == work.seen_at + 2

    @law
    async def test_a_link_that_stands_already_is_replaced(self, scene: Scene) -> None:
        work = await scene.start()
        others = [await scene.link(work, str(number)) for number in range(2)]
        moved = replace(others[0], upstream="http://b:9001/mcp", upstream_id="u-2")
        answer = await scene.store.link(moved, operation=scene.make.operation(), now=scene.now, at_most=2)
        assert (answer.link, answer.unlinked) == (moved, ())
        assert set((await scene.read(work)).links) == {moved, others[1]}

    @law
    async def test_a_repeated_link_gets_its_first_answer(self, scene: Scene) -> None:
        work, operation = await scene.start(), scene.make.operation()
        link = scene.make.link(work)
        await scene.store.link(link, operation=operation, now=scene.now)
        await scene.store.unlink(link.key, now=scene.now)
        again = await scene.store.link(link, operation=operation, now=scene.now)
        assert again.link.key == link.key
        assert await scene.outcome(work, link=link.key) is Outcome.UNKNOWN, "a late repeat brought the link back"

    @law
    async def test_linking_is_no_activity_and_makes_no_session(self, scene: Scene) -> None:
        work = await scene.start()
        scene.later(1000)
        await scene.link(work)
        assert replace(await scene.read(work), links=()) == work
        link = scene.make.link(scene.make.session("nothing"), "other")
        operation = scene.make.operation()
        await raises(SessionNotFound, scene.store.link(link, operation=operation, now=scene.now))


class Bindings(Exam):
    """`rebind`: a session's upstream is moved by compare-and-set."""

    @law
    async def test_a_binding_moves_if_it_still_is_what_it_was(self, scene: Scene) -> None:
        work = await scene.start(bindings={"tools": "a", "files": "x"})
        scene.later(1000)
        assert await rebind(scene, was="a", to="b") == "b"
        assert await rebind(scene, was="a", to="c") == "b", "it had moved already"
        assert await rebind(scene, was=None, to="c") == "b"
        assert await scene.get(work) == replace(work, bindings={"tools": "b", "files": "x"})

    @law
    async def test_a_binding_is_made_and_taken_away(self, scene: Scene) -> None:
        work = await scene.start()
        assert await rebind(scene, was="a", to="b") is None
        assert await rebind(scene, was=None, to="a") == "a"
        assert await rebind(scene, was="a", to=None) is None
        assert await scene.get(work) == work

    @law
    async def test_twenty_rebinds_agree_on_one_upstream(self, scene: Scene) -> None:
        work = await scene.start(bindings={"tools": "a"})
        answers = await at_once(20, lambda number: rebind(scene, was="a", to=str(number)))
        assert set(answers) == {(await scene.read(work)).bindings["tools"]}

    @law
    async def test_without_a_session_nothing_is_bound(self, scene: Scene) -> None:
        await raises(SessionNotFound, rebind(scene, was=None, to="a"))


async def rebind(scene: Scene, *, was: str | None, to: str | None) -> str | None:
    key = scene.make.key("work")
    return await scene.store.rebind(key, pool="tools", was=was, to=to, now=scene.now)
