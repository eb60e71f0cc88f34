"""The administrators' view of the upstreams, and what they may do to them: sessionware proxy as it runs."""

import json
from contextlib import ExitStack

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import ISSUER, SECRET, token
from tests.proxy.stories import asked, begun, text
from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy

TRUSTED = ("--jwt-secret", SECRET, "--jwt-issuer", ISSUER, "--jwt-audience", "mcp", "--limits", "off")
ADMIN = {"Authorization": f"Bearer {token('root', scope='sessionware:admin')}"}
CLIENT = {"Authorization": f"Bearer {token('alice')}"}


@pytest.fixture(scope="module")
def three():
    with replicas(3) as servers:
        yield servers


def named(servers):
    return ",".join(f"{each.name}@{each.url}" for each in servers)


def standing(proxy):
    answer = httpx2.get(f"{proxy.url}/upstreams", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["pools"][0]["upstreams"]}


def post(proxy, path, headers=ADMIN):
    return httpx2.post(f"{proxy.url}/upstreams/{path}", headers=headers)


def used(proxy, session, tool="pid"):
    with McpClient(f"{proxy.url}/mcp", token=token("alice"), session=session) as mcp:
        return text(mcp.call(tool, {}))


def test_only_administrators_see_the_upstreams_and_everybody_else_is_told_so(three):
    with RunningProxy("--upstreams", named(three), *TRUSTED) as proxy:
        for path in ("", "/default", "/default/rebalance", "/default/replica-1/drain"):
            method = "POST" if path.count("/") > 1 else "GET"
            statuses = [
                httpx2.request(method, f"{proxy.url}/upstreams{path}", headers=headers).status_code
                for headers in ({}, CLIENT, {"Authorization": "Bearer nonsense"})
            ]
            assert statuses == [401, 403, 401], path


def test_the_upstreams_are_shown_with_their_state_and_sessions(three):
    with RunningProxy("--upstreams", named(three), *TRUSTED) as proxy:
        for number in range(3):
            used(proxy, f"s{number}")
        pool = httpx2.get(f"{proxy.url}/upstreams", headers=ADMIN).json()["pools"][0]
        assert {key: pool[key] for key in ("name", "kind", "path", "selection")} == {
            "name": "default", "kind": "mcp", "path": "/mcp", "selection": "least_sessions"
        }  # fmt: skip
        shown = standing(proxy)
        assert {name: each["sessions"] for name, each in shown.items()} == {each.name: 1 for each in three}
        assert {(each["state"], each["circuit"], each["draining"]) for each in shown.values()} == {
            ("up", "closed", False)
        }
        assert shown["replica-1"]["address"] == three[0].url


def test_a_drained_upstream_gets_no_new_sessions_on_any_worker_and_serves_those_it_has(three, tmp_path):
    store = ("--store", f"sqlite:///{tmp_path}/shared.db", "--store-timeout", "5s", "--workers", "2")
    with RunningProxy("--upstreams", named(three), *TRUSTED, *store) as proxy:
        legacy: dict[str, str] = {}
        while set(legacy) != {str(each.pid) for each in three}:
            mine = begun(proxy, **CLIENT)
            call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "pid", "arguments": {}}}
            told = asked(proxy, mine, call, **CLIENT).text
            line = next(line for line in told.splitlines() if line.startswith("data: {"))
            legacy[json.loads(line.removeprefix("data: "))["result"]["content"][0]["text"]] = mine
        answer = post(proxy, "default/replica-1/drain")
        assert (answer.status_code, answer.json()["draining"]) == (200, True)
        assert soon(lambda: all(standing(proxy)["replica-1"]["draining"] for _ in range(8)))  # whichever worker answers
        pids = {used(proxy, f"after-{number}") for number in range(8)}
        assert pids == {str(each.pid) for each in three[1:]}
        assert asked(proxy, legacy[str(three[0].pid)], **CLIENT).status_code == 200
        assert post(proxy, "default/replica-1/undrain").json()["draining"] is False
        assert soon(lambda: not any(standing(proxy)["replica-1"]["draining"] for _ in range(8)))
        assert soon(lambda: used(proxy, f"again-{len(standing(proxy))}") == str(three[0].pid))


def test_b33_rebalance_moves_what_has_no_state_until_loads_differ_by_one(three, tmp_path):
    """B33: an upstream is added; sessions with a legacy MCP session stay where that lives."""
    store = ("--store", f"sqlite:///{tmp_path}/one.db", "--store-timeout", "5s")
    with RunningProxy("--upstreams", named(three[:2]), *TRUSTED, *store) as proxy:
        for number in range(7):
            used(proxy, f"s{number}")
        pinned = begun(proxy, **CLIENT, **{"X-Session-ID": "pinned"})
        before = standing(proxy)
        assert sorted(each["sessions"] for each in before.values()) == [4, 4]
    with RunningProxy("--upstreams", named(three), *TRUSTED, *store) as proxy:
        assert standing(proxy)["replica-3"]["sessions"] == 0
        done = post(proxy, "default/rebalance").json()
        after = {name: each["sessions"] for name, each in standing(proxy).items()}
        assert done["sessions"] == after
        assert sorted(after.values()) == [2, 3, 3]
        assert done["moved"] == 2
        assert asked(proxy, pinned, **CLIENT, **{"X-Session-ID": "pinned"}).status_code == 200
        again = post(proxy, "default/rebalance").json()
        assert (again["moved"], again["sessions"]) == (0, after)


def test_one_that_left_the_settings_while_it_was_drained_can_be_taken_in_again(three, tmp_path):
    store = ("--store", f"sqlite:///{tmp_path}/one.db", "--store-timeout", "5s")
    with RunningProxy("--upstreams", named(three), *TRUSTED, *store) as proxy:
        assert post(proxy, "default/replica-3/drain").status_code == 200
    with RunningProxy("--upstreams", named(three[:2]), *TRUSTED, *store) as proxy:
        assert soon(lambda: post(proxy, "default/replica-3/undrain").status_code == 200)
        assert soon(lambda: post(proxy, "default/replica-3/undrain").status_code == 404)


def test_what_is_not_there_is_named_with_what_is(three):
    with RunningProxy("--upstreams", named(three), *TRUSTED) as proxy:
        pool, upstream = post(proxy, "nowhere/rebalance"), post(proxy, "default/replica-9/drain")
    assert (pool.status_code, pool.json()["error"]) == (404, "No pool 'nowhere': known are default")
    assert upstream.status_code == 404
    assert upstream.json()["error"] == (
        "No upstream 'replica-9' in pool 'default': known are replica-1, replica-2, replica-3"
    )


def test_the_administration_is_only_where_admin_bind_says(three):
    with ExitStack() as running:
        proxy = running.enter_context(
            RunningProxy("--upstreams", named(three), *TRUSTED, "--admin-bind", "127.0.0.1:0")
        )
        assert httpx2.get(f"{proxy.url}/upstreams", headers=ADMIN).status_code == 404


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost.evil.test"])
def test_adm02_row_39_a_page_of_another_site_is_refused_whatever_token_goes_with_it(three, origin):
    with RunningProxy("--upstreams", named(three), *TRUSTED) as proxy:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
            headers = {**ADMIN, "Origin": origin, "Content-Type": kind}
            answer = post(proxy, "default/replica-1/drain", headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert httpx2.get(f"{proxy.url}/upstreams", headers={**ADMIN, "Origin": origin}).status_code == 403
        assert not any(each["draining"] for each in standing(proxy).values())
        own = {**ADMIN, "Origin": "http://localhost:3000"}
        assert httpx2.get(f"{proxy.url}/upstreams", headers=own).status_code == 200


def test_adm02_row_39_a_token_in_the_url_and_a_method_in_a_header_mean_nothing(three):
    with RunningProxy("--upstreams", named(three), *TRUSTED) as proxy:
        root = token("root", scope="sessionware:admin")
        for name in ("token", "access_token", "ticket"):
            assert httpx2.get(f"{proxy.url}/upstreams?{name}={root}").status_code == 401
        overridden = {**ADMIN, "X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
        drain = f"{proxy.url}/upstreams/default/replica-1/drain"
        assert httpx2.get(f"{drain}?_method=POST", headers=overridden).status_code == 405
        assert not any(each["draining"] for each in standing(proxy).values())
