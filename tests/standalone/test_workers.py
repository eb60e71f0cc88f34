"""Several processes on one port: they share sessions, die alone, count together and end together."""

import contextlib
import os
import signal
from pathlib import Path

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from sessionware.errors import ConfigError
from sessionware.standalone.supervisor import private_folder
from tests.servers import children_of
from tests.serving import soon
from tests.standalone.calling import call
from tests.standalone.running_proxy import RunningProxy
from tests.standalone.scraping import scraped


@pytest.fixture
def crowd(upstreams, tmp_path):
    """Three workers on one SQLite file."""
    options = (
        "--workers",
        "3",
        "--store",
        f"sqlite:///{tmp_path / 's.db'}",
        "--limits",
        "off",
        "--create-limit",
        "off",
    )
    with RunningProxy("--upstreams", upstreams, *options) as running:
        assert soon(lambda: len(workers_of(running)) == 3)
        yield running


def workers_of(proxy):
    """The process ids of those that serve."""
    return children_of(proxy.process.pid)


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    return False


def start(proxy):
    return proxy.post("/session/start").json()["session_id"]


def test_whoever_is_asked_knows_every_session(crowd):
    assert "with 3 workers" in crowd.said
    for session in [start(crowd) for _ in range(10)]:
        for _ in range(3):
            answer = crowd.get(f"/session/{session}/status", headers={"x-session-id": session})
            assert answer.status_code == 200


def test_legacy_sessions_reach_their_upstream_through_any_worker(crowd):
    with McpClient(f"{crowd.url}/mcp", is_legacy=True) as client:
        answers = [client.call("counter", {}).content[0]["text"] for _ in range(12)]
    assert answers == [str(number) for number in range(1, 13)]


def test_c29_metrics_are_the_sum_over_all_workers_whichever_is_asked(crowd):
    for _ in range(12):
        start(crowd)
    for _ in range(6):
        metrics = scraped(crowd)
        assert metrics["sessionware_sessions_created_total"] == 12
        assert metrics["sessionware_sessions_active"] == 12


def test_a_worker_that_dies_is_replaced_and_what_it_counted_is_kept(crowd):
    for _ in range(12):
        start(crowd)
    before = scraped(crowd)["sessionware_sessions_created_total"]
    killed = workers_of(crowd)[0]
    os.kill(killed, signal.SIGKILL)
    assert crowd.has_logged(f"worker {killed} has ended (signal SIGKILL)")
    assert soon(lambda: killed not in workers_of(crowd) and len(workers_of(crowd)) == 3)
    assert before == 12
    assert all(scraped(crowd)["sessionware_sessions_created_total"] == before for _ in range(6))
    assert start(crowd)


def test_sigterm_ends_all_of_them_with_exit_code_zero(crowd):
    workers = workers_of(crowd)
    crowd.ask_to_stop()
    assert crowd.exit_code() == 0
    assert not any(map(is_alive, workers))


def test_an_interrupt_of_the_terminal_is_one_interrupt(crowd):
    """Ctrl-C goes to the supervisor and to every worker: that is no second one."""
    workers = workers_of(crowd)
    for pid in [*workers, crowd.process.pid]:
        os.kill(pid, signal.SIGINT)
    assert crowd.exit_code() == 0
    assert not any(map(is_alive, workers))


def test_workers_do_not_outlive_a_supervisor_that_is_killed(crowd):
    workers = workers_of(crowd)
    crowd.process.kill()
    crowd.process.wait()
    assert soon(lambda: not any(map(is_alive, workers)))


def test_what_can_never_start_is_said_once_and_ends_all(upstreams, tmp_path):
    broken = tmp_path / "no database"
    broken.write_bytes(b"this is no database at all, and long enough to be sure of it" * 100)
    running = RunningProxy("--upstreams", upstreams, "--workers", "3", "--store", f"sqlite:///{broken}")
    with pytest.raises(Exception, match="exit code 2") as died, running:
        pass
    assert str(died.value).count("error sessionware:") == 1
    assert str(broken) in str(died.value)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_once_they_drain_nobody_new_is_let_in_to_wait(upstreams, tmp_path, workers):
    options = ("--workers", workers, "--store", f"sqlite:///{tmp_path / 's.db'}", "--drain-timeout", "25")
    with RunningProxy("--upstreams", upstreams, *options, "--create-limit", "off") as proxy:
        with httpx2.stream("POST", f"{proxy.url}/mcp", timeout=20, **call("sleep", seconds=60)) as answer:
            parts = answer.iter_text()
            assert next(parts)
            proxy.ask_to_stop()
            assert soon(lambda: is_refused(proxy))
            assert proxy.process.poll() is None, "the stream is still open"
        assert proxy.exit_code() == 0


def is_refused(proxy):
    try:
        proxy.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_workers_tell_each_other_is_nobody_elses(tmp_path):
    folder = private_folder([str(tmp_path)]) if len(str(tmp_path)) < 60 else private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()


def test_without_a_place_for_it_the_way_out_is_said(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with pytest.raises(ConfigError, match="set TMPDIR, or mount an emptyDir"):
        private_folder([str(tmp_path / "missing"), str(deep)])
    assert list(deep.iterdir()) == []
