"""Event streams: what is inside an event, what can be resumed, how a stream is ended, and the one rewrite."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.addresses import parse_address
from sessionware.proxy.sse import (
    ENDPOINT_MAX,
    EVENT_MAX,
    EndpointFinder,
    SseScanner,
    endpoint_event,
    endpoint_target,
    final_event,
)


def cut(text, cuts):
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[a:b] for a, b in pairwise(places)] or [b""]


def scan(*chunks):
    scanner = SseScanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner


def events(text):
    """A reader as the HTML standard describes it: (type, data, id) of every event that was dispatched."""
    lines = re.split(r"(?>\r\n|\n|\r)", text.decode().removeprefix("\ufeff"))[:-1]  # the rest has no end
    found: list[tuple[str, str, str]] = []
    fields: dict[str, str] = {}
    last_id = ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if "data" in fields:
                found.append((fields.get("event") or "message", fields["data"], last_id))
            fields = {}
        elif name == "data":
            fields["data"] = f"{fields['data']}\n{value}" if "data" in fields else value
        elif name == "event":
            fields["event"] = value
        elif name == "id":
            last_id = value
    return found


LINES = ["data: x", "id: 1", "id", "event: a", ": hi", "idea: 1", "data:id"]
stream = st.lists(st.sampled_from([*LINES, "i", "\n", "\r", "\r\n", "\n\n"])).map("".join)
cuts = st.lists(st.integers(0, 200), max_size=12)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (b"", False), (b"d", True), (b"data: 1", True), (b"data: 1\n", True), (b"data: 1\n\n", False),
        (b"data: 1\r\n", True), (b"data: 1\r\n\r", False), (b"data: 1\r\n\r\n", False), (b"data: 1\r\r", False),
        (b"data: 1\n\n: ping\n\n", False), (b"data: 1\n\nid", True), (b"\n", False), (b"\r\n", False),
    ],
)  # fmt: skip
def test_an_event_ends_with_an_empty_line(text, inside):
    assert scan(text).is_inside_event is inside
    assert scan(*(bytes([byte]) for byte in text)).is_inside_event is inside


@settings(deadline=None)
@given(stream, cuts)
def test_it_makes_no_difference_how_a_stream_is_cut(text, where):
    whole, pieces = scan(text.encode()), scan(*cut(text.encode(), where))
    assert (pieces.is_inside_event, pieces.has_ids) == (whole.is_inside_event, whole.has_ids)


@settings(deadline=None)
@given(stream)
def test_what_is_inside_is_what_follows_the_last_empty_line(text):
    lines = re.split(r"(?>\r\n|\n|\r)", text)
    assert scan(text.encode()).is_inside_event == (lines[-1] != "" or (len(lines) > 1 and lines[-2] != ""))


@settings(deadline=None)
@given(stream)
def test_ids_are_fields_and_not_what_looks_like_one(text):
    complete = re.split(r"(?>\r\n|\n|\r)", text)
    expected = any(line == "id" for line in complete[:-1]) or any(line.startswith("id:") for line in complete)
    assert scan(text.encode()).has_ids == expected


def test_an_endless_event_is_noticed_without_keeping_it():
    scanner = scan(b"data: 1\n\n", b"x" * EVENT_MAX)
    assert not scanner.is_overlong
    scanner.feed(b"x")
    assert scanner.is_overlong
    assert not scan(*[b"data: " + b"x" * 1_000 + b"\n\n"] * 5_000).is_overlong


@settings(deadline=None)
@given(stream, st.sampled_from([7, "a", None]))
def test_however_a_stream_breaks_off_its_end_is_an_event_of_its_own(text, request_id):
    before = text.encode()
    end = final_event(scan(before), 502, "Upstream lost", request_id=request_id)
    found = events(before + end)
    kind, data, _ = found[-1]
    error = {"code": -31502, "message": "Upstream lost"}
    assert (kind, json.loads(data)) == ("message", {"jsonrpc": "2.0", "id": request_id, "error": error})
    # Whatever else has become an event by that is one that clients pass over.
    begun = found[len(events(before)) : -1]
    assert [kind for kind, _, _ in begun] == ["interrupted"] * len(begun)


@settings(deadline=None)
@given(cuts, st.sampled_from(["\n", "\r\n", "\r"]))
def test_only_the_first_endpoint_event_is_taken_out(where, newline):
    head = ": hello\n\nevent: ping\ndata: 1\n\n"
    tail = "event: message\ndata: {}\n\nevent: endpoint\ndata: /other\n\n"
    text = (head + "event: endpoint\ndata: /messages/?session_id=abc\n\n" + tail).replace("\n", newline).encode()
    finder, passed = EndpointFinder(), b""
    for chunk in cut(text, where):
        passed += finder.feed(chunk)
        if finder.endpoint is not None and finder.rest:
            passed, finder.rest = passed + finder.rest, b""
    assert finder.endpoint == "/messages/?session_id=abc"
    # A CR LF that was cut in two leaves its LF behind: an empty line between events, which means nothing.
    assert events(passed) == events((head + tail).replace("\n", newline).encode())


def test_an_end_begins_with_an_empty_line_and_spoils_nothing_that_was_whole():
    end = b'event: message\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-31502,"message":"lost"}}\n\n'
    interrupted = b"event: interrupted\n\n"
    ends = {
        before: final_event(scan(before), 502, "lost", request_id=1)
        for before in (b"", b"data: 1\n\n", b"data: 1", b"data: 1\n", b"data: 1\r")
    }
    assert ends == {
        b"": b"\n" + end,
        b"data: 1\n\n": b"\n" + end,
        b"data: 1": b"\n" + interrupted + end,
        b"data: 1\n": interrupted + end,
        b"data: 1\r": interrupted + end,
    }


def test_nothing_is_held_back_but_the_event_that_may_be_it():
    finder = EndpointFinder()
    assert finder.feed(b": ping\n\nevent: endp") == b": ping\n\n"
    assert finder.feed(b"oint\ndata: /m\n") == b""
    assert finder.feed(b"\ndata: after") == b""
    assert (finder.endpoint, finder.rest) == ("/m", b"data: after")
    assert finder.feed(b"anything") == b"anything"


def test_an_upstream_that_sends_no_endpoint_is_found_out():
    finder = EndpointFinder()
    finder.feed(b"x" * (ENDPOINT_MAX + 1))
    assert finder.is_overlong


def test_our_endpoint_is_an_event_like_theirs():
    assert endpoint_event("/old/messages?session_id=s") == b"event: endpoint\ndata: /old/messages?session_id=s\n\n"


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("/messages/?session_id=abc", b"/messages/?session_id=abc"),
        ("messages?session_id=abc", b"/api/messages?session_id=abc"),
        ("?session_id=abc", b"/api/sse?session_id=abc"),
        ("http://a:9001/m?x=1", b"/m?x=1"),
        ("HTTP://A:9001/m", b"/m"),
        ("http://a:9002/m", None),
        ("https://a:9001/m", None),
        ("//evil/m", None),
        ("http://a:9001@evil/m", None),
        ("http://a:9001//evil/m", None),
        ("/m\r\nx: y", None),
        ("/m x", None),
        ("/\\evil", None),
        ("http://[::1/", None),
        ("/m\xff", None),
        ("file:///etc/passwd", None),
    ],
)
def test_messages_go_to_the_upstream_that_named_the_place_and_nowhere_else(endpoint, target):
    assert endpoint_target(endpoint, parse_address("http://a:9001/api/sse")) == target


@pytest.mark.parametrize("ends", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n"])
@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_only_what_comes_before_a_long_event_gets_long_fits(ends, size):
    """PX-08: wherever the event is cut into parts, as many bytes pass."""
    stream = b"data: 1" + ends + b"data: 22" + ends + b"data: " + b"x" * 40 + ends + b"data: 4" + ends
    scanner, passed = SseScanner(20), b""
    for at in range(0, len(stream), size):
        part = scanner.fitting(stream[at : at + size])
        scanner.feed(part)
        passed += part
        if scanner.is_overlong:
            break
    assert scanner.is_overlong
    assert passed == stream[: len(b"data: 1data: 22" + ends * 2) + 20]
    assert scanner.is_inside_event


def test_events_that_fit_pass_whole_however_many_come_together():
    scanner = SseScanner(12)
    assert scanner.fitting(b"data: 1\n\n" * 100) == b"data: 1\n\n" * 100
    assert not scanner.is_overlong
