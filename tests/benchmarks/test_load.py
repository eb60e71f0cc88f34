"""The load of the proxy's benchmark measures answers, all of them good, and says so when one is not."""

import pytest

from benchmarks.proxy_load import load
from tests.serving import Server

ASKED = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


def answering(status, *, length=None):
    seen = []

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        seen.append(scope["path"])
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"12", "more_body": True})
        await send({"type": "http.response.body", "body": b"34"})

    return app, seen


@pytest.mark.parametrize("length", [4, None], ids=["with a length", "in chunks"])
def test_every_answer_is_counted_when_it_is_whole(length):
    app, seen = answering(200, length=length)
    with Server(app, lifespan="auto") as server:
        found = load(server.port, [ASKED] * 3, count=30)
    assert 30 <= found["answers"] < 33  # those that came together with the last
    assert found["answers"] <= len(seen) <= found["answers"] + 3
    assert 0 < found["p50_us"] <= found["p99_us"]


def test_a_refusal_is_no_answer():
    app, _ = answering(429, length=4)
    with Server(app, lifespan="auto") as server, pytest.raises(RuntimeError, match="not a good answer"):
        load(server.port, [ASKED], count=30)
