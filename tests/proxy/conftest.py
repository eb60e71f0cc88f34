"""What most tests of the proxy stand on: two real MCP servers, and a proxy in front that believes our tokens."""

import pytest

from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving


@pytest.fixture(scope="module")
def upstreams():
    with replicas(2) as servers:
        yield servers


@pytest.fixture
def proxied(upstreams):
    with serving(",".join(each.url for each in upstreams), **TOKENS) as server:
        yield server
