"""ASGI-03: the client's address is the right-most hop that no trusted proxy vouches for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.credentials.trusted_headers import HOPS_MAX, TrustedProxies, read_proxies

TEN = read_proxies(["10.0.0.0/8", "2001:db8::/32"])
PRIVATE = read_proxies(["private"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["127.0.0.1"], "192.0.2.1"),  # spoofed by a stranger
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),  # the left part is the client's invention
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7:1234"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db9::1]:1234"], "2001:db9::1"),
        ("2001:db8::1", ["2001:db9::1"], "2001:db9::1"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["for=198.51.100.7"], "10.0.0.1"),
        ("10.0.0.1", ["x" * 100_000], "10.0.0.1"),
        (None, ["198.51.100.7"], None),
        ("unix:", ["198.51.100.7"], "unix:"),
    ],
)  # fmt: skip
def test_asgi_03_the_client_is_the_right_most_untrusted_hop(peer, forwarded, client):
    assert TEN.client(peer, forwarded) == client


def test_asgi_03_by_default_nobody_is_trusted():
    assert TrustedProxies().client("127.0.0.1", ["1.1.1.1"]) == "127.0.0.1"
    assert not TrustedProxies().trusts("127.0.0.1")
    assert not TrustedProxies().trusts(None)


def test_asgi_03_only_so_many_hops_are_looked_at():
    hops = ["9.9.9.9", *["10.0.0.7"] * 1000]
    assert TEN.client("10.0.0.1", [", ".join(hops)]) == "10.0.0.7"
    assert TEN.client("10.0.0.1", hops) == "10.0.0.7"
    assert TEN.client("10.0.0.1", [", ".join(hops[: HOPS_MAX - 1])]) == "9.9.9.9"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd00::1", "fe80::1%eth0", None]
)
def test_private_peers_and_unix_sockets(address):
    assert PRIVATE.trusts(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.64.0.1", "192.0.2.1", "", "x", "10.0.0"]
)
def test_others_are_not_private(address):
    assert not PRIVATE.trusts(address)


def test_a_server_that_has_judged_its_peers_is_believed():
    server = read_proxies(["server"])
    assert server.client("198.51.100.7", ["1.1.1.1"]) == "198.51.100.7"
    assert server.trusts("198.51.100.7")


@given(st.none() | st.text(max_size=50) | st.just("10.0.0.1"), st.lists(st.text(max_size=100), max_size=4))
def test_any_header_gives_a_client(peer, forwarded):
    for proxies in (TEN, PRIVATE, TrustedProxies()):
        client = proxies.client(peer, forwarded)
        assert client is None or isinstance(client, str)
