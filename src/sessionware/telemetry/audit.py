"""The only place that writes the audit trail: one JSON line per event, and never a reason for a request to fail."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct

from sessionware.errors import ConfigError

TEXT_MAX: Final = 256  # a user name or path may be as long as a client likes; a line may not
KEY_MAX: Final = 64
DETAILS_MAX: Final = 16
FILE_MODE: Final = 0o600  # who did what is nobody else's business


class Happening(StrEnum):
    """What an audit trail tells."""

    START = "start"
    END = "end"
    REFUSED = "refused"
    FOREIGN_ID = "foreign_id"
    REVOKED = "revoked"
    KEY_USED = "key_used"
    ADMIN = "admin"
    REINITIALIZED = "reinitialized"


class AuditEvent(Struct, frozen=True, kw_only=True):
    """One line of the trail. `time` is RFC 3339, UTC; `ref` stands for the session, never its id."""

    time: str
    event: Happening
    ref: str | None = None
    user: str | None = None
    org: str | None = None
    reason: str | None = None
    details: Mapping[str, str | int | float | bool | None] = {}


class AuditSink(Protocol):
    """Where events go. Called inside requests: it must be quick; what it raises is counted and goes no further."""

    def __call__(self, event: AuditEvent, /) -> object: ...


def open_sink(spec: str | None) -> AuditSink | None:
    """The sink that AUDIT names: `stderr`, `file:/path`, `module:object` (called with each AuditEvent), or off.

    Raises ConfigError that says what to write instead.
    """
    if spec in (None, "", "off"):
        return None
    if spec == "stderr":
        return _to_stderr
    kind, separator, rest = spec.partition(":")
    if kind == "file" and separator:
        if not rest:
            raise ConfigError(f"AUDIT={spec!r} names no file: write file:/var/log/sessionware-audit.jsonl")
        return FileSink(Path(rest))
    if separator and rest:
        return _imported(spec, kind, rest)
    raise ConfigError(f"AUDIT={spec!r}: write stderr, file:/path, module:object or off")


def line_of(event: AuditEvent) -> str:
    """The event as one line of JSON: pure ASCII, control characters escaped, long texts cut."""
    said: dict[str, Any] = {"time": event.time, "event": event.event.value}
    texts = {"ref": event.ref, "user": event.user, "org": event.org, "reason": event.reason}
    said |= {name: _cut(text) for name, text in texts.items() if text is not None}
    if event.details:
        said["details"] = {
            key[:KEY_MAX]: _cut(value) if isinstance(value, str) else value
            for key, value in list(event.details.items())[:DETAILS_MAX]
        }
    # JSON escapes what lies below a space; DEL is a control character too.
    return json.dumps(said, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


class FileSink:
    """Appends to a file that only its owner may read; follows it when it is rotated. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def __call__(self, event: AuditEvent, /) -> None:
        if not self._is_standing():
            rotated = self._file
            self._open()
            os.close(rotated)
        line = (line_of(event) + "\n").encode()
        if os.write(self._file, line) < len(line):  # one write per line: workers may share the file
            raise OSError(f"the audit file {self._path} took only a part of a line: is the disk full?")

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(self._path, flags, FILE_MODE)
        except OSError as error:
            raise ConfigError(f"AUDIT=file:{self._path} cannot be written: {error.strerror}") from error
        found = os.fstat(self._file)
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & ~FILE_MODE:
            os.fchmod(self._file, FILE_MODE)
        self._place = (found.st_dev, found.st_ino)

    def _is_standing(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._place


def _to_stderr(event: AuditEvent, /) -> None:
    sys.stderr.write(line_of(event) + "\n")
    sys.stderr.flush()


def _imported(spec: str, module_name: str, name: str) -> AuditSink:
    try:
        found: Any = import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"AUDIT={spec!r}: module {module_name!r} cannot be imported: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ConfigError(f"AUDIT={spec!r}: {module_name} has no callable {name!r}: it is called with each AuditEvent")
    if iscoroutinefunction(found):
        raise ConfigError(f"AUDIT={spec!r} is async: an audit sink is called inside requests and never awaited")
    sink: AuditSink = found
    return sink


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
