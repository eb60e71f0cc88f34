"""One host, and the balancers in front: what they promise about streams, addresses and repetition."""

from tests.deploy.reading import DEPLOY, block, envoy, haproxy, loaded, nginx, seconds, unit

_, PROXY = loaded({"SESSIONWARE_UPSTREAMS": "http://a:1/mcp"})
SILENT_S = PROXY.stream_idle_timeout / 1000
SERVERS = ["10.0.0.11:8080", "10.0.0.12:8080"]


def _http():
    return block(nginx(), "http")


def _server():
    """The first one: it has TLS, the other sends there."""
    return next(each[-1] for each in _http() if each[0] == "server")


def _location():
    return block(_server(), "location", "/")


def _one(directives, name):
    """The words of the only directive of that name."""
    (found,) = [each[1:] for each in directives if each[0] == name]
    return found


def test_the_unit_runs_the_proxy_without_privileges_and_knows_when_not_to_try_again():
    settings = dict(unit())
    assert settings["ExecStart"].endswith("/bin/sessionware proxy")
    assert settings["RestartPreventExitStatus"] == "2"  # what the command line says of settings that cannot work
    hardened = {
        "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "CapabilityBoundingSet": "",
        "PrivateTmp": "yes", "ProtectHome": "yes", "MemoryDenyWriteExecute": "yes",
    }  # fmt: skip
    assert hardened.items() <= settings.items()


def test_the_units_store_is_in_the_folder_that_it_may_write():
    settings = dict(unit())
    text = (DEPLOY / "systemd" / "proxy.env").read_text("utf-8")
    assert f"sqlite:////var/lib/{settings['StateDirectory']}/" in text
    assert settings["EnvironmentFile"] == "/etc/sessionware/proxy.env"


def test_nginx_buffers_nothing_and_outlasts_a_silent_stream():
    upstream, passing = block(_http(), "upstream", "sessionware"), _location()
    assert [each[1] for each in upstream if each[0] == "server"] == SERVERS
    assert _one(passing, "proxy_buffering") == ["off"]
    assert _one(passing, "proxy_request_buffering") == ["off"]
    assert _one(passing, "proxy_http_version") == ["1.1"]
    assert seconds(_one(passing, "proxy_read_timeout")[0]) > SILENT_S


def test_nginx_says_itself_who_asks_and_repeats_no_call():
    passing = _location()
    written = {each[1]: each[2] for each in passing if each[0] == "proxy_set_header"}
    assert written == {
        "Connection": "", "Host": "$host", "X-Forwarded-For": "$remote_addr", "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$host", "Forwarded": "", "X-User-Id": "",
    }  # fmt: skip
    assert _one(passing, "proxy_next_upstream") == ["error", "timeout"]  # without non_idempotent: no POST twice


def test_nginx_lets_as_large_bodies_through_as_the_proxy():
    (size,) = _one(_server(), "client_max_body_size")
    assert (size[-1], int(size[:-1]) << 20) == ("m", PROXY.max_body)


def test_haproxy_outlasts_a_silent_stream_asks_who_is_ready_and_repeats_no_call():
    sections = haproxy()
    timeouts = {each[1]: seconds(each[2]) for each in sections["defaults"] if each[0] == "timeout"}
    assert min(timeouts["client"], timeouts["server"]) > SILENT_S
    assert ["retry-on", "conn-failure"] in sections["defaults"]
    backend = sections["backend sessionware"]
    assert ["option", "httpchk", "GET", "/ready"] in backend
    assert [each[2] for each in backend if each[0] == "server"] == SERVERS


def test_haproxy_says_itself_who_asks():
    rules = [each[1:] for each in haproxy()["frontend world"] if each[0] == "http-request"]
    assert ["set-header", "X-Forwarded-For", "%[src]"] in rules
    assert ["del-header", "X-User-Id"] in rules
    assert ["del-header", "Forwarded"] in rules


def _manager():
    (listener,) = envoy()["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    return manager["typed_config"]


def test_envoy_outlasts_a_silent_stream_and_repeats_no_call():
    manager = _manager()
    (host,) = manager["route_config"]["virtual_hosts"]
    route = host["routes"][-1]["route"]
    assert seconds(manager["stream_idle_timeout"]) > SILENT_S
    assert route == {"cluster": "sessionware", "timeout": "0s"}


def test_envoy_says_itself_who_asks_and_asks_who_is_ready():
    manager = _manager()
    assert manager["use_remote_address"] is True
    assert manager["xff_num_trusted_hops"] == 0
    assert manager["route_config"]["request_headers_to_remove"] == ["x-user-id", "forwarded"]
    (cluster,) = envoy()["static_resources"]["clusters"]
    assert [each["http_health_check"]["path"] for each in cluster["health_checks"]] == ["/ready"]
    (group,) = cluster["load_assignment"]["endpoints"]
    found = [each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"]]
    assert [f"{each['address']}:{each['port_value']}" for each in found] == SERVERS


def test_no_balancer_lets_the_world_reach_the_administration():
    closed = {each[-2]: each[-1] for each in _server() if each[0] == "location" and each[-1] == [["return", "404"]]}
    assert closed.keys() == {"/metrics", "/upstreams"}
    denied = [" ".join(each) for each in haproxy()["frontend world"] if each[1] == "deny"]
    assert denied == ["http-request deny deny_status 404 if { path /metrics } or { path_beg /upstreams }"]
    (host,) = _manager()["route_config"]["virtual_hosts"]
    assert [each["match"] for each in host["routes"] if "direct_response" in each] == [
        {"path": "/metrics"}, {"prefix": "/upstreams"},
    ]  # fmt: skip
