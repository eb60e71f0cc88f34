"""Which names and pages may speak to us: Host, Origin, and sockets that another site opens in a browser's name."""

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.edge import wire
from tests.edge.site import Site


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "app.test.evil.test",
        "evil.test#app.test",
        "app.test@evil.test",
        "app.test,evil.test",
        "127.0.0.1",
        "",
        "app.test/",
        "x/health?",
    ],
)
def test_another_host_than_ours_is_refused_on_every_path(serve, host):
    """ALLOWED_HOSTS, section 5 row 30: DNS rebinding; exempt paths too."""
    site: Site = serve(allowed_hosts="app.test")
    for target in ["/who", "/health"]:
        answer = site.raw(wire.request(target=target, host=host))
        assert answer is not None
        assert answer.status in {400, 421}, answer
        assert b'"guarded"' not in answer.raw


def test_our_host_is_ours_in_any_case_and_only_once(serve):
    site: Site = serve(allowed_hosts="app.test")
    for host, expected in [("app.test", {200}), ("APP.Test", {200})]:
        answer = site.raw(wire.request(target="/who", host=host))
        assert answer is not None
        assert answer.status in expected
    for hosts in [["app.test", "evil.test"], ["evil.test", "app.test"], []]:
        answer = site.raw(wire.request(target="/who", host=None, headers=[("Host", host) for host in hosts]))
        assert answer is not None
        assert answer.status in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "null", "http://localhost.evil.com", "https://page.test.evil.test", "https://PAGE.test:1"],
)
def test_another_origin_may_not_read_us(serve, origin):
    """ALLOWED_ORIGINS: no page but the named ones sees an answer; a credentialed answer is never for `*`."""
    site: Site = serve(allowed_origins="https://page.test")
    answer = site.ask("GET", "/who", ("Origin", origin))
    assert answer.header("access-control-allow-origin") is None
    preflight = site.ask("OPTIONS", "/who", ("Origin", origin), ("Access-Control-Request-Method", "POST"))
    assert preflight.header("access-control-allow-origin") is None


def test_a_named_origin_can_read_refusals_too(serve):
    site: Site = serve(allowed_origins="https://page.test")
    for headers in [[], [("X-Session-ID", "../x")]]:
        answer = site.ask("GET", "/who", ("Origin", "https://page.test"), *headers)
        assert answer.header("access-control-allow-origin") == "https://page.test"
        assert "x-session-id" in (answer.header("access-control-expose-headers") or "").lower()


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://app.test.evil.test"])
def test_another_sites_page_cannot_open_a_socket_with_our_cookie(cookies, origin):
    """CSRF on handshakes: a browser sends the cookie along, and no CORS stops it."""
    answer = cookies.ask("POST", "/set", body=b'{"kept":1}')
    sid = (answer.header("set-cookie") or "").partition("=")[2].partition(";")[0]
    url, cookie = f"ws://127.0.0.1:{cookies.server.port}/ws", {"Cookie": f"session={sid}"}
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers=cookie, origin=Origin(origin), proxy=None)
    assert refused.value.response.status_code == 403
    own = Origin(f"http://127.0.0.1:{cookies.server.port}")
    with connect(url, additional_headers=cookie, origin=own, proxy=None) as socket:
        socket.send("x")
        assert sid in str(socket.recv(timeout=10))


def test_a_preflight_runs_without_a_session(plain):
    """Interface.md section 3: it proves nothing and makes nothing."""
    before = plain.count
    answer = plain.ask("OPTIONS", "/echo", ("Origin", "https://x.test"), ("Access-Control-Request-Method", "POST"))
    assert (answer.header("x-session-id"), plain.count) == (None, before)
