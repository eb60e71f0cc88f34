"""The checkers of histories: they accept what a correct store can answer, and nothing else (ST-08)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.histories.bounds import Loose, check_bounds, lag_that_explains
from tests.stores.histories.history import (
    Answer,
    Attempt,
    Failover,
    History,
    Kind,
    Log,
    Seen,
    WrongHistory,
    read_log,
)
from tests.stores.histories.orders import Order, Undecided, find_order
from tests.stores.histories.simulated import Ask, Flaw, simulate

USER = "user"


def take(operation: str, times: tuple[int, int], used: int, *, amount: int = 1, answer: Answer = Answer.OK) -> Attempt:
    """A take of a user that was answered: the counter after it, or what a refused one found."""
    seen = {USER: Seen(used, fits=answer is Answer.OK)}
    return Attempt(0, operation, Kind.TAKE, {USER: amount}, *times, answer, seen)


def refused(operation: str, times: tuple[int, int], used: int, *, amount: int = 1) -> Attempt:
    return take(operation, times, used, amount=amount, answer=Answer.DENIED)


def unanswered(operation: str, invoked: int, *, amount: int = 1, kind: Kind = Kind.TAKE) -> Attempt:
    return Attempt(0, operation, kind, {USER: amount}, invoked)


def give(operation: str, times: tuple[int, int], amount: int, answer: Answer = Answer.OK) -> Attempt:
    return Attempt(0, operation, Kind.GIVE, {USER: -amount}, *times, answer)


def look(times: tuple[int, int], used: int) -> Attempt:
    return Attempt(0, f"look-{times[0]}", Kind.LOOK, {USER: 0}, *times, Answer.OK, {USER: Seen(used, fits=True)})


def history(*attempts: Attempt, allowance: int = 3, failovers: tuple[Failover, ...] = ()) -> History:
    return History({USER: allowance}, attempts, failovers)


RIGHT: dict[str, tuple[History, int]] = {
    "nothing": (history(), 0),
    "one after the other": (history(take("a", (1, 2), 1), take("b", (3, 4), 2)), 2),
    "answers that overtake each other": (history(take("a", (1, 9), 2), take("b", (2, 8), 1)), 2),
    "a refusal of the last place": (history(take("a", (1, 2), 3, amount=3), refused("b", (3, 4), 3)), 3),
    "a refusal for the sake of one that runs": (history(take("a", (1, 9), 3, amount=3), refused("b", (2, 4), 3)), 3),
    "a refusal for the sake of one without answer": (history(unanswered("a", 1, amount=3), refused("b", (2, 4), 3)), 3),
    "an unanswered one that was applied late": (
        history(unanswered("a", 1), take("b", (2, 3), 1), take("c", (4, 5), 3), look((6, 7), 3)),
        3,
    ),
    "an unanswered one that was never applied": (history(unanswered("a", 1), take("b", (2, 3), 1)), 1),
    "room that was given back": (
        history(take("a", (1, 2), 3, amount=3), give("b", (3, 4), 2), take("c", (5, 6), 3, amount=2)),
        3,
    ),
    "room that is just being given back": (
        history(take("a", (1, 2), 3, amount=3), give("b", (3, 9), 2), take("c", (4, 5), 3, amount=2)),
        3,
    ),
    "room that a settlement without answer gave back": (
        history(take("a", (1, 2), 3, amount=3), unanswered("b", 3, amount=-1, kind=Kind.GIVE), take("c", (5, 6), 3)),
        3,
    ),
    "a repeat that gets the first answer": (
        history(take("a", (1, 2), 1), take("b", (3, 4), 2), take("a", (5, 6), 1), look((7, 8), 2)),
        2,
    ),
    "a repeat of what had no answer": (history(unanswered("a", 1), take("b", (2, 3), 2), take("a", (4, 5), 1)), 2),
    "a repeat of what was refused": (
        history(take("a", (1, 2), 3, amount=3), refused("b", (3, 4), 3), give("c", (5, 6), 1), take("b", (7, 8), 3)),
        3,
    ),
    "a settlement that was booked before its answer was lost": (
        history(take("a", (1, 2), 3, amount=3), unanswered("b", 3, amount=-2, kind=Kind.GIVE),
                give("b", (5, 6), 2, Answer.REPEATED), look((7, 8), 1)),
        1,
    ),
    "two groups of unanswered ones, of which only one choice fits": (
        history(*[unanswered(f"two-{n}", 1, amount=2) for n in range(3)], unanswered("three", 1, amount=3),
                look((5, 6), 7), look((7, 8), 9), allowance=20),
        9,
    ),
}  # fmt: skip

WRONG: dict[str, tuple[History, str]] = {
    "more than the allowance": (
        history(take("a", (1, 2), 3, amount=3), take("b", (3, 4), 4)),
        "was told that user fits: True; it holds 3",
    ),
    "two that saw the same counter": (history(take("a", (1, 9), 1), take("b", (2, 8), 1)), "no order explains"),
    "an update that was lost": (history(take("a", (1, 2), 1), take("b", (3, 4), 1)), "no order explains"),
    "a take seen before it was asked for": (history(take("a", (1, 2), 2), take("b", (3, 4), 1)), "no order explains"),
    "a refusal with room": (
        history(take("a", (1, 2), 1), refused("b", (3, 4), 1)),
        "was told that user fits: False; it holds 1",
    ),
    "a refusal that says that all fits": (
        history(Attempt(0, "a", Kind.TAKE, {USER: 1}, 1, 2, Answer.DENIED, {USER: Seen(0, fits=True)})),
        "refused where it fits",
    ),
    "a refusal that saw what nobody took": (history(take("a", (1, 2), 1), refused("b", (3, 4), 3)), "no order"),
    "a refusal for the sake of one that comes later": (
        history(refused("b", (1, 2), 3), take("a", (3, 4), 3, amount=3)),
        "no order explains",
    ),
    "an unanswered one counted twice": (history(unanswered("a", 1), look((2, 3), 2)), "no order explains"),
    "an unanswered one of another amount": (history(unanswered("a", 1, amount=2), look((2, 3), 1)), "no order"),
    "an unanswered one that was applied and undone": (
        history(unanswered("a", 1), look((2, 3), 1), look((4, 5), 0)),
        "no order explains",
    ),
    "a repeat that was charged again": (
        history(take("a", (1, 2), 1), take("a", (3, 4), 2)),
        "admitted more than once",
    ),
    "a repeat that was charged again in silence": (
        history(take("a", (1, 2), 1), take("a", (3, 4), 1), look((5, 6), 2)),
        "no order explains",
    ),
    "a repeat that was refused after it had been admitted": (
        history(take("a", (1, 2), 3, amount=3), refused("a", (3, 4), 3, amount=3)),
        "refused when it was repeated",
    ),
    "a settlement that was booked twice": (
        history(take("a", (1, 2), 3, amount=3), give("b", (3, 4), 1), give("b", (5, 6), 1)),
        "was booked 2 times",
    ),
    "a settlement that was booked before anybody asked": (
        history(give("b", (3, 4), 1, Answer.REPEATED)),
        "nobody had asked",
    ),
    "a settlement that gave nothing back": (
        history(take("a", (1, 2), 3, amount=3), give("b", (3, 4), 1), look((5, 6), 3)),
        "no order explains",
    ),
    "a counter that moves by itself": (history(look((1, 2), 0), look((3, 4), 1)), "no order explains"),
    "a silence about the counter": (
        history(Attempt(0, "a", Kind.TAKE, {USER: 1}, 1, 2, Answer.OK)),
        "without a word about user",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_correct_store_can_answer_is_accepted(name: str):
    what, ends_with = RIGHT[name]
    assert find_order(what).lost == {USER: 0}
    account = check_bounds(what, [USER], ended_with={USER: ends_with})[USER]
    assert (account.counted, account.overshoot) == (ends_with, 0)


@pytest.mark.parametrize("name", WRONG)
def test_what_no_correct_store_can_answer_is_rejected(name: str):
    what, why = WRONG[name]
    with pytest.raises(WrongHistory, match=why):
        find_order(what)


@pytest.mark.parametrize(
    ("what", "ends_with", "why"),
    [
        (history(take("a", (1, 2), 3, amount=3), take("b", (3, 4), 3)), 4, "at least 3 of 3 user were taken"),
        (history(take("a", (1, 2), 1), refused("b", (3, 4), 1)), 1, "at most 1 of 3 user were taken"),
        (history(take("a", (1, 2), 1)), 2, "2 user are counted in the end; 1 were admitted"),
        (history(take("a", (1, 2), 1), unanswered("b", 3, amount=2)), 2, "no choice among the unanswered"),
        (history(take("a", (1, 2), 2, amount=2), give("b", (3, 4), 1)), 2, "1 were admitted and kept"),
    ],
)
def test_sums_alone_reject_too(what: History, ends_with: int, why: str):
    with pytest.raises(WrongHistory, match=why):
        check_bounds(what, [USER], ended_with={USER: ends_with})


def test_two_refused_at_once_are_right_only_where_both_may_be_charged_for_a_moment():
    """Store.md 10: the wide limits of a cluster may refuse too many for a moment, and never admit too many."""
    both = history(refused("a", (1, 9), 3, amount=2), refused("b", (2, 8), 3, amount=2))
    with pytest.raises(WrongHistory, match="at most 0 of 3"):
        check_bounds(both, [USER], ended_with={USER: 0})
    assert check_bounds(both, [USER], ended_with={USER: 0}, loose=Loose())[USER].admitted == 0
    with pytest.raises(WrongHistory, match="2 user are counted in the end"):
        check_bounds(both, [USER], ended_with={USER: 2}, loose=Loose())
    apart = history(refused("a", (1, 2), 3, amount=2), refused("b", (8, 9), 3, amount=2))
    with pytest.raises(WrongHistory, match="at most 0 of 3"):
        check_bounds(apart, [USER], ended_with={USER: 0}, loose=Loose())


def test_what_could_not_be_given_back_during_a_fault_may_stay_charged():
    apart = history(refused("a", (1, 2), 3, amount=2), refused("b", (8, 9), 3, amount=2))
    with pytest.raises(WrongHistory, match="at most 0 of 3"):
        check_bounds(apart, [USER], ended_with={USER: 2}, loose=Loose(((3, 7),)))
    both_fail = check_bounds(apart, [USER], ended_with={USER: 2}, loose=Loose(((0, 1), (1, 9))))[USER]
    assert (both_fail.admitted, both_fail.counted, both_fail.possible) == (0, 2, 4)
    with pytest.raises(WrongHistory, match="admitted although at least 3 of 3"):
        check_bounds(
            history(take("a", (1, 2), 3, amount=3), take("b", (3, 4), 4)),
            [USER], ended_with={USER: 4}, loose=Loose(((0, 9),)),
        )  # fmt: skip


def test_one_admission_of_several_counters_is_one_step():
    allowances = {USER: 5, "global": 5}

    def both(operation: str, times: tuple[int, int], user: int, everybody: int) -> Attempt:
        seen = {USER: Seen(user, fits=True), "global": Seen(everybody, fits=True)}
        return Attempt(0, operation, Kind.TAKE, {USER: 1, "global": 1}, *times, Answer.OK, seen)

    find_order(History(allowances, (both("a", (1, 9), 1, 1), both("b", (2, 8), 2, 2))))
    with pytest.raises(WrongHistory, match="no order"):
        find_order(History(allowances, (both("a", (1, 9), 1, 2), both("b", (2, 8), 2, 1))))


def test_what_happened_to_some_counters_leaves_out_the_refusals_of_others():
    by_other = Attempt(
        0, "b", Kind.TAKE, {USER: 1, "global": 1}, 3, 4, Answer.DENIED,
        {USER: Seen(1, fits=True), "global": Seen(5, fits=False)},
    )  # fmt: skip
    whole = History({USER: 3, "global": 5}, (take("a", (1, 2), 1), by_other))
    assert whole.of([USER]) == history(take("a", (1, 2), 1))
    with pytest.raises(WrongHistory, match="no order"):
        find_order(whole)
    find_order(whole.of([USER]))


# ---------------------------------------------------------------------- failovers


def test_a_failover_may_lose_the_last_writes_and_the_loss_is_counted():
    failover = (Failover(10, 20),)
    lossy = [take("a", (1, 2), 1), take("b", (3, 4), 2), take("c", (5, 9), 3), take("d", (21, 22), 2)]
    assert find_order(history(*lossy, failovers=failover)).lost == {USER: 2}
    with pytest.raises(WrongHistory, match="no order"):
        find_order(history(*lossy))
    late = [*lossy, take("e", (30, 31), 3), take("f", (32, 33), 3)]
    with pytest.raises(WrongHistory, match="no order"):
        find_order(history(*late, failovers=failover))


def test_the_overshoot_after_a_failover_is_computed_and_what_explains_it_too():
    failover = (Failover(100, 120),)
    told = history(
        take("a", (1, 2), 1), take("b", (3, 90), 2), take("c", (91, 95), 3), take("d", (121, 122), 2),
        take("e", (123, 124), 3), failovers=failover,
    )  # fmt: skip
    account = check_bounds(told, [USER], ended_with={USER: 3})[USER]
    assert (account.admitted, account.overshoot, account.uncounted) == (5, 2, 2)
    assert find_order(told).lost == {USER: 2}
    assert lag_that_explains(told, {USER: 2}, failover_at=100) == 10
    with pytest.raises(WrongHistory, match="4 user are lost, and only 3 were acknowledged"):
        lag_that_explains(told, {USER: 4}, failover_at=100)


def test_a_failover_excuses_no_counter_that_grows():
    told = history(take("a", (1, 2), 1), look((30, 31), 2), failovers=(Failover(10, 20),))
    with pytest.raises(WrongHistory, match="no order"):
        find_order(told)


def test_a_failover_may_lose_what_was_given_back_and_no_more():
    failover = (Failover(10, 20),)
    taken = [take("a", (1, 2), 3, amount=3), give("b", (3, 4), 2)]
    regained = history(*taken, look((30, 31), 3), failovers=failover)
    assert find_order(regained).lost == {USER: -2}
    assert lag_that_explains(regained, {USER: -2}, failover_at=10) == 6
    with pytest.raises(WrongHistory, match="no order"):
        find_order(history(*taken, look((30, 31), 4), failovers=failover))
    full = history(*taken, refused("c", (30, 31), 3), failovers=failover)
    assert find_order(full).lost == {USER: -2}
    assert check_bounds(full, [USER], ended_with={USER: 3})[USER].overshoot == 0
    with pytest.raises(WrongHistory, match="at most 1 of 3"):
        check_bounds(history(*taken, refused("c", (30, 31), 3)), [USER], ended_with={USER: 3})


def test_what_was_forgotten_is_done_again_under_its_operation_id():
    failover = (Failover(10, 20),)
    take_again = [take("a", (1, 2), 1), take("b", (3, 4), 2), take("b", (21, 22), 2), look((23, 24), 2)]
    assert find_order(history(*take_again, failovers=failover)).lost == {USER: 0}
    took_again = [take("a", (1, 2), 1), take("b", (3, 4), 2), take("b", (21, 22), 1), look((23, 24), 1)]
    assert find_order(history(*took_again, failovers=failover)).lost == {USER: 2}


def test_a_search_that_takes_too_long_is_never_called_right():
    with pytest.raises(Undecided):
        find_order(RIGHT["room that was given back"][0], examined_max=2)


# ---------------------------------------------------------------------- made by a counter

COUNTERS = (USER, "global")
AMOUNTS = st.dictionaries(st.sampled_from(COUNTERS), st.integers(1, 3), min_size=1)
ALLOWANCES = st.fixed_dictionaries({name: st.integers(3, 12) for name in COUNTERS})


@st.composite
def asks(draw: Any) -> list[Ask]:
    """Calls of four workers that overlap; some have no answer. Nobody gives back more than one."""
    found: list[Ask] = []
    for number in range(draw(st.integers(1, 30))):
        kind = draw(st.sampled_from([Kind.TAKE, Kind.TAKE, Kind.TAKE, Kind.LOOK]))
        amounts = draw(AMOUNTS) if kind is Kind.TAKE else dict.fromkeys(COUNTERS, 0)
        before, after = draw(st.integers(1, 80)), draw(st.integers(1, 80))
        is_lost, is_applied = draw(st.sampled_from([(False, True), (False, True), (True, True), (True, False)]))
        found.append(Ask(number % 4, kind, amounts, 1000 + number * 20, before, after, is_lost, is_applied))
    return found


@given(asks(), ALLOWANCES)
def test_every_history_of_a_correct_counter_is_accepted(calls: list[Ask], allowances: dict[str, int]):
    told, ends_with = simulate(calls, allowances)
    find_order(told)
    for name, account in check_bounds(told, COUNTERS, ended_with=ends_with).items():
        assert (account.counted, account.overshoot) == (ends_with[name], 0)


@given(asks(), ALLOWANCES, st.integers(0, 30))
def test_every_history_with_a_failover_is_accepted(calls: list[Ask], allowances: dict[str, int], at: int):
    began = 1000 + at * 20 - 5
    outside = [each for each in calls if not each.applied - each.before < began < each.applied + each.after]
    told, ends_with = simulate(outside, allowances, failovers=[Failover(began, began + 1)])
    order = find_order(told)
    for name, account in check_bounds(told, COUNTERS, ended_with=ends_with).items():
        assert account.overshoot <= order.lost[name] + account.possible


@given(asks(), ALLOWANCES, st.sampled_from([flaw for flaw in Flaw if flaw is not Flaw.NONE]))
def test_every_flaw_that_shows_is_found(calls: list[Ask], allowances: dict[str, int], flaw: Flaw):
    """All calls have answers and one follows the other: then a flaw that shows has no excuse."""
    clear = [Ask(each.worker, each.kind, each.amounts, 1000 + n * 20) for n, each in enumerate(calls)]
    right, right_end = simulate(clear, allowances)
    wrong, wrong_end = simulate(clear, allowances, flaw=flaw)
    if (right, right_end) == (wrong, wrong_end):
        find_order(wrong)
        return
    last = [Ask(0, Kind.LOOK, dict.fromkeys(COUNTERS, 0), 1000 + len(clear) * 20)]
    with pytest.raises(WrongHistory):
        find_order(simulate([*clear, *last], allowances, flaw=flaw)[0])


@given(asks(), ALLOWANCES)
def test_whoever_admits_beyond_the_allowance_is_found_among_concurrent_and_lost_calls(
    calls: list[Ask], allowances: dict[str, int]
):
    told, ends_with = simulate(calls, allowances, flaw=Flaw.ONE_TOO_MANY)
    right, _ = simulate(calls, allowances)
    beyond = [name for name in COUNTERS if ends_with[name] > allowances[name]]
    if told == right or not beyond:
        return
    last = Ask(0, Kind.LOOK, dict.fromkeys(COUNTERS, 0), 9000)
    told, _ = simulate([*calls, last], allowances, flaw=Flaw.ONE_TOO_MANY)
    with pytest.raises(WrongHistory):
        find_order(told)


# ---------------------------------------------------------------------- logs


def test_a_log_tells_of_calls_that_never_came_back(tmp_path):
    log = Log(tmp_path / "worker.jsonl")
    begun, done = unanswered("a", 1), take("a", (1, 2), 1)
    for attempt in (begun, done, unanswered("b", 3)):
        log.write(attempt)
    log.close()
    with (tmp_path / "worker.jsonl").open("ab") as file:
        file.write(b'{"worker":0,"opera')  # killed while it wrote
    assert read_log(tmp_path / "worker.jsonl") == [done, unanswered("b", 3)]


def test_an_order_says_how_many_unanswered_calls_it_needs():
    told = history(unanswered("a", 1), unanswered("b", 1), look((5, 6), 1))
    order = find_order(told)
    assert order == Order(1, {USER: 0}, order.examined)
