"""Which tools a pool offers, and how the others are taken out of answers: bytes in, bytes out."""

import json

import msgspec
import pytest

from sessionware.proxy.mcp.messages import Body, read_body
from sessionware.proxy.mcp.tools import choice_of, lists_tools, without_hidden
from sessionware.proxy.tool_events import ToolEvents


def choice(include=(), exclude=()):
    found = choice_of(include, exclude)
    assert found is not None
    return found


def listing(*names, **more):
    return {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": name, "n": 1e3} for name in names], **more}}


def encoded(value):
    return json.dumps(value).encode()


def test_nothing_to_choose_is_no_choice():
    assert choice_of((), ()) is None


@pytest.mark.parametrize(
    ("include", "exclude", "offered"),
    [
        ((), ("delete_*",), {"read", "Delete_all", "readdelete_", ""}),
        (("read*",), (), {"read"} | {"readdelete_"}),
        (("*",), ("*_",), {"read", "delete_all", "Delete_all", ""}),
        ((), ("*",), set()),
        (("read", "delete_all"), ("delete_*",), {"read"}),
    ],
)
def test_tools_are_offered_by_their_names(include, exclude, offered):
    """A49: fnmatch."""
    names = {"read", "delete_all", "Delete_all", "readdelete_", ""}
    chosen = choice(include, exclude)
    assert {name for name in names if chosen.offers(name)} == offered


def test_all_else_stays_byte_for_byte():
    answer = b' {"id" : 12345678901234567890123, "jsonrpc":"2.0","x":1.0e5, "result":{"tools":[{"name":"a"}, '
    answer += b'{"name" :"b","inputSchema":{"n":1E400,"t":"\\u00e9"}}],"nextCursor":"c"}}'
    kept = without_hidden(answer, choice(exclude=["a"]))
    assert b"12345678901234567890123" in kept
    assert b'{"name" :"b","inputSchema":{"n":1E400,"t":"\\u00e9"}}' in kept
    assert b'"a"' not in kept
    assert json.loads(kept)["result"]["nextCursor"] == "c"
    assert without_hidden(answer, choice(exclude=["z"])) == answer


def test_a_batch_is_looked_through_one_by_one():
    batch = encoded([listing("a", "b"), {"jsonrpc": "2.0", "id": 2, "result": {}}, listing("a")])
    kept = json.loads(without_hidden(batch, choice(exclude=["a"])))
    assert [each["result"].get("tools") for each in kept] == [[{"name": "b", "n": 1000.0}], None, []]


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "tools"}},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": "a"}},
        {"jsonrpc": "2.0", "id": 1, "result": [1]},
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": 5}, {}, 7]}},
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "a"}]}},
        "text",
        5,
        None,
    ],
)
def test_what_is_no_list_of_tools_is_left_alone(message):
    assert without_hidden(encoded(message), choice(exclude=["a"])) == encoded(message)


@pytest.mark.parametrize("answer", [b"", b"{", b'{"result":', b"<html>", b'{"result":{"tools":[{"name":"a"}'])
def test_what_is_no_json_cannot_be_looked_through(answer):
    with pytest.raises(msgspec.DecodeError):
        without_hidden(answer, choice(exclude=["a"]))


def test_a_name_that_is_there_twice_is_the_last_one():
    answer = b'{"id":1,"result":{"tools":[{"name":"a"}]},"result":{"tools":[{"name":"a"},{"name":"b"}]}}'
    assert json.loads(without_hidden(answer, choice(exclude=["a"])))["result"]["tools"] == [{"name": "b"}]
    disguised = b'{"id":1,"result":{"tools":[{"name":"b","name":"a"},{"name":"\\u0061"}]}}'
    assert json.loads(without_hidden(disguised, choice(exclude=["a"])))["result"]["tools"] == []


def test_calls_and_lists_are_known_in_batches_too():
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": name}} for n, name in enumerate("ab")
    ]
    body = read_body(encoded(calls), version=None)
    assert isinstance(body, Body)
    assert choice(exclude=["b"]).hidden_call(body) == "b"
    assert choice(exclude=["c"]).hidden_call(body) is None
    assert not lists_tools(body)
    listed = read_body(encoded([*calls, {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}]), version=None)
    assert isinstance(listed, Body)
    assert lists_tools(listed)


STREAM = (
    b": ping\n\nevent: message\r\nid: 7\r\ndata: " + encoded(listing("a", "b")) + b"\r\n\r\n"
    b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\nretry: 5\rdata: not json\r\r'
    b"\xef\xbb\xbfdata:" + encoded(listing("a")).replace(b', "id"', b',\ndata: "id"') + b"\n\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_stream_is_looked_through_event_by_event_however_it_is_sliced(size):
    events = ToolEvents(choice(exclude=["a"]))
    passed = b"".join(events.feed(STREAM[at : at + size]) for at in range(0, len(STREAM), size)) + events.end()
    assert b'"a"' not in passed
    assert b": ping\n\n" in passed
    assert b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n' in passed
    assert b"retry: 5\rdata: not json\r\r" in passed
    assert b"event: message\nid: 7\ndata: " in passed
    assert passed.count(b'"tools":[') == 2
    assert events.held == len(events.end())


def test_whole_events_never_wait():
    events = ToolEvents(choice(exclude=["a"]))
    assert events.feed(b"data: x\n\ndata: y") == b"data: x\n\n"
    assert events.held == len(b"data: y")
    assert events.feed(b"\n") == b""
    assert events.feed(b"\n") == b"data: y\n\n"
    assert events.held == 0
