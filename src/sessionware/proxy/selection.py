"""The only place that chooses an upstream for a session that has none: one method, three ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol, assert_never

from sessionware.config.proxy_settings import Selection
from sessionware.proxy.addresses import UpstreamAddress

_SALT_MAX: Final = 64  # bytes: what BLAKE2b takes as its key
_PERSON: Final = b"sw.upstream"


class Selector(Protocol):
    """Drained and dead upstreams are left out by the caller."""

    def choose(
        self, candidates: Sequence[UpstreamAddress], *, key: bytes, load: Mapping[str, int]
    ) -> UpstreamAddress | None:
        """One of the candidates, None when there are none.

        `key` stands for the session, or for its owner and client; `load` counts the sessions by upstream name.
        """
        ...


class LeastSessions:
    """The upstream with the fewest sessions; among equals as `ByHash`, so that workers do not all choose one."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def choose(
        self, candidates: Sequence[UpstreamAddress], *, key: bytes, load: Mapping[str, int]
    ) -> UpstreamAddress | None:
        if not candidates:
            return None
        fewest = min(load.get(each.name, 0) for each in candidates)
        return _highest([each for each in candidates if load.get(each.name, 0) == fewest], key, self._salt)


class ByHash:
    """The same upstream for the same key, wherever it is asked; when one of N leaves, only its own 1/N move.

    Rendezvous hashing, keyed with the installation's salt: no client can choose a key that leads to a victim.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def choose(
        self,
        candidates: Sequence[UpstreamAddress],
        *,
        key: bytes,
        load: Mapping[str, int],  # noqa: ARG002  # the others' question
    ) -> UpstreamAddress | None:
        return _highest(candidates, key, self._salt) if candidates else None


class RoundRobin:
    """Each in turn. The turn is this worker's own, and starts anywhere, so that workers do not walk in step."""

    def __init__(self, start: int = 0) -> None:
        self._turn = start

    def choose(
        self,
        candidates: Sequence[UpstreamAddress],
        *,
        key: bytes,  # noqa: ARG002  # the others' question
        load: Mapping[str, int],  # noqa: ARG002  # the same
    ) -> UpstreamAddress | None:
        if not candidates:
            return None
        chosen = candidates[self._turn % len(candidates)]
        self._turn += 1
        return chosen


def selector(selection: Selection, *, salt: bytes, start: int = 0) -> Selector:
    """The way that UPSTREAM_SELECTION names. `salt` is the installation's; `start` the first turn."""
    match selection:
        case "least_sessions":
            return LeastSessions(salt)
        case "hash":
            return ByHash(salt)
        case "round_robin":
            return RoundRobin(start)
        case _:
            assert_never(selection)


def _highest(candidates: Sequence[UpstreamAddress], key: bytes, salt: bytes) -> UpstreamAddress:
    return max(candidates, key=lambda each: (_weight(each.name, key, salt), each.name))


def _weight(name: str, key: bytes, salt: bytes) -> bytes:
    hashed = blake2b(digest_size=16, key=salt[:_SALT_MAX], person=_PERSON)
    # The name's length comes first: no name and key run into another name and key.
    encoded = name.encode()
    hashed.update(len(encoded).to_bytes(2) + encoded + key)
    return hashed.digest()
