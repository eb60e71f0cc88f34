"""The only place that keeps several processes at work on one port: starts them, replaces the dead, ends them all."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socket import socket
from typing import Final

from msgspec import Struct

from sessionware.clock import monotonic_ms
from sessionware.errors import ConfigError
from sessionware.standalone.siblings import bury

STOPPED: Final = 0
CRASHED: Final = 1
LOOK_EVERY_S: Final = 0.05  # while the first worker starts
PAUSE_FIRST_MS: Final = 100  # before a dead worker is replaced; doubled while replacements die young
PAUSE_MAX_MS: Final = 10_000
YOUNG_MS: Final = 10_000
FOLDER_MAX: Final = 80  # bytes of its path: a socket's has at most 107
GRACE_MS: Final = 10_000  # beyond the drain, until a worker that does not end is killed
_SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})

log: Final = logging.getLogger("sessionware")


class Place(Struct, frozen=True, kw_only=True):
    """What a worker gets from its supervisor.

    `folder` is where its siblings are, `lifeline` ends when the supervisor does, `started` tells that it serves.
    """

    folder: Path
    lifeline: int
    started: Callable[[], object]


class Supervisor:
    """`work` is what a worker does; it runs in a process of its own, and its answer is that process's exit code.

    `sockets` are those that workers inherit: they stop listening only when nobody has them open any more. Needs a
    process without threads and without an event loop: workers are forked.
    """

    def __init__(
        self, work: Callable[[Place], int], *, workers: int, drain_ms: int, sockets: Iterable[socket] = ()
    ) -> None:
        self._work = work
        self._sockets = sockets
        self._workers = workers
        self._drain_ms = drain_ms
        self._born: dict[int, int] = {}  # by process id: when
        self._pause_ms = PAUSE_FIRST_MS
        self._due: list[int] = []  # when a replacement is to be started

    def run(self, started: Callable[[], object]) -> int:
        """Until SIGTERM or SIGINT; the exit code. `started` is called when the first worker serves.

        Raises ConfigError where there is no place for what workers tell each other.
        """
        self._folder = private_folder()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._lifeline = os.pipe()
        try:
            code = self._start_first(started)
            if code is None:
                for _ in range(self._workers - 1):
                    self._start()
                code = self._keep()
            return self._end(code)
        finally:
            if os.getpid() == self._owner:
                shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------ starting

    def _start_first(self, started: Callable[[], object]) -> int | None:
        """Whether workers can start at all: None when the first serves, else the exit code."""
        reading, writing = os.pipe()
        self._owner = os.getpid()
        pid = self._start(told=writing)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as news:
            while True:
                if select.select([news], [], [], LOOK_EVERY_S)[0] and news.read(1):
                    started()
                    return None
                found = signal.sigtimedwait(_SIGNALS, 0)
                if found is not None and found.si_signo != signal.SIGCHLD:
                    return STOPPED
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del self._born[pid]
                    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else CRASHED

    def _start(self, told: int | None = None) -> int:
        """Fork a worker; in the worker this never returns."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._born[pid] = monotonic_ms()
            return pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(self._lifeline[1])  # or it would never end
        sys.exit(self._work(Place(folder=self._folder, lifeline=self._lifeline[0], started=lambda: _tell(told))))

    # ------------------------------------------------------------------ keeping

    def _keep(self) -> int:
        """Replace who dies, until somebody asks for an end."""
        while True:
            wait_ms = max(min(self._due) - monotonic_ms(), 0) if self._due else PAUSE_MAX_MS
            found = signal.sigtimedwait(_SIGNALS, wait_ms / 1000)
            if found is not None and found.si_signo != signal.SIGCHLD:
                return STOPPED
            for pid, status in self._reaped():
                self._mourn(pid, status)
            now = monotonic_ms()
            for due in [due for due in self._due if due <= now]:
                self._due.remove(due)
                self._start()

    def _mourn(self, pid: int, status: int) -> None:
        lived = monotonic_ms() - self._born.pop(pid)
        self._pause_ms = min(self._pause_ms * 2, PAUSE_MAX_MS) if lived < YOUNG_MS else PAUSE_FIRST_MS
        self._due.append(monotonic_ms() + self._pause_ms)
        log.error("worker %d has ended (%s): another starts in %d ms", pid, _how(status), self._pause_ms)
        bury(self._folder, pid)

    def _reaped(self) -> list[tuple[int, int]]:
        """The workers that have ended since."""
        found = []
        for pid in list(self._born):
            with contextlib.suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    found.append((pid, status))
        return found

    # ------------------------------------------------------------------ ending

    def _end(self, code: int) -> int:
        """Ask all to end, wait for as long as they may take, and kill the rest."""
        for each in self._sockets:
            each.close()
        self._tell_all(signal.SIGTERM)
        until = monotonic_ms() + self._drain_ms + GRACE_MS
        while self._born:
            left = until - monotonic_ms()
            if left <= 0:
                log.error("%d workers did not end in time: killed", len(self._born))
                self._tell_all(signal.SIGKILL)
                left = GRACE_MS
            found = signal.sigtimedwait(_SIGNALS, left / 1000)
            if found is not None and found.si_signo == signal.SIGINT:  # the second one
                self._tell_all(signal.SIGUSR2)
            for pid, _ in self._reaped():
                del self._born[pid]
        return code

    def _tell_all(self, what: signal.Signals) -> None:
        for pid in self._born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)


def private_folder(places: Sequence[str] = ()) -> Path:
    """A new folder that nobody else can enter, with a path short enough for a socket in it. Raises ConfigError.

    `places` are tried in turn; without them where temporary files go, then /dev/shm.
    """
    for place in places or (None, "/dev/shm"):  # noqa: S108  # a folder of our own is made there
        try:
            folder = Path(tempfile.mkdtemp(prefix="sessionware-", dir=place))
        except OSError:
            continue
        if len(os.fsencode(folder)) <= FOLDER_MAX:
            return folder
        folder.rmdir()
    raise ConfigError(
        "WORKERS > 1 needs a folder for temporary files, with a short path: set TMPDIR, or mount an emptyDir at /tmp"
    )


def _tell(to: int | None) -> None:
    if to is not None:
        os.write(to, b"1")
        os.close(to)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
