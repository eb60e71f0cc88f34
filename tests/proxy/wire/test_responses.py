"""The state machine without sockets: what each answer means, and that slicing never changes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.proxy.wire.responses import (
    END,
    HEAD_MAX,
    INFORMATIONAL_MAX,
    LINE_MAX,
    LINES_MAX,
    OVERHEAD_MAX,
    Broken,
    Head,
    ResponseReader,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(slices, *, to_head=False, is_closed=False):
    """The events of one answer, its body joined."""
    reader = ResponseReader()
    reader.expect(to_head=to_head)
    events = []
    for part in slices:
        events += reader.feed(part)
    if is_closed:
        events += reader.end_of_stream()
    return joined(events), reader.is_reusable


def joined(events):
    result: list[object] = []
    for event in events:
        if isinstance(event, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += event
        else:
            result.append(event)
    return result


def head(status=200, *headers):
    return Head(status, list(headers))


WHOLE = {
    "a length": (
        OK + b"Content-Length: 5\r\nX-A:  b \r\n\r\nhello",
        [head(200, (b"content-length", b"5"), (b"x-a", b"b")), b"hello", END],
        True,
    ),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", [head(200, (b"content-length", b"0")), END], True),
    "chunks": (
        CHUNKED + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
        [head(200, (b"transfer-encoding", b"chunked")), b"abc0123456789", END],
        True,
    ),
    "chunk extensions and trailers, both dropped": (
        CHUNKED + b"3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\nServer: evil\r\n\r\n",
        [head(200, (b"transfer-encoding", b"chunked")), b"abc", END],
        True,
    ),
    "informational answers first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\na",
        [head(200, (b"content-length", b"1")), b"a", END],
        True,
    ),
    "204": (b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", [head(204, (b"a", b"b")), END], True),
    "304 that names the length of what it does not send": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        [head(304, (b"content-length", b"9")), END],
        False,
    ),
    "204 with a body": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
        [head(204, (b"content-length", b"3")), END],
        False,
    ),
    "more than its length": (
        OK + b"Content-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nX: evil\r\n\r\n",
        [head(200, (b"content-length", b"2")), b"ab", END],
        False,
    ),
    "connection: close with a length": (
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nab",
        [head(200, (b"connection", b"close"), (b"content-length", b"2")), b"ab", END],
        False,
    ),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        [head(200, (b"content-length", b"2")), b"ab", END],
        False,
    ),
    "repeated headers keep their order": (
        OK + b"Set-Cookie: a\r\nContent-Length: 0\r\nSet-Cookie: b\r\n\r\n",
        [head(200, (b"set-cookie", b"a"), (b"content-length", b"0"), (b"set-cookie", b"b")), END],
        True,
    ),
    "no reason phrase, bytes over 127": (
        b"HTTP/1.1 200\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
        [head(200, (b"x", b"\xff"), (b"content-length", b"0")), END],
        True,
    ),
}

BROKEN_HEADS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTTP/0.9": b"<html>",
    "a leading line break": b"\r\n" + OK + b"\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\n\r\n",
    "switched protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a signed length": OK + b"Content-Length: +1\r\n\r\na",
    "a huge length": OK + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NUL in a value": OK + b"A: b\0c\r\n\r\n",
    "a control character in a value": OK + b"A: b\x01\r\n\r\n",
    "a bare line feed": OK + b"A: b\nC: d\r\n\r\n",
    "a bare carriage return": OK + b"A: b\rC: d\r\n\r\n",
    "line feeds alone": b"HTTP/1.1 200 OK\nA: b\n\n",
    "a space in a name": OK + b"A b: c\r\n\r\n",
    "a space before the colon": OK + b"A : c\r\n\r\n",
    "no name": OK + b": c\r\n\r\n",
    "no colon": OK + b"nothing\r\n\r\n",
    "a folded header": OK + b"A: b\r\n c\r\n\r\n",
    "too many headers": OK + b"A: b\r\n" * (LINES_MAX + 1) + b"\r\n",
    "a header too long": OK + b"A: " + b"b" * LINE_MAX + b"\r\n\r\n",
    "a head too long": OK + (b"A: " + b"b" * 8000 + b"\r\n") * 9,
    "a head too long at once": OK + (b"A: " + b"b" * 8000 + b"\r\n") * 9 + b"\r\n",
    "a flood of informational answers": b"HTTP/1.1 102 Processing\r\n\r\n" * (INFORMATIONAL_MAX + 1),
}

BROKEN_CHUNKS = {
    "no hexadecimal size": b"zz\r\n",
    "a negative size": b"-1\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n",
    "a size too large": b"FFFFFFFFFFFFFFFFFF\r\n",
    "a space behind the size": b"3 \r\nabc\r\n",
    "a bare line feed": b"3\nabc\r\n",
    "more than its size": b"3\r\nabcd\r\n",
    "no line end behind it": b"3\r\nabc3\r\n",
    "a trailer that is no header": b"0\r\na b: c\r\n\r\n",
    "a trailer about framing": b"0\r\nContent-Length: 9\r\n\r\n",
    "extensions without end": b"1;" + b"x" * (OVERHEAD_MAX + 1),
    "trailers without end": b"0\r\n" + b"a: b\r\n" * (OVERHEAD_MAX // 6 + 1),
}


@pytest.mark.parametrize(("data", "events", "is_reusable"), WHOLE.values(), ids=WHOLE)
def test_an_answer_means_the_same_at_once_and_byte_by_byte(data, events, is_reusable):
    assert read([data]) == (events, is_reusable)
    assert read(bytes([byte]) for byte in data) == (events, is_reusable)


@pytest.mark.parametrize(("data", "events", "is_reusable"), WHOLE.values(), ids=WHOLE)
@given(cuts=st.lists(st.integers(1, 60), max_size=8))
def test_no_slicing_changes_an_answer(data, events, is_reusable, cuts):
    assert read(sliced(data, cuts)) == (events, is_reusable)


def sliced(data, cuts):
    for cut in cuts:
        yield data[:cut]
        data = data[cut:]
    yield data


@pytest.mark.parametrize("data", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
def test_a_head_that_cannot_be_trusted_is_the_only_event(data):
    for slices in ([data], [bytes([byte]) for byte in data], sliced(data, [7, 11, 13])):
        events, is_reusable = read(slices)
        assert [type(event) for event in events] == [Broken]
        assert not is_reusable


@pytest.mark.parametrize("data", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_a_broken_chunk_ends_a_body_and_nothing_follows(data):
    for slices in ([CHUNKED + data], [CHUNKED, *(bytes([byte]) for byte in data)]):
        events, is_reusable = read(slices)
        assert events[0] == head(200, (b"transfer-encoding", b"chunked"))
        assert isinstance(events[-1], Broken)
        assert END not in events
        assert not is_reusable


def test_many_chunks_of_one_byte_are_no_flood():
    events, is_reusable = read([CHUNKED, *[b"1\r\nx\r\n"] * 50_000, b"0\r\n\r\n"])
    assert events[1:] == [b"x" * 50_000, END]
    assert is_reusable


def test_an_answer_to_head_has_no_body_whatever_it_says():
    reader = ResponseReader()
    for framing in (b"Content-Length: 9", b"Transfer-Encoding: chunked", b"A: b"):
        reader.expect(to_head=True)
        assert reader.feed(OK + framing + b"\r\n\r\n")[1:] == [END]
        assert reader.is_reusable
    reader.expect(to_head=False)
    assert reader.feed(OK + b"Content-Length: 2\r\n\r\nab")[1:] == [b"ab", END]


def test_an_answer_to_head_that_closes_is_not_reusable():
    assert read([OK + b"Connection: close\r\n\r\n"], to_head=True) == (
        [head(200, (b"connection", b"close")), END],
        False,
    )
    assert read([b"HTTP/1.0 200 OK\r\n\r\n"], to_head=True) == ([head(200), END], False)


def test_a_body_without_length_lasts_until_the_end_of_the_stream():
    assert read([OK + b"\r\nab", b"cd"], is_closed=True) == ([head(200), b"abcd", END], False)
    assert read([OK + b"\r\n"], is_closed=True) == ([head(200), END], False)


@pytest.mark.parametrize(
    "data",
    [b"", b"HT", OK, OK + b"Content-Length: 2\r\n\r\na", CHUNKED + b"3\r\nabc\r\n", CHUNKED + b"3\r\nabc\r\n0\r\n"],
)
def test_the_end_of_the_stream_breaks_what_is_not_whole(data):
    events, is_reusable = read([data] if data else [], is_closed=True)
    assert events[-1] == Broken("closed the connection before its answer was whole", is_cut=True)
    assert not is_reusable


def test_the_end_of_the_stream_after_a_whole_answer_only_ends_the_connection():
    assert read([OK + b"Content-Length: 1\r\n\r\na"], is_closed=True)[0][1:] == [b"a", END]


def test_one_reader_reads_answer_after_answer():
    reader = ResponseReader()
    for data, events, is_reusable in WHOLE.values():
        if is_reusable:
            reader.expect(to_head=False)
            assert joined(reader.feed(data)) == events


def test_the_reader_knows_how_long_an_upstream_keeps_an_idle_connection():
    reader = ResponseReader()
    reader.feed(OK + b"Keep-Alive: max=100, timeout=5\r\nContent-Length: 0\r\n\r\n")
    assert reader.idle_seconds == 5
    reader.expect(to_head=False)
    assert reader.idle_seconds is None


def test_a_head_of_the_largest_size_is_read():
    lines = OK + b"Content-Length: 0\r\n"
    data = lines + (b"A: " + b"b" * 1000 + b"\r\n") * 64
    data += b"C: " + b"d" * (HEAD_MAX - len(data) - 7) + b"\r\n\r\n"
    assert len(data) == HEAD_MAX
    assert read([data])[0][-1] is END
