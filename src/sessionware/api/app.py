"""The session API as an ASGI app: which path is which endpoint, and what every answer has in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace
from starlette.requests import Request
from starlette.routing import Route, Router

from sessionware.api import listing, lives, work
from sessionware.api.callers import CallerOf
from sessionware.api.calls import Answer, ApiOptions, Call, Endpoint
from sessionware.api.faults import fault, not_allowed, not_found
from sessionware.api.probes import Probes, Readiness, always_ready, no_metrics
from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.problems import Problem
from sessionware.asgi.refusing import is_for_us, not_for_us, refuse, respond
from sessionware.errors import SessionwareError
from sessionware.service import Sessions

OPTIONS: Final = ApiOptions()
NO_CONTENT: Final = 204

_PATHS: Final[dict[str, dict[str, Endpoint]]] = {
    "/session/start": {"POST": lives.start},
    "/session/ticket": {"POST": lives.ticket},
    "/session/{id}": {"PUT": lives.put, "PATCH": lives.patch, "DELETE": lives.close},
    "/session/{id}/ping": {"POST": lives.ping},
    "/session/{id}/close": {"POST": lives.close},
    "/session/{id}/status": {"GET": lives.status},
    "/session/{id}/ttl": {"PUT": lives.set_ttl},
    "/session/{id}/usage": {"GET": work.session_usage},
    "/session/{id}/context": {"GET": work.last_context, "POST": work.add_context},
    "/session/{id}/metrics": {"GET": work.metrics},
    "/session/{id}/health": {"GET": work.health},
    "/session/{id}/pending": {"GET": work.pending},
    "/session/{id}/interrupt": {"POST": lives.interrupt},
    "/sessions": {"GET": listing.list_sessions, "DELETE": listing.close_sessions},
    "/sessions/{id}": {"GET": lives.status, "DELETE": lives.close},
    "/usage": {"GET": work.own_usage},
    "/tokens/revoke": {"POST": listing.revoke_token},
    "/users/{user}/revoke": {"POST": listing.revoke_user},
    "/users/{user}/limits": {"PUT": listing.set_user_limits},
    "/cleanup": {"POST": listing.cleanup},
    "/alerts": {"GET": listing.alerts},
}

_PROBES: Final = frozenset({"/health", "/ready", "/metrics"})
_OWN: Final = re.compile("|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in _PATHS))


class SessionApi:
    """The REST session API over a running service.

    `sessions` is asked for on every call, so that the app may be built before the store is connected.
    """

    def __init__(  # noqa: PLR0913  # each is a part that the assembly hands over
        self,
        sessions: Callable[[], Sessions],
        caller_of: CallerOf,
        *,
        options: ApiOptions = OPTIONS,
        readiness: Callable[[], Readiness] = always_ready,
        metrics: Callable[[], bytes] = no_metrics,
        own: Mapping[str, Mapping[str, Endpoint]] | None = None,
    ) -> None:
        """With `own` these paths are served in place of the session API's, in the same manner."""
        self._sessions = sessions
        self._caller_of = caller_of
        self._options = options
        probes = Probes(readiness, metrics)
        watched = {"/health": probes.health, "/ready": probes.ready, "/metrics": probes.metrics}
        paths = own or _PATHS | {path: {"GET": endpoint} for path, endpoint in watched.items()}
        routes = [Route(path, _Verbs(self, endpoints)) for path, endpoints in paths.items()]
        self._router = Router(routes, redirect_slashes=False, default=_nowhere)

    def serves(self, path: str, *, with_probes: bool = True) -> bool:
        """Whether this is one of the API's paths; `with_probes`: also where it tells of itself."""
        return _OWN.fullmatch(path) is not None or (with_probes and path in _PROBES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve http; a lifespan or a WebSocket that comes here is nobody's, as in Starlette."""
        if scope["type"] == "http" and not is_for_us(scope, self._options.allowed_hosts):
            await refuse(scope, receive, send, not_for_us())
            return
        await self._router(scope, receive, send)

    async def serve(self, endpoint: Endpoint, request: Request) -> Answer | Problem:
        """Run one endpoint; what it raises of ours becomes its answer."""
        call = Call(request, sessions=self._sessions(), caller_of=self._caller_of, options=self._options)
        try:
            return await endpoint(call)
        except SessionwareError as error:
            return fault(error, about=call.about, style=self._options.ratelimit_headers)


class _Verbs:
    """One path: its methods, and 405 for all others."""

    def __init__(self, api: SessionApi, endpoints: Mapping[str, Endpoint]) -> None:
        self._api = api
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]
        self._allowed = ", ".join([*self._endpoints, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        endpoint = self._endpoints.get(method)
        if endpoint is not None:
            answer = await self._api.serve(endpoint, Request(scope, receive))
        elif method == "OPTIONS":
            answer = Answer(None, NO_CONTENT, ((b"allow", self._allowed.encode()),))
        else:
            answer = not_allowed(self._allowed)
        await _respond(answer, scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """What no path of ours is."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    await _respond(not_found(), scope, receive, send)


async def _respond(answer: Answer | Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if isinstance(answer, Answer):
        await answer.response()(scope, receive, send)
        return
    await respond(send, replace(answer, body=b"") if scope["method"] == "HEAD" else answer)
