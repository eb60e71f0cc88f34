"""Two real MCP servers, and the command in front of them."""

import pytest

from tests.mcp_servers import replicas
from tests.standalone.running_proxy import RunningProxy


@pytest.fixture(scope="session")
def upstreams():
    with replicas(2) as servers:
        yield ",".join(server.url for server in servers)


@pytest.fixture(scope="module")
def proxy(upstreams):
    with RunningProxy("--upstreams", upstreams, "--limits", "off", "--create-limit", "off") as running:
        yield running
