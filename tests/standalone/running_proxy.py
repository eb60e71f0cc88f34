"""The only place that runs `sessionware proxy` for the suite: the real command, as a process of its own."""

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import httpx2

from tests.servers import ServerDied, plain_environ, wait_a_little
from tests.serving import soon

START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 30.0
COMMAND: Final = "import sys; from sessionware.cli import main; sys.exit(main())"
_LAST_WORDS: Final = "open to everybody"
_LISTENING: Final = re.compile(r"listening on (http://[^\s\",]+)")


class RunningProxy:
    """`with RunningProxy("--upstream", url) as proxy: httpx2.get(proxy.url + "/ready")`, on a free port.

    The environment is empty but for what is given; it drains without delay unless told otherwise.
    """

    def __init__(self, *options: str, environ: dict[str, str] | None = None, cwd: str | None = None) -> None:
        self._options = options
        self._environ = environ or {}
        self._cwd = cwd or tempfile.gettempdir()
        self._folder = tempfile.TemporaryDirectory(prefix="sessionware-proxy-")
        self._log = Path(self._folder.name) / "log"
        self._announced = Path(self._folder.name) / "announced"
        self.process: subprocess.Popen[str]
        self.url = ""

    def __enter__(self) -> Self:
        with self._log.open("w") as log, self._announced.open("w") as announced:
            self.process = subprocess.Popen(
                command("proxy", "--port", "0", "--drain-delay", "0", *self._options),
                env=plain_environ() | self._environ, cwd=self._cwd,
                stdin=subprocess.DEVNULL, stdout=announced, stderr=log, text=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_WITHIN_S
        while _LAST_WORDS not in self.said + self.log:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = self.log[-3000:]
                self._folder.cleanup()
                raise ServerDied(f"exit code {self.process.returncode}: {said}")
            wait_a_little(self.process)
        found = _LISTENING.search(self.said + self.log)
        assert found is not None
        self.url = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def said(self) -> str:
        """What it said at its start."""
        return self._announced.read_text("utf-8")

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text("utf-8", "replace")

    def has_logged(self, text: str) -> bool:
        return soon(lambda: text in self.log)

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=STOP_WITHIN_S)

    def get(self, path: str, **options: object) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=10, **options)  # type: ignore[arg-type]  # headers and such

    def post(self, path: str, **options: object) -> httpx2.Response:
        return httpx2.post(self.url + path, timeout=10, **options)  # type: ignore[arg-type]  # headers and such

    def ask_to_stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)

    def exit_code(self) -> int:
        """Waits until it has ended."""
        return self.process.wait(STOP_WITHIN_S)

    def stop(self) -> None:
        """Ask it to end, twice if once is not enough. Does nothing when it has ended."""
        if self.process.poll() is None:
            self.ask_to_stop(signal.SIGINT)
            self.ask_to_stop(signal.SIGINT)
            try:
                self.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def command(*words: str) -> Sequence[str]:
    """What runs the command line of the source that is tested."""
    return [sys.executable, "-c", COMMAND, *words]
