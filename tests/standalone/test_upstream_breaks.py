"""An upstream that breaks off its answer: the client sees that it is not whole, and the log tells it in words."""

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
