"""The only place that serves the proxy's app for the suite, in a thread of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt

from sessionware import Sessionware
from sessionware.assembly.proxying import proxy
from sessionware.clock import wall_ms
from sessionware.proxy.app import ProxyApp
from tests.serving import Server

SECRET = "a secret of more than thirty-two bytes, for tests"
ISSUER = "https://login.test"
TOKENS = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": "mcp"}


@contextmanager
def serving(upstreams: str, **keywords: Any) -> Iterator[Server]:
    """A proxy in front of these upstreams; the environment plays no part."""
    with installed(upstreams, **keywords) as (server, _):
        yield server


@contextmanager
def installed(upstreams: str, **keywords: Any) -> Iterator[tuple[Server, Sessionware]]:
    """The same, and the installation behind it."""
    with standing(upstreams, **keywords) as (server, sessionware, _):
        yield server, sessionware


@contextmanager
def standing(upstreams: str, **keywords: Any) -> Iterator[tuple[Server, Sessionware, ProxyApp]]:
    """The same, and the proxy itself. The store's deadline is long: the machine tests much else beside."""
    app = proxy(environ={}, upstreams=upstreams, **{"limits": "off", "store_timeout": "5s", **keywords})
    assert isinstance(app.app, ProxyApp)
    with Server(app, lifespan="on") as server:
        yield server, app.sessionware, app.app


def token(sub: str, **claims: Any) -> str:
    """A token that a proxy with TOKENS believes."""
    now = wall_ms() // 1000
    claims = {"iss": ISSUER, "aud": "mcp", "sub": sub, "iat": now - 5, "exp": now + 3600, "jti": sub} | claims
    return jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})
