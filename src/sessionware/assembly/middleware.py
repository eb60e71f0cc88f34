"""What users mount: `app.add_middleware(SessionMiddleware, limits=[...])`."""

from __future__ import annotations

from typing import Any, Final, overload

from starlette.middleware.cors import CORSMiddleware

from sessionware.asgi.guard import guarded
from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.asgi.problems import failed
from sessionware.asgi.refusing import refuse
from sessionware.assembly.api_at import ApiAt
from sessionware.assembly.installation import Sessionware, given_or_made
from sessionware.errors import StoreUnavailable
from sessionware.integrations.documenting import document

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
        self.sessionware = given_or_made(sessionware, settings, by="SessionMiddleware")
        self.app = app
        self._api = None if api is None else ApiAt(self.sessionware, api)
        self._cors: App | None = None
        origins = self.sessionware.settings.allowed_origins
        if origins:  # outermost, so that a browser can read refusals too
            self._cors = CORSMiddleware(
                self._guarded, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
                allow_credentials=True, expose_headers=EXPOSED,
            )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http" or kind == "websocket":  # noqa: PLR1714  # on every request: a set would be hashed
            if self._cors is None:
                await self._guarded(scope, receive, send)
            else:
                await self._cors(scope, receive, send)
        elif kind == "lifespan":
            document(scope.get("app", self.app), self.sessionware.settings)
            await _Lifespan(self.sessionware, receive, send).run(self.app, scope)
        else:
            await self.app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self.sessionware.at_work
        if engine is None or not engine.is_here:
            try:
                engine = await self.sessionware.start()
            except StoreUnavailable as error:
                await refuse(scope, receive, send, failed(error))
                return
        if self._api is not None and self._api.serves(scope):
            await self._api(scope, receive, send)
            return
        await guarded(engine, self.app, scope, receive, send)


class _Lifespan:
    """The app's own life, passed through: we start before it does, and close after it has."""

    def __init__(self, sessionware: Sessionware, receive: Receive, send: Send) -> None:
        self._sessionware = sessionware
        self._receive = receive
        self._send = send
        self._was_asked = False

    async def run(self, app: App, scope: Scope) -> None:
        """An app that refuses lifespans before it listens to one (Django) has it lived for it."""
        try:
            await app(scope, self._heard, self._told)
        except Exception:
            if self._was_asked:
                await self._sessionware.aclose()
                raise
            await self._live_alone()
        else:
            if not self._was_asked:
                await self._live_alone()

    async def _heard(self) -> Message:
        self._was_asked = True
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            await self._sessionware.start()
        return message

    async def _told(self, message: Message) -> None:
        if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"}:
            await self._sessionware.aclose()
        await self._send(message)

    async def _live_alone(self) -> None:
        while True:
            message = await self._heard()
            stage = message["type"]
            await self._told({"type": f"{stage}.complete"})
            if stage == "lifespan.shutdown":
                return
