"""A small MCP client over HTTP, for smoke tests: finds the era, calls tools, and ends the session it has begun.

with McpClient("http://127.0.0.1:8080/mcp", token=token) as mcp:
    mcp.call("remember", {"text": "tea"})

It answers nothing that a server asks back, and does not resume a stream that was cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import httpx2

from sessionware.client.mcp_messages import (
    HEADER_MISMATCH,
    MODERN,
    Called,
    Discovered,
    Greeted,
    McpRefused,
    Result,
    Tool,
    ToolPage,
    handshake,
    mirrored,
    modern_headers,
    modern_params,
    read_as,
    read_message,
    request,
    result_of,
)

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 120.0  # between two bytes; servers may take 15 s to choose the form of their answer
MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes of one message
MAX_PAGES: Final = 100  # of a list
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
FORMS: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class McpClient:
    """Speaks 2026-07-28 where the server does, else shakes hands as the older versions want it.

    `session` goes into X-Session-ID. `on_progress` gets the parameters of progress notifications. Raises, on
    entering and on every call: McpRefused; httpx2's errors when the server cannot be reached or falls silent.
    """

    def __init__(  # noqa: PLR0913  # what users type
        self,
        url: str,
        *,
        token: str | None = None,
        session: str | None = None,
        is_legacy: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
        on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        named = {} if session is None else {"X-Session-ID": session}
        proved = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._url = url
        self._http = httpx2.Client(
            headers=FORMS | named | proved, timeout=httpx2.Timeout(answer_seconds, connect=CONNECT_SECONDS)
        )
        self._is_legacy = is_legacy
        self._on_progress = on_progress
        self._last_id = 0
        self._handshaken: dict[str, str] = {}  # the headers that name the version and the MCP session

    @property
    def protocol_version(self) -> str:
        """The version that is spoken; the newest before one was found."""
        return self._handshaken.get("MCP-Protocol-Version", MODERN)

    def __enter__(self) -> Self:
        try:
            if self._is_legacy or not self._finds_the_modern_era():
                self._shake_hands()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Called:
        """What the tool answered; an error of the tool's own is an answer with `is_error`."""
        asked = {"name": tool, "arguments": arguments}
        try:
            return self._ask(Called, "tools/call", asked)
        except McpRefused as refused:
            if self._is_legacy or refused.code != HEADER_MISMATCH:
                raise
            schema = next((one.input_schema for one in self.tools() if one.name == tool), {})
            headers = mirrored(schema, arguments)
            if not headers:
                raise
            return self._ask(Called, "tools/call", asked, headers=headers)  # it was refused before it ran

    def tools(self) -> Iterator[Tool]:
        """Every tool the server offers, page by page."""
        params: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            page = self._ask(ToolPage, "tools/list", params)
            yield from page.tools
            if not page.next_cursor:
                return
            params = {"cursor": page.next_cursor}

    def _finds_the_modern_era(self) -> bool:
        try:
            found = self._ask(Discovered, "server/discover", {})
        except McpRefused as refused:
            if refused.may_be_legacy:
                return False
            raise
        return MODERN in found.supported_versions

    def _shake_hands(self) -> None:
        self._is_legacy = True
        body = request("initialize", handshake(), id=self._next_id())
        with self._http.stream("POST", self._url, content=body) as response:
            spoken = read_as(Greeted, self._answer(response)).protocol_version
            session = response.headers.get("Mcp-Session-Id")
        self._handshaken = {"MCP-Protocol-Version": spoken} | ({} if session is None else {"Mcp-Session-Id": session})
        body = request("notifications/initialized", {}, id=None)
        noted = self._http.post(self._url, content=body, headers=self._handshaken)
        if not noted.is_success:
            result_of(noted.status_code, read_message(noted.content), text=noted.text)

    def _ask(
        self, kind: type[Result], method: str, params: Mapping[str, Any], *, headers: Mapping[str, str] = NO_HEADERS
    ) -> Result:
        id_ = self._next_id()
        asked: dict[str, Any] = {**params, "_meta": {"progressToken": id_}}
        stated = self._handshaken if self._is_legacy else modern_headers(method, params)
        body = request(method, asked if self._is_legacy else modern_params(asked), id=id_)
        with self._http.stream("POST", self._url, content=body, headers={**stated, **headers}) as response:
            return read_as(kind, self._answer(response))

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.is_success and kind == "text/event-stream":
            return self._streamed(response)
        if location := response.headers.get("Location"):
            raise McpRefused(response.status_code, f"the server sends to {location}: call that URL if you trust it")
        text = _capped(response)
        retry_after = response.headers.get("Retry-After", "")
        return result_of(response.status_code, read_message(text), text=text, retry_after=retry_after)

    def _streamed(self, response: httpx2.Response) -> dict[str, Any]:
        for event in httpx2.EventSource(response, max_event_size=MAX_ANSWER):
            message = read_message(event.data)
            if message.get("id") == self._last_id and ("result" in message or "error" in message):
                return result_of(response.status_code, message)
            if message.get("method") == "notifications/progress":
                self._on_progress(message.get("params") or {})
        raise McpRefused(response.status_code, "the stream ended without an answer")

    def _close(self) -> None:
        """End the MCP session, if there is one; a server that cannot or will not end it is let be."""
        try:
            if "Mcp-Session-Id" in self._handshaken:
                with contextlib.suppress(httpx2.HTTPError):
                    self._http.delete(self._url, headers=self._handshaken, timeout=CONNECT_SECONDS)
        finally:
            self._handshaken = {}
            self._http.close()


def _capped(response: httpx2.Response) -> str:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise McpRefused(response.status_code, f"the answer has more than {MAX_ANSWER} bytes")
    return body.decode("utf-8", "replace")
