"""Which era a request speaks, what its body asks, and whether its headers say the same."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.mcp.era import Era, allows_batches, era_of
from sessionware.proxy.mcp.messages import BadBody, Body, Hello, Kind, Message, read_body
from sessionware.proxy.mcp.mirrors import header_text, mismatch
from sessionware.proxy.mcp.strict_json import DEPTH_MAX, Unreadable, is_too_deep, read_json

MODERN = "2026-07-28"
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "search", "arguments": {"q": 1}}}
NOTE = {"jsonrpc": "2.0", "method": "notifications/progress"}
RESULT = {"jsonrpc": "2.0", "id": "s-1", "result": {}}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def body(value):
    return json.dumps(value).encode()


def read(value, version=None):
    return read_body(value if isinstance(value, bytes) else body(value), version=version)


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_four_versions_and_none_at_all_are_legacy(version):
    assert era_of(version) is Era.LEGACY


@pytest.mark.parametrize("version", [MODERN, "2027-01-01", "", "2025-11-25 ", "2024-11-5", "x"])
def test_every_other_value_is_modern_so_that_the_server_answers_it(version):
    assert era_of(version) is Era.MODERN


def test_batches_belong_to_one_version():
    allowed = [v for v in (None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN) if allows_batches(v)]
    assert allowed == [None, "2025-03-26"]


def test_a_tool_call_tells_its_id_method_and_tool():
    message = Message(kind=Kind.REQUEST, id=7, method="tools/call", target="search")
    assert read(CALL) == Body((message,))
    assert message.tool == "search"


def test_an_initialize_tells_its_version_and_client():
    params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "ed\x00itor", "version": "1.2"}}
    found = read({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    hello = Hello("2025-11-25", "editor 1.2")
    assert found == Body((Message(kind=Kind.REQUEST, id=0, method="initialize", hello=hello),))


def test_notifications_and_responses_are_told_from_requests():
    assert read(NOTE) == Body((Message(kind=Kind.NOTIFICATION, method="notifications/progress"),))
    assert read(RESULT) == Body((Message(kind=Kind.RESPONSE, id="s-1"),))
    assert read({"jsonrpc": "2.0", "id": None, "error": {}}) == Body((Message(kind=Kind.RESPONSE),))


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("tools/call", {"name": "a"}, "a"),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": "file:///x"}, "file:///x"),
        ("tasks/get", {"taskId": "t-1"}, "t-1"),
        ("tasks/cancel", {"taskId": "t-1"}, "t-1"),
        ("tools/list", {"name": "a"}, None),
        ("tools/call", {"name": 5}, None),
        ("tools/call", [], None),
        ("tools/call", None, None),
    ],
)
def test_the_target_is_what_mcp_name_repeats(method, params, target):
    found = read({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert [message.target for message in found.messages] == [target]


def test_a_batch_counts_its_requests_and_is_about_its_first_tool_call():
    found = read([NOTE, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, CALL, RESULT], "2025-03-26")
    assert (found.is_batch, found.count, found.leading.tool) == (True, 2, "search")
    assert read([NOTE, RESULT]).count == 1


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", "2024-11-05", MODERN])
def test_other_versions_have_no_batches(version):
    found = read([CALL], version)
    assert (found.status, version in found.message) == (400, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"jsonrpc":"2.0"} x', "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        ('{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"), "no UTF-8"),
        (b'{"a":"\xff"}', "no UTF-8"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":{"k":1,"k":2}}}', "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"\\u006b":1,"k":2}}', "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', "case"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}', "case"),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}'.encode(), "case"),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', "NaN"),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', "no JSON"),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', "2.0"),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', "method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":"x"}', "params"),
        (b'{"jsonrpc":"2.0","id":true,"method":"a"}', "id"),
        (b'{"jsonrpc":"2.0","id":{},"method":"a"}', "id"),
        (b'{"jsonrpc":"2.0","id":1}', "neither"),
        (b"5", "object"),
        (b"[]", "empty"),
        (b"[5]", "object"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"initialize"}]', "alone"),
    ],
)
def test_a_body_that_two_readers_could_read_differently_is_refused(text, reason):
    found = read(text)
    assert isinstance(found, BadBody)
    assert (found.status, reason in found.message) == (400, True), found


def test_a_refusal_carries_the_id_where_there_is_one():
    assert read({"jsonrpc": "1.0", "id": "x", "method": "a"}).id == "x"


def test_a_body_over_its_size_is_413_and_is_not_read():
    assert read_body(b"x" * 11, version=None, at_most=10) == BadBody(413, "Request body too large: at most 10 bytes")


@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}"), ('[{"]":', "}]")])
def test_64_levels_pass_and_65_do_not(left, right):
    each = left.count("[") + left.count("{")
    nested = (left * (DEPTH_MAX // each) + "1" + right * (DEPTH_MAX // each)).encode()
    assert read_json(nested) is not None
    with pytest.raises(Unreadable, match="deep"):
        read_json(b"[" + nested + b"]")


def test_a_bomb_of_brackets_is_no_recursion():
    for bomb in (b"[" * 4_000_000, b'{"a":' * 800_000, b"[" * 2_000_000 + b"]" * 2_000_000):
        with pytest.raises(Unreadable, match="deep"):
            read_json(bomb)


def test_brackets_in_strings_are_no_depth_whatever_is_escaped():
    for before in (b'"\\\\"', b'"\\""', b'"\\\\\\""', b'"\\\\\\\\"'):
        assert not is_too_deep(b"[" + before + b',"' + b"[" * 100 + b'"]')
        assert is_too_deep(b"[" + before + b"," + b"[" * 100 + b'"]')


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@settings(deadline=None)
@given(json_values, st.integers(0, DEPTH_MAX), st.booleans())
def test_depth_is_measured_as_a_parser_would(value, around, escaped):
    for _ in range(around):
        value = [value, '"]}\\']
    text = json.dumps([value] + [[]] * DEPTH_MAX, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    assert is_too_deep(text) == (depth(value) + 1 > DEPTH_MAX)


@settings(deadline=None)
@given(json_values)
def test_what_json_writes_is_read_as_it_was(value):
    assert read_json(body(value)) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(text):
    assert isinstance(read_body(text, version=None), Body | BadBody)


def sentinel(text):
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_header_in_base64_means_its_text(text):
    assert header_text(sentinel(text)) == text


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (None, None),
        ("search", "search"),
        ("=?base64?", "=?base64?"),
        ("=?base64??=", ""),
        ("=?base64?YQ?=", None),
        ("=?base64?YR==?=", None),
        ("=?base64?Y Q==?=", None),
        ("=?base64?/w==?=", None),
        ("=?base64?\udcff?=", None),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
    ],
)
def test_there_is_one_way_to_write_a_header_in_base64(value, meaning):
    assert header_text(value) == meaning


@pytest.mark.parametrize(
    ("method", "name", "agrees"),
    [
        ("tools/call", "search", True),
        ("tools/call", sentinel("search"), True),
        ("tools/call", "safe_tool", False),
        ("tools/call", sentinel("safe_tool"), False),
        ("tools/call", None, False),
        ("tools/call", "Search", False),
        ("tools/list", "search", False),
        (None, "search", False),
        ("tools/call", "=?base64?c2VhcmNo", False),
    ],
)
def test_headers_must_say_what_the_body_says(method, name, agrees):
    assert (mismatch(read(CALL, MODERN), method=method, name=name) is None) == agrees


def test_a_method_without_a_name_needs_none():
    found = read({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, MODERN)
    assert mismatch(found, method="tools/list", name=None) is None
    assert mismatch(found, method="tools/list", name="whatever") is None


def test_a_response_has_no_method_to_repeat():
    assert mismatch(read(RESULT, MODERN), method=None, name=None) is None
    assert mismatch(read(RESULT, MODERN), method="ping", name=None) is not None
    assert mismatch(read([CALL]), method="tools/call", name="search") is not None


def test_the_task_of_a_task_method_is_its_name():
    found = read({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t-1"}}, MODERN)
    assert mismatch(found, method="tasks/get", name="t-1") is None
    assert mismatch(found, method="tasks/get", name="t-2") is not None
