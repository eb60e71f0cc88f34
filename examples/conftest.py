"""What the tests of the examples share: each app is started with the very command that its README names."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0


class Running(NamedTuple):
    """Where an app answers."""

    url: str
    socket_url: str


@contextmanager
def running(module: str, **environment: str) -> Iterator[Running]:
    """`python -m module` in a process of its own, on a free port; it must end well when it is asked to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONWARE_")}
    process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env={**own, **environment, "PORT": str(port)})
    try:
        _wait_for(process, port)
        yield Running(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@pytest.fixture(scope="session")
def start() -> Callable[..., object]:
    """For fixtures of a module: `with start("examples.fastapi_app") as app`."""
    return running


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the app ended while it was starting"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the app did not start")
