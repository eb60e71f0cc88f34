"""Which paths are exempt: those very paths, as the server decoded them, whatever a Host or an encoding suggests."""

import pytest

from tests.edge import wire

EXEMPT = ("/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics", "/favicon.ico", "/robots.txt", "/docs")
NOT_EXEMPT = r"""
    //health /health/ /health// /HEALTH /Health /health/../admin /health%2f.. /health%2f..%2fadmin /healthy /health%20
    /health%00 /health.json /health;x /health;/../admin /./health /x/../health /health%0a /health%3f /api/health
    /health/live /docs/oauth2-redirect /docs/x /health%c0%af /%2fhealth /metrics%23 /admin?/health /admin?x=/health
    /admin;/health /healthz/x /health%E2%80%AE /%EF%BD%88ealth /health\ /health/%2e%2e/who /health/. /health%5c..
"""


@pytest.mark.parametrize("path", EXEMPT)
def test_an_exempt_path_has_no_session_whatever_is_presented(plain, path):
    """ASGI-01: and even a malformed id is not looked at there."""
    before = plain.lookups, plain.count
    for headers in [[], [("X-Session-ID", "../x")], [("Cookie", "session=x")]]:
        answer = plain.ask("GET", path, *headers)
        assert (answer.status, answer.json["guarded"], answer.header("x-session-id")) == (200, False, None)
    assert plain.ask("GET", path + "?x=1").json["guarded"] is False
    assert (plain.lookups, plain.count) == before


@pytest.mark.parametrize("path", NOT_EXEMPT.split())
def test_a_path_that_only_looks_exempt_is_guarded(serve, path):
    """ASGI-01: decoded, exact, and nothing inherits."""
    site = serve(on_missing="reject")
    answer = site.raw(wire.request(target=path))
    assert answer is not None
    assert answer.status in {400, 401}, answer
    if answer.status == 401:
        assert answer.code == "session_required"


@pytest.mark.parametrize("path", ["/%68ealth", "/health%7a", "/%6D%65trics"])
def test_an_encoded_exempt_path_is_that_path_behind_every_server(plain, path):
    """Appendix A: servers decode into scope["path"], and that is what counts."""
    assert plain.ask("GET", path).json["guarded"] is False


@pytest.mark.parametrize(
    "host", ["x/health?", "x/health#", "app.test/health", "health", "app.test/../health?", "x/metrics?y="]
)
def test_a_host_cannot_make_a_path_exempt(serve, host):
    """ASGI-01, appendix A, CVE-2026-48710 (BadHost)."""
    site = serve(on_missing="reject")
    answer = site.raw(wire.request(target="/who", host=host))
    assert answer is not None
    assert answer.status in {400, 401}, answer


@pytest.mark.parametrize(
    "target", ["http://app.test/health", "http://evil.test/health", "http://169.254.169.254/health"]
)
def test_an_absolute_target_is_the_same_path_or_guarded(serve, target):
    """Fact 0.8: h11 and hypercorn hand the whole URL through as the path; that is no exempt path."""
    answer = serve(on_missing="reject").raw(wire.request(target=target))
    assert answer is not None
    assert answer.status in {400, 401} or answer.json["path"] == "/health"


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PROPFIND", "get", "CONNECT", "PRI", "X" * 40])
def test_no_method_gets_around_the_session(serve, method):
    site = serve(on_missing="reject")
    target = "app.test:443" if method == "CONNECT" else "/who"
    answer = site.raw(wire.request(method, target))
    assert answer is None or answer.status in {400, 401, 405, 501}, answer


def test_a_preflight_is_judged_like_any_other_request_but_counts_nothing(serve):
    """Interface.md section 3: preflight OPTIONS and exempt paths never count."""
    site = serve(limits="3/minute per client")
    site.clock.advance(120_000)
    asks = ("Origin", "https://x.test"), ("Access-Control-Request-Method", "POST")
    assert {site.ask("OPTIONS", "/who", *asks).status for _ in range(6)} == {405}
    assert {site.ask("GET", "/health").status for _ in range(6)} == {200}
    assert [site.ask("GET", "/who").status for _ in range(4)] == [200, 200, 200, 429]
    assert site.ask("OPTIONS", "/who").status == 429, "OPTIONS without a preflight's header is a request"
