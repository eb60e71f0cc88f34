"""What a session does is stopped wherever it runs: the command with two workers, which share a file."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessionware.client.mcp import McpClient
from sessionware.client.mcp_messages import McpRefused
from tests.proxy.standing_proxy import ISSUER, SECRET, token
from tests.standalone.running_proxy import RunningProxy

ENDED_S = 2.5  # E9 promises half a second; the rest is for a machine that tests much else beside
CALLS = 8  # on connections of their own, so that both workers have some
ALICE = {"Authorization": f"Bearer {token('alice')}"}


@pytest.fixture(scope="module")
def workers(upstreams, tmp_path_factory):
    environ = {
        "SESSIONWARE_JWT_SECRET": SECRET, "SESSIONWARE_JWT_ISSUER": ISSUER, "SESSIONWARE_JWT_AUDIENCE": "mcp",
        "SESSIONWARE_STORE": f"sqlite:///{tmp_path_factory.mktemp('store')}/shared.db",
    }  # fmt: skip
    with RunningProxy("--upstreams", upstreams, "--limits", "off", "--workers", "2", environ=environ) as running:
        yield running


def slept(url, session, seconds, begun):
    """What becomes of a long call, and when; `begun` is released when it reports its first step."""
    with McpClient(
        f"{url}/mcp", token=token("alice"), session=session, is_legacy=True, on_progress=lambda _: begun.release()
    ) as mcp:
        try:
            return mcp.call("sleep", {"seconds": seconds, "steps": 1}), time.monotonic()
        except McpRefused as refused:
            return refused, time.monotonic()


def test_c13_e9_an_interrupt_stops_a_session_in_both_workers_and_no_other(workers):
    """C13, E9."""
    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(CALLS + 1) as threads:
        stopped = [threads.submit(slept, workers.url, "a", 20, begun) for _ in range(CALLS)]
        going_on = threads.submit(slept, workers.url, "b", 2, begun)
        assert all(begun.acquire(timeout=10) for _ in range(CALLS + 1))
        for _ in range(4):  # whichever worker answers
            shown = workers.get("/session/a/pending", headers=ALICE).json()
            assert (shown["count"], {each["tool"] for each in shown["pending"]}) == (CALLS, {"sleep"})
        began = time.monotonic()
        assert workers.post("/session/a/interrupt", headers=ALICE).status_code == 202
        answers = [each.result() for each in stopped]
        assert [refused.code for refused, _ in answers] == [-31409] * CALLS
        assert max(ended for _, ended in answers) - began < ENDED_S
        called, _ = going_on.result()
        assert called.content[0]["text"] == "slept 2 s"
