"""How a request is written: our framing, one line for each header, and nothing that could be read as something else."""

import ssl
from ipaddress import ip_address

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sessionware.proxy.addresses import parse_address
from sessionware.proxy.standing import place_of
from sessionware.proxy.wire import Address, UnwritableRequest, UpstreamRequest
from sessionware.proxy.wire.requests import head_of
from sessionware.testing import Received
from tests.certificates import certificate
from tests.proxy.wire.scene import OK, POST, ask, on_both_loops, scene


def head(method="POST", target=b"/mcp", headers=(), **more):
    return head_of(UpstreamRequest(method, target, headers, **more), b"up:9001")


async def parts(*given):
    for part in given:
        yield part


def test_a_head_is_the_line_the_host_the_headers_and_our_framing():
    headers = [(b"accept", b"a"), (b"x-many", b"1"), (b"x-many", b"2")]
    assert head(target=b"/mcp?a=%20", headers=headers, body=b"{}") == (
        b"POST /mcp?a=%20 HTTP/1.1\r\nhost: up:9001\r\naccept: a\r\nx-many: 1\r\nx-many: 2\r\ncontent-length: 2\r\n\r\n"
    )


def test_what_a_client_said_about_framing_and_its_connection_is_ours():
    names = (
        b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE",
        b"Trailer", b"Upgrade", b"Expect",
    )  # fmt: skip
    headers = [(name, b"evil") for name in names]
    assert head("GET", headers=headers) == b"GET /mcp HTTP/1.1\r\nhost: up:9001\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "more", "framing"),
    [
        ("GET", {}, b""),
        ("DELETE", {}, b""),
        ("POST", {}, b"content-length: 0\r\n"),
        ("GET", {"body": b"a"}, b"content-length: 1\r\n"),
        ("POST", {"body": parts(b"a")}, b"transfer-encoding: chunked\r\n"),
        ("POST", {"body": parts(b"a"), "content_length": 7}, b"content-length: 7\r\n"),
    ],
)
def test_a_body_is_announced_as_it_will_be_sent(method, more, framing):
    assert head(method, **more) == method.encode() + b" /mcp HTTP/1.1\r\nhost: up:9001\r\n" + framing + b"\r\n"


@pytest.mark.parametrize(
    "target",
    [
        b"", b"mcp", b"*", b"//evil/x", b"http://169.254.169.254/latest", b"@evil/x", b"/a b", b"/a\r\nx: y", b"/a\n",
        b"/a\0", b"/a\t", b"/\xff", b"/a#b", b"\\\\evil", b" /",
    ],
)  # fmt: skip
def test_a_target_that_is_no_plain_path_is_refused(target):
    with pytest.raises(UnwritableRequest, match="must be a path"):
        head(target=target)


@pytest.mark.parametrize("method", ["", "CONNECT", "GET ", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET", "GÉT", "G\0T"])
def test_a_method_that_is_no_token_or_opens_a_tunnel_is_refused(method):
    with pytest.raises(UnwritableRequest, match="cannot be forwarded"):
        head(method)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"a\0", b"\xff", b"a\n"])
def test_a_header_name_that_is_no_token_is_refused(name):
    with pytest.raises(UnwritableRequest, match="is not a token"):
        head(headers=[(name, b"x")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\n", b"\r", b"a\0b", b"a\r\n\r\nGET / HTTP/1.1\r\n"])
def test_a_header_value_with_a_line_break_or_nul_is_refused(value):
    with pytest.raises(UnwritableRequest, match="header x-evil: its value holds a line break or NUL"):
        head(headers=[(b"accept", b"a"), (b"x-evil", value)], body=b"a")


@pytest.mark.parametrize("name", [b"authorization", b"mcp-session-id", b"mcp-name", b"x-session-id", b"content-type"])
def test_a_header_that_must_stand_once_is_never_written_twice(name):
    with pytest.raises(UnwritableRequest, match=f"header {name.decode()} must stand once"):
        head(headers=[(name, b"a"), (name.upper(), b"b")])


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=12)), max_size=6),
    st.binary(max_size=12),
)
def test_a_head_has_one_line_for_each_header_or_is_refused(headers, target):
    try:
        written = head(target=b"/" + target, headers=headers)
    except UnwritableRequest:
        return
    lines = written.split(b"\r\n")
    assert lines[0] == b"POST /" + target + b" HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    assert not set(b"\r\n\0") & set(b"".join(lines))
    assert len(lines) <= len(headers) + 5


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://up:9001", Address(host="up", port=9001), "up:9001"),
        ("http://up:80", Address(host="up", port=80), "up"),
        ("https://up:443", Address(host="up", port=443, tls=True), "up"),
        ("https://[::1]:8443", Address(host="::1", port=8443, tls=True), "[::1]:8443"),
        ("unix:///run/up.sock", Address(unix_path="/run/up.sock"), "localhost"),
    ],
)
def test_a_place_to_connect_to_is_written_as_the_settings_write_it(url, address, authority):
    assert (place_of(parse_address(url)), str(address), address.authority) == (address, url, authority)


@on_both_loops
async def test_a_streamed_body_arrives_whole_in_either_framing():
    async with scene(OK) as (upstream, wire):
        for announced in (None, 6):
            request = UpstreamRequest("POST", b"/", (), parts(b"abc", b"", b"def"), announced)
            assert await ask(wire, request) == (200, b"ok", None)
        assert [(one.body, one.is_chunked) for one in upstream.requests] == [(b"abcdef", True), (b"abcdef", False)]
        assert upstream.accepted == 1


@on_both_loops
async def test_a_large_body_of_bytes_arrives_whole():
    body = bytes(range(256)) * 16384
    async with scene(OK) as (upstream, wire):
        assert await ask(wire, UpstreamRequest("POST", b"/", (), body)) == (200, b"ok", None)
        assert upstream.requests == [
            Received("POST", b"/", ((b"host", b"127.0.0.1:%d" % upstream.port), (b"content-length", b"4194304")), body)
        ]


@pytest.mark.parametrize("announced", [5, 7])
@on_both_loops
async def test_a_body_of_another_length_than_announced_is_never_taken_for_whole(announced):
    async with scene(OK) as (upstream, wire):
        with pytest.raises(UnwritableRequest, match="announced"):
            await wire.send(UpstreamRequest("POST", b"/", (), parts(b"abc", b"def"), announced))
        await upstream.until(open_connections=0)
        assert upstream.requests == []


@on_both_loops
async def test_a_unix_socket_is_an_address_like_another(tmp_path):
    async with scene(OK, unix_path=str(tmp_path / "up.sock")) as (upstream, wire):
        assert await ask(wire, POST) == (200, b"ok", None)
        assert (b"host", b"localhost") in upstream.requests[0].headers


@on_both_loops
async def test_an_upstream_behind_tls_is_verified(tmp_path):
    server, chain = certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    trusting = ssl.create_default_context(cafile=chain)
    async with scene(OK, tls=server, client_tls=trusting) as (upstream, wire):
        assert [await ask(wire, POST) for _ in range(3)] == [(200, b"ok", None)] * 3
        assert (len(upstream.requests), upstream.accepted) == (3, 1)


@on_both_loops
async def test_an_unknown_authority_gets_nothing(tmp_path):
    server, _ = certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    async with scene(OK, tls=server) as (upstream, wire):
        assert await ask(wire, POST) == (None, b"", ("NotDelivered", "tls_failed"))
        assert upstream.requests == []


@on_both_loops
async def test_a_certificate_of_another_name_gets_nothing(tmp_path):
    server, chain = certificate(tmp_path, x509.DNSName("other.example"))
    trusting = ssl.create_default_context(cafile=chain)
    async with scene(OK, tls=server, client_tls=trusting) as (upstream, wire):
        assert await ask(wire, POST) == (None, b"", ("NotDelivered", "tls_failed"))
        assert upstream.requests == []
