"""What users mount: `app.add_middleware(SessionMiddleware, limits=[...])`."""

from __future__ import annotations

import logging
from typing import Any, Final

from sessionware.asgi.guard import Guard
from sessionware.asgi.messages import App, Message, Receive, Scope, Send, respond
from sessionware.asgi.problems import failed
from sessionware.assembly.installation import Sessionware
from sessionware.config.load import load
from sessionware.config.settings import Settings
from sessionware.errors import ConfigError, StoreUnavailable

log: Final = logging.getLogger("sessionware")


class SessionMiddleware:
    """Real sessions for any ASGI app. Without arguments it is configured by the environment alone.

    Making it does no I/O. It starts with the app's lifespan, or with the first request where there is none.
    Raises ConfigError for a setting that cannot work, with its name, its value and the way out.
    """

    def __init__(self, app: App, sessionware: Sessionware | None = None, **settings: Any) -> None:
        self._app = app
        if sessionware is not None and settings:
            raise ConfigError(f"SessionMiddleware: {', '.join(settings)} belong to the Sessionware that is given")
        self.sessionware = sessionware or Sessionware(_loaded(settings))
        self._guard = Guard(app, lambda: self.sessionware.engine)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if not self.sessionware.is_started and scope["type"] == "http":
            try:
                await self.sessionware.start()
            except StoreUnavailable as error:
                answer = failed(error)
                await respond(send, answer)
                return
        await self._guard(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan through; start before the app does, close after it has."""

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.sessionware.start()
            return message

        async def told(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await self.sessionware.aclose()
            await send(message)

        await self._app(scope, heard, told)


def _loaded(keywords: dict[str, Any]) -> Settings:
    """The settings, with what there is to warn about said once."""
    loaded = load(keywords=keywords)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.settings
