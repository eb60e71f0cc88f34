"""The suite's own PostgreSQL: it starts, dies, comes back on its port with what it had committed, and stands by."""

import asyncio
import os

import asyncpg
import pytest

from tests.postgres_server import PostgresServer, answers
from tests.selection import is_selected

pytestmark = [pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES"), pytest.mark.faults]


def say(server, statement):
    async def ask():
        connection = await asyncpg.connect(server.url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("end", ["stop", "stop_immediately", "kill9"])
def test_a_server_comes_back_on_its_port_with_what_it_had_committed(end):
    with PostgresServer() as server:
        say(server, "CREATE TABLE notes AS SELECT 42 AS note")
        port, pid = server.port, server.pid
        getattr(server, end)()
        assert not answers(port)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        server.start()
        assert (server.port, say(server, "SELECT note FROM notes")) == (port, 42)
    assert not answers(port)


def test_a_frozen_server_answers_nobody_until_it_is_thawed():
    with PostgresServer() as server:
        server.freeze()
        assert not answers(server.port)
        server.thaw()
        assert say(server, "SELECT 1") == 1


def test_a_standby_reads_until_it_is_promoted():
    with PostgresServer(standby=True) as server:
        assert say(server, "SELECT pg_is_in_recovery()") is True
        server.promote()
        assert say(server, "SELECT pg_is_in_recovery()") is False


def test_a_frozen_server_does_not_outlive_its_test():
    with PostgresServer() as server:
        server.freeze()
    assert not answers(server.port)
