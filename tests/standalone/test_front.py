"""The way through the front: our own pages, the administration under `/upstreams`, and the proxy for all else."""

import asyncio

import pytest

from sessionware.standalone.front import Front
from sessionware.standalone.traffic import NO_POOL, Outcome, Traffic


def named(name, *, status=200):
    """An app that says its name."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": name})

    return app


def answered(front, path):
    said = []

    async def send(message):
        said.append(message)

    async def ask():
        await front({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)

    asyncio.run(ask())
    return said[-1]["body"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/health", b"own"),
        ("/health/child", b"proxy"),
        ("//health", b"proxy"),
        ("/upstreams", b"admin"),
        ("/upstreams/default/one/drain", b"admin"),
        ("/upstreams-x", b"proxy"),
        ("/mcp", b"proxy"),
    ],
)
def test_each_path_goes_to_whom_it_belongs(path, expected):
    front = Front(
        named(b"proxy"), own={"/health": named(b"own")}, traffic=Traffic(["default"]), administration=named(b"admin")
    )
    assert answered(front, path) == expected


def test_without_an_administration_its_paths_are_the_proxys():
    assert answered(Front(named(b"proxy"), own={}, traffic=Traffic([])), "/upstreams") == b"proxy"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "served"), (302, "served"), (404, "refused"), (429, "limited"), (503, "failed"), (101, "served")],
)
def test_requests_are_counted_by_how_they_ended(status, outcome):
    traffic = Traffic(["default"])
    answered(Front(named(b"", status=status), own={}, traffic=traffic), "/")
    assert {name: number for name, number in traffic.requests[NO_POOL].items() if number} == {Outcome(outcome): 1}
    assert (traffic.running, traffic.streams) == (0, 0)


def test_a_client_that_left_before_an_answer_is_gone():
    async def silent(scope, receive, send):
        return

    traffic = Traffic([])
    front = Front(silent, own={}, traffic=traffic)
    with pytest.raises(IndexError):
        answered(front, "/")
    assert traffic.requests[NO_POOL][Outcome.GONE] == 1
