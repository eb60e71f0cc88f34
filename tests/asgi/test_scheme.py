"""Whose word counts that a client came by HTTPS: X-Forwarded-Proto, and what hangs on it (ASGI-03, SES-14)."""

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sessionware import SessionMiddleware
from tests.asgi.test_guard import scenario_of

HTTPS = ("X-Forwarded-Proto", "https")


async def told(request: Request) -> JSONResponse:
    request.state.session.data["seen"] = 1  # so that a cookie is set
    return JSONResponse({"scheme": request.url.scheme})


scenario = scenario_of([Route("/", told)])


@scenario(trusted_proxies="127.0.0.1/32", session_cookie="on")
async def test_a_trusted_proxy_tells_that_its_client_came_by_https(there):
    answer = await there.get(headers=[HTTPS])
    assert answer.json() == {"scheme": "https"}
    assert answer.headers["set-cookie"].startswith("__Host-session=")
    assert "; Secure;" in answer.headers["set-cookie"]
    assert (await there.get(headers=[("X-Forwarded-Proto", "HTTP")])).json() == {"scheme": "http"}


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_from_anybody_else_it_is_as_good_as_absent(trusted):
    @scenario(trusted_proxies=trusted, session_cookie="on")
    async def run(there):
        answer = await there.get(headers=[HTTPS])
        assert answer.json() == {"scheme": "http"}
        assert "Secure" not in answer.headers["set-cookie"]

    run()


@scenario(trusted_proxies="127.0.0.1/32")
async def test_two_words_or_no_scheme_are_not_believed(there):
    for doubtful in (
        [HTTPS, ("X-Forwarded-Proto", "http")],
        [("X-Forwarded-Proto", "https,http")],
        [("X-Forwarded-Proto", "gopher")],
        [("X-Forwarded-Proto", "")],
        [("X_Forwarded_Proto", "https")],
        [("Forwarded", "proto=https")],
    ):
        assert (await there.get(headers=doubtful)).json() == {"scheme": "http"}, doubtful


@scenario(trusted_proxies="server")
async def test_where_the_server_has_judged_its_peers_the_header_is_not_read_again(there):
    assert (await there.get(headers=[HTTPS])).json() == {"scheme": "http"}


def test_a_socket_behind_tls_is_wss():
    schemes = []

    async def app(scope, receive, send):
        schemes.append(scope["scheme"])
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    front = SessionMiddleware(app, trusted_proxies="10.0.0.0/8")
    with TestClient(front, client=("10.1.2.3", 5)) as client:
        for said in ("https", "wss", "http"):
            with client.websocket_connect("/", headers={"X-Forwarded-Proto": said}):
                pass
    assert schemes == ["wss", "wss", "ws"]
