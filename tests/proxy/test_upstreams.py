"""Reading UPSTREAMS: every form that the interface promises, and errors that point and teach."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.api.app import _PATHS
from sessionware.config.proxy_settings import PoolSettings, ProxySettings
from sessionware.errors import ConfigError
from sessionware.proxy.addresses import BadAddress, UpstreamAddress, parse_address, resolved
from sessionware.proxy.upstreams import RESERVED, Pool, parse_upstreams, pools_of


def site(name, host, port, path="/mcp", scheme="http", **more):
    return UpstreamAddress(name=name, scheme=scheme, host=host, port=port, path=path, **more)


def test_a_list_of_urls_is_the_pool_at_mcp():
    found = parse_upstreams("http://a:9001/mcp,http://b:9001/mcp")
    both = (site("a:9001", "a", 9001), site("b:9001", "b", 9001))
    assert found == (Pool(name="default", kind="mcp", upstreams=both),)
    assert (found[0].path, found[0].prefix) == ("/mcp", "")


def test_named_pools_have_paths_of_their_own():
    found = parse_upstreams(" memory = http://a:1/mcp , http://b:1/mcp ;\n files=http://c/mcp; ")
    assert [(pool.name, pool.path, [each.name for each in pool.upstreams]) for pool in found] == [
        ("memory", "/memory/mcp", ["a:1", "b:1"]),
        ("files", "/files/mcp", ["c:80"]),
    ]


def test_plain_http_and_old_sse_servers():
    app, old = parse_upstreams("app[http]=http://a:3000,http://b:3000/base;old[sse]=http://a/sse")
    assert (app.kind, app.path, app.prefix) == ("http", "/app/", "/app")
    assert [each.path for each in app.upstreams] == ["", "/base"]
    assert (old.kind, old.path, old.upstreams[0].path) == ("sse", "/old/sse", "/sse")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://a.example.com/mcp", site("a.example.com:443", "a.example.com", 443, scheme="https")),
        ("one@http://A:9001/mcp", site("one", "a", 9001)),
        ("dns+http://mcp.svc:8000/mcp", site("mcp.svc:8000", "mcp.svc", 8000, is_dns=True)),
        ("dns+https://mcp.svc/mcp", site("mcp.svc:443", "mcp.svc", 443, scheme="https", is_dns=True)),
        ("http://[::1]:9001/mcp", site("[::1]:9001", "::1", 9001)),
        ("http://127.0.0.1/mcp/", site("127.0.0.1:80", "127.0.0.1", 80, path="/mcp/")),
        ("http://a:1/x=1;y,z@b:c", site("a:1", "a", 1, path="/x=1;y,z@b:c")),
        ("unix:///run/mcp.sock:/mcp", site("run.mcp.sock", "/run/mcp.sock", 0, scheme="unix")),
        ("s@unix:///run/mcp.sock", site("s", "/run/mcp.sock", 0, path="", scheme="unix")),
    ],
)
def test_every_spelling_of_an_address(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "authority", "origin"),
    [
        ("http://a/mcp", "a", "http://a"),
        ("http://a:443/mcp", "a:443", "http://a:443"),
        ("https://a:443/mcp", "a", "https://a"),
        ("http://[::1]:9001/mcp", "[::1]:9001", "http://[::1]:9001"),
        ("unix:///run/mcp.sock:/mcp", "localhost", "http://localhost"),
    ],
)
def test_what_the_host_header_says(text, authority, origin):
    assert (parse_address(text).authority, parse_address(text).origin) == (authority, origin)


@pytest.mark.parametrize(
    ("text", "ip", "name"),
    [
        ("dns+http://mcp:8000/mcp", "10.0.0.5", "10.0.0.5:8000"),
        ("dns+http://mcp:8000/mcp", "fd00::5", "[fd00::5]:8000"),
        ("east@dns+http://mcp:8000/mcp", "10.0.0.5", "east-10.0.0.5:8000"),
    ],
)
def test_each_address_of_a_name_is_an_upstream_that_is_known_by_that_name(text, ip, name):
    found = resolved(parse_address(text), ip)
    assert found == site(name, ip, 8000, known_as="mcp")
    assert found.authority == "mcp:8000"


@pytest.mark.parametrize(
    ("text", "offset", "problem"),
    [
        ("a:9001/mcp", 0, "is a URL"),
        ("", 0, "is a URL"),
        ("x y@http://a/mcp", 0, "a name holds"),
        ("@http://a/mcp", 0, "a name holds"),
        ("ftp://a/mcp", 0, "not known"),
        ("n@ftp://a/mcp", 2, "not known"),
        ("http:///mcp", 7, "no host"),
        ("http://a:0/mcp", 9, "a port"),
        ("http://a:65536/mcp", 9, "a port"),
        ("http://a:/mcp", 9, "a port"),
        ("http://a:b/mcp", 7, "no host and port"),
        ("http://a b/mcp", 7, "no host"),
        ("http://1.2.3/mcp", 7, "IPv4"),
        ("http://0177.0.0.1/mcp", 7, "IPv4"),
        ("http://[::g]/mcp", 7, "IPv6"),
        ("http://[fe80::1%eth0]/mcp", 7, "zone"),
        ("dns+http://10.0.0.1/mcp", 11, "address already"),
        ("http://a/mcp?x=1", 12, "query"),
        ("http://a/mcp#x", 12, "fragment"),
        ("http://a/m cp", 8, "percent-encoded"),
        ("http://a/%zz", 8, "percent-encoded"),
        ("http://a//mcp", 8, "elsewhere"),
        ("http://a/../mcp", 8, "elsewhere"),
        ("http://user:pw@a/mcp", 7, "UPSTREAM_AUTHORIZATION"),
        ("unix://run/mcp.sock", 7, "absolute"),
        ("unix:///run/" + "x" * 120, 7, "absolute"),
        ("unix:///run/s:mcp", 14, "percent-encoded"),
    ],
)
def test_a_bad_address_is_pointed_at(text, offset, problem):
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    assert (problem in str(caught.value), caught.value.offset) == (True, offset), str(caught.value)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("http://a/mcp,ftp://b/mcp", 14, "ftp:// is not known"),
        ("a=http://a/mcp; b = http://x:0/mcp", 30, "a port is 1..65535"),
        ("Memory=http://a/mcp", 1, "a-z, 0-9"),
        ("health=http://a/mcp", 1, "path of ours"),
        ("mcp=http://a/mcp", 1, "path of ours"),
        ("a=http://a/mcp;a=http://b/mcp", 16, "there twice"),
        ("http://a/mcp;http://b/mcp", 14, "there twice"),
        ("http://a/mcp,http://a/mcp", 14, "there twice"),
        ("a[htp]=http://a", 3, "did you mean `http`"),
        ("a b=http://a/mcp", 1, "a pool's name"),
        ("a=", 3, "needs an upstream"),
        ("http://a", 1, "http://a/mcp"),
        ("old[sse]=http://a", 10, "http://a/sse"),
    ],
)
def test_a_bad_setting_names_itself_the_column_and_the_way_out(text, column, problem):
    with pytest.raises(ConfigError) as caught:
        parse_upstreams(text)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"SESSIONWARE_UPSTREAMS, column {column}: "), first
    assert problem in first
    assert (shown, caret) == (f"  {text}", "  " + " " * (column - 1) + "^")


def test_a_long_setting_is_shown_around_its_column():
    text = ",".join(f"http://host-{number}:9001/mcp" for number in range(100)) + ",ftp://x/mcp"
    with pytest.raises(ConfigError) as caught:
        parse_upstreams(text)
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) <= 102
    assert shown[caret.index("^") :].startswith("ftp://x/mcp")


def test_a_password_is_never_shown():
    with pytest.raises(ConfigError) as caught:
        parse_upstreams("http://me:hunter2@a/mcp,ftp://b")
    assert "hunter2" not in str(caught.value)


def test_every_path_of_the_session_api_is_reserved():
    assert {path.split("/")[1] for path in _PATHS} | {"health", "ready", "metrics", "mcp"} <= RESERVED


def test_pools_of_the_file_stand_beside_those_of_the_variable():
    tables = (
        PoolSettings(name="memory", upstreams=("http://m:1/mcp", "two@http://m:2/mcp")),
        PoolSettings(name="default", timeout=5_000),
        PoolSettings(name="app", kind="http", upstreams=("http://a:3000",)),
    )
    found = pools_of(ProxySettings(upstreams="http://a/mcp", pools=tables))
    assert [(pool.name, pool.kind, len(pool.upstreams)) for pool in found] == [
        ("default", "mcp", 1),
        ("memory", "mcp", 2),
        ("app", "http", 1),
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (PoolSettings(name="default", upstreams=("http://b/mcp",)), "keep one"),
        (PoolSettings(name="memry"), "did you mean `memory`"),
        (PoolSettings(name="zzz"), "has no upstreams"),
        (PoolSettings(name="x", upstreams=("http://b/mcp", "b")), "[pools.x] upstreams, item 2, column 1"),
        (PoolSettings(name="Session", upstreams=("http://b/mcp",)), "a-z, 0-9"),
        (PoolSettings(name="session", upstreams=("http://b/mcp",)), "path of ours"),
    ],
)
def test_a_bad_table_says_which(table, problem):
    with pytest.raises(ConfigError) as caught:
        pools_of(ProxySettings(upstreams="http://a/mcp;memory=http://m/mcp", pools=(table,)))
    assert problem in str(caught.value)


hosts = st.from_regex(r"[a-z][a-z0-9]{0,10}(\.[a-z]{2,5})?", fullmatch=True)
addresses = st.builds("http://{}:{}/mcp".format, hosts, st.integers(1, 65_535))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"p[a-z0-9-]{0,8}", fullmatch=True),
        st.lists(addresses, min_size=1, max_size=5, unique=True),
        max_size=5,
    )
)
def test_what_is_written_is_read(pools):
    text = ";".join(f"{name}={','.join(urls)}" for name, urls in pools.items())
    found = {pool.name: [each.origin + each.path for each in pool.upstreams] for pool in parse_upstreams(text)}
    assert found == {name: [url.replace(":80/", "/") for url in urls] for name, urls in pools.items()}


@settings(deadline=None)
@given(st.text(alphabet="ab=[];,:/@.htpsx1 %?\n", max_size=60))
def test_no_text_makes_the_reader_stumble(text):
    try:
        parse_upstreams(text)
    except ConfigError as error:
        assert "column" in str(error)  # noqa: PT017  # either is well
