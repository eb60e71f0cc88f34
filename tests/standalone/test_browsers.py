"""Browser clients of MCP: CORS for the origins that are allowed, and for nobody else."""

import httpx2
import pytest

from tests.standalone.calling import call
from tests.standalone.running_proxy import RunningProxy

OURS = "http://localhost:5173"  # one that the demo servers let in as well: we pass Origin on
WANTED = {
    "authorization", "content-type", "last-event-id", "mcp-method", "mcp-name", "mcp-param-region",
    "mcp-protocol-version", "mcp-session-id", "x-session-id",
}  # fmt: skip
EXPOSED = {"x-session-id", "mcp-session-id", "ratelimit", "ratelimit-policy", "retry-after", "www-authenticate"}


@pytest.fixture(scope="module")
def open_to_browsers(upstreams):
    with RunningProxy("--upstreams", upstreams, "--allowed-origins", OURS, "--limits", "off") as running:
        yield running


def preflight(proxy, origin, method="POST"):
    headers = {
        "origin": origin, "access-control-request-method": method,
        "access-control-request-headers": ",".join(sorted(WANTED)),
    }  # fmt: skip
    return httpx2.options(f"{proxy.url}/mcp", headers=headers, timeout=10)


def listed(answer, header):
    return {name.strip().lower() for name in answer.headers[header].split(",")}


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_page_of_an_allowed_origin_may_send_every_header_of_mcp(open_to_browsers, method):
    answer = preflight(open_to_browsers, OURS, method)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == OURS
    assert listed(answer, "access-control-allow-headers") >= WANTED
    assert method.lower() in listed(answer, "access-control-allow-methods")


def test_it_may_read_what_mcp_answers_in_headers(open_to_browsers):
    asked = call("pid")
    answer = httpx2.post(f"{open_to_browsers.url}/mcp", json=asked["json"], headers=asked["headers"] | {"origin": OURS})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == OURS
    assert listed(answer, "access-control-expose-headers") >= EXPOSED


def test_a_page_of_another_origin_may_nothing(open_to_browsers):
    asked, theirs = call("pid"), "https://evil.example"
    assert preflight(open_to_browsers, theirs).status_code == 400
    answer = httpx2.post(
        f"{open_to_browsers.url}/mcp", json=asked["json"], headers=asked["headers"] | {"origin": theirs}
    )
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_refusals_can_be_read_by_the_page(open_to_browsers):
    answer = httpx2.get(f"{open_to_browsers.url}/nowhere", headers={"origin": OURS})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (404, OURS)
