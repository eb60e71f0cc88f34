"""Pools whose upstreams stand in DNS: who joins, who leaves, and what becomes of the sessions of those."""

import asyncio
from collections import Counter

import httpx2
import pytest

from sessionware.proxy.fleet import Fleet
from sessionware.proxy.health import takes_new_sessions
from sessionware.proxy.members import LEFT_KEPT_S, Members
from sessionware.proxy.upstreams import parse_upstreams
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import serving, standing
from tests.proxy.stories import FORMS, HELLO, asked, begun

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def members(text="dns+http://mcp.internal:9001/mcp"):
    pool = parse_upstreams(text)[0]
    return Members(pool)


def told(pool, *ips, now=0.0):
    return [each.name for each in pool.told(pool.names[0], ips, now=now)]


def taking(pool):
    return [each.name for each in pool if takes_new_sessions(each.health)]


def test_an_address_that_joins_takes_sessions_and_one_that_leaves_drains():
    """An address that leaves DNS is not dead: a pod that ends finishes its work first."""
    pool = members()
    assert not pool.is_known
    told(pool, ONE, TWO)
    assert pool.is_known
    assert taking(pool) == [f"{ONE}:9001", f"{TWO}:9001"]
    told(pool, TWO, THREE)
    assert taking(pool) == [f"{TWO}:9001", f"{THREE}:9001"]
    left = pool.find(f"{ONE}:9001")
    assert left is not None
    assert (left.health.life, left.health.is_draining) == ("up", True)


def test_an_address_that_comes_back_takes_sessions_again():
    pool = members()
    told(pool, ONE, TWO)
    told(pool, TWO)
    told(pool, ONE, TWO)
    assert taking(pool) == [f"{ONE}:9001", f"{TWO}:9001"]


def test_one_that_has_left_is_forgotten_when_nothing_was_heard_of_it_for_long():
    pool = members()
    told(pool, ONE, TWO, now=0.0)
    assert told(pool, TWO, now=1.0) == []
    assert told(pool, TWO, now=LEFT_KEPT_S) == []
    assert told(pool, TWO, now=1.0 + LEFT_KEPT_S) == [f"{ONE}:9001"]
    assert [each.name for each in pool] == [f"{TWO}:9001"]


def test_one_with_an_exchange_is_never_forgotten():
    pool = members()
    told(pool, ONE, TWO)
    stays = pool.find(f"{ONE}:9001")
    assert stays is not None
    stays.in_flight = 1
    told(pool, TWO)
    assert told(pool, TWO, now=10 * LEFT_KEPT_S) == []


@pytest.mark.parametrize("name", [f"{THREE}:9001", "[fd00::1]:9001"])
def test_an_address_that_only_another_worker_was_told_of_is_found_and_drains(name):
    """Its sessions are in the store that all share; this worker may have been started since it left DNS."""
    pool = members()
    told(pool, ONE)
    found = pool.find(name)
    assert found is not None
    assert (found.name, found.health.is_draining, found.address.known_as) == (name, True, "mcp.internal")
    assert taking(pool) == [f"{ONE}:9001"]


@pytest.mark.parametrize("name", ["10.0.0.3:9002", "10.0.0.3", "mcp.internal:9001", "evil:9001", "", "10.0.0.03:9001"])
def test_what_is_no_address_of_the_name_is_nobody(name):
    pool = members()
    told(pool, ONE)
    assert pool.find(name) is None


def test_what_dns_says_of_one_name_leaves_the_addresses_of_another_alone():
    pool = members("dns+http://a.internal:9001/mcp,dns+http://b.internal:9001/mcp")
    pool.told(pool.names[0], [ONE], now=0.0)
    pool.told(pool.names[1], [TWO], now=0.0)
    pool.told(pool.names[0], [THREE], now=0.0)
    assert taking(pool) == [f"{TWO}:9001", f"{THREE}:9001"]


def test_named_pools_keep_their_name_before_the_address():
    pool = members("blue@dns+http://mcp.internal:9001/mcp,green@dns+http://mcp.internal:9002/mcp")
    pool.told(pool.names[0], [ONE], now=0.0)
    assert [each.name for each in pool] == [f"blue-{ONE}:9001"]
    assert not pool.is_known
    pool.told(pool.names[1], [ONE], now=0.0)
    assert taking(pool) == [f"blue-{ONE}:9001", f"green-{ONE}:9002"]
    pool.told(pool.names[1], [], now=0.0)
    assert taking(pool) == [f"blue-{ONE}:9001"]


def test_while_dns_does_not_answer_everything_stays_as_it_is():
    answers = [[ONE, TWO], OSError("no answer")]
    asked_for = Counter[str]()

    async def resolve(host, port):
        asked_for[f"{host}:{port}"] += 1
        answer = answers.pop(0) if answers else OSError("still none")
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def run():
        fleet = Fleet(parse_upstreams("dns+http://mcp.internal:9001/mcp"), resolve=resolve, every_s=0.01)
        await fleet.begin()
        try:
            async with asyncio.timeout(5):
                while asked_for["mcp.internal:9001"] < 4:
                    await asyncio.sleep(0)
            return [(each.name, each.health.is_draining) for each in fleet]
        finally:
            await fleet.aclose()

    assert asyncio.run(run()) == [(f"{ONE}:9001", False), (f"{TWO}:9001", False)]


def test_sessions_find_an_upstream_by_its_name_in_dns():
    with replicas(1) as [only], standing(f"dns+http://localhost:{only.port}/mcp") as (server, _, proxy):
        legacy_id = begun(server)
        assert asked(server, legacy_id).status_code == 200
        assert f"127.0.0.1:{only.port}" in [each.name for each in proxy.placing.fleet]


def test_a_name_that_does_not_resolve_is_503_and_the_proxy_starts_all_the_same():
    with serving("dns+http://nowhere.invalid:9001/mcp") as server:
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (503, -31503, 1)
