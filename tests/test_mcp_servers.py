"""The suite's own MCP servers: real processes that answer, die, and come back on their port with nothing remembered."""

import os
import socket

import pytest

from tests.mcp_servers import CONFORMANCE, McpServer, replicas
from tests.servers import ServerDied


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_replicas_are_processes_of_their_own_and_end():
    with replicas(2) as servers:
        pids, ports = [server.pid for server in servers], [server.port for server in servers]
        assert len(set(pids) | {os.getpid()}) == 3
        assert [is_listening(port) for port in ports] == [True, True]
        assert [server.url for server in servers] == [f"http://127.0.0.1:{port}/mcp" for port in ports]
    assert [is_listening(port) for port in ports] == [False, False]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_server_that_was_killed_comes_back_on_its_port():
    with McpServer(name="one") as server:
        port, pid = server.port, server.pid
        server.kill9()
        assert not is_listening(port)
        server.start()
        assert (server.port, is_listening(port), server.pid != pid) == (port, True, True)


def test_the_conformance_server_starts_too():
    with McpServer(module=CONFORMANCE) as server:
        assert is_listening(server.port)


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(ServerDied, match="invalid choice: 'carrier-pigeon'"):
        McpServer("--transport", "carrier-pigeon").start()
