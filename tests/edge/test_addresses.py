"""Whose address counts: the peer's, unless the peer is a proxy that was named."""

import pytest

from tests.edge.site import Site
from tests.edge.wire import Header

SPOOFS: list[list[Header]] = [
    [("X-Forwarded-For", "127.0.0.1")], [("X-Forwarded-For", "203.0.113.9")], [("X-Forwarded-For", "203.0.113.9, ::1")],
    [("X-Forwarded-For", ", ".join(["203.0.113.9"] * 1000))], [("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")],
    [("Forwarded", 'for="_x"')], [("Forwarded", "for=203.0.113.9;proto=https")], [("X-Real-IP", "203.0.113.9")],
    [("X-Client-IP", "203.0.113.9")], [("CF-Connecting-IP", "203.0.113.9")], [("True-Client-IP", "203.0.113.9")],
    [("X_Forwarded_For", "203.0.113.9")], [("X-Forwarded-For", "[::1]")], [("X-Forwarded-For", b"\xff\x00"[:1])],
    [("X-Forwarded-For", "unknown")], [("X-Forwarded-For", "'; DROP")], [("X-Forwarded-For", "")],
]  # fmt: skip


def test_no_header_of_an_untrusted_peer_changes_whose_requests_count(serve):
    """ASGI-03, section 5 row 22; fastapi-limiter trusts the left-most X-Forwarded-For."""
    site = serve(limits="20/minute per client")
    site.clock.advance(120_000)
    spent = [site.ask("GET", "/who", *headers).status for headers in SPOOFS]
    assert spent == [200] * len(SPOOFS)
    rest = [site.ask("GET", "/who").status for _ in range(20 - len(SPOOFS))]
    assert rest == [200] * (20 - len(SPOOFS))
    over = [site.ask("GET", "/who", *headers).status for headers in [[], *SPOOFS]]
    assert over == [429] * (1 + len(SPOOFS))


def test_behind_a_trusted_proxy_the_right_most_untrusted_hop_counts(serve):
    """ASGI-03: what the client wrote to the left of it does not."""
    site: Site = serve(limits="2/minute per client", trusted_proxies="127.0.0.1,10.0.0.0/8")
    site.clock.advance(120_000)

    def status(*values: str) -> int:
        headers: list[Header] = [("X-Forwarded-For", value) for value in values]
        return site.ask("GET", "/who", *headers).status

    assert [status(f"198.51.100.{n}, 203.0.113.1") for n in range(3)] == [200, 200, 429]
    assert [status(f"198.51.100.{n}, 203.0.113.2, 10.0.0.{n}") for n in range(3)] == [200, 200, 429]
    assert [status(f"198.51.100.{n}", "203.0.113.3") for n in range(3)] == [200, 200, 429]
    assert [status(f"203.0.113.4:{n + 1}") for n in range(3)] == [200, 200, 429]
    assert [status(f"nonsense-{n}") for n in range(3)] == [200, 200, 429], "a hop that is no address is the proxy's own"
    assert status(f"{'9.' * 500}, 203.0.113.5") == 200


def test_an_ipv6_household_is_one_client(serve):
    """ASGI-04: the /64, in any spelling; and a mapped IPv4 address is that address."""
    site = serve(limits="2/minute per client", trusted_proxies="private")
    site.clock.advance(120_000)

    def statuses(*hops: str) -> list[int]:
        return [site.ask("GET", "/who", ("X-Forwarded-For", hop)).status for hop in hops]

    assert statuses("2001:db8:1:2::1", "2001:DB8:1:2:ffff::9", "[2001:db8:1:2::77]:443") == [200, 200, 429]
    assert statuses("2001:db8:1:3::1") == [200]
    assert statuses("::ffff:192.0.2.7", "192.0.2.7", "::ffff:c000:207") == [200, 200, 429]


def test_a_thousand_invented_clients_do_not_free_an_exhausted_one(serve):
    """ASGI-04: keys are bounded, and forgetting one never refills it."""
    site = serve(limits="2/minute per client", trusted_proxies="private")
    site.clock.advance(120_000)
    exhausted = ("X-Forwarded-For", "203.0.113.77")
    assert [site.ask("GET", "/who", exhausted).status for _ in range(3)] == [200, 200, 429]
    for number in range(40):
        site.ask("GET", "/who", ("X-Forwarded-For", f"198.18.{number}.1"))
    assert site.ask("GET", "/who", exhausted).status == 429


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL"]
)
def test_no_header_moves_a_request_to_another_path(serve, name):
    """ASGI-01: for whoever matches paths behind a proxy."""
    site = serve(on_missing="reject")
    assert site.ask("GET", "/who", (name, "/health")).status == 401
