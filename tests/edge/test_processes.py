"""Several worker processes on one Redis: limits are exact, ends are final everywhere, a crash frees what it held."""

import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sessionware.clock import HostClock
from sessionware.stores.open import open_store
from sessionware.testing import ManualClock
from tests.edge import wire
from tests.edge.site import UNLIMITED, Site
from tests.edge.workers import Worker, at_once, running
from tests.selection import is_selected
from tests.serving import AT_ONCE_S, soon

LIMITS: Final = (
    "10/day per session for /who; 100/day per session for /get; 1 concurrent per session for /feed/**; "
    "100 tokens/day per session"
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not is_selected("redis"), reason="not among STORES"),
]


@pytest.fixture(scope="module")
def settings(redis_url: str) -> dict[str, str]:
    store = f"{redis_url}?prefix=edge-{secrets.token_hex(8)}:"
    return {**UNLIMITED, "store": store, "store_timeout": "10s", "limits": LIMITS}


@pytest.fixture(scope="module")
def workers(settings: dict[str, str]) -> Iterator[list[Worker]]:
    with running(4, **settings) as workers:
        yield workers


def started(worker: Worker) -> str:
    sid = worker.ask("GET", "/mounted/").header("x-session-id")
    assert sid is not None
    return sid


@pytest.mark.parametrize(("path", "asked", "allowed"), [("/who", 200, 10), ("/get", 400, 100)])
def test_of_many_at_once_in_four_processes_exactly_as_many_pass_as_may(workers, path, asked, allowed):
    """Section 5 row 24: limit 10, 200 at once; issue 3: limit 100, 400 at once."""
    sid = started(workers[0])
    answers = at_once(workers, [wire.request("GET", path, [("X-Session-ID", sid)])] * asked)
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (allowed, asked - allowed)
    refusals = [answer for answer in answers if answer.status == 429]
    assert all(int(answer.header("retry-after") or "") >= 1 for answer in refusals)
    assert {answer.json["used"] for answer in refusals} == {allowed}


def written_at_once(workers: list[Worker], count: int) -> tuple[list[int], dict[str, int]]:
    """So many writers of one session, each of a key of its own: what they were answered, and what was kept."""
    sid = started(workers[0])
    sent = [wire.request("POST", "/set", [("X-Session-ID", sid)], b'{"k%d":%d}' % (n, n)) for n in range(count)]
    statuses = [answer.status for answer in at_once(workers, sent)]
    kept = workers[-1].ask("GET", "/get", sid=sid).json
    assert isinstance(kept, dict)
    return statuses, kept


def test_whoever_was_told_that_it_was_kept_finds_it_kept(workers):
    """SES-18: eighty writers in four processes; none loses silently to another."""
    statuses, kept = written_at_once(workers, 80)
    told = {f"k{number}": number for number, status in enumerate(statuses) if status == 200}
    assert len(told) >= 4
    assert told.items() <= kept.items()


def test_whoever_was_told_of_a_conflict_has_written_nothing(workers):
    """SES-18: else trying again, as 409 asks for, does it twice."""
    statuses, kept = written_at_once(workers, 120)
    assert kept == {f"k{number}": number for number, status in enumerate(statuses) if status == 200}


@pytest.mark.parametrize("processes", [1, 4])
def test_the_requests_that_one_page_sends_at_once_all_keep_what_they_write(workers, processes):
    """SES-18: a browser opens six connections; ten such pages, one after the other."""
    for _ in range(10):
        statuses, kept = written_at_once(workers[:processes], 6)
        assert (statuses, len(kept)) == ([200] * 6, 6)


def test_a_writer_who_loses_to_many_others_is_told_of_a_conflict(workers):
    """SES-18: 409, which a client may try again; 500 would say that the app is broken."""
    statuses, _ = written_at_once(workers, 200)
    assert set(statuses) <= {200, 409}


def test_an_end_in_one_process_is_final_in_all(workers):
    """SES-09: at once for requests, within a second for a socket that is open elsewhere."""
    sid = started(workers[0])
    with connect(
        f"ws://127.0.0.1:{workers[2].port}/ws", additional_headers={"X-Session-ID": sid}, proxy=None
    ) as socket:
        socket.send("x")
        socket.recv(timeout=10)
        assert workers[0].ask("POST", "/end", sid=sid).status == 200
        assert [worker.ask("GET", "/mounted/", sid=sid).status for worker in workers] == [401] * 4
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=AT_ONCE_S)


def used_tokens(site: Site, sid: str) -> int:
    usage = site.run(site.sessionware.sessions.usage(sid))
    return sum(limit["used"] for limit in usage["limits"] if limit["resource"] == "tokens")


def test_what_a_killed_worker_held_is_free_when_its_lease_ends(settings):
    """ASGI-09, section 5 row 25: the slot within 30 s, the reserved tokens stay charged and never pass the limit."""
    clock = ManualClock(HostClock().now())
    store: Any = open_store(settings["store"], clock=clock, timeout_ms=10_000)
    others = {name: value for name, value in settings.items() if name != "store"}
    with running(1, **settings) as (doomed,), Site("h11", store=store, clock=clock, **others) as site:
        sid = started(doomed)
        site.run(site.gates.open("free"))
        with doomed.connect() as slot, doomed.connect() as tokens:
            slot.sendall(wire.request("GET", "/feed/never", [("X-Session-ID", sid)]))
            tokens.sendall(wire.request("POST", "/reserve/never?tokens=60", [("X-Session-ID", sid)]))
            assert b" 200 " in slot.recv(wire.CHUNK)
            assert soon(lambda: used_tokens(site, sid) == 60)
            doomed.kill9()
        assert site.ask("GET", "/feed/free", sid=sid).status == 429
        clock.advance(35_000)
        assert site.ask("GET", "/feed/free", sid=sid).status == 200
        statuses = [site.ask("POST", f"/spend?tokens={amount}", sid=sid).status for amount in (41, 39)]
        assert statuses == [429, 200]
