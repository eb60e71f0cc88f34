"""The salt goes from one server into an empty one by the commands of docs/stores.md, as they stand there."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg
import pytest

from sessionware.cli import main
from sessionware.stores.open import open_store
from tests.docs.blocks import DOCS
from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster
from tests.selection import is_selected
from tests.servers import RedisServer, redis_binary


def written(command: str) -> str:
    """A command of the table of backups, by how it begins."""
    found = re.search(rf"`({re.escape(command)}[^`]*)`", (DOCS / "stores.md").read_text())
    assert found is not None, command
    return found[1]


def at_the_prompt(port: int, command: str) -> str:
    """What redis-cli prints, as it does for people."""
    program = Path(redis_binary()).with_name("redis-cli")
    words = [str(program), "-c", "-p", str(port), "--no-raw"]
    done = subprocess.run(words, input=command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


async def salt_of(url: str) -> bytes:
    async with open_store(url, timeout_ms=5_000) as store:
        return store.addresses.salt


def carry_over(old: str, new: str, ports: tuple[int, int], *, buckets: int) -> None:
    salt = asyncio.run(salt_of(old))
    shown = at_the_prompt(ports[0], written("redis-cli --no-raw HGET").removeprefix("redis-cli --no-raw "))
    again = written("HSET sw:meta salt").replace('"\\x…"', shown).replace("buckets 1", f"buckets {buckets}")
    assert shown in again
    at_the_prompt(ports[1], again)
    assert asyncio.run(salt_of(new)) == salt


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_the_salt_of_a_redis_is_put_into_an_empty_one() -> None:
    with RedisServer() as old, RedisServer() as new:
        carry_over(old.url, new.url, (old.port, new.port), buckets=1)


@pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")
def test_the_salt_of_a_cluster_is_put_into_an_empty_one() -> None:
    with RedisCluster(masters=2, replicas=0) as old, RedisCluster(masters=2, replicas=0) as new:
        carry_over(old.url, new.url, (old.nodes[0].port, new.nodes[0].port), buckets=256)


@pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")
def test_the_salt_of_a_postgresql_is_put_into_an_empty_one() -> None:
    async def ask(url: str, command: str) -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval(command))
        finally:
            await connection.close()

    with PostgresServer() as old, PostgresServer() as new:
        salt = asyncio.run(salt_of(old.url))
        shown = asyncio.run(ask(old.url, written("SELECT encode(salt")))
        assert main(["schema", "postgres", "--apply", "--store", new.url]) == 0
        asyncio.run(ask(new.url, written("INSERT INTO sessionware.installation").replace("…", shown)))
        assert asyncio.run(salt_of(new.url)) == salt
