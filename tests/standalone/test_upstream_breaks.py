"""An upstream that breaks off its answer: the client sees that it is not whole, and the log tells it in words."""

import socket
from contextlib import contextmanager

import httpx2
import pytest

from sessionware.testing.scripted_upstream import Close, Reset, Say, ScriptedUpstream
from tests.serving import LoopThread
from tests.standalone.running_proxy import RunningProxy

HALF = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nonly the half"


@contextmanager
def scripted(*turns):
    """The URL of an upstream that does so, on a thread of its own."""
    with LoopThread("scripted upstream") as thread:
        upstream = ScriptedUpstream(*turns)
        thread.run(upstream.__aenter__())
        try:
            yield upstream.url
        finally:
            thread.run(upstream.__aexit__(None, None, None))


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
def test_half_an_answer_is_not_taken_for_the_whole(end):
    with scripted([Say(HALF), end]) as url, RunningProxy("--upstreams", f"app[http]={url}", "--limits", "off") as proxy:
        with pytest.raises(httpx2.RemoteProtocolError):
            proxy.get("/app/")
        assert proxy.get("/health").status_code == 200
        assert proxy.has_logged("GET /app/ 200")
        assert "Traceback" not in proxy.log


@pytest.mark.parametrize("is_streaming", [False, True], ids=["before the answer", "in a stream"])
def test_a_client_that_goes_closes_its_request_upstream_within_a_second(is_streaming):
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        RunningProxy(
            "--upstreams", f"app[http]=http://127.0.0.1:{upstream.getsockname()[1]}", "--limits", "off"
        ) as proxy,
        proxy.connect() as client,
    ):
        upstream.settimeout(5)
        client.sendall(b"GET /app/ HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with _asked(upstream) as asked:
            if is_streaming:
                asked.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
                while b"data: 1" not in client.recv(1 << 16):
                    continue
            client.close()
            asked.settimeout(1)
            assert asked.recv(1) == b""


def _asked(upstream):
    """The first connection on which something is asked: a look at whether it listens closes at once."""
    while True:
        connection, _ = upstream.accept()
        if connection.recv(1 << 16):
            return connection
        connection.close()
