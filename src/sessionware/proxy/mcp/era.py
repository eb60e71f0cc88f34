"""The only place that decides which of MCP's two eras a request speaks: with sessions of its own, or without."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SSE_VERSION: Final = "2024-11-05"
BATCH_VERSION: Final = "2025-03-26"  # the only one with JSON-RPC batches, and the one assumed when none is named
LEGACY_VERSIONS: Final = frozenset({SSE_VERSION, BATCH_VERSION, "2025-06-18", "2025-11-25"})


class Era(StrEnum):
    """`LEGACY`: initialize, then `Mcp-Session-Id`. `MODERN`: every POST stands alone, and the session is ours."""

    LEGACY = "legacy"
    MODERN = "modern"


def era_of(version: str | None) -> Era:
    """The era that `MCP-Protocol-Version` tells; None: there is no such header.

    A value that nobody knows is modern, so that the server can say itself which versions it has (-32022).
    """
    return Era.LEGACY if version is None or version in LEGACY_VERSIONS else Era.MODERN


def allows_batches(version: str | None) -> bool:
    return version is None or version == BATCH_VERSION
