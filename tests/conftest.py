"""What every test may ask for: the chosen stores, and one real server of each kind per worker of the run."""

import os
from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresServer
from tests.selection import selected_stores
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A redis-server of this worker's own; `SESSIONWARE_TEST_REDIS_URL` names another to use instead."""
    given = os.environ.get("SESSIONWARE_TEST_REDIS_URL")
    if given:
        yield given
        return
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of this worker's own; `SESSIONWARE_TEST_POSTGRES_URL` names another to use instead."""
    given = os.environ.get("SESSIONWARE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(params=selected_stores())
def store_kind(request: pytest.FixtureRequest) -> str:
    """Each store that this run tests, by name."""
    return str(request.param)


@pytest.fixture(scope="session")
def server_urls(request: pytest.FixtureRequest) -> dict[str, str]:
    """The address of the server of each chosen store that has one."""
    return {
        kind: str(request.getfixturevalue(f"{kind}_url"))
        for kind in selected_stores()
        if kind not in {"memory", "sqlite"}
    }
