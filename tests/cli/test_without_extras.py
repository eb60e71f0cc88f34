"""What `pip install sessionware` alone can do: every command starts, and says which extra it lacks."""

import subprocess
import sys

import pytest

from tests.servers import plain_environ

# Stands before all else on the path of imports: to it these are not installed.
COMMAND = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

HIDDEN = {"uvicorn", "httptools", "uvloop", "prometheus_client", "mcp", "redis", "hiredis", "asyncpg", "fastapi"}
HIDDEN |= {"litestar"}
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from sessionware.cli import main
sys.exit(main())
"""


def run(*words, cwd, **environ):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words], env=plain_environ() | environ, cwd=cwd, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (
            ("proxy", "--upstream", "http://127.0.0.1:9/mcp"),
            "proxy needs uvicorn, httptools, uvloop, prometheus_client",
        ),
        (("demo",), "pip install 'sessionware[proxy,demo]'"),
        (
            ("check-store", "postgresql://127.0.0.1/db"),
            "postgresql:// needs asyncpg: pip install 'sessionware[postgres]'",
        ),
        (("schema", "postgres"), "schema postgres needs asyncpg: pip install 'sessionware[postgres]'"),
    ],
)
def test_a_command_that_lacks_an_extra_says_which(tmp_path, words, extra):
    ended = run(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert extra in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_what_needs_none_works(tmp_path):
    assert "proxy" in run("--help", cwd=tmp_path).stdout
    assert run("config", "--check", cwd=tmp_path).returncode == 0
    called = run("call", "http://127.0.0.1:9/mcp", cwd=tmp_path)
    assert (called.returncode, "cannot reach" in called.stderr) == (1, True)
    store = f"sqlite:///{tmp_path}/sessions.db"
    made = run("check-store", store, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "is not there" in run("sessions", "list", "--store", store, cwd=tmp_path).stderr


def test_ending_what_lives_at_upstreams_wants_the_extra(tmp_path):
    store = f"sqlite:///{tmp_path}/sessions.db"
    ended = run("cleanup", "--store", store, cwd=tmp_path, SESSIONWARE_UPSTREAMS="http://127.0.0.1:9/mcp")
    assert ended.returncode == 2
    assert "which needs httptools: pip install 'sessionware[proxy]'" in ended.stderr
