"""The only place that touches the store's files as files: names, rights, the lock beside them, connections."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Final, Literal

from sessionware.clock import monotonic_ms
from sessionware.errors import ConfigError

MODE: Final = 0o600
_OTHERS: Final = 0o077
LOCK_WAIT_MS: Final = 60_000  # as long as another process may check or salvage a large file at its start
_LOCK_PAUSE_S: Final = 0.01
CACHED_STATEMENTS: Final = 256
IDENTITY_EVERY_MS: Final = 250  # between two looks at whether the file is still the one that was opened

_log = logging.getLogger(__name__)


def absolute(path: str | os.PathLike[str]) -> Path:
    """Where a path leads from here: a later `os.chdir` must not lead elsewhere. Raises ConfigError."""
    if "\0" in os.fspath(path):
        raise ConfigError(f"session store {os.fspath(path)!r}: a path cannot have a NUL character in it")
    return Path(path).absolute()


def check_path(path: Path) -> None:
    """Refuse what can never become a store. Raises ConfigError naming the path."""
    if not path.parent.is_dir():
        raise ConfigError(f"session store {path}: the folder {path.parent} does not exist: make it first")
    if path.is_dir():
        raise ConfigError(f"session store {path} is a folder: name a file inside it")
    if path.exists() and not path.is_file():
        raise ConfigError(f"session store {path} is not a regular file: name another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"session store {path}: the folder {path.parent} is not writable for this user")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"session store {path} is not readable and writable for this user")


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def create(path: Path) -> None:
    """Make an empty file that only we may read, before SQLite opens it; its -wal and -shm inherit the mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, MODE))
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigError(f"session store {path} cannot be made: {error.strerror}") from error


def tighten(path: Path) -> None:
    """Take away what others may do with the store's files.

    The file is not opened for this: closing it would drop the locks of every connection in this process.
    """
    for each in (path, beside(path, "-wal"), beside(path, "-shm")):
        try:
            mode = stat.S_IMODE(each.stat().st_mode)
            if mode & _OTHERS:
                each.chmod(MODE)
                _log.warning("session store %s had mode %04o, it is %04o now", each, mode, MODE)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(
                f"session store {each} can be read by others and that cannot be changed: {error.strerror}"
            ) from error


def remove_with_wal(path: Path) -> None:
    """Remove a database that is not in use, if it is there."""
    for each in (path, beside(path, "-wal"), beside(path, "-shm"), beside(path, "-journal")):
        each.unlink(missing_ok=True)


def connect(path: Path, mode: Literal["rw", "ro"]) -> sqlite3.Connection:
    """A connection for one lane; transactions are ours, and nothing is made that is not there."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS, timeout=0
    )
    if mode == "rw":
        connection.execute("PRAGMA foreign_keys = OFF")
    return connection


class FileIdentity:
    """Which file a path led to when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._was = self._identity()
        self._looked_at = monotonic_ms()

    def stands(self) -> bool:
        """Whether the path still led to that file when last looked at; once it does not, every call looks."""
        now = monotonic_ms()
        if now - self._looked_at < IDENTITY_EVERY_MS:
            return True
        if self._identity() != self._was:
            return False
        self._looked_at = now
        return True

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class FileLock:
    """The lock beside the store: shared by those who run, held alone by the one that opens, migrates or salvages."""

    def __init__(self, path: Path) -> None:
        self._path = beside(path, "-lock")
        try:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
        except OSError as error:
            raise ConfigError(f"session store {path}: {self._path} cannot be opened: {error.strerror}") from error

    def take(self, stop: threading.Event) -> bool:
        """Take the lock, alone if nobody has it; answers whether alone. Waits while another one has it alone."""
        until = monotonic_ms() + LOCK_WAIT_MS
        while True:
            if self._try(fcntl.LOCK_EX):
                return True
            if self._try(fcntl.LOCK_SH):
                return False
            self._wait(stop, until)

    def share(self, stop: threading.Event) -> None:
        """Let others in. Between the two locks another one may open the file: the wait is for that."""
        until = monotonic_ms() + LOCK_WAIT_MS
        while not self._try(fcntl.LOCK_SH):
            self._wait(stop, until)

    def close(self) -> None:
        os.close(self._file)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(self, stop: threading.Event, until: int) -> None:
        if stop.wait(_LOCK_PAUSE_S) or monotonic_ms() > until:
            raise ConfigError(
                f"{self._path} is held by a process that opens or repairs the store: wait for it or stop it"
            )
