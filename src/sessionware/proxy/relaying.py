"""The only place that passes an upstream's answer on: part by part as it comes, and ended well where it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Final

import msgspec

from sessionware.asgi.messages import Send
from sessionware.asgi.problems import Problem, problem
from sessionware.asgi.refusing import respond
from sessionware.proxy.answer_headers import is_encoded, is_event_stream, is_json
from sessionware.proxy.asked import Asked
from sessionware.proxy.faults import unusable
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.tools import lists_tools, without_hidden
from sessionware.proxy.sifting import Sifting
from sessionware.proxy.sse import EVENT_MAX, SseScanner, final_event
from sessionware.proxy.tasks import TaskFinder
from sessionware.proxy.wire import BadAnswer, Reason, Response

INTERRUPTED: Final = 409
LIST_MAX: Final = 4 << 20  # bytes of a list of tools that is looked through, where MAX_ANSWER is off
TOO_LARGE: Final = 422
# What is said of the bytes as they were (RFC 9530, RFC 9110 8.8.3).
_OF_THE_BYTES: Final = frozenset({b"content-length", b"content-digest", b"repr-digest", b"digest", b"etag"})
log: Final = logging.getLogger("sessionware")


def relay(response: Response, headers: list[Header], asked: Asked, send: Send) -> Awaitable[None]:
    """Send the head and the body. Raises BadAnswer where it breaks and nothing can end it well."""
    if asked.era is None:
        return _as_it_comes(response, headers, asked, send)
    if is_event_stream(headers):
        return _events(response, headers, asked, send)
    if asked.rules.max_answer and _announced(headers) > asked.rules.max_answer:
        return respond(send, asked.told(_too_large(asked)))
    if asked.rules.tools is not None and asked.body is not None and lists_tools(asked.body) and is_json(headers):
        return _tool_list(response, headers, asked, send)
    return _as_it_comes(response, headers, asked, send)


async def _as_it_comes(response: Response, headers: list[Header], asked: Asked, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    is_bounded = asked.era is not None and asked.rules.max_answer > 0
    try:
        async for part in _within_bounds(response, asked) if is_bounded else _parts(response, asked):
            is_last = response.is_read
            await send({"type": "http.response.body", "body": part, "more_body": not is_last})
            if is_last:
                return
    except BadAnswer as fault:
        log.warning("%s", fault)
        raise  # the server cuts the connection, so that nobody takes the rest for the whole
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _parts(response: Response, asked: Asked) -> AsyncIterable[bytes]:
    return response if asked.tasks is None else _watched(response, asked.tasks)


async def _watched(response: Response, tasks: TaskFinder) -> AsyncIterator[bytes]:
    """The parts, each looked at for tasks that it tells of."""
    async for part in response:
        tasks.feed(part)
        yield part


async def _within_bounds(response: Response, asked: Asked) -> AsyncIterator[bytes]:
    """The parts of an answer whose length was not announced. Raises BadAnswer where it turns out to be too long."""
    left = asked.rules.max_answer
    async for part in _parts(response, asked):
        left -= len(part)
        if left < 0:
            raise BadAnswer(asked.route.pool.name, Reason.TRUNCATED, "an answer over MAX_ANSWER is cut")
        yield part


async def _tool_list(response: Response, headers: list[Header], asked: Asked, send: Send) -> None:
    """A list of tools is looked through whole: what cannot be read is not passed on."""
    choice, at_most = asked.rules.tools, asked.rules.max_answer or LIST_MAX
    assert choice is not None  # noqa: S101  # the caller has looked
    body = bytearray()
    async for part in response:
        body += part
        if len(body) > at_most:
            await respond(send, asked.told(_too_large(asked)))
            return
    try:
        kept = b"" if is_encoded(headers) else without_hidden(bytes(body), choice)
    except msgspec.DecodeError:
        kept = b""
    if not kept:
        log.warning("a list of tools of pool %s cannot be read, and is not passed on", asked.route.pool.name)
        await respond(send, asked.told(unusable()))
        return
    passed = [pair for pair in headers if pair[0] not in _OF_THE_BYTES]
    passed.append((b"content-length", str(len(kept)).encode()))
    await respond(send, Problem(response.status, passed, kept))


async def _events(response: Response, headers: list[Header], asked: Asked, send: Send) -> None:
    """Events as they come, without the tools that are hidden; the end is told where nobody else tells it."""
    # A stream of GET may repeat the answer to any request.
    sifting = Sifting(asked.rules, looks_for_tools=asked.body is None or lists_tools(asked.body))
    if sifting.changes:
        if is_encoded(headers):
            await respond(send, asked.told(unusable()))
            return
        headers = [pair for pair in headers if pair[0] not in _OF_THE_BYTES]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    last = b""
    try:
        async for part in _parts(response, asked):
            passed, is_over = sifting.feed(part), sifting.is_over
            is_last = response.is_read and not sifting.changes and not is_over
            if passed:
                await send({"type": "http.response.body", "body": passed, "more_body": not is_last})
            if is_last:
                return
            if is_over:
                last = _too_long(sifting.scanner, asked)
                break
        else:
            last = sifting.end()
    except asyncio.CancelledError:
        if asked.is_interrupted:
            words = [
                final_event(sifting.scanner, INTERRUPTED, "Interrupted", request_id=each) for each in asked.request_ids
            ]
            await send({"type": "http.response.body", "body": b"".join(words), "more_body": False})
        raise
    except BadAnswer as fault:
        log.warning("%s", fault)
        last = _last_words(sifting.scanner, asked)
    await send({"type": "http.response.body", "body": last, "more_body": False})


def _too_long(scanner: SseScanner, asked: Asked) -> bytes:
    """The end of a stream whose event is too long; to resume it would bring that again."""
    log.warning("an event of pool %s is too long: the stream ends", asked.route.pool.name)
    if asked.request_id is None:
        return b""
    return final_event(scanner, TOO_LARGE, _too_large_text(asked), request_id=asked.request_id)


def _last_words(scanner: SseScanner, asked: Asked) -> bytes:
    """An error for the request that waits; nothing where none does, or where the client can resume."""
    if asked.request_id is None or (asked.era is Era.LEGACY and scanner.has_ids):
        return b""
    return final_event(scanner, 502, "The upstream's answer was lost", request_id=asked.request_id)


def _announced(headers: list[Header]) -> int:
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def _too_large(asked: Asked) -> Problem:
    return problem(TOO_LARGE, _too_large_text(asked), "answer_too_large")


def _too_large_text(asked: Asked) -> str:
    return f"Answer too large: at most {asked.rules.max_answer or EVENT_MAX} bytes"
