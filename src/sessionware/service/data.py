"""The only place that knows what an app has changed in a session's data, and how a change meets another writer's.

Nothing is decoded until it is read, and only what was read or written can have changed: a value changed when the
MessagePack of its top-level key did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.payload import DATA_MAX, altered, pack
from sessionware.core.session import Session
from sessionware.core.store import Store
from sessionware.errors import Conflict, SessionNotFound

RESERVED_KEY: Final = "$sessionware"  # what we keep beside the app's own: it neither sees nor changes it
# Writers of one worker wait for each other, so only workers race: eight that all write the same session lose so
# often in a row once in a million saves.
SAVE_TRIES: Final = 100

Edit = Callable[[dict[str, Any]], Mapping[str, Any] | None]

_split = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Changes(Struct, frozen=True):
    """The top-level keys that were touched: `written` holds their packed values, `removed` those that went."""

    written: dict[str, bytes]
    removed: frozenset[str]
    seen: dict[str, bytes]

    def applied(self, packed: bytes, *, at_most: int = DATA_MAX) -> tuple[bytes, int]:
        """These changes on top of `packed`, and how many keys both sides had changed: the last writer wins.

        Raises PayloadTooLarge.
        """
        stored = _parts(packed)
        overwritten = sum(
            stored.get(key) != self.seen.get(key) and stored.get(key) != self.written.get(key)
            for key in (*self.written, *self.removed)
        )
        kept = {key: value for key, value in stored.items() if key not in self.removed} | self.written
        return _packed(kept, at_most), overwritten


class SessionData(MutableMapping[str, Any]):
    """The app's data: a mapping whose nested changes are noticed.

    Values live as MessagePack does: text keys at the top, tuples and sets come back as lists.
    """

    def __init__(self, packed: bytes = b"") -> None:
        self._packed = packed
        self._stored: dict[str, bytes] | None = None
        self._live: dict[str, Any] = {}
        self._removed: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        live = self._live
        if key in live:
            return live[key]
        stored = self._parts()
        if key in self._removed or key == RESERVED_KEY or key not in stored:
            raise KeyError(key)
        value = live[key] = msgspec.msgpack.decode(stored[key])
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a key of session data is text, got {type(key).__name__}")
        if key == RESERVED_KEY:
            raise ValueError(f"the key {RESERVED_KEY!r} is reserved")
        self._live[key] = value
        self._removed.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._live.pop(key, None)
        self._removed.add(key)

    def __contains__(self, key: object) -> bool:
        if key in self._live:
            return True
        return key in self._parts() and key not in self._removed and key != RESERVED_KEY

    def __iter__(self) -> Iterator[str]:
        stored = self._parts()
        yield from [key for key in stored if key not in self._removed and key != RESERVED_KEY]
        yield from [key for key in self._live if key not in stored]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"SessionData({dict(self)!r})"

    def changes(self) -> Changes | None:
        """What has changed since it was loaded or settled; None when nothing has.

        Raises PayloadTooLarge for what nests too deeply, TypeError for what MessagePack cannot hold.
        """
        if not self._live and not self._removed:
            return None
        stored = self._parts()
        written = {
            key: packed for key, value in self._live.items() if (packed := _value(key, value)) != stored.get(key)
        }
        removed = frozenset(key for key in self._removed if key in stored)
        if not written and not removed:
            return None
        for key in written:
            _check_kept(key, self._live[key])
        return Changes(written, removed, {key: stored[key] for key in (*written, *removed) if key in stored})

    def settled(self, packed: bytes, changes: Changes) -> None:
        """`packed` holds these changes now: a new beginning, which keeps watching the values that the app holds.

        What another writer changed meanwhile is seen, unless the app holds the older value: that is no change of
        ours, and is written only if the app changes it later.
        """
        before, self._stored = self._parts(), _parts(packed)
        held = self._live.keys() - changes.written.keys()
        self._stored |= {key: before[key] for key in held if key in before}
        self._removed = {key for key in self._removed - changes.removed if key in before}

    def _parts(self) -> dict[str, bytes]:
        stored = self._stored
        if stored is None:
            stored = self._stored = _parts(self._packed)
        return stored


class Saved(Struct, frozen=True):
    """The record as it was written, and how many keys another writer had changed as well."""

    session: Session
    overwritten: int = 0


async def save(store: Store, session: Session, data: SessionData, *, now: int, at_most: int = DATA_MAX) -> Saved:
    """Write what has changed on top of the stored record; does nothing when nothing has.

    `session` is the record as it was read. On a conflict the touched keys are applied to the newer record, up to
    SAVE_TRIES times. Raises Conflict, SessionNotFound (an ended session is never made again), PayloadTooLarge,
    TypeError, StoreUnavailable.
    """
    changes = data.changes()
    if changes is None:
        return Saved(session)
    overwritten = 0
    for attempt in range(SAVE_TRIES):
        packed, lost = changes.applied(session.data or b"", at_most=at_most)
        overwritten = max(overwritten, lost)
        try:
            written = await store.update(replace(session, metadata=None, data=packed), now=now)
        except Conflict:
            if attempt == SAVE_TRIES - 1:
                raise
            session = await _read_again(store, session, now)
            continue
        data.settled(packed, changes)
        return Saved(replace(written, data=packed), overwritten)
    raise AssertionError("the last attempt returns or raises")


def edited(packed: bytes, edit: Edit, *, at_most: int) -> bytes:
    """The data after `edit`, which changes the mapping that it gets or returns another.

    What `edit` raises goes through; what is ours in the data stays. Raises PayloadTooLarge, TypeError.
    """
    stored = _parts(packed)
    ours = {key: stored.pop(key) for key in (RESERVED_KEY,) if key in stored}
    values = {key: msgspec.msgpack.decode(value) for key, value in stored.items()}
    answer = edit(values)
    changed = dict(values if answer is None else answer)
    if RESERVED_KEY in changed:
        raise ValueError(f"the key {RESERVED_KEY!r} is reserved")
    for key, value in changed.items():
        _check_kept(key, value)
    return _packed({key: _value(key, value) for key, value in changed.items()} | ours, at_most)


def reserved(packed: bytes) -> dict[str, Any]:
    """What we keep in a session's data beside the app's own."""
    ours = _parts(packed).get(RESERVED_KEY)
    return {} if ours is None else msgspec.msgpack.decode(ours, type=dict[str, Any])


def with_reserved(packed: bytes, ours: Mapping[str, Any]) -> bytes:
    """The same data, with what we keep beside it."""
    return _packed(_parts(packed) | {RESERVED_KEY: msgspec.msgpack.encode(dict(ours))}, len(packed) + DATA_MAX)


def only_reserved(packed: bytes) -> bytes:
    """Nothing of the app's own, but what we keep beside it."""
    ours = {key: value for key, value in _parts(packed).items() if key == RESERVED_KEY}
    return _packed(ours, len(packed)) if ours else b""


async def _read_again(store: Store, session: Session, now: int) -> Session:
    newer = await store.get(session.key, now=now)
    if newer is None:
        raise SessionNotFound("Session not found")
    return newer


def _parts(packed: bytes) -> dict[str, bytes]:
    return {key: bytes(value) for key, value in _split.decode(packed).items()} if packed else {}


def _packed(parts: Mapping[str, bytes], at_most: int) -> bytes:
    return pack({key: msgspec.Raw(value) for key, value in parts.items()}, what="session data", at_most=at_most)


def _check_kept(key: str, value: Any) -> None:
    """Raises TypeError for what the next request would find as something else."""
    found = altered(value, key)
    if found is not None:
        raise TypeError(
            f"session data cannot keep {found}: store None, bool, int, float, str, bytes, lists, dicts with text keys, "
            "or a datetime with a time zone"
        )


def _value(key: str, value: Any) -> bytes:
    """One packed value, checked for depth with the level that its key adds."""
    try:
        packed = pack({key: value}, what=f"session data {key!r}", at_most=2**31)
    except (OverflowError, UnicodeEncodeError) as error:
        raise TypeError(f"session data {key!r}: {error}") from error
    except TypeError as error:
        raise TypeError(f"session data {key!r} cannot be kept: {error}") from error
    return bytes(_split.decode(packed)[key])
