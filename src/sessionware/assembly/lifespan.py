"""The app's own life, passed through: we start before it does, and close after it has."""

from __future__ import annotations

import logging
from typing import Final

from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.assembly.installation import Sessionware
from sessionware.errors import ConfigError, StoreUnavailable

log: Final = logging.getLogger("sessionware")


class StartFailed(Exception):
    """The app must not begin: what was told to the server stands in the log."""


class Lifespan:
    """One lifespan of one app."""

    def __init__(self, sessionware: Sessionware, receive: Receive, send: Send) -> None:
        self._sessionware = sessionware
        self._receive = receive
        self._send = send
        self._was_asked = False

    async def run(self, app: App, scope: Scope) -> None:
        """An app that refuses lifespans before it listens to one (Django) has it lived for it."""
        try:
            await app(scope, self._heard, self._told)
        except StartFailed:
            return
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
            await self._start()
        return message

    async def _start(self) -> None:
        """A store that is away does not stop the app: requests are 503 until it is there. What can never work does."""
        try:
            await self._sessionware.start()
        except StoreUnavailable:
            log.error("the app starts without its store: requests are answered with 503 until it is there")  # noqa: TRY400  # the reason was said
        except ConfigError as error:
            await _refuse_to_start(self._send, error)
            raise StartFailed from error

    async def _told(self, message: Message) -> None:
        if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"}:
            await self._sessionware.aclose()
        await self._send(message)

    async def _live_alone(self) -> None:
        try:
            while True:
                message = await self._heard()
                stage = message["type"]
                await self._told({"type": f"{stage}.complete"})
                if stage == "lifespan.shutdown":
                    return
        except StartFailed:
            return


class CannotStart:
    """What stands in for an app whose settings cannot work: it stops the server, or fails every request."""

    def __init__(self, fault: ConfigError) -> None:
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ConfigError where there is no lifespan to say it in."""
        if scope["type"] != "lifespan":
            raise self._fault
        await receive()
        await _refuse_to_start(send, self._fault)


async def _refuse_to_start(send: Send, error: ConfigError) -> None:
    """Tell the server that the app cannot run: raised instead, a server takes it for an app without a lifespan."""
    log.error("%s", error)
    await send({"type": "lifespan.startup.failed", "message": str(error)})
