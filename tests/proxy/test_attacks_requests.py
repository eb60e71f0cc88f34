"""What attackers send: to the whole proxy on its own server, byte by byte. The upstream must not hear of any of it."""

import json

import pytest

from sessionware.assembly.proxying import proxy
from tests.edge import wire
from tests.proxy.standing_proxy import TOKENS, token
from tests.proxy.stories import FORMS, HELLO, call, modern
from tests.proxy.telling_upstream import json_answer, telling
from tests.standalone.bounded_server import BoundedServer

FINE = json_answer({"jsonrpc": "2.0", "id": 5, "result": {}})
GET = b"GET /app/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ALICE = f"Bearer {token('alice')}"


@pytest.fixture(scope="module")
def upstream():
    with telling(FINE, "") as found:
        yield found


@pytest.fixture(scope="module")
def door(upstream):
    urls = f"{upstream.url}/mcp;app[http]={upstream.url}"
    limits = "10000/hour per user and tool for mcp tools/call"  # headers are compared with bodies
    with BoundedServer(proxy(environ={}, upstreams=urls, limits=limits, **TOKENS)) as server:
        yield server


def sent(door, raw):
    """The answer to these bytes; None when the connection was closed without one."""
    return wire.answer_of(door.answer_to(raw), method=raw.partition(b" ")[0].decode("latin-1"))


def post(door, body, headers=None, target="/mcp"):
    said = FORMS if headers is None else headers
    answer = sent(door, wire.request("POST", target, said.items(), body, host="localhost"))
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"Content-Length: 1, 1\r\n\r\na",
        b"Content-Length: +1\r\n\r\na",
        b"Content-Length: -1\r\n\r\na",
        b"Content-Length: 0x1\r\n\r\na",
        b"Content-Length: 99999999999999999999\r\n\r\na",
        b"Content-Length: \r\n\r\na",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 1_000_000 + b"\r\na\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("path", [b"/mcp", b"/app/x"])
def test_row_26_and_34_doubtful_framing_never_becomes_two_requests(door, upstream, framing, path):
    before = len(upstream.seen)
    raw = HEAD.replace(b"/mcp", path) + framing + GET
    answer = door.answer_to(raw)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    assert [each.path for each in upstream.seen[before:] if "smuggled" in each.path] == []


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest", "https://evil.test/mcp", "//evil.test/mcp", "/\\evil.test/mcp",
        "@evil.test/mcp",
        "/app/../mcp", "/app/%2e%2e/x", "/app/..%2fx", "/app/%252e%252e/x", "/app/..;/x", "/app/.%2e/x", "/app\\..\\x",
        "/mcp%00", "/mcp\x7f", "/app/%zz", "/app/%", "/%61pp/x", "/mcp/..", "/mcp/../mcp", "/MCP", "/mcp/x", "/mcp;x",
        "/.well-known/oauth-protected-resource/../mcp", "/app%2fx",
    ],
)  # fmt: skip
def test_px01_no_target_leads_out_of_where_it_was_asked_for(door, upstream, target):
    before = len(upstream.seen)
    answer = sent(door, wire.request("GET", target, [("Authorization", ALICE)], host="localhost"))
    if answer is None or answer.status in {400, 404}:
        assert len(upstream.seen) == before
        return
    # Servers may read the path out of an absolute form: what they make of it is a path of ours.
    assert {each.path for each in upstream.seen[before:]} <= {"/mcp", "/latest", "/x", "/"}
    assert "evil" not in json.dumps([each.headers for each in upstream.seen[before:]])


@pytest.mark.parametrize("line", ["CONNECT evil.test:443", "CONNECT /mcp", "OPTIONS *", "GET *"])
def test_px01_this_is_no_forward_proxy(door, upstream, line):
    before = len(upstream.seen)
    answer = door.answer_to(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert not answer or answer.split(b" ", 2)[1] in {b"400", b"404", b"405"}
    assert len(upstream.seen) == before


FORGED = [
    ("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "1"), ("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-User", "root"), ("Forwarded", "for=evil"),
    ("X-Real-IP", "1.2.3.4"), ("Via", "1.1 evil"), ("X-Sessionware-User", "admin"), ("X_Forwarded_For", "evil"),
    ("x_sessionware_spend", "tokens=1"), ("X-Session_ID", "evil"), ("True-Client-IP", "evil"), ("X-Client-IP", "evil"),
    ("X-Original-URL", "/evil"), ("X-Rewrite-URL", "/evil"), ("X-HTTP-Method-Override", "DELETE"),
    ("Proxy-Authorization", "Basic evil"), ("Proxy-Connection", "evil"), ("TE", "trailers"), ("X-User-Id", "evil"),
    ("Mcp_Session_Id", "evil"), ("mcp_method", "evil"), ("Authorization_", "evil"), ("X-API_Key", "evil"),
]  # fmt: skip


@pytest.mark.parametrize("header", FORGED, ids=[name for name, _ in FORGED])
@pytest.mark.parametrize("target", ["/mcp", "/app/x"])
def test_row_29_the_upstream_sees_only_our_word(door, upstream, header, target):
    """PX-04."""
    before = len(upstream.seen)
    headers = modern("tools/call", "pid") | {"Authorization": ALICE, header[0]: header[1]}
    answer = post(door, json.dumps(call("pid")).encode(), headers, target)
    assert answer.status in {200, 400}
    for seen in upstream.seen[before:]:
        mine = [value for name, value in seen.headers if name.replace("_", "-") == header[0].lower().replace("_", "-")]
        assert header[1] not in mine or header[0] == "Authorization_", seen.headers
        assert seen.all("x-forwarded-for") == ["127.0.0.1"]
        assert seen.all("x-real-ip") == ["127.0.0.1"]
        assert len(seen.all("forwarded")) == len(seen.all("via")) == len(seen.all("host")) == 1


@pytest.mark.parametrize(
    "nominated",
    ["X-Forwarded-For", "authorization", "X-Session-ID", "close, Mcp-Name", "Mcp-Session-Id", "Content-Length", "host"],
)
def test_px02_nobody_takes_our_headers_away_by_naming_them_in_connection(door, upstream, nominated):
    before = len(upstream.seen)
    lines = "".join(f"{name}: {value}\r\n" for name, value in modern("tools/call", "pid").items())
    body = json.dumps(call("pid"))
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: {nominated}\r\n{lines}"
    raw = f"{head}Content-Length: {len(body)}\r\n\r\n{body}"
    answer = door.answer_to(raw.encode() + b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "headers",
    [
        [("Mcp-Method", "ping"), ("Mcp-Method", "tools/call")], [("Mcp-Name", "a"), ("Mcp-Name", "b")],
        [("MCP-Protocol-Version", "2026-07-28"), ("MCP-Protocol-Version", "2025-11-25")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        [("Mcp-Session-Id", "a"), ("Mcp-Session-Id", "b")],
        [("Content-Type", "application/json"), ("content-type", "text/plain")], [("Origin", "null"), ("Origin", "x")],
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_refused(door, upstream, headers):
    before = len(upstream.seen)
    answer = sent(door, wire.request("POST", "/mcp", headers, json.dumps(call("pid")).encode(), host="localhost"))
    assert answer is not None
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (400, -31400, None)
    assert len(upstream.seen) == before


DEEP = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}"
BODIES = {
    "nothing": b"", "blanks": b" \n", "no JSON": b"{", "text": b'"ping"', "number": b"5", "null": b"null",
    "empty": b"{}", "empty batch": b"[]", "deep": DEEP, "very deep": b"[" * 100_000,
    "BOM": b"\xef\xbb\xbf" + b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
    "UTF-16": '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    "half a pair as an id": b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}',
    "half a pair as a tool": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\udfff"}}',
    "half a pair": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', "bytes": b'{"jsonrpc":"2.0","method":"\xff"}',
    "NUL": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\x00', "two": b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}',
    "twice": b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}',
    "twice, escaped": b'{"jsonrpc":"2.0","id":1,"method":"ping","m\\u0065thod":"tools/call"}',
    "another case": b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}',
    "another case of id": b'{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}',
    "NaN": b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', "id of a list": b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
    "id of true": b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    "version": b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    "method of a number": b'{"jsonrpc":"2.0","id":1,"method":5}',
    "params of text": b'{"jsonrpc":"2.0","id":1,"method":"a","params":"b"}',
    "batch of text": b'["a"]', "batch in a batch": b"[[]]",
    "initialize in a batch": b"[" + json.dumps(HELLO).encode() + b"]",
    "comment": b'{"jsonrpc":"2.0","id":1,"method":"ping"}//',
    "trailing comma": b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
    "name twice": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}',
    "name in another case": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}',
    "huge integer": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    "huge exponent": b'{"jsonrpc":"2.0","id":1e999999,"method":"ping"}',
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_px15_a_body_that_two_readers_could_read_differently_goes_nowhere(door, upstream, body):
    """Never a 500, and never a bare 400: that would make clients change era."""
    before = len(upstream.seen)
    answer = post(door, body)
    assert answer.status == 400
    assert answer.json["jsonrpc"] == "2.0"
    assert answer.json["error"]["code"] == -31400
    assert len(upstream.seen) == before


@pytest.mark.parametrize("length", [4 << 20, (4 << 20) + 1])
@pytest.mark.parametrize("headers", [FORMS, modern("tools/call", "pid", Authorization=ALICE)], ids=["legacy", "modern"])
def test_px08_a_body_over_four_mebibytes_is_413(door, upstream, length, headers):
    start = json.dumps(call("pid")).encode()[:-1] + b',"x":"'
    body = start + b"x" * (length - len(start) - 2) + b'"}'
    assert len(body) == length
    before = len(upstream.seen)
    answer = post(door, body, headers)
    assert answer.status == (200 if length == 4 << 20 else 413)
    assert len(upstream.seen) - before == (1 if length == 4 << 20 else 0)


@pytest.mark.parametrize(
    "legacy_id",
    [
        "x", "../../etc/passwd", "a" * 10_000, "aaaaaaaaaaaaa.", "'; DROP TABLE x", "\xff", "%00", "{tag}", "*",
        "a b", "u" + "a" * 11 + "." + "A" * 32, "a" + "a" * 11 + "." + "A" * 32, "s-abc", "undefined", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_session_id_that_is_none_of_ours_is_404_and_leads_nowhere(door, upstream, method, legacy_id):
    """PX-16: the client never chooses an upstream; what is unknown looks like what was never there."""
    before = len(upstream.seen)
    headers = FORMS | {"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": legacy_id, "Authorization": ALICE}
    body = json.dumps(call("pid")).encode() if method == "POST" else b""
    answer = sent(door, wire.request(method, "/mcp", headers.items(), body, host="localhost"))
    assert answer is not None
    assert answer.status in {404, 400}
    assert answer.json["error"]["code"] == -(31000 + answer.status)
    assert legacy_id == "" or len(legacy_id) < 3 or legacy_id.encode("latin-1") not in answer.raw
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "name",
    ["=?base64?cGlk?=", "=?base64?cGlk", "=?BASE64?cGlk?=", "=?base64?cGlk==?=", "=?base64?IHBpZA==?=", "pid\xe9"],
)
def test_px15_only_one_spelling_of_an_encoded_name_is_the_name(door, name):
    headers = modern("tools/call", Authorization=ALICE) | {"Mcp-Name": name}
    answer = post(door, json.dumps(call("pid")).encode(), headers)
    assert answer.status == (200 if name == "=?base64?cGlk?=" else 400)
    if answer.status == 400:
        assert answer.json["error"]["code"] == -32020


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01", "", "x" * 5000, "2025-11-25, 2026-07-28", "\xff"])
def test_an_unknown_version_is_the_upstream_s_to_judge(door, upstream, version):
    """mcp.md: so that the server can answer -32022 itself."""
    before = len(upstream.seen)
    headers = modern("tools/call", "pid", Authorization=ALICE) | {"MCP-Protocol-Version": version}
    assert post(door, json.dumps(call("pid")).encode(), headers).status == 200
    assert upstream.seen[before].all("mcp-protocol-version") == [version]


def test_nothing_of_this_has_hurt_the_proxy(door):
    assert post(door, json.dumps(call("pid")).encode(), modern("tools/call", "pid", Authorization=ALICE)).status == 200
