"""What a client may not do to the server: PX-03, PX-08, PX-10, PX-18, rows 26, 33 and 34 of the hostile inputs."""

import select
import socket
import time

import pytest

from sessionware.standalone.bounds import Bounds, bounds_of_process
from sessionware.standalone.peers import Peers
from tests.serving import soon
from tests.standalone.bounded_server import SHORT, BoundedServer, status_of, until_cancelled, whole

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: here\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    with BoundedServer() as running:
        yield running


def test_px10_two_hundred_slow_heads_are_all_closed_and_nobody_else_notices(server):
    slow = [server.connect() for _ in range(200)]
    for each in slow:
        each.sendall(b"GET / HTTP/1.1\r\nX-")
    began, slowest = time.monotonic(), 0.0
    while time.monotonic() - began < SHORT.head_s:
        asked = time.monotonic()
        assert status_of(server.answer_to(LAST)) == 200
        slowest = max(slowest, time.monotonic() - asked)
    answers = [whole(each) for each in slow]
    for each in slow:
        each.close()
    assert [status_of(answer) for answer in answers] == [408] * 200
    assert slowest < 3


def test_px10_a_byte_now_and_then_does_not_help(server):
    with server.connect() as connection:
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"y" * 100:
            if select.select([connection], [], [], 0.1)[0]:
                break
            connection.sendall(bytes([byte]))
        assert status_of(whole(connection)) == 408


def test_px10_a_connection_that_says_nothing_is_closed(server):
    with server.connect() as connection:
        assert status_of(whole(connection)) == 408


def test_px10_the_second_request_of_a_connection_has_a_deadline_too(server):
    with server.connect() as connection:
        connection.sendall(GET)
        assert status_of(connection.recv(4096)) == 200  # head and body leave in one piece
        connection.sendall(b"\r\nGE")
        assert status_of(whole(connection)) == 408


def test_an_idle_connection_is_closed_without_a_word(server):
    with server.connect() as connection:
        connection.sendall(GET)
        assert b"GET / 0 host" in whole(connection)


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"y" * 70_000 + b"\r\n\r\n",
        b"X-Long: " + b"y" * 70_000,
        b"X-Long: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"X-Long: " + b"y" * 1_000_000,
        b"\r\n".join(b"X-%d: y" % number for number in range(5000)) + b"\r\n\r\n",
        b"\r\n".join(b"X-%d: y" % number for number in range(5000)),
        b"\r\n".join(b"X-%d: y" % number for number in range(101)) + b"\r\n\r\n",
        b"Cookie: " + b"a" * 33_000 + b"\r\n\r\n",
    ],
    ids=[
        "70 KB", "70 KB never ended", "1 MB", "1 MB never ended", "5000 fields", "5000 fields never ended",
        "101 fields", "33 KB",
    ],
)  # fmt: skip
def test_px08_a_head_that_is_too_large_is_431(server, head):
    answer = server.answer_to(b"GET / HTTP/1.1\r\nHost: here\r\n" + head)
    assert status_of(answer) in {431, 0}  # 0: the rest of it was still on its way, which resets the connection
    if len(head) < 100_000:
        assert status_of(answer) == 431


def test_px08_a_long_target_counts_as_well(server):
    assert status_of(server.answer_to(b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n")) == 431


def test_a_head_within_bounds_is_served_however_it_is_sliced(server):
    head = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
    head += b"\r\n".join(b"X-%d: %s" % (number, b"y" * 300) for number in range(95)) + b"\r\n\r\n"
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(head), 997):
            connection.sendall(head[start : start + 997])
        assert status_of(whole(connection)) == 200


def test_a_small_head_with_a_large_body_is_served(server):
    body = b"z" * 1_000_000
    sent = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert b"POST / 1000000 " in server.answer_to(sent)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + GET,
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab" + GET,
        b"Content-Length: 1, 1\r\n\r\na" + GET,
        b"Content-Length: +1\r\n\r\na" + GET,
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + GET,
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 1_000_000 + b"\r\na\r\n0\r\n\r\n" + GET,
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: " + b"t" * 1_000_000 + b"\r\n\r\n" + GET,
    ],
    ids=[
        "CL and TE", "TE and CL", "xchunked", "two TE", "gzip, chunked", "two CL", "CL 1, 1", "CL +1",
        "TE with a blank", "huge chunk", "1 MB chunk extension", "1 MB trailer",
    ],
)  # fmt: skip
def test_row_26_and_34_doubtful_framing_ends_the_connection(server, framing):
    answer = server.answer_to(POST + framing)
    assert answer.count(b"HTTP/1.1 ") <= 1, "what follows was taken for another request"
    assert status_of(answer) in {400, 0}
    if len(framing) < 1000:
        assert status_of(answer) == 400
        assert b'"code":-31400' in answer


@pytest.mark.parametrize(
    "target", [b"http://here/", b"http://169.254.169.254/latest", b"https://evil.test/mcp", b"HTTP://here/metrics"]
)
def test_px01_whoever_takes_us_for_a_forward_proxy_is_told_so(server, target):
    answer = server.answer_to(b"GET " + target + b" HTTP/1.1\r\nHost: here\r\n\r\n" + GET)
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (400, 1)
    assert b"this is no forward proxy" in answer


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/0.9", b"GET / HTTP/2.0", b"GET / HTTP/1.2"])
def test_other_versions_of_http_are_refused(server, line):
    assert status_of(server.answer_to(line + b"\r\nHost: here\r\n\r\n")) == 400


def test_http_1_0_is_served_and_closed(server):
    assert status_of(server.answer_to(b"GET / HTTP/1.0\r\n\r\n")) == 200


def test_row_34_trailers_never_become_headers(server):
    sent = (
        POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        b"X-Session-ID: stolen\r\nAuthorization: Bearer x\r\n\r\n"
    )
    answer = server.answer_to(sent)
    assert answer.endswith(b"POST / 1 host,connection,transfer-encoding")


def test_px13_an_unknown_expectation_is_417_and_a_known_one_is_met(server):
    sent = POST + b"Connection: close\r\nContent-Length: 2\r\nExpect: "
    assert status_of(server.answer_to(sent + b"200-ok\r\n\r\nok")) == 417
    with server.connect() as connection:
        connection.sendall(sent + b"100-continue\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(b"ok")
        assert b"POST / 2 " in whole(connection)


def test_row_33_a_body_that_stalls_is_408(server):
    with server.connect() as connection:
        connection.sendall(POST + b"Content-Length: 100\r\n\r\nbegun")
        assert status_of(whole(connection)) == 408


def test_row_33_a_chunked_body_of_a_byte_at_a_time_is_408(server):
    with server.connect() as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            if select.select([connection], [], [], 0.2)[0]:
                break
            connection.sendall(b"1\r\na\r\n")
        assert status_of(whole(connection)) == 408


def test_a_stream_may_be_read_as_slowly_as_one_likes():
    with BoundedServer(until_cancelled) as server, server.connect() as connection:
        connection.sendall(GET)
        assert soon(lambda: b"data: first" in connection.recv(4096, socket.MSG_PEEK))
        assert select.select([connection], [], [], 3 * SHORT.head_s)[0], "there is what was not read"
        connection.settimeout(3 * SHORT.head_s)
        assert b"data: first" in connection.recv(4096)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_px18_over_the_bound_there_is_503_and_health_still_answers():
    bounds = Bounds(head_s=5.0, keep_alive_s=30.0, connections=3, reserve=2)
    with BoundedServer(bounds=bounds) as server:
        held = [server.connect() for _ in range(3)]
        for each in held:
            each.sendall(GET)
            assert status_of(each.recv(4096)) == 200
        refused = server.answer_to(GET)
        assert status_of(refused) == 503
        assert b"retry-after: 1\r\n" in refused
        assert b"connection: close\r\n" in refused
        assert b"retry_after_ms" in refused
        health = server.answer_to(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (status_of(health), b"connection: close\r\n" in health) == (200, True)
        spare = [server.connect() for _ in range(2)]
        for each in spare:
            each.sendall(b"GET")
        assert soon(lambda: status_of(server.answer_to(b"")) == 503)
        for each in [*held, *spare]:
            each.close()
        assert soon(lambda: status_of(server.answer_to(LAST)) == 200)


def test_px10_one_address_cannot_take_all_connections(caplog):
    bounds = Bounds(head_s=5.0, keep_alive_s=30.0, connections=12, reserve=2)
    with BoundedServer(bounds=bounds, counts_all=True) as server:
        held = [server.connect() for _ in range(3)]
        for each in held:
            each.sendall(GET)
            assert status_of(each.recv(4096)) == 200
        refused = server.answer_to(GET)
        assert (status_of(refused), b"Too many connections from one address" in refused) == (503, True)
        assert status_of(server.answer_to(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")) == 200
        spare = [server.connect() for _ in range(2)]
        assert soon(lambda: status_of(server.answer_to(b"")) == 503)
        assert len(server.connections) <= bounds.of_one_peer + bounds.reserve
        with server.connect_from("127.0.0.2") as other:
            other.sendall(GET)
            assert status_of(other.recv(4096)) == 200
        for each in [*held, *spare]:
            each.close()
        assert soon(lambda: status_of(server.answer_to(LAST)) == 200)
    told = [record.getMessage() for record in caplog.records if "TRUSTED_PROXIES" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("127.0.0.1 holds 3 connections, more than a peer may")


def test_px10_this_machine_s_own_proxies_and_trusted_ones_stand_for_many():
    bounds = Bounds(head_s=5.0, keep_alive_s=30.0, connections=4)
    with BoundedServer(bounds=bounds) as server:
        held = [server.connect() for _ in range(4)]
        for each in held:
            each.sendall(LAST)
        assert [status_of(whole(each)) for each in held] == [200] * 4
        for each in held:
            each.close()


def test_px10_of_an_ipv6_address_its_network_counts():
    peers = Peers(lambda _: False)
    assert [peers.came(each) for each in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1")] == [1, 2, 1, 1]
    peers.went("2001:db8::1")
    assert peers.came("2001:db8::3") == 2


def test_the_number_of_connections_follows_from_the_files_that_a_process_may_open():
    assert 1 <= bounds_of_process().connections <= 10_000


def test_an_upgrade_is_ignored_and_its_bytes_are_no_request(server):
    sent = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET
    answer = server.answer_to(sent)
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (200, 1)


def test_requests_that_come_together_are_answered_in_order(server):
    answer = server.answer_to(GET.replace(b"/ ", b"/one ", 1) + POST + b"Content-Length: 2\r\n\r\nok" + LAST)
    assert [line for line in answer.split(b"\r\n") if b" / " in line or b"/one" in line] == [
        b"GET /one 0 hostHTTP/1.1 200 OK", b"POST / 2 host,content-lengthHTTP/1.1 200 OK", b"GET / 0 host,connection"
    ]  # fmt: skip
