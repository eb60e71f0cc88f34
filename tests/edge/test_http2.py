"""The same law over HTTP/2, which hypercorn speaks unasked: there fields are doubled and split in other ways."""

from collections.abc import Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.edge.site import STRANGER, Site
from tests.edge.wire import CHUNK

HEAD = [(":method", "GET"), (":path", "/who"), (":scheme", "http"), (":authority", "app.test")]


@pytest.fixture
def site(park) -> Site:
    found: Site = park.site("hypercorn", session_cookie="session", cookie_secure="off", on_missing="create")
    return found


def asked(site: Site, fields: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
    """One request over a new connection; its status and body. A stream that was reset is status 0."""
    settings = h2.config.H2Configuration(
        client_side=True, normalize_outbound_headers=False, validate_outbound_headers=False
    )
    connection = h2.connection.H2Connection(settings)
    connection.initiate_connection()
    connection.send_headers(1, list(fields), end_stream=True)
    status, body = 0, b""
    with site.server.connect() as line:
        line.sendall(connection.data_to_send())
        while received := line.recv(CHUNK):
            for event in connection.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(_fields(event))[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return status, body
    return status, body


def _fields(event: Any) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def test_a_session_is_found_by_header_and_in_the_crumbs_of_a_cookie(site):
    """RFC 9113 8.2.3: a cookie may come in several fields."""
    sid = kept(site)
    for fields in [[("x-session-id", sid)], [("cookie", "a=b"), ("cookie", f"session={sid}"), ("cookie", "c=d")]]:
        status, body = asked(site, [*HEAD, *fields])
        assert (status, sid.encode() in body) == (200, True)


def kept(site: Site) -> str:
    answer = site.ask("POST", "/set", body=b'{"kept":1}')
    return (answer.header("set-cookie") or "").partition("=")[2].partition(";")[0]


def test_what_is_given_twice_is_refused(site):
    """SES-05, JWT-14: headers, crumbs, and a cookie that the header contradicts."""
    sid, before = kept(site), site.count
    for fields in [
        [("x-session-id", sid), ("x-session-id", STRANGER)],
        [("cookie", f"session={sid}"), ("cookie", f"session={STRANGER}")],
        [("cookie", f"session={sid}"), ("x-session-id", STRANGER)],
        [("x-session-id", "../x")],
        [("x-session-id", "a\r\nset-cookie: x=1")],
        [("x-session-id", "a\x00b")],
    ]:
        status, body = asked(site, [*HEAD, *fields])
        assert status in {0, 400}, (fields, body)
        assert b'"guarded"' not in body
    assert site.count == before


@pytest.mark.parametrize(
    "path", ["health", "http://x/health", "", "*", "/health/../who", "//health", "/health?", "/who#/health"]
)
def test_a_pseudo_path_makes_nothing_exempt(park, path):
    """ASGI-01: nor does an authority that looks like one."""
    site: Site = park.site("hypercorn", on_missing="reject")
    for authority in ["app.test", "x/health?", "app.test/health"]:
        head = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", authority)]
        status, body = asked(site, head)
        exempt = (status, b'"path":"/health"' in body) == (200, True)
        assert status in {0, 400, 401, 404} or (exempt and path == "/health?"), (status, body)
