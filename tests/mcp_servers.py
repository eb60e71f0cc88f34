"""The only place that starts and stops real MCP servers for the suite: each a process of its own on a free port.

with replicas(2) as (one, two):
    one.url, one.pid
    one.kill9()      # as a crash would
    one.start()      # on the same port, with nothing remembered
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from tests.servers import ServerDied, end

ROOT: Final = Path(__file__).resolve().parent.parent
START_WITHIN_S: Final = 30.0  # importing the mcp package takes seconds on a busy machine
STOP_WITHIN_S: Final = 10.0
ANNOUNCEMENT: Final = "listening on "

DEMO: Final = "sessionware.demo"
CONFORMANCE: Final = "tests.conformance.server"


class McpServer:
    """One server of our own. Options go to its command line: `McpServer("--stateless", name="one")`."""

    def __init__(self, *options: str, module: str = DEMO, name: str = "") -> None:
        self._command = [sys.executable, "-m", module, *options, *(["--name", name] if name else [])]
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.name = name
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def port(self) -> int:
        assert self._port, "the server has never run"
        return self._port

    def start(self) -> None:
        """Start on a free port, or on the port it had before; returns when it answers."""
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                [*self._command, "--port", str(self._port)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
            self._process = process
            announced = _first_line(process, within=START_WITHIN_S)
            if not announced.startswith(ANNOUNCEMENT):
                self.kill9()
                said.seek(0)
                raise ServerDied(f"{' '.join(self._command)}: {announced}{said.read()[-2000:]}")
        self.url = announced.removeprefix(ANNOUNCEMENT).strip()
        self._port = int(self.url.split(":")[2].split("/")[0])

    def stop(self) -> None:
        """Ask the server to end, and wait until it has. Does nothing when it is not running."""
        if self._process is None:
            return
        end(self._process, STOP_WITHIN_S)
        self._forget()

    def kill9(self) -> None:
        """End the server as a crash would."""
        assert self._process is not None, "the server is not running"
        self._process.kill()
        self._forget()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port, with nothing remembered."""
        self.stop()
        self.start()

    def _forget(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def replicas(count: int, *options: str, module: str = DEMO) -> Iterator[list[McpServer]]:
    """So many servers, started one after the other and all stopped at the end. Demo servers are named replica-1…"""
    with ExitStack() as running:
        yield [
            running.enter_context(McpServer(*options, module=module, name=f"replica-{place}" if module == DEMO else ""))
            for place in range(1, count + 1)
        ]


def _first_line(process: subprocess.Popen[str], *, within: float) -> str:
    """What the process prints first; empty when it ends without a word. One that stays silent is ended."""
    assert process.stdout is not None
    impatience = threading.Timer(within, process.kill)
    impatience.start()
    try:
        return process.stdout.readline()
    finally:
        impatience.cancel()
