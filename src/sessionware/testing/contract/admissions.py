"""What the contract asks of an admission: who is let in, in which order the answers come, and what it leaves behind."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import Admitted, Binding, Caps, Outcome
from sessionware.core.facts import TokenRevocation
from sessionware.core.session import Proof
from sessionware.core.store import OPERATION_KEEP_MS
from sessionware.core.windows import NEVER
from sessionware.testing.build import LEVEL, stranger
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.scene import Scene


class Admissions(Exam):
    """Outcomes and their precedence, touch, templates, and repeated operations."""

    @law
    async def test_an_admission_touches(self, scene: Scene) -> None:
        """B3."""
        work = await scene.start(data=b"d", metadata=b"m")
        scene.later(1000)
        answer = await scene.admit(work)
        wanted = replace(work, seen_at=scene.now, expires_at=scene.now + work.idle, hits=1)
        assert answer == Admitted(Outcome.ADMITTED, scene.now, wanted)
        assert await scene.get(work) == wanted

    @law
    async def test_an_admission_that_does_not_touch_leaves_the_session_as_it_is(self, scene: Scene) -> None:
        work = await scene.start(data=b"d")
        scene.later(1000)
        answer = await scene.admit(work, touch=False, spends=(scene.make.spend(),))
        assert (answer.outcome, answer.session) == (Outcome.ADMITTED, work)
        assert await scene.get(work) == work

    @law
    async def test_the_payload_stays_at_home_unless_it_is_wanted(self, scene: Scene) -> None:
        work = await scene.start(data=b"d", metadata=b"m")
        answer = await scene.admit(work, wants_data=False)
        assert answer.session is not None
        assert (answer.session.data, answer.session.metadata) == (None, None)
        assert (await scene.read(work)).data == b"d"

    @law
    async def test_a_request_without_a_session_is_admitted_without_one(self, scene: Scene) -> None:
        answer = await scene.admit(owner=scene.make.owner(), spends=(scene.make.spend(),))
        assert (answer.outcome, answer.session, answer.is_new) == (Outcome.ADMITTED, None, False)
        assert await scene.total() == 0

    @law
    async def test_what_was_never_made_is_unknown(self, scene: Scene) -> None:
        answer = await scene.admit(scene.make.session("work"))
        assert answer == Admitted(Outcome.UNKNOWN, scene.now)

    @law
    async def test_another_proved_owner_is_foreign_and_learns_nothing(self, scene: Scene) -> None:
        """A4, A16."""
        work = await scene.start(None, data=b"secret")
        answer = await scene.admit(work, owner=scene.make.owner("bob"), spends=(scene.make.spend(over="bob"),))
        assert answer == Admitted(Outcome.FOREIGN, scene.now)
        assert await scene.get(work) == work
        assert await scene.used(scene.make.spend(over="bob")) == 0
        assert await scene.outcome(work, owner=stranger()) is Outcome.FOREIGN

    @law
    async def test_an_id_alone_opens_what_asks_for_an_id_alone(self, scene: Scene) -> None:
        anonymous = await scene.start_anonymous()
        logged_in = await scene.start(None, proof=Proof.ID)
        assert await scene.outcome(anonymous.key) is Outcome.ADMITTED
        assert await scene.outcome(logged_in.key) is Outcome.ADMITTED

    @law
    async def test_an_id_alone_never_shows_that_a_protected_session_exists(self, scene: Scene) -> None:
        protected = await scene.start(None, proof=Proof.TOKEN)
        nothing = scene.make.key_beside(protected.key)
        assert await scene.admit(protected.key) == await scene.admit(nothing)
        ended = await scene.start(None, proof=Proof.TOKEN)
        await scene.end(ended)
        assert await scene.admit(ended.key) == await scene.admit(nothing)

    @law
    async def test_a_template_makes_the_session_once(self, scene: Scene) -> None:
        template = scene.make.new(scene.make.session("work", data=b"d", metadata=b"m"))
        first = await scene.admit(template.session, new=template)
        made = replace(template.session, hits=1)
        assert first == Admitted(Outcome.ADMITTED, scene.now, made, is_new=True)
        assert await scene.get(template.session) == made
        scene.later(1000)
        second = await scene.admit(template.session, new=template)
        assert (second.outcome, second.is_new) == (Outcome.ADMITTED, False)
        assert (await scene.read(template.session)).hits == 2

    @law
    async def test_a_template_without_touch_makes_a_session_that_was_never_used(self, scene: Scene) -> None:
        template = scene.make.new(scene.make.session("work"))
        answer = await scene.admit(template.session, new=template, touch=False)
        assert answer.is_new
        assert (await scene.read(template.session)).hits == 0

    @law
    async def test_fifty_first_requests_make_one_session(self, scene: Scene) -> None:
        """A3, for derived sessions."""
        template = scene.make.new(scene.make.session("default"))
        answers = await at_once(50, lambda _: scene.admit(template.session, new=template))
        assert {answer.outcome for answer in answers} == {Outcome.ADMITTED}
        assert [answer.is_new for answer in answers].count(True) == 1
        assert (await scene.read(template.session)).hits == 50
        assert await scene.total() == 1

    @law
    async def test_a_refused_template_makes_nothing(self, scene: Scene) -> None:
        template = scene.make.new(scene.make.session("work"))
        nothing_left = scene.make.spend(allowance=0)
        assert await scene.outcome(template.session, new=template, spends=(nothing_left,)) is Outcome.LIMITED
        assert await scene.get(template.session) is None
        assert await scene.total() == 0

    @law
    async def test_a_refused_request_does_not_touch(self, scene: Scene) -> None:
        """Abuse cannot keep a session alive."""
        work = await scene.start(idle=2000)
        scene.later(1000)
        refused = await scene.admit(
            work, spends=(scene.make.spend(allowance=0),), candidate=Binding("tools", "a"), opens=True
        )
        assert (refused.outcome, refused.session) == (Outcome.LIMITED, work)
        assert await scene.get(work) == work
        scene.later(1000)
        assert await scene.outcome(work) is Outcome.UNKNOWN

    @law
    async def test_the_payload_of_a_refused_request_stays_at_home_unless_it_is_wanted(self, scene: Scene) -> None:
        work = await scene.start(data=b"d")
        spends = (scene.make.spend(allowance=0),)
        bare = await scene.admit(work, spends=spends, wants_data=False)
        assert bare.session == work.without_payload()

    @law
    async def test_unknown_comes_before_revoked(self, scene: Scene) -> None:
        token = scene.make.token()
        await scene.revoke(TokenRevocation(token.hash, NEVER))
        assert await scene.outcome(scene.make.session("work"), token=token) is Outcome.UNKNOWN

    @law
    async def test_foreign_comes_before_revoked(self, scene: Scene) -> None:
        work, token = await scene.start(None), scene.make.token()
        await scene.revoke(TokenRevocation(token.hash, NEVER))
        assert await scene.outcome(work, owner=scene.make.owner("bob"), token=token) is Outcome.FOREIGN

    @law
    async def test_revoked_comes_before_limited(self, scene: Scene) -> None:
        work, token = await scene.start(), scene.make.token()
        await scene.revoke(TokenRevocation(token.hash, NEVER))
        answer = await scene.admit(work, token=token, spends=(scene.make.spend(allowance=0),))
        assert answer == Admitted(Outcome.REVOKED, scene.now)
        assert await scene.get(work) == work

    @law
    async def test_limited_comes_before_full(self, scene: Scene) -> None:
        caps = Caps(per_owner=1, evict=False)
        await scene.start("old", caps=caps)
        template = scene.make.new(scene.make.session("work"), caps)
        both = await scene.admit(template.session, new=template, spends=(scene.make.spend(allowance=0),))
        assert both.outcome is Outcome.LIMITED
        assert await scene.outcome(template.session, new=template) is Outcome.FULL

    @law
    async def test_a_full_answer_names_the_cap_and_charges_nothing(self, scene: Scene) -> None:
        caps, spend, lease = Caps(per_owner=1, evict=False), scene.make.spend(), scene.make.lease(allowance=1)
        await scene.start("old", caps=caps)
        template = scene.make.new(scene.make.session("work"), caps)
        answer = await scene.admit(template.session, new=template, spends=(spend,), leases=(lease,))
        assert (answer.outcome, answer.full, answer.session) == (Outcome.FULL, "owner", None)
        assert await scene.used(spend) == 0
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED, "the refused request holds a lease"

    @law
    async def test_the_first_upstream_stays(self, scene: Scene) -> None:
        """A37: affinity is decided in the same step."""
        work = await scene.start()
        first = await scene.admit(work, candidate=Binding("tools", "http://a:1/mcp"))
        second = await scene.admit(work, candidate=Binding("tools", "http://b:1/mcp"))
        third = await scene.admit(work, candidate=Binding("files", "http://c:1/mcp"), touch=False)
        shown = [answer.session.bindings for answer in (first, second, third) if answer.session is not None]
        tools = {"tools": "http://a:1/mcp"}
        assert shown == [tools, tools, {**tools, "files": "http://c:1/mcp"}]
        assert (await scene.read(work)).bindings == shown[-1]

    @law
    async def test_a_new_session_is_bound_at_once(self, scene: Scene) -> None:
        template = scene.make.new(scene.make.session("work"))
        await scene.admit(template.session, new=template, candidate=Binding("tools", "a"))
        assert (await scene.read(template.session)).bindings == {"tools": "a"}

    @law
    async def test_twenty_candidates_bind_one_upstream(self, scene: Scene) -> None:
        work = await scene.start()
        answers = await at_once(
            20, lambda number: scene.admit(work, candidate=Binding("tools", f"http://{number}:1/mcp"))
        )
        shown = {answer.session.bindings["tools"] for answer in answers}
        assert shown == set((await scene.read(work)).bindings.values())

    @law
    async def test_a_repeated_operation_is_of_one_session_only(self, scene: Scene) -> None:
        """SES-03: strangers share no owner, and must not share answers either."""
        one, two = await scene.start_anonymous(data=b"one"), await scene.start_anonymous(data=b"two")
        operation = scene.make.operation()
        first = await scene.admit(one, operation=operation, once=True)
        other = await scene.admit(two, operation=operation, once=True)
        assert first.session is not None
        assert other.session is not None
        assert (first.session.data, other.session.data) == (b"one", b"two")
        nobody = scene.make.key_beside(one.key)
        assert await scene.outcome(nobody, operation=operation, once=True) is Outcome.UNKNOWN

    @law
    async def test_a_repeated_operation_is_let_in_only_while_it_would_be(self, scene: Scene) -> None:
        """JWT-13: revocation and the end of a session are in force for repeats, too."""
        work, token, operation = await scene.start(), scene.make.token(), scene.make.operation()
        assert await scene.outcome(work, operation=operation, once=True, token=token) is Outcome.ADMITTED
        await scene.revoke(TokenRevocation(token.hash, NEVER))
        assert await scene.outcome(work, operation=operation, once=True, token=token) is Outcome.REVOKED
        await scene.store.delete(work.key, now=scene.now)
        assert await scene.outcome(work, operation=operation, once=True) is Outcome.UNKNOWN

    @law
    async def test_a_repeated_operation_gets_its_first_answer_and_charges_nothing(self, scene: Scene) -> None:
        """ST-08: what was taken once is taken once."""
        work, spend, operation = await scene.start(), scene.make.spend(cost=3), scene.make.operation()
        first = await scene.admit(work, operation=operation, once=True, spends=(spend,))
        scene.later(1000)
        again = await scene.admit(work, operation=operation, once=True, spends=(spend,))
        assert (again.outcome, again.now, again.tallies) == (first.outcome, first.now, first.tallies)
        assert await scene.used(spend) == 3
        assert (await scene.read(work)).hits == 1

    @law
    async def test_parallel_repeats_are_charged_once(self, scene: Scene) -> None:
        work, spend, operation = await scene.start(), scene.make.spend(), scene.make.operation()
        answers = await at_once(10, lambda _: scene.admit(work, operation=operation, once=True, spends=(spend,)))
        assert {answer.outcome for answer in answers} == {Outcome.ADMITTED}
        assert await scene.used(spend) == 1

    @law
    async def test_a_refusal_is_not_remembered(self, scene: Scene) -> None:
        work, operation = await scene.start(), scene.make.operation()
        spend = scene.make.spend(allowance=1)
        await scene.admit(work, spends=(spend,))
        assert await scene.outcome(work, operation=operation, once=True, spends=(spend,)) is Outcome.LIMITED
        scene.later(120_000)
        later = scene.make.spend(allowance=1)
        assert await scene.outcome(work, operation=operation, once=True, spends=(later,)) is Outcome.ADMITTED

    @law
    async def test_an_operation_counts_again_when_it_was_long_ago_or_by_another_owner(self, scene: Scene) -> None:
        operation, level = scene.make.operation(), scene.make.spend("storage", span=LEVEL)
        alice, bob = scene.make.owner("alice"), scene.make.owner("bob")
        for owner in (alice, bob, alice, bob):
            await scene.admit(owner=owner, operation=operation, once=True, spends=(level,))
        assert await scene.used(level) == 2
        scene.later(OPERATION_KEEP_MS)
        await scene.admit(owner=alice, operation=operation, once=True, spends=(level,))
        assert await scene.used(level) == 3

    @law
    async def test_without_once_an_operation_counts_every_time(self, scene: Scene) -> None:
        spend, operation = scene.make.spend(), scene.make.operation()
        for _ in range(3):
            await scene.admit(operation=operation, spends=(spend,))
        assert await scene.used(spend) == 3
