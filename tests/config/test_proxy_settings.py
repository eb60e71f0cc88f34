"""The proxy's settings: read like the others, with its own defaults, and nothing to the library."""

import pytest

from sessionware.cli import main
from sessionware.config.load import load, survey
from sessionware.config.proxy_rows import host_and_port
from sessionware.config.proxy_settings import PoolSettings, ProxySettings
from sessionware.core.limit_grammar import parse_limit
from sessionware.errors import ConfigError

UPSTREAMS = {"SESSIONWARE_UPSTREAMS": "http://a:9001/mcp", "SESSIONWARE_FORWARD_AUTHORIZATION": "strip"}


def proxy(**variables):
    given = {f"SESSIONWARE_{name}": value for name, value in variables.items()}
    return survey(environ=UPSTREAMS | given, for_proxy=True)


def in_file(tmp_path, text):
    file = tmp_path / "sessionware.toml"
    file.write_text(text)
    found = load(environ={}, file=file, for_proxy=True).proxy
    assert found is not None
    return found


def test_the_defaults_are_those_of_the_interface():
    loaded = load(environ={"SESSIONWARE_UPSTREAMS": "http://a:9001/mcp"}, for_proxy=True)
    assert loaded.proxy == ProxySettings(
        upstreams="http://a:9001/mcp",
        upstream_selection="least_sessions",
        on_upstream_lost="expire",
        upstream_connect_timeout=3_000,
        upstream_timeout=120_000,
        stream_idle_timeout=300_000,
        max_body=4 << 20,
        mcp_limit_answer="error",
        forward_authorization="auto",
        upstream_authorization=None,
        admin_bind=None,
        drain_delay=5_000,
        drain_timeout=20_000,
        pools=(),
    )


def test_the_standalone_proxy_has_room_for_many_clients_of_one_user():
    settings = proxy().settings
    assert (settings.max_sessions_per_user, settings.create_limit.text) == (100, "600/minute per user")
    said = proxy(MAX_SESSIONS_PER_USER="7", CREATE_LIMIT="off")
    assert (said.settings.max_sessions_per_user, said.settings.create_limit) == (7, None)
    assert (proxy().origins["max_sessions_per_user"], said.origins["max_sessions_per_user"]) == (
        "default",
        "environment",
    )


def test_the_library_keeps_its_own_defaults_and_only_warns():
    loaded = load(environ=UPSTREAMS | {"SESSIONWARE_MAX_BODY": "no size at all"})
    assert (loaded.proxy, loaded.settings.max_sessions_per_user) == (None, 5)
    assert loaded.settings.create_limit == parse_limit("60/minute per user")
    assert [warning.split(" ")[0] for warning in loaded.warnings] == [
        "SESSIONWARE_FORWARD_AUTHORIZATION",
        "SESSIONWARE_MAX_BODY",
        "SESSIONWARE_UPSTREAMS",
    ]
    assert "upstreams" not in loaded.origins


def test_every_value_is_read():
    loaded = proxy(
        UPSTREAM_SELECTION="hash", ON_UPSTREAM_LOST="reinitialize", UPSTREAM_CONNECT_TIMEOUT="250ms",
        UPSTREAM_TIMEOUT="5m", STREAM_IDLE_TIMEOUT="off", MAX_BODY="16M", MCP_LIMIT_ANSWER="tool_result",
        UPSTREAM_AUTHORIZATION="Bearer ours", ADMIN_BIND="127.0.0.1:9090", DRAIN_DELAY="0", DRAIN_TIMEOUT="10s",
        MAX_ANSWER="1M",
    )  # fmt: skip
    assert loaded.problems == ()
    assert loaded.proxy == ProxySettings(
        upstreams="http://a:9001/mcp", upstream_selection="hash", on_upstream_lost="reinitialize",
        upstream_connect_timeout=250, upstream_timeout=300_000, stream_idle_timeout=0, max_body=16 << 20,
        mcp_limit_answer="tool_result", forward_authorization="strip", upstream_authorization="Bearer ours",
        admin_bind="127.0.0.1:9090", drain_delay=0, drain_timeout=10_000, max_answer=1 << 20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("UPSTREAM_SELECTION", "least_session", "did you mean `least_sessions`?"),
        ("ON_UPSTREAM_LOST", "retry", "expire, reinitialize"),
        ("UPSTREAM_TIMEOUT", "soon", "is no duration"),
        ("UPSTREAM_TIMEOUT", "0", "out of bounds"),
        ("MAX_BODY", "4 MB", "is no size"),
        ("MAX_ANSWER", "10", "is out of bounds"),
        ("FORWARD_AUTHORIZATION", "yes", "auto, strip, forward"),
        ("ADMIN_BIND", "9090", "127.0.0.1:9090"),
        ("ADMIN_BIND", "127.0.0.1:99999", "host and port"),
        ("POOLS", "memory", "no table of pools"),
    ],
)
def test_a_bad_value_names_itself_and_the_way_out(name, value, said):
    problems = proxy(**{name: value}).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"SESSIONWARE_{name}: {value!r}")
    assert said in problems[0]


def test_a_credential_for_upstreams_is_never_shown():
    loaded = proxy(UPSTREAM_AUTHORIZATION="hunter2-without-a-scheme")
    assert "hunter2" not in "".join(loaded.problems)
    assert loaded.problems[0].startswith("SESSIONWARE_UPSTREAM_AUTHORIZATION is no value")
    good = proxy(UPSTREAM_AUTHORIZATION="Bearer hunter2")
    assert good.proxy.authorization_of("default") == "Bearer hunter2"
    assert "hunter2" not in repr(good.proxy)
    assert proxy(UPSTREAM_AUTHORIZATION="auto").proxy.upstream_authorization is None


POOLS = """
upstreams = ["http://a:1/mcp", "http://b:1/mcp", "files=http://c:1/mcp"]
upstream_authorization = "Bearer all"

[pools.memory]
upstreams = ["http://m:1/mcp"]
selection = "round_robin"
limits = ["10/minute per user for tool store_*", "mem=5 concurrent per session"]
tools = { include = ["store_*", "find"], exclude = "store_all" }
timeout = "10m"
authorization = "Bearer hunter2"
required_groups = ["staff"]

[pools.files]
authorization = "forward"
"""


def test_pools_of_the_file_are_read(tmp_path):
    found = in_file(tmp_path, POOLS)
    assert found.upstreams == "http://a:1/mcp,http://b:1/mcp;files=http://c:1/mcp"
    memory = found.pool("memory")
    assert memory == PoolSettings(
        name="memory", upstreams=("http://m:1/mcp",), selection="round_robin", limits=memory.limits,
        include=("store_*", "find"), exclude=("store_all",), timeout=600_000, forwarding="strip",
        authorization="Bearer hunter2", required_groups=("staff",),
    )  # fmt: skip
    assert [(limit.name, limit.what.pools, limit.what.tools) for limit in found.limits] == [
        ("requests-minute-user-tool-store_-for-pool-memory", ("memory",), ("store_*",)),
        ("mem", ("memory",), ()),
    ]
    assert "hunter2" not in repr(found)


def test_what_a_pool_leaves_out_holds_for_all(tmp_path):
    found = in_file(tmp_path, POOLS)
    shown = [
        (found.selection_of(name), found.timeout_of(name), found.forwarding_of(name), found.authorization_of(name))
        for name in ("memory", "files", "default")
    ]
    assert shown == [
        ("round_robin", 600_000, "strip", "Bearer hunter2"),
        ("least_sessions", 120_000, "forward", "Bearer all"),
        ("least_sessions", 120_000, "auto", "Bearer all"),
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"upstream": ["x"]}, "'upstream' that means nothing: did you mean `upstreams`?"),
        ({"tools": {"only": ["x"]}}, "pools, memory, tools has a key 'only'"),
        ({"selection": "first"}, "pools, memory, selection: 'first' is not possible"),
        ({"limits": ["10/minute"]}, "pools, memory, limits"),
        ({"limits": ["10/minute per user for pool x"]}, "names pools twice"),
        ({"tools": {"include": ["a?"]}}, "pools, memory, tools, include, item 1: 'a?' names no tools"),
        ({"authorization": "secret-hunter2"}, "pools, memory, authorization is no value"),
        ({"autorization": "Bearer hunter2"}, "did you mean `authorization`?"),
        ("http://a", "pools, memory: 'http://a' is no table"),
    ],
)
def test_a_bad_table_says_where(table, said):
    problems = survey(environ=UPSTREAMS, keywords={"pools": {"memory": table}}, for_proxy=True).problems
    assert len(problems) == 1
    assert said in problems[0]
    assert "hunter2" not in problems[0]


def test_two_limits_of_one_name_are_a_clash():
    environ = UPSTREAMS | {"SESSIONWARE_LIMITS": "daily=5/day per user"}
    pools = {"default": {"limits": ["daily=1/minute per user"]}}
    [problem] = survey(environ=environ, keywords={"pools": pools}, for_proxy=True).problems
    assert "two limits are called 'daily' but differ in window" in problem
    assert "(pools, item 2, column 1)" in problem


def test_what_cannot_work_together_stops_the_start():
    with pytest.raises(ConfigError, match="SESSIONWARE_UPSTREAMS is unset"):
        load(environ={}, for_proxy=True)
    assert proxy(JWT_SECRET="x" * 32, JWT_AUDIENCE="me").problems == ()
    [audience] = proxy(JWT_SECRET="x" * 32).problems
    assert "issued for another service" in audience
    [bind] = proxy(ADMIN_BIND="127.0.0.1:8080").problems
    assert "choose another port" in bind


def test_what_is_hardly_meant_is_said():
    assert proxy().warnings == ()
    assert "Kubernetes" in proxy(DRAIN_TIMEOUT="25s").warnings[0]
    assert "is short" in proxy(UPSTREAM_TIMEOUT="30s").warnings[0]
    assert "no credential is checked" in proxy(HOST="0.0.0.0").warnings[0]
    assert "passed through" in proxy(FORWARD_AUTHORIZATION="auto").warnings[0]
    issuer = {"JWT_ISSUER": "https://login.test", "JWT_AUDIENCE": "mcp", "HOST": "0.0.0.0", "ANONYMOUS": "off"}
    assert "where tokens are issued" in proxy(**issuer).warnings[0]
    assert proxy(**issuer, PUBLIC_URL="https://mcp.test").warnings == ()
    assert "asked to log in" in proxy(**issuer | {"PUBLIC_URL": "https://mcp.test", "ANONYMOUS": "minted"}).warnings[0]
    assert proxy(MAX_ANSWER="off").proxy.max_answer == 0


def test_what_a_pool_asks_for_in_vain_is_doubted(tmp_path):
    file = tmp_path / "sessionware.toml"
    file.write_text(
        """
        [pools.a]
        upstreams = ["http://a:1/mcp"]
        required_groups = ["staff"]
        [pools.b]
        kind = "http"
        upstreams = ["http://b:1"]
        tools = {exclude = ["x"]}
        """
    )
    found = survey(environ={"SESSIONWARE_FORWARD_AUTHORIZATION": "strip"}, file=file, for_proxy=True)
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "[pools.a] required_groups asks for an identity, and no credential is verified here",
        "[pools.b] tools does nothing",
    ]


def test_an_address_to_listen_on_has_two_parts():
    assert [host_and_port(each) for each in ("127.0.0.1:1", "[::1]:2", ":3")] == [
        ("127.0.0.1", 1),
        ("::1", 2),
        ("0.0.0.0", 3),
    ]


def test_the_command_shows_and_checks_them_for_the_proxy(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in UPSTREAMS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SESSIONWARE_UPSTREAM_AUTHORIZATION", "Bearer hunter2")
    assert main(["config", "--proxy"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {
        "SESSIONWARE_UPSTREAMS=http://a:9001/mcp",
        "SESSIONWARE_UPSTREAM_AUTHORIZATION=(set)",
        "SESSIONWARE_MAX_SESSIONS_PER_USER=100",
        "SESSIONWARE_STREAM_IDLE_TIMEOUT=300",
    } <= set(shown)
    monkeypatch.setenv("SESSIONWARE_UPSTREAMS", "http://a:9001/mcp,ftp://b")
    assert main(["config", "--proxy", "--check"]) == 1
    assert "SESSIONWARE_UPSTREAMS, column 19: ftp:// is not known" in capsys.readouterr().err
    assert main(["config"]) == 0
    assert "UPSTREAMS" not in capsys.readouterr().out
