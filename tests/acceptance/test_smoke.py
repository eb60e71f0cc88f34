"""E21: the smoke script that we ship, against a real server."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sessionware.clock import HostClock
from sessionware.testing import FakeIssuer, SigningKey
from tests.servers import STOP_WITHIN_S, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKS = ["start", "use", "isolate", "close", "unknown"]


@contextmanager
def serving(**environment: str) -> Iterator[str]:
    """A uvicorn process; until it is ready, connections wait."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [
            sys.executable, "-m", "uvicorn", "tests.acceptance.server:app", "--fd", str(listening.fileno()),
            "--log-level", "warning",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=[listening.fileno()], env={**_environment(), **environment}
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait(STOP_WITHIN_S)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def smoke(*arguments: str) -> tuple[int, list[list[str]]]:
    """The exit code of the script, and of each line the verdict and the check."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "smoke.py", *arguments], env=_environment(), capture_output=True,
        text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, [line.partition(":")[0].split() for line in done.stdout.splitlines()]


def test_e21_a_session_server_passes_all_five_checks():
    with serving() as url:
        assert smoke(url) == (0, [["ok", check] for check in CHECKS])


def test_e21_a_server_that_asks_who_is_calling_passes_with_a_token():
    key = SigningKey("HS256")
    with serving(SESSIONWARE_JWT_SECRET=key.secret, SESSIONWARE_ANONYMOUS="off") as url:
        assert smoke(url) == (1, [["FAILED", "start"]])
        token = FakeIssuer(keys=[key]).token("alice", now=HostClock().now())
        assert smoke(url, "--token", token) == (0, [["ok", check] for check in CHECKS])


def test_e21_where_nobody_serves_it_says_so():
    assert smoke(f"http://127.0.0.1:{free_port()}") == (1, [["FAILED", "start"]])
