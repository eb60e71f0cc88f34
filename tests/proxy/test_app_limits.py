"""Limits in the words of MCP, in both eras: per tool and method, never on a handshake, and told so that it is heard."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, LATER, LIST, asked, begun, call, modern
from tests.proxy.telling_upstream import Told, json_answer, telling

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
LIFECYCLE = ["server/discover", "initialize", "ping", "notifications/cancelled", "notifications/made/up"]


def answering(seen):
    """Begins a session where one is asked for; says the tool's name; charges tokens where the tool is called `paid`."""
    if seen.method != "POST":
        return Told([b""])
    asked = json.loads(seen.body)
    first = asked[0] if isinstance(asked, list) else asked
    headers: dict[str, Any] = {"mcp_session_id": "theirs"} if first["method"] == "initialize" else {}
    name = first.get("params", {}).get("name", "")
    if name == "paid":
        headers["x_sessionware_spend"] = "tokens=60, compute_seconds=1"
    return json_answer({"jsonrpc": "2.0", "id": first.get("id"), "result": {"of": name}}, **headers)


@pytest.fixture(scope="module")
def upstream():
    with telling(answering) as found:
        yield found


def bearer(user="alice", session="one"):
    return {"Authorization": f"Bearer {token(user)}", "X-Session-ID": session}


def post(door, era, message, **headers):
    """One request of that era."""
    target = message.get("params", {})
    said = LATER if era == "legacy" else modern(message["method"], target.get("name") or target.get("uri"))
    return httpx2.post(f"{door.url}/mcp", headers=said | bearer() | headers, json=message)


def asking(method, request_id=5, **params):
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def statuses(door, era, *messages):
    return [post(door, era, message).status_code for message in messages]


@ERAS
def test_a_limit_of_one_tool_counts_that_tool_alone(upstream, era):
    with serving(upstream.url, limits="2/hour per user for tool image_*", **TOKENS) as door:
        assert statuses(door, era, *[call("image_a"), call("image_b"), call("image_c")]) == [200, 200, 429]
        assert statuses(door, era, call("text"), call("images"), LIST) == [200, 200, 200]


@ERAS
def test_a_limit_per_tool_counts_each_by_itself(upstream, era):
    with serving(upstream.url, limits="1/hour per user and tool", **TOKENS) as door:
        assert statuses(door, era, call("a"), call("b"), call("a"), call("c")) == [200, 200, 429, 200]


@ERAS
def test_a_limit_of_one_method_counts_that_method_alone(upstream, era):
    limits = "1/hour per user for mcp prompts/get; 1/hour per user for mcp tools/*"
    with serving(upstream.url, limits=limits, **TOKENS) as door:
        prompt = asking("prompts/get", name="p")
        assert statuses(door, era, prompt, prompt, call("a"), LIST) == [200, 429, 200, 429]
        assert statuses(door, era, asking("resources/read", uri="a://b"), asking("prompts/list")) == [200, 200]


@ERAS
def test_a_limit_costs_what_it_says(upstream, era):
    with serving(upstream.url, limits="10/hour per user for tool big costing 4", **TOKENS) as door:
        assert statuses(door, era, call("big"), call("big"), call("big")) == [200, 200, 429]


@ERAS
@pytest.mark.parametrize("limits", ["1/hour per session", "1/hour per session; 1/hour per user for mcp tools/call"])
def test_the_handshake_and_housekeeping_are_never_counted(upstream, era, limits):
    """A 429 on the probe would lock a client into the old era."""
    with serving(upstream.url, limits=limits, **TOKENS) as door:
        assert statuses(door, era, call("a"), call("a")) == [200, 429]
        for method in LIFECYCLE:
            message = HELLO if method == "initialize" else asking(method)
            assert statuses(door, era, message, message) == [200, 200], method
        if era == "legacy":
            for method in ["GET", "DELETE"]:
                answer = httpx2.request(method, f"{door.url}/mcp", headers=LATER | bearer())
                assert answer.status_code == 200
        assert statuses(door, era, call("a")) == [429]


@pytest.mark.parametrize("said", [*LIFECYCLE, "tools/list", "=?base64?cGluZw==?=", None])
def test_who_says_another_method_than_the_body_s_is_refused(upstream, said):
    """PX-15: limits read the header, the server the body. Only where neither would differ nobody compares."""
    limits = "1/hour per session for mcp tools/call"
    with serving(upstream.url, limits=limits, **TOKENS) as door:
        headers = modern(said or "x", "a") | bearer()
        if said is None:
            del headers["Mcp-Method"]
        before = len(upstream.seen)
        answer = httpx2.post(f"{door.url}/mcp", headers=headers, json=call("a"))
        assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (400, -32020, 5)
        assert len(upstream.seen) == before


@pytest.mark.parametrize("said", ["cheap", "=?base64?Y2hlYXA=?=", "=?base64?!?=", "COSTLY", "", None])
def test_who_says_another_tool_than_the_body_s_is_refused(upstream, said):
    """PX-15: `Mcp-Name: safe_tool` and a body of another."""
    with serving(upstream.url, limits="1/hour per user for tool costly", **TOKENS) as door:
        headers = modern("tools/call") | bearer() | ({} if said is None else {"Mcp-Name": said})
        answer = httpx2.post(f"{door.url}/mcp", headers=headers, json=call("costly"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


@ERAS
def test_a_refusal_says_when_to_come_back_in_header_message_and_data(upstream, era):
    """Official clients read neither Retry-After nor `retry-after-ms`."""
    with serving(upstream.url, limits="1/hour per session", **TOKENS) as door:
        post(door, era, call("a"))
        for request_id in [7, "seven", 1.5]:
            refused = post(door, era, call("a", request_id))
            told = refused.json()
            wait_ms = told["error"]["data"]["retry_after_ms"]
            assert (refused.status_code, told["id"], told["error"]["code"]) == (429, request_id, -31429)
            assert 0 < wait_ms <= 7_200_000
            assert int(refused.headers["retry-after"]) == -(-wait_ms // 1000)
            assert f"retry in {-(-wait_ms // 1000)} s" in told["error"]["message"]
            assert {"ratelimit", "ratelimit-policy"} <= set(refused.headers)


@ERAS
def test_a_refused_call_may_be_a_result_that_the_model_reads(upstream, era):
    """MCP_LIMIT_ANSWER=tool_result: for tool calls alone, and for limits alone."""
    with serving(upstream.url, limits="1/hour per session", mcp_limit_answer="tool_result", **TOKENS) as door:
        post(door, era, call("a"))
        refused = post(door, era, call("a", 9))
        result = refused.json()["result"]
        assert (refused.status_code, refused.json()["id"], result["isError"]) == (200, 9, True)
        assert result["content"][0]["text"].startswith("Rate limit exceeded (retry in ")
        assert result.get("resultType") == ("complete" if era == "modern" else None)
        assert refused.headers["retry-after"]
        assert post(door, era, LIST).status_code == 429
        bad = post(door, era, call("a"), Authorization="Bearer nonsense")
        assert (bad.status_code, bad.json()["error"]["code"]) == (401, -31401)


@ERAS
def test_what_an_upstream_says_it_took_is_charged_and_not_told(upstream, era):
    """X-Sessionware-Spend."""
    limits = "100 tokens/hour per user; 1000 compute_seconds/hour per user"
    with serving(upstream.url, limits=limits, **TOKENS) as door:
        answers = [post(door, era, call("paid")) for _ in range(3)]
        assert [each.status_code for each in answers] == [200, 200, 429]
        assert all("x-sessionware-spend" not in each.headers for each in answers)
        assert answers[2].json()["error"]["message"].startswith("Quota exceeded for tokens: ")
        assert post(door, era, call("paid"), **bearer("bob")).status_code == 200


def test_a_batch_counts_as_many_requests_as_it_holds(upstream):
    headers = FORMS | bearer()
    batch = [call("a", 1), call("b", 2), {"jsonrpc": "2.0", "method": "notifications/cancelled"}, LIST]
    with serving(upstream.url, limits="4/hour per session", **TOKENS) as door:
        assert httpx2.post(f"{door.url}/mcp", headers=headers, json=batch).status_code == 200
        refused = httpx2.post(f"{door.url}/mcp", headers=headers, json=batch)
        assert (refused.status_code, refused.json()["id"]) == (429, None)
        assert post(door, "legacy", call("a")).status_code == 200
        assert post(door, "legacy", call("a")).status_code == 429


@pytest.mark.parametrize(
    "batch",
    [
        [call("cheap", 1), call("costly", 2)],
        [LIST, call("costly", 1)],
        [asking("ping", 1), call("costly", 2)],
        [call("costly", 1), asking("prompts/get", 2, name="costly")],
    ],
)
def test_nobody_gets_a_costly_call_in_behind_a_cheap_one(upstream, batch):
    """Where limits tell requests apart, a batch of different ones is refused."""
    before = len(upstream.seen)
    with serving(upstream.url, limits="1/hour per user for tool costly", **TOKENS) as door:
        refused = httpx2.post(f"{door.url}/mcp", headers=FORMS | bearer(), json=batch)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -31400)
        quiet = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "costly"}}
        many = httpx2.post(f"{door.url}/mcp", headers=FORMS | bearer(), json=[quiet, quiet])
        assert many.status_code == 429  # without ids they are calls all the same
        assert len(upstream.seen) == before
        same = [call("costly", 1), {"jsonrpc": "2.0", "method": "notifications/cancelled"}]
        sent = [httpx2.post(f"{door.url}/mcp", headers=FORMS | bearer(), json=same).status_code for _ in range(2)]
    assert sent == [200, 429]


def test_nobody_gets_work_in_behind_a_ping(upstream):
    """A batch that begins with housekeeping is counted by what else it holds."""
    batch = [asking("ping", 1), {"jsonrpc": "2.0", "method": "notifications/cancelled"}, asking("resources/list", 2)]
    with serving(upstream.url, limits="3/hour per session", **TOKENS) as door:
        sent = [httpx2.post(f"{door.url}/mcp", headers=FORMS | bearer(), json=batch).status_code for _ in range(2)]
        assert sent == [200, 429]
        pings = [asking("ping", 1), asking("ping", 2)]
        assert httpx2.post(f"{door.url}/mcp", headers=FORMS | bearer(), json=pings).status_code == 200


@ERAS
def test_a_pool_s_own_limit_counts_nothing_else(upstream, era):
    pools = {"one": {"limits": ["1/hour per user"]}}
    with serving(f"one={upstream.url};two={upstream.url}", pools=pools, **TOKENS) as door:
        said = LATER if era == "legacy" else modern("tools/call", "a")
        sent = [
            httpx2.post(f"{door.url}/{pool}/mcp", headers=said | bearer(), json=call("a")).status_code
            for pool in ["one", "one", "two", "two"]
        ]
    assert sent == [200, 429, 200, 200]


def test_exactly_so_many_of_many_at_once_get_through(upstream):
    """Row 24, through MCP."""
    with serving(upstream.url, limits="10/hour per user", **TOKENS) as door, ThreadPoolExecutor(16) as workers:
        sent = list(workers.map(lambda n: post(door, "modern", call(f"t{n}", n)).status_code, range(60)))
    assert (sent.count(200), sent.count(429)) == (10, 50)


def test_a_limit_per_session_counts_legacy_sessions_apart_though_their_clients_share_an_address(upstreams):
    """That the session is named by Mcp-Session-Id alone makes no difference."""
    with serving(",".join(each.url for each in upstreams), limits="2/day per session", **TOKENS) as server:
        users = {user: {"Authorization": f"Bearer {token(user)}"} for user in ("alice", "bob")}
        ids = {user: begun(server, **headers) for user, headers in users.items()}
        ids["alice again"] = begun(server, **users["alice"])
        users["alice again"] = users["alice"]
        statuses = {user: [asked(server, ids[user], **users[user]).status_code for _ in range(3)] for user in users}
    assert statuses == {user: [200, 200, 429] for user in users}


def test_links_of_one_session_share_what_counts_per_session(upstreams):
    """Also over session and tool, from the second request of each on."""
    limits = "4/day per session; by_tool=3/day per session and tool"
    with serving(upstreams[0].url, limits=limits, **TOKENS) as server:
        headers = {"Authorization": f"Bearer {token('alice')}"}
        ids = [begun(server, **headers, **{"X-Session-ID": "work"}) for _ in range(2)]
        pair = [asked(server, each, **headers).status_code for each in ids]  # lists
        calls = [asked(server, each, call("pid"), **headers).status_code for each in (*ids, ids[0])]
    assert (pair, calls) == ([200, 200], [200, 200, 429])
