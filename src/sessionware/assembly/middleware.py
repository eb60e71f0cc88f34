"""What users mount: `app.add_middleware(SessionMiddleware, limits=[...])`."""

from __future__ import annotations

import asyncio
from typing import Any, Final, overload

from starlette.middleware.cors import CORSMiddleware

from sessionware.asgi.guard import guarded
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.passage import pass_unseen
from sessionware.asgi.problems import failed
from sessionware.asgi.refusing import refuse
from sessionware.asgi.routing import Route, told_at
from sessionware.asgi.scheme import settle_scheme
from sessionware.assembly.api_at import ApiAt
from sessionware.assembly.installation import Sessionware, given_or_made
from sessionware.assembly.lifespan import CannotStart, Lifespan
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.integrations.documenting import document

FIRST_WAIT_S: Final = 1.0  # for a store that is being connected to; what takes longer is a 503 until it is there
EXPOSED: Final = ("X-Session-ID", "Mcp-Session-Id", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate")


class SessionMiddleware:
    """Real sessions for any ASGI app. Without arguments it is configured by the environment alone.

    `api` is the path under which it serves the session API itself (`"/"`: at the root). Making it does no I/O. It
    starts with the app's lifespan, or with the first request where there is none.
    Raises ConfigError for a setting that cannot work, with its name, its value and the way out.
    """

    # Type checkers match it with `add_middleware` only if no keyword of the settings could be the app.
    @overload
    def __init__(
        self, app: App, /, sessionware: Sessionware | None = None, *, api: str | None = None, **settings: Any
    ) -> None: ...
    @overload
    def __init__(
        self, *, app: App, sessionware: Sessionware | None = None, api: str | None = None, **settings: Any
    ) -> None: ...
    def __init__(  # type: ignore[misc]  # no setting is called app
        self, app: App, sessionware: Sessionware | None = None, *, api: str | None = None, **settings: Any
    ) -> None:
        self.app = app
        self._route: Route | None = None
        self._cors: App | None = None
        self._instead: App | None = None
        try:
            self.sessionware = given_or_made(sessionware, settings, by="SessionMiddleware")
            self._api = None if api is None else ApiAt(self.sessionware, api)
        except ConfigError as error:
            if not _is_loop_running():
                raise
            # Starlette makes its middlewares when the server has begun: raised then, a server takes it for an app
            # without a lifespan, and serves a 500 for every request.
            self._instead = CannotStart(error)
            return
        origins = self.sessionware.settings.allowed_origins
        if origins:  # outermost, so that a browser can read refusals too
            self._cors = CORSMiddleware(
                self._guarded, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
                allow_credentials=True, expose_headers=EXPOSED,
            )  # fmt: skip

    def in_front_of(self, route: Route) -> None:
        """The app is a proxy: ask it about each request first."""
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if self._instead is not None:
            await self._instead(scope, receive, send)
        elif kind == "http" or kind == "websocket":  # noqa: PLR1714  # on every request: a set would be hashed
            if self._cors is None:
                await self._guarded(scope, receive, send)
            else:
                await self._cors(scope, receive, send)
        elif kind == "lifespan":
            document(scope.get("app", self.app), self.sessionware.settings)
            await Lifespan(self.sessionware, receive, send).run(self.app, scope)
        else:
            await self.app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self.sessionware.at_work
        if engine is None or not engine.is_here:
            try:
                engine = await self.sessionware.start(within=FIRST_WAIT_S)
            except StoreUnavailable as error:
                if scope["path"] in self.sessionware.settings.exempt_paths:
                    pass_unseen(scope)
                    await self.app(scope, receive, send)
                    return
                await refuse(scope, receive, send, told_at(self._route, scope, failed(error)))
                return
        settle_scheme(scope, engine.resolver)
        if self._api is not None and self._api.serves(scope):
            await self._api(scope, receive, send)
            return
        await guarded(engine, self.app, scope, receive, send, route=self._route)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
