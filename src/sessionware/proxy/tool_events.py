"""The only place that takes hidden tools out of an event stream: event by event, each as soon as it is whole."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sessionware.proxy.mcp.tools import ToolChoice, without_hidden
from sessionware.proxy.sse import BOM

_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: CR LF never counts as two
_BREAK: Final = re.compile(rb"\r\n|\n|\r")


class ToolEvents:
    """Passes whole events; only the beginning of one that is not whole yet is held."""

    __slots__ = ("_choice", "_held")

    def __init__(self, choice: ToolChoice) -> None:
        self._choice = choice
        self._held = bytearray()

    @property
    def held(self) -> int:
        """The bytes that wait for the end of their event."""
        return len(self._held)

    def feed(self, part: bytes) -> bytes:
        """The events that are whole now."""
        searched = max(0, len(self._held) - 3)  # two breaks of CR LF, but for the last byte
        self._held += part
        passed = bytearray()
        start = 0
        while (found := _END.search(self._held, max(start, searched))) is not None:
            passed += self._looked_through(bytes(self._held[start : found.start()])) + found[0]
            start = found.end()
        del self._held[:start]
        return bytes(passed)

    def end(self) -> bytes:
        """The stream is over: what was begun."""
        return self._looked_through(bytes(self._held))

    def _looked_through(self, event: bytes) -> bytes:
        """The event; when it lists tools, without those that are hidden."""
        lines = _BREAK.split(event)
        data = b"\n".join(_value(line) for line in lines if _field(line) == b"data")
        try:
            kept = without_hidden(data, self._choice)
        except msgspec.DecodeError:  # no JSON: a comment, a ping, another protocol's
            return event
        if kept == data:
            return event
        others = [line for line in lines if _field(line) != b"data"]
        return b"\n".join([*others, b"data: " + kept])


def _field(line: bytes) -> bytes:
    return line.removeprefix(BOM).partition(b":")[0]


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].removeprefix(b" ")
