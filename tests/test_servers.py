"""The suite's own redis-server: it starts, dies, comes back on its port, and keeps what it was asked to keep."""

import os

import pytest

from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer, answers

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")


def test_a_server_comes_back_on_its_port_and_forgets():
    with RedisServer() as server:
        port, pid = server.port, server.pid
        assert say(port, "SET", "key", "value") == "OK"
        server.kill9()
        assert not answers(port)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        server.restart()
        assert (server.port, say(port, "GET", "key")) == (port, None)
    assert not answers(port)


def test_a_persistent_server_remembers_what_it_acknowledged():
    with RedisServer(persistent=True) as server:
        assert say(server.port, "SET", "key", "value") == "OK"
        server.kill9()
        server.restart()
        assert say(server.port, "GET", "key") == "value"


def test_a_paused_server_hangs_and_goes_on():
    with RedisServer() as server:
        server.pause()
        assert not answers(server.port)
        server.resume()
        assert say(server.port, "SET", "key", "value") == "OK"
        server.pause()
    assert not answers(server.port), "a paused server outlived its test"
