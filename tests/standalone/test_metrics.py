"""What `/metrics` tells, and what it never tells (C29, E15, E16, ADM-06, LOG-02)."""

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from tests.serving import soon
from tests.standalone.bounded_server import whole
from tests.standalone.calling import call
from tests.standalone.running_proxy import RunningProxy
from tests.standalone.scraping import scraped

OPEN = ("--limits", "off", "--create-limit", "off")


@pytest.fixture
def fresh(upstreams):
    with RunningProxy("--upstreams", upstreams, *OPEN) as running:
        yield running


def test_c29_values_move_as_expected(upstreams):
    options = ("--session-ttl", "1500ms", "--cleanup-interval", "500ms", "--create-limit", "off")
    with RunningProxy("--upstreams", upstreams, *options) as proxy:
        for _ in range(3):
            proxy.post("/session/start")
        metrics = scraped(proxy)
        assert metrics["sessionware_sessions_created_total"] == 3
        assert metrics["sessionware_sessions_active"] == 3
        assert 0 <= metrics["sessionware_session_age_seconds"] < 1.5
        assert 50 < metrics["sessionware_session_bytes"] < 1024
        assert metrics["sessionware_store_latency_seconds_count"] >= 0
        assert metrics["sessionware_resident_bytes"] > 1_000_000
        assert soon(lambda: scraped(proxy)["sessionware_sessions_ended_total{reason=expired}"] == 3)
        metrics = scraped(proxy)
        assert metrics["sessionware_sessions_active"] == 0
        assert metrics["sessionware_cleanups_total"] >= 1
        assert soon(lambda: proxy.log.count("ended: expired") == 3)  # E16: each removal, by its ref


def test_e15_the_number_of_sessions_is_known_to_health_and_metrics(fresh):
    for _ in range(3):
        fresh.post("/session/start")
    assert scraped(fresh)["sessionware_sessions_active"] == 3
    assert fresh.get("/health").json() == {"status": "ok", "sessions": 3}


def test_requests_are_counted_by_pool_and_outcome(upstreams):
    with RunningProxy("--upstreams", upstreams, "--limits", "4/day per client", "--create-limit", "off") as proxy:
        with McpClient(f"{proxy.url}/mcp") as client:
            for _ in range(4):
                client.call("pid", {})
        refused = httpx2.post(f"{proxy.url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert refused.status_code == 429
        proxy.get("/nowhere")
        metrics = scraped(proxy)
        assert metrics["sessionware_requests_total{outcome=served,pool=default}"] >= 4
        assert metrics["sessionware_requests_total{outcome=limited,pool=default}"] == 1
        assert metrics["sessionware_requests_total{outcome=refused,pool=-}"] == 1
        heads = [
            value for name, value in metrics.items() if name.startswith("sessionware_upstream_latency_seconds_count")
        ]
        assert (len(heads), sum(heads) >= 4) == (2, True)


def test_an_open_stream_is_counted_while_it_is_open(fresh):
    with httpx2.stream("POST", f"{fresh.url}/mcp", timeout=20, **call("sleep", seconds=60)) as answer:
        parts = answer.iter_text()
        assert next(parts)
        metrics = scraped(fresh)
        assert metrics["sessionware_streams_open"] == 1
        assert metrics["sessionware_requests_running"] == 2  # and the scrape itself
    assert soon(lambda: scraped(fresh)["sessionware_streams_open"] == 0)
    assert scraped(fresh)["sessionware_requests_running"] == 1


def test_an_upstream_that_takes_no_connection_is_seen(upstreams):
    with RunningProxy("--upstreams", "dead@http://127.0.0.1:9/mcp", *OPEN) as proxy:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for _ in range(3):
            assert httpx2.post(f"{proxy.url}/mcp", json=body).status_code == 503
        metrics = scraped(proxy)
        assert metrics["sessionware_upstream_misses_total{pool=default,upstream=dead}"] >= 3  # probes miss it, too
        assert metrics["sessionware_requests_total{outcome=failed,pool=default}"] == 3
        assert proxy.get("/ready").json()["upstreams"]["default"]["dead"] in {"suspected", "dead"}


def test_px18_what_never_became_a_request_is_counted_too(fresh):
    for sent in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000):
        with fresh.connect() as connection:
            connection.sendall(sent)
            assert whole(connection).startswith(b"HTTP/1.1 4")
    metrics = scraped(fresh)
    assert metrics["sessionware_turned_away_total{status=400}"] == 1
    assert metrics["sessionware_turned_away_total{status=431}"] == 1
    assert metrics["sessionware_connections_open"] == 1  # the scrape's own


def test_log02_a_thousand_ids_and_paths_make_no_series(fresh):
    before = set(scraped(fresh))
    with httpx2.Client() as client:
        for number in range(300):
            client.get(f"{fresh.url}/path-{number}", headers={"x-session-id": f"name-{number}"})
    assert set(scraped(fresh)) - before == set()


def test_adm06_no_id_is_in_what_probes_tell(fresh):
    session = fresh.post("/session/start").json()["session_id"]
    told = "".join(fresh.get(path).text for path in ("/health", "/ready", "/metrics"))
    assert session.partition(".")[2] not in told
    assert session.partition(".")[0] not in told


def test_adm06_with_a_place_of_their_own_metrics_are_only_there(upstreams):
    with RunningProxy("--upstreams", upstreams, "--admin-bind", "127.0.0.1:0", *OPEN) as proxy:
        private = proxy.said.rpartition("/metrics only on ")[2].strip()
        assert scraped(proxy, private)["sessionware_sessions_active"] == 0
        assert proxy.get("/metrics").status_code == 404
        assert [httpx2.get(private + path).status_code for path in ("/health", "/ready", "/mcp", "/session/x")] == [
            200, 200, 404, 404
        ]  # fmt: skip
        names = list(httpx2.get(f"{private}/ready").json()["upstreams"]["default"])
        assert all(name.startswith("127.0.0.1:") for name in names)


@pytest.mark.parametrize("host", ["evil.test", "evil.test:8080", "localhost.evil.test", ""])
def test_px05_a_page_that_has_rebound_its_name_reads_no_metrics(fresh, host):
    answer = fresh.get("/metrics", headers={"host": host})
    assert answer.status_code == 421
    assert "sessionware_" not in answer.text
    for name in ("localhost", "127.0.0.1:1", "[::1]"):
        assert fresh.get("/metrics", headers={"host": name}).status_code == 200


def test_px05_nor_does_it_on_an_administrators_door_that_only_this_machine_can_reach(upstreams):
    with RunningProxy("--upstreams", upstreams, "--admin-bind", "127.0.0.1:0", *OPEN) as proxy:
        private = proxy.said.rpartition("/metrics only on ")[2].strip()
        evil = {"host": "evil.test"}
        paths = ("/health", "/ready", "/metrics", "/upstreams")
        assert [httpx2.get(private + path, headers=evil).status_code for path in paths] == [200, 421, 421, 421]


def test_scrapers_know_us_by_our_address_where_others_can_reach_us(upstreams):
    with RunningProxy("--upstreams", upstreams, "--host", "0.0.0.0", *OPEN) as proxy:
        answer = httpx2.get(f"http://127.0.0.1:{proxy.port}/metrics", headers={"host": "10.1.2.3:8080"})
        assert answer.status_code == 200
