"""Who may speak to the proxy at all (PX-05, section 5 row 30), and in which words others are refused."""

import httpx2
import pytest

from sessionware.assembly.proxying import proxy
from sessionware.errors import StoreUnavailable
from sessionware.stores.memory import MemoryStore
from tests.edge import wire
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, LIST, modern
from tests.proxy.telling_upstream import json_answer, telling
from tests.serving import Server

FINE = json_answer({"jsonrpc": "2.0", "id": 5, "result": {}})
EVIL_ORIGINS = [
    "https://evil.test", "null", "http://localhost.evil.com", "http://evil.com?localhost", "file://", "",
    "http://localhost@evil.com", "http://127.0.0.1.evil.com:80", "chrome-extension://localhost", "http://[::2]",
    "http://localhost:80:80", "http://localhost/", "http://localhost evil",
]  # fmt: skip
EVIL_HOSTS = [
    "evil.test", "localhost.evil.com", "127.0.0.1.evil.com", "127.0.0.2", "[::2]", "localhost@evil.com", "0.0.0.0",
    "localhost,evil.com", "evil.com#localhost", "a." * 5000 + "com", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def upstream():
    with telling(FINE) as found:
        yield found


def listed(server, **headers):
    return httpx2.post(f"{server.url}/mcp", headers=modern("tools/list") | headers, json=LIST)


def is_refusal(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert (told["jsonrpc"], told["id"], told["error"]["code"]) == ("2.0", None, -(31000 + status))
    return True


@pytest.mark.parametrize("origin", EVIL_ORIGINS)
def test_a_foreign_page_is_403_where_only_this_machine_can_reach_us(upstream, origin):
    before = len(upstream.seen)
    with serving(upstream.url) as server:
        assert is_refusal(listed(server, Origin=origin), 403)
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:6274", "http://127.0.0.1:8080", "https://[::1]:1", None]
)
def test_pages_of_this_machine_may_ask_at_any_port(upstream, origin):
    with serving(upstream.url) as server:
        assert listed(server, **({"Origin": origin} if origin else {})).status_code == 200
    assert upstream.seen[-1].all("origin") == ([origin] if origin else [])


@pytest.mark.parametrize("host", EVIL_HOSTS)
@pytest.mark.parametrize("target", ["/mcp", "/health"])
def test_a_name_that_was_rebound_is_421(upstream, host, target):
    before = len(upstream.seen)
    with serving(upstream.url) as server:
        answer = wire.exchange(server.connect(), wire.request("POST", target, FORMS.items(), b"{}", host=host))
        assert answer is not None
        assert answer.status in {400, 421}
        if target == "/mcp" and answer.status == 421:
            assert (answer.json["error"]["code"], answer.json["id"]) == (-31421, None)
    assert len(upstream.seen) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:9", "[::1]"])
def test_names_of_this_machine_are_ours_at_any_port(upstream, host):
    with serving(upstream.url) as server:
        assert listed(server, Host=host).status_code == 200


def test_two_hosts_are_nobody_s(upstream):
    with serving(upstream.url) as server:
        sent = wire.request("POST", "/mcp", [*FORMS.items(), ("Host", "evil.test")], b"{}", host="localhost")
        answer = wire.exchange(server.connect(), sent)
    assert answer is not None
    assert answer.status in {400, 421}


def test_behind_a_public_name_that_name_is_ours_too(upstream):
    with serving(upstream.url, public_url="https://mcp.example.com") as server:
        assert listed(server, Host="mcp.example.com", Origin="https://mcp.example.com").status_code == 200
        assert is_refusal(listed(server, Host="mcp.example.com.evil.com"), 421)
        assert is_refusal(listed(server, Origin="http://mcp.example.com"), 403)


def test_in_public_only_a_page_of_the_same_host_may_ask(upstream):
    with serving(upstream.url, host="0.0.0.0") as server:
        for host, origin, status in [
            ("one.test", None, 200), ("one.test", "https://one.test", 200), ("one.test:81", "http://one.test:81", 200),
            ("one.test", "https://two.test", 403), ("one.test", "null", 403), ("one.test", "http://localhost", 403),
            ("one.test:81", "http://one.test", 403),
        ]:  # fmt: skip
            asked = {"Host": host} | ({"Origin": origin} if origin else {})
            assert listed(server, **asked).status_code == status, asked


def test_lists_say_it_otherwise(upstream):
    lists = {"allowed_origins": "https://app.test", "allowed_hosts": "*.example.com,here.test:*"}
    with serving(upstream.url, **lists) as server:
        for host, origin, status in [
            ("a.example.com", "https://app.test", 200), ("a.b.example.com:81", "https://app.test", 421),
            ("here.test:99", None, 200), ("here.test", None, 200), ("example.com", None, 421),
            ("localhost", None, 421), ("a.example.com", "http://localhost", 403),
        ]:  # fmt: skip
            asked = {"Host": host} | ({"Origin": origin} if origin else {})
            assert listed(server, **asked).status_code == status, asked


def test_plain_http_servers_have_their_own_mind_about_pages(upstream):
    with serving(f"app[http]={upstream.url}") as server:
        assert httpx2.get(f"{server.url}/app/", headers={"Origin": "https://evil.test"}).status_code == 200
        assert httpx2.get(f"{server.url}/app/", headers={"Host": "evil.test"}).status_code == 421


class Away(MemoryStore):
    """A store that cannot be entered."""

    async def __aenter__(self):
        raise StoreUnavailable("away")


def test_before_the_store_is_there_a_client_is_told_so_in_json_rpc(upstream):
    app = proxy(environ={}, upstreams=f"{upstream.url};app[http]={upstream.url}", store=Away())
    with Server(app) as server:
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
        assert is_refusal(answer, 503)
        assert answer.json()["error"]["data"]["retry_after_ms"] == 1000
        assert answer.headers["retry-after"] == "1"
        plain = httpx2.get(f"{server.url}/app/")
    assert (plain.status_code, plain.headers["content-type"]) == (503, "application/problem+json")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS", "HEAD", "PATCH", "TRACE"])
def test_other_methods_are_refused_in_json_rpc_or_passed_on(upstream, method):
    """Row 32: never a bare 405."""
    with serving(upstream.url) as server:
        answer = httpx2.request(method, f"{server.url}/mcp")
    if method in {"GET", "DELETE"}:
        assert answer.status_code == 200
    elif method == "HEAD":
        assert answer.status_code == 405
    else:
        assert is_refusal(answer, 405)


def test_a_modern_request_s_legacy_headers_mean_nothing(upstream):
    """Row 32: no session is looked for, nothing is echoed."""
    with serving(upstream.url, **TOKENS) as server:
        answer = listed(
            server, Authorization=f"Bearer {token('alice')}", **{"Mcp-Session-Id": "x", "Last-Event-ID": "1"}
        )
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers
    assert upstream.seen[-1].all("mcp-session-id") == upstream.seen[-1].all("last-event-id") == []
