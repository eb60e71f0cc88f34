"""How a client learns where to get a token (RFC 9728), and what it is told when the one it has is not enough."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from sessionware.proxy.fleet import pause
from sessionware.proxy.metadata import BODY_WITHIN_S
from tests.proxy.standing_proxy import ISSUER, TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, LIST, call, modern
from tests.proxy.telling_upstream import Told, json_answer, telling

WELL_KNOWN = "/.well-known/oauth-protected-resource"
CLOSED = TOKENS | {"anonymous": "off"}
FINE = json_answer({"jsonrpc": "2.0", "id": 5, "result": {}})


def asked(server, user=None, message=LIST, path="/mcp", **headers):
    if user is not None:
        headers["Authorization"] = f"Bearer {user}"
    method, name = message["method"], message.get("params", {}).get("name")
    return httpx2.post(f"{server.url}{path}", headers=modern(method, name, **headers), json=message)


@pytest.fixture(scope="module")
def upstream():
    with telling(FINE) as found:
        yield found


@pytest.mark.parametrize(
    ("public_url", "audience", "resource", "place"),
    [
        ("https://mcp.test", None, "https://mcp.test", WELL_KNOWN),
        ("https://mcp.test/mcp", None, "https://mcp.test/mcp", WELL_KNOWN + "/mcp"),
        ("https://mcp.test/gate", None, "https://mcp.test/gate", WELL_KNOWN + "/gate"),
        ("https://mcp.test", "https://mcp.test/mcp", "https://mcp.test/mcp", WELL_KNOWN + "/mcp"),
        ("https://mcp.test", "api", "https://mcp.test", WELL_KNOWN),
    ],
)
def test_a_401_leads_to_a_document_about_the_resource_that_tokens_are_for(
    upstream, public_url, audience, resource, place
):
    settings = CLOSED | {"public_url": public_url, "jwt_audience": audience or ""}
    with serving(upstream.url, **settings) as server:
        answer = asked(server)
        found = httpx2.get(f"{server.url}{place}")
        at_the_path = httpx2.get(f"{server.url}{WELL_KNOWN}/mcp")
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (401, -31401, 5)
    assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="https://mcp.test{place}"'
    expected = {"resource": resource, "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"]}
    assert found.json() == at_the_path.json() == expected
    assert found.headers["access-control-allow-origin"] == "*"


def test_a_token_for_our_url_with_a_slash_at_its_end_is_for_us(upstream):
    """The official client writes the resource that it has read in the document with a slash."""
    settings = CLOSED | {"public_url": "https://mcp.test", "jwt_audience": ""}
    with serving(upstream.url, **settings) as server:
        for audience, status in [
            ("https://mcp.test", 200), ("https://mcp.test/", 200), ("https://mcp.test//", 401),
            ("https://mcp.test/mcp", 401), ("https://mcp.test.evil", 401),
        ]:  # fmt: skip
            assert asked(server, token("alice", aud=audience)).status_code == status, audience


def test_only_a_token_with_a_fault_is_called_invalid(upstream):
    """JWT-15: and nothing says which fault it is."""
    with serving(upstream.url, **CLOSED, public_url="https://mcp.test") as server:
        good = asked(server, token("alice"))
        bad = [asked(server, each) for each in ["nonsense", token("alice", aud="other"), token("alice", exp=1)]]
    assert good.status_code == 200
    assert {each.headers["www-authenticate"] for each in bad} == {
        f'Bearer error="invalid_token", resource_metadata="https://mcp.test{WELL_KNOWN}"'
    }
    assert len({each.content for each in bad}) == 1


@pytest.mark.parametrize("legacy", [False, True])
def test_whoever_is_in_none_of_the_groups_is_told_that_the_scope_is_not_enough(upstream, legacy):
    """`[pools.NAME] required_groups`, and REQUIRED_GROUPS: 403, while nobody at all is 401."""
    per_pool: dict[str, Any] = {"pools": {"default": {"required_groups": ["ops", "dev"]}}}
    for settings in [per_pool, {"required_groups": "ops,dev"}]:
        with serving(upstream.url, **TOKENS, **settings, public_url="https://mcp.test") as server:
            before = len(upstream.seen)

            def ask(user=None):
                if not legacy:
                    return asked(server, user)  # used in this turn only
                headers = FORMS if user is None else FORMS | {"Authorization": f"Bearer {user}"}
                return httpx2.post(f"{server.url}/mcp", headers=headers, json=HELLO)

            nobody, stranger = ask(), ask(token("bob", groups=["users"]))
            assert len(upstream.seen) == before
            member = ask(token("alice", groups=["users", "dev"]))
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == f'Bearer resource_metadata="https://mcp.test{WELL_KNOWN}"'
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (403, -31403)
        assert stranger.json()["error"]["data"]["code"] == "insufficient_scope"
        assert stranger.headers["www-authenticate"] == (
            f'Bearer error="insufficient_scope", resource_metadata="https://mcp.test{WELL_KNOWN}"'
        )
        assert "x-session-id" not in stranger.headers
        assert member.status_code == 200


def test_one_pool_s_groups_are_not_another_s(upstream):
    pools = {"ops": {"required_groups": ["ops"]}}
    with serving(f"ops={upstream.url};all={upstream.url};web[http]={upstream.url}", **TOKENS, pools=pools) as server:
        bob = token("bob")
        assert [asked(server, bob, path=path).status_code for path in ["/ops/mcp", "/all/mcp"]] == [403, 200]
        assert asked(server, bob, path="/ops/mcp", **{"X-Session-ID": "one"}).status_code == 403


def test_where_only_this_machine_can_reach_us_the_name_it_uses_will_do(upstream):
    with serving(upstream.url, **CLOSED) as server:
        answer = asked(server)
        place = f"{server.url}{WELL_KNOWN}/mcp"
        assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="{place}"'
        assert httpx2.get(place).json()["resource"] == f"{server.url}/mcp"


@pytest.mark.parametrize("settings", [{}, TOKENS | {"jwt_issuer": "", "host": "0.0.0.0"}, TOKENS | {"host": "0.0.0.0"}])
def test_where_there_is_nothing_to_say_there_is_no_document(upstream, settings):
    with serving(upstream.url, **settings, forward_authorization="strip") as server:
        answer = httpx2.get(f"{server.url}{WELL_KNOWN}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -31404)


def test_a_document_is_only_read_and_makes_no_session(upstream):
    """Identity-only: whatever credentials come along."""
    before = len(upstream.seen)
    with serving(upstream.url, **TOKENS, public_url="https://mcp.test") as server:
        for headers in [{"Authorization": "Bearer nonsense"}, {"X-Session-ID": "one"}, {"Cookie": "session=x"}]:
            answer = httpx2.get(f"{server.url}{WELL_KNOWN}", headers=headers)
            assert answer.status_code == 200
            assert {"x-session-id", "set-cookie", "ratelimit"}.isdisjoint(answer.headers)
        assert httpx2.post(f"{server.url}{WELL_KNOWN}").status_code == 405
        assert httpx2.get(f"{server.url}{WELL_KNOWN}/other").status_code == 404
        assert httpx2.get(f"{server.url}{WELL_KNOWN}x").status_code == 404
    assert len(upstream.seen) == before


def authenticating(seen):
    """An upstream that wants a token of its own issuer."""
    if seen.path.startswith(WELL_KNOWN):
        return json_answer(
            {
                "resource": "http://10.0.0.7:9001/mcp", "authorization_servers": ["https://issuer.test"],
                "scopes_supported": ["tools"], "signed_metadata": "x.y.z",
            }
        )  # fmt: skip
    if "Bearer right" in seen.all("authorization"):
        return FINE
    challenge = f'Bearer realm="x", resource_metadata="http://10.0.0.7:9001{WELL_KNOWN}/mcp", scope="tools"'
    return Told([b"no"], status=401, headers=(("www-authenticate", challenge),))


def test_an_upstream_that_authenticates_speaks_through_us():
    """FORWARD_AUTHORIZATION=forward: its challenge and its document lead to our URL."""
    settings = {"forward_authorization": "forward", "public_url": "https://mcp.test"}
    with telling(authenticating) as upstream, serving(upstream.url, **settings) as server:
        refused = asked(server, "wrong")
        found = httpx2.get(f"{server.url}{WELL_KNOWN}/mcp")
        assert asked(server, "right").status_code == 200
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == (
        f'Bearer realm="x", resource_metadata="https://mcp.test{WELL_KNOWN}/mcp", scope="tools"'
    )
    assert found.json() == {
        "resource": "https://mcp.test/mcp", "authorization_servers": ["https://issuer.test"],
        "scopes_supported": ["tools"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [Told([b"x" * 70_000]), Told([b"{"]), Told([b"[1]"]), Told([b"{}"], status=500), Told([b""], status=302)],
)
def test_an_upstream_s_document_that_is_none_is_not_passed_on(document):
    with telling(document) as upstream, serving(upstream.url, forward_authorization="forward") as server:
        assert httpx2.get(f"{server.url}{WELL_KNOWN}/mcp").status_code == 404


async def byte_by_byte():
    while True:
        yield b" "
        await pause(0.1)


def test_an_upstream_s_document_that_never_ends_holds_nobody():
    with telling(Told(byte_by_byte), "/") as upstream, serving(upstream.url, forward_authorization="forward") as server:
        answer = httpx2.get(f"{server.url}{WELL_KNOWN}/mcp", timeout=2 * BODY_WITHIN_S)
    assert answer.status_code == 404


class Kept(TokenStorage):
    """Nothing is known before, and nothing is kept."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        raise AssertionError("nobody issues any")

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("nobody registers")


def test_the_official_client_goes_to_our_issuer_and_believes_the_document(upstream):
    """It refuses one about another resource; here it comes as far as the issuer's own metadata."""
    asked_for: list[str] = []

    async def go(url, server):
        provider = OAuthClientProvider(
            server_url=url,
            client_metadata=OAuthClientMetadata(client_name="t", redirect_uris=["http://localhost:1/back"]),  # type: ignore[list-item]
            storage=Kept(),
        )
        flow = provider.async_auth_flow(httpx2.Request("POST", url, headers=modern("tools/list"), json=LIST))
        request = await anext(flow)
        async with httpx2.AsyncClient() as http:
            while True:
                asked_for.append(str(request.url))
                if not str(request.url).startswith(server.url):
                    break
                answer = await http.send(request)
                request = await flow.asend(answer)
        await flow.aclose()
        return provider

    with serving(upstream.url, **CLOSED) as server:
        provider = asyncio.run(go(f"{server.url}/mcp", server))
    assert asked_for[1].endswith(f"{WELL_KNOWN}/mcp")
    assert asked_for[-1].startswith(ISSUER)
    assert str(provider.context.protected_resource_metadata.resource) == f"{asked_for[0]}"


def test_a_client_s_secrets_reach_no_upstream():
    """TP-01: canaries in every place that a client may put them."""
    canaries = {
        "Authorization": f"Bearer {token('alice')}", "X-Session-ID": "canary-session", "X-API-Key": "canary-key",
        "Cookie": "session=canary-cookie; theirs=canary-other", "Proxy-Authorization": "Basic canary-proxy",
        "X-Session-Token": "canary-token", "X-User-Id": "canary-user", "X-Sessionware-User": "canary-name",
    }  # fmt: skip
    with telling(FINE) as upstream, serving(upstream.url, **TOKENS) as server:
        answer = httpx2.post(
            f"{server.url}/mcp?access_token=in-the-url",
            headers=modern("tools/call", "pid", **{k: v for k, v in canaries.items() if k != "X-API-Key"}),
            json=call("pid"),
        )
        assert answer.status_code == 200, answer.text
    told = json.dumps(upstream.seen[0].headers)
    assert "canary" not in told
    assert canaries["Authorization"] not in told
