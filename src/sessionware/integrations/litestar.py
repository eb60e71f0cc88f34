"""Litestar's words for sessions: a plugin for the app, guards for the limits of its routes.

from sessionware.integrations.litestar import CurrentSession, SessionwarePlugin, limited

@post("/chat", guards=[limited("10/minute per user")])
async def chat(session: CurrentSession) -> Answer: ...

app = Litestar([chat], plugins=[SessionwarePlugin()])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from litestar import Litestar, Request, Response, asgi, types
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions.responses import create_debug_response, create_exception_response
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.passage import pass_unseen, passage_of, required_session, session_of
from sessionware.asgi.problems import FAILED, failed
from sessionware.asgi.refusing import refuse
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.route_limits import RouteLimit, method_of, take
from sessionware.assembly import SessionMiddleware, Sessionware
from sessionware.assembly.api_at import session_api
from sessionware.assembly.installation import given_or_made
from sessionware.config.settings import Settings
from sessionware.errors import ConfigError, SessionwareError, StoreUnavailable
from sessionware.integrations.openapi_words import (
    BEARER,
    BEARER_SAID,
    LIMITED_SAID,
    MEDIA_TYPE,
    REFUSED_SAID,
    SessionProblem,
    id_schemes,
)
from sessionware.service.refusals import OverLimit

__all__ = ["CurrentSession", "OptionalSession", "SessionwarePlugin", "limited"]

CurrentSession = NamedDependency[RequestSession]
"""What a handler's `session` is: 401 `No session ID provided` where there is none."""

OptionalSession = NamedDependency[RequestSession | None]
"""What a handler's `optional_session` is: None on exempt paths and with ON_MISSING=anonymous."""

_IS_API: Final = "sessionware_api"  # among a handler's opt: it needs no session to be made for it
_FRAMING: Final = frozenset({b"content-type", b"content-length"})  # which Litestar writes itself


class SessionwarePlugin(InitPlugin, ReceiveRoutePlugin):
    """Everything that an app needs: sessions in front of every route, started and closed with the app.

    Handlers and dependencies may ask for `session` (401 without one) and `optional_session`; `request.state.session`
    is the same. `api` is the path under which the session API is served. What the app says itself stands.
    Raises ConfigError for a setting that cannot work.
    """

    def __init__(self, sessionware: Sessionware | None = None, *, api: str | None = None, **settings: Any) -> None:
        self.sessionware = given_or_made(sessionware, settings, by="SessionwarePlugin")
        self._api = None if api is None else _api_handler(self.sessionware, api)
        self._documents = "/schema"

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add to the app what is ours."""
        app_config.middleware.insert(0, self._in_front)
        app_config.lifespan.insert(0, self._live)
        app_config.exception_handlers.setdefault(SessionwareError, _answer)
        app_config.signature_types.append(RequestSession)
        for name, provide in (("session", _session), ("optional_session", _optional_session)):
            app_config.dependencies.setdefault(name, Provide(provide, sync_to_thread=False))
        if self._api is not None:
            app_config.route_handlers.append(self._api)
        self._describe(app_config)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Every route behind the plugin may answer 401 and 429."""
        if not isinstance(route, HTTPRoute) or self._is_exempt(route.path):
            return
        for handler in route.route_handlers:
            handler.responses = _REFUSALS | dict(handler.responses or {})

    @asynccontextmanager
    async def _live(self, _: Litestar) -> AsyncIterator[None]:
        async with self.sessionware:
            yield

    def _in_front(self, app: Any) -> Any:
        guarded = SessionMiddleware(app, self.sessionware)

        async def in_front(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["route_handler"].opt.get(_IS_API):
                await app(scope, receive, send)
            elif self._is_document(scope["path"]):
                pass_unseen(scope)
                await app(scope, receive, send)
            else:
                await guarded(scope, receive, send)

        return in_front

    def _is_exempt(self, path: str) -> bool:
        """The app's documents are as exempt as those of other frameworks."""
        return self._is_document(path) or path in self.sessionware.settings.exempt_paths

    def _is_document(self, path: str) -> bool:
        return path == self._documents or path.startswith(f"{self._documents}/")

    def _describe(self, app_config: AppConfig) -> None:
        """Tell the app's OpenAPI document what may be sent."""
        described = app_config.openapi_config
        if described is None:
            return
        router = described.openapi_router
        self._documents = (described.path or "/schema") if router is None else router.path
        schemes = _schemes(self.sessionware.settings)
        known = described.components if isinstance(described.components, list) else [described.components]
        described.components = [*known, Components(security_schemes=dict(schemes))]
        required: list[dict[str, list[str]]] = [{name: []} for name in schemes]
        described.security = [*(described.security or []), *required]


def limited(*limits: str, cost: int | None = None) -> Callable[[Any, BaseRouteHandler], Awaitable[None]]:
    """A guard for a handler, a controller, a router or the app: `guards=[limited("10/minute per user")]`.

    Each route counts for itself by its method and its template. A limit with a name (`chat=10/minute per user`)
    counts all its routes together. `cost` is what one request takes. Raises ConfigError where it is written.
    """
    limit = RouteLimit(*limits, cost=cost, source="limited")

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope: Any = connection.scope
        await take(passage_of(scope), limit, method=method_of(scope), template=_template(scope, handler))

    return guard


def _template(scope: Scope, handler: BaseRouteHandler) -> str:
    """The route as it is written; a mounted app has no template of its own in the scope."""
    if isinstance(handler, ASGIRouteHandler) and handler.is_mount:
        layers = [layer.path for layer in handler.ownership_layers if hasattr(layer, "path")]
        return "/".join(["", *(part.strip("/") for part in (*layers, *sorted(handler.paths)) if part.strip("/"))])
    template: str = scope["path_template"]
    return template or "/"


def _session(scope: types.Scope) -> RequestSession:
    """The session. Raises NoSessionId, which is a 401."""
    return required_session(scope, otherwise="`optional_session`")


def _optional_session(scope: types.Scope) -> RequestSession | None:
    """The session, or None where there is none."""
    return session_of(scope)


def _answer(request: Request[Any, Any, Any], error: SessionwareError) -> Response[Any]:
    """Our errors keep our answer; what is the app's own fault is answered as Litestar does."""
    if error.status_hint == FAILED:
        make = create_debug_response if request.app.debug else create_exception_response
        return make(request, error)
    scope: Any = request.scope
    passage = passage_of(scope)
    if passage is not None and isinstance(error, OverLimit):
        # The middleware writes the headers of all that were met.
        passage.standings = (*passage.standings, *error.refused.standings)
    problem = failed(error, style="off")
    headers = {name.decode(): value.decode() for name, value in problem.headers if name not in _FRAMING}
    return Response(problem.body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def _api_handler(sessionware: Sessionware, prefix: str) -> ASGIRouteHandler:
    """The session API as a mounted app. Raises ConfigError at the root, where it would hide the app's own routes."""
    root = "/" + prefix.strip("/")
    if root == "/":
        raise ConfigError(
            f'api={prefix!r}: the plugin serves the session API under a path, for example api="/auth"; for the root '
            'wrap the app instead: SessionMiddleware(app, api="/")'
        )
    api = session_api(sessionware)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await sessionware.start()
        except StoreUnavailable as error:
            await refuse(scope, receive, send, failed(error))
            return
        outer = scope.get("root_path", "") + root
        await api({**scope, "root_path": outer, "path": outer + scope["path"].rstrip("/")}, receive, send)

    @asgi(root, is_mount=True, copy_scope=True, opt={_IS_API: True})
    async def session_paths(scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        await serve(cast("Any", scope), receive, cast("Any", send))

    return session_paths


def _schemes(settings: Settings) -> dict[str, SecurityScheme]:
    schemes = {
        each.name: SecurityScheme(type="apiKey", security_scheme_in=each.place, name=each.field, description=each.said)
        for each in id_schemes(settings)
    }
    return schemes | {BEARER: SecurityScheme(type="http", scheme="bearer", description=BEARER_SAID)}


_REFUSALS: Final = {
    status: ResponseSpec(SessionProblem, description=said, media_type=MEDIA_TYPE, generate_examples=False)
    for status, said in ((401, REFUSED_SAID), (429, LIMITED_SAID))
}
