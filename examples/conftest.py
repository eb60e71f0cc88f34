"""What the tests of the examples share: each app is started with the very command that its README names."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import free_port, wait_until_it_listens

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
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONWARE_")}
    process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env={**own, **environment, "PORT": str(port)})
    try:
        wait_until_it_listens(process, port, START_WITHIN_S)
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
