"""The only place that knows static API keys: how one is written, how it is kept, and whether it still counts.

The file is a journal of JSON lines: a key that was added, or the id of one that was revoked. Lines are only ever
appended, each by one write, so that a reader never meets a half-changed file and nobody needs a lock.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
from base64 import b32encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sessionware.credentials.compact import is_encodable, is_plain
from sessionware.credentials.refusals import RefusalLog, Refused
from sessionware.errors import ConfigError

PREFIX: Final = "swk_"
ID_BYTES: Final = 10  # 16 base32 characters: ids never meet by chance
SECRET_BYTES: Final = 32
CHECK_EVERY_MS: Final = 500  # a revoked key stops within a second: the edge believes what it met for as long again
FILE_MAX: Final = 16 * 1024 * 1024
MODE: Final = 0o600

_KEY: Final = re.compile(r"swk_([a-z2-7]{16})_[A-Za-z0-9_-]{43}", re.ASCII)
_NO_HASH: Final = "0" * 64


class ApiKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key as it is kept: everything but the key. `created_at` is milliseconds."""

    id: str
    user: str
    sha256: str
    created_at: int
    org: str | None = None
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


class Revoked(Struct, frozen=True, kw_only=True):
    """A line that takes a key back."""

    revoked: str
    at: int


class Journal(Struct, frozen=True):
    """What a file of keys says: the keys that count, and the lines that nobody can read."""

    keys: Mapping[str, ApiKey] = {}
    unreadable: tuple[int, ...] = ()


_Stamp = tuple[int, int, int]


class ApiKeys:
    """The keys of one file, read anew when it changes. A missing file holds no key."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._journal = Journal()
        self._stamp: _Stamp | None = None
        self._checked_at: int | None = None
        self._has_changed = True
        self.refusals = RefusalLog("api key")
        self.generation = 0

    def is_current(self, now: int) -> bool:
        """Whether the keys are those of the file; asks the file system once a second, and reads nothing."""
        if self._has_changed:
            return False
        if self._checked_at is not None and 0 <= now - self._checked_at < CHECK_EVERY_MS:
            return True
        self._checked_at = now
        self._has_changed = self._stamp != _stamp(self._path)
        return not self._has_changed

    async def refresh(self, now: int) -> None:
        """Read the file if it changed. A line that nobody can read is logged, and counts for nothing."""
        if self.is_current(now):
            return
        self._stamp, journal, trouble = await asyncio.to_thread(_read_file, self._path)
        self._journal, self._checked_at, self._has_changed = journal, now, False
        self.generation += 1
        if trouble:
            self.refusals.note("file", f"api keys: {trouble}: no key counts", now)
        if journal.unreadable:
            lines = ", ".join(map(str, journal.unreadable[:10]))
            self.refusals.note("lines", f"api keys: {self._path}: cannot read line {lines}; the others count", now)

    def find(self, text: str) -> ApiKey:
        """The key whose text this is. Raises Refused when there is none."""
        match = _KEY.fullmatch(text)
        key = self._journal.keys.get(match[1]) if match else None
        is_it = hmac.compare_digest(_hash(text), key.sha256 if key else _NO_HASH)
        if key is None or not is_it:
            raise Refused("unknown", "it is not in the file, or was revoked" if match else "it is not of the form swk_")
        return key


def new_key(
    user: str, *, now: int, org: str | None, groups: Iterable[str], scopes: Iterable[str]
) -> tuple[str, ApiKey]:
    """A fresh key's text, which is told once, and what is kept of it. Raises ConfigError for an improper name."""
    groups, scopes = tuple(groups), tuple(scopes)
    if not is_plain(user) or not (org is None or is_plain(org)):
        raise ConfigError("key: a user or organisation is 1..255 characters without control characters")
    if not all(each and is_encodable(each) for each in (*groups, *scopes)):
        raise ConfigError("key: a group or scope must not be empty")
    key_id = b32encode(secrets.token_bytes(ID_BYTES)).decode().lower()
    text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return text, ApiKey(id=key_id, user=user, sha256=_hash(text), created_at=now, org=org, groups=groups, scopes=scopes)


def read_journal(raw: bytes) -> Journal:
    """The keys that count after all lines: a revocation counts wherever it stands."""
    added: dict[str, ApiKey] = {}
    revoked: set[str] = set()
    unreadable: list[int] = []
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        entry = _read_line(line)
        match entry:
            case ApiKey():
                added[entry.id] = entry
            case Revoked():
                revoked.add(entry.revoked)
            case None:
                unreadable.append(number)
    return Journal({key.id: key for key in added.values() if key.id not in revoked}, tuple(unreadable))


def load(path: str | os.PathLike[str]) -> Journal:
    """The journal in a file; an empty one when there is no file. Raises ConfigError when it cannot be read."""
    _, journal, trouble = _read_file(Path(path))
    if trouble and Path(path).exists():
        raise ConfigError(f"api_keys_file: {trouble}")
    return journal


def append(path: str | os.PathLike[str], entry: ApiKey | Revoked) -> None:
    """Write one line at the end, by one write; the file is made for its owner alone. Raises ConfigError."""
    line = msgspec.json.encode(entry) + b"\n"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"api_keys_file: cannot write {os.fspath(path)}: {error.strerror}") from error


def _read_line(line: bytes) -> ApiKey | Revoked | None:
    with suppress(ValueError, RecursionError):  # msgspec.ValidationError is one
        return msgspec.json.decode(line, type=Revoked)
    with suppress(ValueError, RecursionError):
        key = msgspec.json.decode(line, type=ApiKey)
        is_proper = is_plain(key.user) and (key.org is None or is_plain(key.org)) and len(key.sha256) == len(_NO_HASH)
        return replace(key, sha256=key.sha256.lower()) if is_proper and key.sha256.isascii() else None
    return None


def _read_file(path: Path) -> tuple[_Stamp | None, Journal, str]:
    stamp = _stamp(path)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX + 1)
    except OSError as error:
        return stamp, Journal(), f"cannot read {path}: {error.strerror}"
    if len(raw) > FILE_MAX:
        return stamp, Journal(), f"{path} is larger than {FILE_MAX} bytes"
    return stamp, read_journal(raw), ""


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
