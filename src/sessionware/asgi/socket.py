"""The way of one WebSocket: judged at the handshake, open while it lasts, closed when its session ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from sessionware.asgi.entering import Entered, enter
from sessionware.asgi.messages import App, Message, Receive, Scope, Send, respond
from sessionware.asgi.options import Engine
from sessionware.asgi.problems import Problem, failed
from sessionware.asgi.reading import read
from sessionware.asgi.request_session import RequestSession
from sessionware.errors import SessionwareError

PROTOCOL: Final = "sessionware"  # what is answered to a client that offered its id as a subprotocol
CLOSED_BY_US: Final = 4000  # plus the status: 4401, 4429, ...
SESSION_OVER: Final = 4401
SAVE_AT_CLOSE_S: Final = 1.0
log: Final = logging.getLogger("sessionware")


async def run_socket(engine: Engine, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the handshake with a real HTTP answer where the server can, else with 4000 + the status."""
    try:
        entered = await enter(engine, scope, read(scope, engine.options.names), opens=True)
    except SessionwareError as error:
        entered = failed(error)
    if isinstance(entered, Problem):
        await _refuse(scope, receive, send, entered)
        return
    await _Socket(engine, entered, scope, send).run(app, receive)


class _Socket:
    """One socket that was let in."""

    def __init__(self, engine: Engine, entered: Entered, scope: Scope, send: Send) -> None:
        self._engine = engine
        self._entered = entered
        self._scope = scope
        self._send = send
        self._session: RequestSession | None = entered.session(engine)

    async def run(self, app: App, receive: Receive) -> None:
        """Run the app until it or the session ends; what was written is saved, the session is open no more."""
        session, ask = self._session, self._entered.ask
        self._scope.setdefault("state", {})["session"] = session
        key = session.record.key if session is not None else None
        running = asyncio.ensure_future(app(self._scope, receive, self._pass_on))
        try:
            with self._engine.ends.told(key, running.cancel) as told:
                try:
                    await running
                except asyncio.CancelledError:
                    if not told.is_over:
                        running.cancel()
                        raise
                    await self._close(SESSION_OVER)
            if session is not None and not told.is_over:
                await self._save(session)
        finally:
            self._engine.gate.leases.release(ask.operation)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            if self._session is not None:
                await self._save(self._session)
            offered = self._scope.get("subprotocols") or ()
            if PROTOCOL in offered and not message.get("subprotocol"):
                message = {**message, "subprotocol": PROTOCOL}
        await self._send(message)

    async def _save(self, session: RequestSession) -> None:
        try:
            async with asyncio.timeout(SAVE_AT_CLOSE_S):
                await session.save()
        except (SessionwareError, TimeoutError) as error:
            log.warning("session %s: what a socket changed is lost: %s", session.ref, error)

    async def _close(self, code: int) -> None:
        with contextlib.suppress(RuntimeError, OSError):  # it may be closed already
            await self._send({"type": "websocket.close", "code": code, "reason": "session over"})


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Problem) -> None:
    await receive()  # websocket.connect: nothing may be sent before it
    extensions: Any = scope.get("extensions") or {}
    if "websocket.http.response" in extensions:
        await respond(send, answer, prefix="websocket.http.response")
        return
    await send({"type": "websocket.close", "code": CLOSED_BY_US + answer.status, "reason": ""})
