"""Everything is killed at once, and started again: what lay in the store goes on."""

import os
import signal
import subprocess

import httpx2

from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy

HEADERS = {"accept": "application/json, text/event-stream"}
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def sent(proxy, method, params=None, *, session=None, number=1):
    legacy = {} if session is None else {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    body = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params, "id": number})
    return httpx2.post(f"{proxy.url}/mcp", json=body, headers=HEADERS | legacy, timeout=10)


def begun(proxy):
    """The id of a new legacy session."""
    session = sent(proxy, "initialize", CLIENT).headers["mcp-session-id"]
    sent(proxy, "notifications/initialized", session=session)
    return session


def called(proxy, session, tool, **arguments):
    return sent(proxy, "tools/call", {"name": tool, "arguments": arguments}, session=session, number=2)


def kill_all_of(proxy):
    """The supervisor and its workers, none of which hears of it."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(proxy.process.pid)], capture_output=True, text=True, check=True
    )
    for pid in (proxy.process.pid, *map(int, listed.stdout.split())):
        os.kill(pid, signal.SIGKILL)
    proxy.process.wait()


def test_sessions_of_both_kinds_outlive_a_kill_of_all_processes(upstreams, tmp_path):
    """The store knows where each session lives; a client notices nothing but the pause."""
    options = ("--upstreams", upstreams, "--store", f"sqlite:///{tmp_path}/sessions.db", "--workers", "2")
    with RunningProxy(*options) as proxy:
        sessions = [begun(proxy) for _ in range(6)]
        for session in sessions:
            assert called(proxy, session, "remember", text=f"kept by {session[:5]}").status_code == 200
        named = proxy.post("/session/start").json()["session_id"]
        kill_all_of(proxy)
    with RunningProxy(*options) as proxy:
        for session in sessions:
            answer = called(proxy, session, "recall")
            assert (answer.status_code, f"kept by {session[:5]}" in answer.text) == (200, True)
        assert soon(lambda: proxy.get(f"/session/{named}/status").status_code == 200)
