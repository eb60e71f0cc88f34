"""The only place that remembers what the headers of a request say, for clients that send the same again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sessionware.proxy.headers import SESSION_ID, BadHead, head_fault
from sessionware.proxy.hop_by_hop import Header, are_values, nominated
from sessionware.proxy.mcp.era import Era, era_of
from sessionware.proxy.mcp.mirrors import header_text
from sessionware.proxy.wire.requests import HeaderBlock

HEADS_MAX: Final = 2_048
KEY_MAX: Final = 4 << 10  # bytes of headers: longer ones are read each time, or strangers fill the memory
VARYING_MAX: Final = 256
BLOCKS_MAX: Final = 8  # upstreams and sessions that the same headers go on to
# Other values with every request, which nobody rests on but the framing: each is looked at by itself.
VARYING: Final = frozenset({b"content-length", b"x-request-id", b"traceparent", b"tracestate"})

Key = tuple[object, ...]


class Head:
    """What headers say, whoever sends them. `blocks` are what goes on, as it was written before.

    `mcp_method` is the method that the headers of a modern request tell, empty where they tell none; `target` what it
    is called on.
    """

    __slots__ = (
        "blocks", "era", "fault", "has_link", "host", "is_plain", "mcp_method", "method", "name", "origin", "target",
        "version",
    )  # fmt: skip

    def __init__(self, headers: Sequence[Header]) -> None:
        self.fault: BadHead | None = head_fault(headers)
        found: dict[bytes, str] = {}
        for name, value in headers:
            if name in _READ and name not in found:
                found[name] = value.strip(b" \t").decode("latin-1")
        self.version = found.get(b"mcp-protocol-version")
        self.era = era_of(self.version)
        self.method = found.get(b"mcp-method")
        self.name = found.get(b"mcp-name")
        self.mcp_method = (header_text(self.method) or "") if self.era is Era.MODERN else ""
        self.target = header_text(self.name) or ""
        self.origin = found.get(b"origin")
        self.host = found.get(b"host", "").lower()
        self.has_link = SESSION_ID in found
        self.is_plain = not nominated(headers)  # else Connection takes others away
        self.blocks: dict[Key, HeaderBlock] = {}

    def remember(self, key: Key, block: HeaderBlock) -> None:
        if len(self.blocks) >= BLOCKS_MAX:
            self.blocks.clear()
        self.blocks[key] = block


_READ: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"origin", b"host", SESSION_ID})


class Heads:
    """The heads of late; the oldest makes room."""

    def __init__(self) -> None:
        self._known: dict[tuple[Header, ...], Head] = {}

    def of(self, headers: Sequence[Header]) -> Head:
        """What these headers say; those that vary are judged anew each time."""
        key: list[Header] = []
        varying: list[bytes] = []
        for pair in headers:
            if pair[0] in VARYING:
                varying.append(pair[1])
                key.append((pair[0], b""))
            else:
                key.append(pair)
        if not _are_short(varying):
            return Head(headers)
        whole = tuple(key)
        known = self._known.get(whole)
        if known is None:
            known = Head(headers)
            self._keep(whole, known)
        return known

    def _keep(self, key: tuple[Header, ...], head: Head) -> None:
        if head.fault is not None or sum([len(name) + len(value) for name, value in key]) > KEY_MAX:
            return
        if len(self._known) >= HEADS_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = head


def _are_short(values: list[bytes]) -> bool:
    """Whether they could change nothing that was judged of the others."""
    return max(map(len, values), default=0) <= VARYING_MAX and are_values(values)
