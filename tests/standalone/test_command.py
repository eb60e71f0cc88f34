"""`sessionware proxy` as a command: what it says, what it refuses, how flags and the environment meet (A47)."""

import subprocess

import pytest

from sessionware.client.mcp import McpClient
from tests.servers import plain_environ
from tests.standalone.running_proxy import RunningProxy, command


def refused(*words, environ=None, cwd=None):
    """The exit code, and what was said, of a command that serves nothing."""
    ended = subprocess.run(
        command("proxy", *words), env=plain_environ() | (environ or {}), cwd=cwd, check=False,
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.splitlines()


def test_it_serves_the_upstreams_and_says_where(proxy):
    with McpClient(f"{proxy.url}/mcp") as client:
        assert {"remember", "recall"} <= {tool.name for tool in client.tools()}
    first, pool, store, is_open = proxy.said.splitlines()
    assert first == f"sessionware proxy: listening on {proxy.url}"
    assert pool.startswith("  /mcp -> http://127.0.0.1:")
    assert store == "  store: memory://; callers: anybody who can connect"
    assert is_open.startswith("  open to everybody: /health, /ready, /metrics")


def test_no_answer_says_what_serves_it(proxy):
    assert "server" not in proxy.get("/health").headers


def test_every_wrong_setting_has_a_line_of_its_own():
    code, lines = refused("--session-ttl", "9y", "--port", "many", "--upstream", "http://127.0.0.1:9/mcp")
    assert code == 2
    assert [line.split(" ")[1] for line in lines] == ["--session-ttl:", "--port:"]


def test_nothing_to_forward_to_is_refused_with_the_way_out():
    code, (line,) = refused()
    assert (code, line[:40]) == (2, "sessionware: SESSIONWARE_UPSTREAMS is un")


def test_a_port_that_is_taken_is_said_with_the_way_out(proxy):
    code, (line,) = refused("--upstream", "http://127.0.0.1:9/mcp", "--port", str(proxy.port))
    assert code == 2
    assert line == (
        f"sessionware: port {proxy.port} on 127.0.0.1 is taken: stop what listens there, or choose another "
        "(--port, SESSIONWARE_PORT); --port 0 takes a free one"
    )


def test_an_unknown_flag_is_refused():
    code, lines = refused("--sesion-ttl", "5")
    assert code == 2
    assert "unrecognized arguments: --sesion-ttl" in lines[-1]


def test_several_workers_on_memory_are_refused():
    code, (line,) = refused("--upstream", "http://127.0.0.1:9/mcp", "--workers", "2")
    assert code == 2
    assert line.startswith("sessionware: --workers: 2 processes with memory:// would each have sessions")


def test_a_store_that_can_never_work_ends_the_start(tmp_path):
    broken = tmp_path / "no database"
    broken.write_bytes(b"this is no database at all, and long enough to be sure of it" * 100)
    code, lines = refused("--upstream", "http://127.0.0.1:9/mcp", "--port", "0", "--store", f"sqlite:///{broken}")
    assert code == 2
    assert any(str(broken) in line for line in lines)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(upstreams, tmp_path):
    (tmp_path / "sessionware.toml").write_text('session_ttl = 100\nsession_max_age = "1h"\nlimits = "off"\n')
    environ = {"SESSIONWARE_SESSION_TTL": "200", "SESSIONWARE_SESSION_MAX_AGE": "2h"}
    with RunningProxy("--upstreams", upstreams, "--session-ttl", "300", environ=environ, cwd=str(tmp_path)) as proxy:
        made = proxy.post("/session/start").json()
    lived = made["expires_at"][11:19], made["created_at"][11:19]
    assert seconds(lived[0]) - seconds(lived[1]) in {300, 300 - 86_400}


def test_a_password_in_the_url_of_the_store_is_not_said(upstreams, tmp_path):
    environ = {"SESSIONWARE_STORE": "redis://:hunter2@127.0.0.1:9/0"}
    with RunningProxy("--upstreams", upstreams, environ=environ) as proxy:
        assert proxy.get("/ready").status_code == 503
        assert proxy.get("/health").json() == {"status": "ok"}
        assert "store: redis://(set)@127.0.0.1:9/0" in proxy.said
        assert "hunter2" not in proxy.said + proxy.log


@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez", "/ready", "/readyz"])
def test_a47_probes_answer_whatever_host_they_are_asked_by(proxy, path):
    answer = proxy.get(path, headers={"host": "10.1.2.3:8080"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert proxy.post(path).status_code == 405


def test_readiness_lists_upstreams_without_their_addresses(proxy):
    assert proxy.get("/ready").json() == {"status": "ready", "upstreams": {"default": {"1": "up", "2": "up"}}}


def test_the_session_api_is_at_the_root(proxy):
    session = proxy.post("/session/start").json()["session_id"]
    mine = {"x-session-id": session}
    assert proxy.get(f"/session/{session}/status", headers=mine).json()["state"] == "active"
    assert proxy.post(f"/session/{session}/close", headers=mine).json()["status"] == "closed"


def test_nothing_else_is_there(proxy):
    answer = proxy.get("/elsewhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -31_404)


def seconds(clock):
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)


def test_a_mistyped_name_is_said_beside_what_is_missing_because_of_it():
    code, lines = refused(environ={"SESSIONWARE_UPSTREMS": "http://127.0.0.1:9/mcp"})
    assert code == 2
    assert lines == [
        (
            "sessionware: SESSIONWARE_UPSTREAMS is unset, so there is nothing to forward to: write for example "
            "sessionware proxy --upstream http://127.0.0.1:9001/mcp"
        ),
        "sessionware: SESSIONWARE_UPSTREMS is no setting: did you mean `SESSIONWARE_UPSTREAMS`?",
    ]


def test_an_upstream_is_faulted_by_the_name_that_the_user_wrote():
    assert refused("--upstream", "foo")[1][0].startswith("sessionware: --upstreams, column 1: an upstream is a URL")
    code, lines = refused("--upstream", "unix:///run/mcp.sock")
    assert code == 2
    assert "write for example unix:///run/mcp.sock:/mcp, or / for the root" in lines[0]


def test_upstreams_are_said_as_they_were_written():
    written = "dns+http://localhost:9/mcp,unix:///nowhere/mcp.sock:/mcp"
    with RunningProxy("--upstreams", written) as proxy:
        assert "  /mcp -> dns+http://localhost:9/mcp, unix:///nowhere/mcp.sock:/mcp\n" in proxy.said


def test_a_loopback_host_in_brackets_is_local_too():
    with RunningProxy("--upstream", "http://127.0.0.1:9/mcp", "--host", "[::1]") as proxy:
        assert "is public" not in proxy.log
        assert proxy.get("/metrics", headers={"host": "evil.test"}).status_code == 421
