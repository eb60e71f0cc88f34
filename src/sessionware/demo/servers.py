"""The only place that starts the demo's MCP servers: each a process that ends when its parent does, however it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sessionware.errors import SessionwareError

START_WITHIN_S: Final = 60.0  # importing the mcp package takes seconds on a small machine
STOP_WITHIN_S: Final = 5.0
ANNOUNCED: Final = "listening on "


class DemoBroken(SessionwareError):
    """A server of the demo did not start."""


@contextmanager
def demo_servers(names: Sequence[str]) -> Iterator[list[str]]:
    """The URLs of one server for each name; all of them end with the block. Raises DemoBroken."""
    started = [_started(name) for name in names]  # beside each other: each takes seconds
    try:
        yield [_url(process) for process in started]
    finally:
        for process in started:
            _ask_to_end(process)
        for process in started:
            _ended(process)


def _started(name: str) -> subprocess.Popen[str]:
    """In a session of its own: Ctrl-C is for the parent, which closes the pipe that the child waits on."""
    return subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-m", "sessionware.demo", "--port", "0", "--name", name, "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None, "it has a pipe"  # noqa: S101  # made with one
    impatience = threading.Timer(START_WITHIN_S, process.kill)
    try:
        impatience.start()
        line = process.stdout.readline()
    finally:  # Ctrl-C, too, wherever it comes: a timer that runs keeps this process
        impatience.cancel()
    if not line.startswith(ANNOUNCED):
        raise DemoBroken(f"a server of the demo did not start (exit code {process.wait()})")
    return line.removeprefix(ANNOUNCED).strip()


def _ask_to_end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _ended(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
