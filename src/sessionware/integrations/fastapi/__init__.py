"""FastAPI's words for sessions: dependencies for the session and for the limits of a route.

from sessionware.integrations.fastapi import CurrentSession, Limited

@app.post("/chat", dependencies=[Limited("10/minute per user")])
async def chat(session: CurrentSession): ...
"""
# No `from __future__ import annotations` here: FastAPI reads these signatures from objects that have no globals.

from typing import Annotated, Any

from fastapi import Depends
from fastapi.openapi.models import APIKey, HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from sessionware.asgi.passage import passage_of, required_session, session_of
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.route_limits import RouteLimit, method_of, take
from sessionware.integrations.fastapi.openapi import SESSION_HEADER, install_openapi
from sessionware.integrations.fastapi.routes import template_of
from sessionware.integrations.openapi_words import BEARER, BEARER_SAID, ID_SAID, SESSION_ID

__all__ = ["CurrentSession", "Limited", "OptionalSession", "install_openapi"]


class _Bearer(SecurityBase):
    """Says in the API's description that a token may come; who it proves is known before the app is asked."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description=BEARER_SAID)
        self.scheme_name = BEARER

    async def __call__(self) -> None:
        return None


class _Session(SecurityBase):
    """The session of this request or socket."""

    def __init__(self, *, is_required: bool) -> None:
        self.model = APIKey.model_validate({"in": "header", "name": SESSION_HEADER, "description": ID_SAID})
        self.scheme_name = SESSION_ID
        self._is_required = is_required

    async def __call__(
        self, connection: HTTPConnection, _: Annotated[None, Depends(_Bearer())]
    ) -> RequestSession | None:
        if self._is_required:
            return required_session(connection.scope, otherwise="an OptionalSession")
        return session_of(connection.scope)


class _Taking:
    """Takes from the limits of whatever route it is put on; FastAPI runs equal ones once per request."""

    def __init__(self, limit: RouteLimit) -> None:
        self._limit = limit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Taking) and self._limit == other._limit

    def __hash__(self) -> int:
        return hash(self._limit)

    async def __call__(self, connection: HTTPConnection) -> None:
        scope = connection.scope
        await take(passage_of(scope), self._limit, method=method_of(scope), template=template_of(scope))


CurrentSession = Annotated[RequestSession, Depends(_Session(is_required=True))]
"""The session, for endpoints that cannot do without: 401 `No session ID provided` where there is none."""

OptionalSession = Annotated[RequestSession | None, Depends(_Session(is_required=False))]
"""The session, or None: on exempt paths, with ON_MISSING=anonymous, and while the store is down."""


def Limited(*limits: str, cost: int | None = None) -> Any:  # noqa: N802  # reads like Depends, which it makes
    """Limits of a route, a router or an app: `dependencies=[Limited("10/minute per user")]`.

    Each route counts for itself by its method and its template, with the prefixes of routers and mounts. A limit
    with a name (`chat=10/minute per user`) counts all its routes together. `cost` is what one request takes.
    Raises ConfigError where it is written.
    """
    return Depends(_Taking(RouteLimit(*limits, cost=cost)))
