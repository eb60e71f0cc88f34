"""The suite's own redis-server: it starts, dies, comes back on its port, and keeps what it was asked to keep."""

import os
import socket

import pytest

from tests.selection import is_selected
from tests.servers import RedisServer, answers

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")


def say(port: int, words: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(words.encode() + b"\r\n")
        return connection.recv(1024)


def test_a_server_comes_back_on_its_port_and_forgets():
    with RedisServer() as server:
        port, pid = server.port, server.pid
        assert say(port, "SET key value") == b"+OK\r\n"
        server.kill9()
        assert not answers(port)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        server.restart()
        assert (server.port, say(port, "GET key")) == (port, b"$-1\r\n")
    assert not answers(port)


def test_a_persistent_server_remembers_what_it_acknowledged():
    with RedisServer(persistent=True) as server:
        assert say(server.port, "SET key value") == b"+OK\r\n"
        server.kill9()
        server.restart()
        assert say(server.port, "GET key") == b"$5\r\nvalue\r\n"
