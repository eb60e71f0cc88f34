"""Which pool a path leads to, and that no path leads anywhere else (PX-01)."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.paths import BadPath, Role, Route, Routes, messages_path, path_fault, upstream_target
from sessionware.proxy.upstreams import parse_upstreams

POOLS = parse_upstreams("http://a/mcp;memory=http://b/x;app[http]=http://c:3000/base/;old[sse]=http://d/sse")
DEFAULT, MEMORY, APP, OLD = POOLS
ROUTES = Routes(POOLS)


def find(raw):
    return ROUTES.find(unquote(raw), raw.encode())


@pytest.mark.parametrize(
    ("raw", "route"),
    [
        ("/mcp", Route(DEFAULT, Role.MCP)),
        ("/mcp/", Route(DEFAULT, Role.MCP)),
        ("/memory/mcp", Route(MEMORY, Role.MCP)),
        ("/memory/mcp/", Route(MEMORY, Role.MCP)),
        ("/app", Route(APP, Role.HTTP, b"/")),
        ("/app/", Route(APP, Role.HTTP, b"/")),
        ("/app/a%2Fb//c", Route(APP, Role.HTTP, b"/a%2Fb//c")),
        ("/app/mcp", Route(APP, Role.HTTP, b"/mcp")),
        ("/old/sse", Route(OLD, Role.EVENTS)),
        ("/old/messages", Route(OLD, Role.MESSAGES)),
        ("/old/messages/", Route(OLD, Role.MESSAGES)),
    ],
)
def test_every_pool_is_found(raw, route):
    assert find(raw) == route


@pytest.mark.parametrize(
    "raw",
    [
        "/", "/mcp//", "/mcpx", "/MCP", "/mcp/x", "/memory", "/memory/", "/default/mcp", "/application", "/apps/x",
        "/old", "/old/other", "/%61pp/x", "/app%2fx", "/session/start", "mcp", "", "app/x",
    ],
)  # fmt: skip
def test_nothing_else_is(raw):
    assert find(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "/app/..", "/app/../x", "/app/./x", "/app/%2e%2e/x", "/app/%2E./x", "/app/a%2f..%2fb", "/app/a%5c..%5cb",
        "/app/%252e%252e/x", "/app/a%255c..%255cb", "/app/..;x/y", "/app/.%2e;/y", "/app/x/..",
    ],
)  # fmt: skip
def test_no_step_up_reaches_an_upstream(raw):
    found = find(raw)
    assert isinstance(found, BadPath)
    assert found.status == 400


@pytest.mark.parametrize("raw", ["/app/...", "/app/.well-known/x", "/app/a..b", "/app/x;y=.."])
def test_dots_that_are_names_pass(raw):
    assert find(raw) == Route(APP, Role.HTTP, raw.encode()[4:])


@pytest.mark.parametrize(
    ("method", "path", "raw", "status"),
    [
        ("GET", "/mcp", b"/mcp", None),
        ("GET", "/app/a b", b"/app/a%20b", None),
        ("GET", "/app/ä", None, None),
        ("GET", "http://169.254.169.254/latest", b"http://169.254.169.254/latest", 400),
        ("GET", "/latest", b"http://169.254.169.254/latest", 400),
        ("GET", "@evil/x", b"@evil/x", 400),
        ("GET", "//evil/x", b"//evil/x", 400),
        ("GET", "//evil/x", b"/%2fevil/x", 400),
        ("GET", "/evil/x", b"//evil/x", 400),
        ("GET", "/\\evil", b"/%5cevil", 400),
        ("GET", "", b"", 400),
        ("OPTIONS", "*", b"*", 405),
        ("GET", "*", b"*", 405),
        ("CONNECT", "evil:443", b"evil:443", 405),
        ("CONNECT", "/mcp", b"/mcp", 405),
        ("GET", "/app/\x00", b"/app/%00", 400),
        ("GET", "/app/\r\nx", b"/app/%0d%0ax", 400),
        ("GET", "/app/x", b"/app/\r\nx", 400),
        ("GET", "/app/x", b"/app/x y", 400),
        ("GET", "/app/x", b"/app/x#y", 400),
        ("GET", "/app/x", b"/app/x?y", 400),
        ("GET", "/app/x", b"/app/%zz", 400),
        ("GET", "/app/x", b"/app/\xff", 400),
    ],
)
def test_a_request_line_names_a_path_and_nothing_more(method, path, raw, status):
    fault = path_fault(method, path, raw)
    assert (fault and fault.status) == status


def test_an_upstream_is_asked_for_a_path_below_its_own():
    assert upstream_target(find("/memory/mcp"), MEMORY.upstreams[0], b"a=1") == b"/x?a=1"
    assert upstream_target(find("/app/y"), APP.upstreams[0]) == b"/base/y"
    assert upstream_target(find("/app"), APP.upstreams[0], b"q") == b"/base/?q"


def test_each_role_has_its_methods():
    allowed = {
        raw: [method for method in ("GET", "POST", "PUT", "DELETE") if find(raw).allows(method)]
        for raw in ("/mcp", "/old/sse", "/old/messages", "/app/x")
    }
    assert allowed == {
        "/mcp": ["GET", "POST", "DELETE"],
        "/old/sse": ["GET"],
        "/old/messages": ["POST"],
        "/app/x": ["GET", "POST", "PUT", "DELETE"],
    }
    assert [find(raw).is_mcp for raw in allowed] == [True, True, True, False]
    assert messages_path(OLD) == "/old/messages"


@settings(deadline=None)
@given(st.text(alphabet="/.%25efabp\\;", max_size=30))
def test_whatever_is_routed_stays_below_its_upstreams_path(text):
    raw = "/app" + text
    if path_fault("GET", unquote(raw), raw.encode()) is not None:
        return
    found = find(raw)
    if isinstance(found, Route):
        target = upstream_target(found, APP.upstreams[0]).decode()
        for reader in (target, unquote(target), unquote(unquote(target))):
            assert reader.startswith("/base")
            assert ".." not in reader.replace("\\", "/").split("/")


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_path_makes_the_router_stumble(text):
    path = "/app/" + text
    path_fault("GET", path)
    ROUTES.find(path)
    ROUTES.find(path, quote(path, errors="replace").encode())
