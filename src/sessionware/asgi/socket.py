"""The way of one WebSocket: judged at the handshake, limited by message, closed when its session ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from sessionware.asgi.ends import Told
from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import Entered, enter
from sessionware.asgi.handing import handing_headers
from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.problems import FAILED, Problem, failed
from sessionware.asgi.refusing import CLOSED_BY_US, refuse
from sessionware.asgi.request_session import RequestSession
from sessionware.core.limits import MESSAGES
from sessionware.errors import LimitExceeded, SessionwareError
from sessionware.service import amounts
from sessionware.telemetry import Action, Feature, Reason

PROTOCOL: Final = "sessionware"  # what is answered to a client that offered its id as a subprotocol
SESSION_OVER: Final = 4401
SAVE_EVERY_S: Final = 1.0
SAVE_AT_CLOSE_S: Final = 1.0
log: Final = logging.getLogger("sessionware")


async def run_socket(engine: Engine, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the handshake with a real HTTP answer where the server can, else with 4000 + the status."""
    try:
        entered = await enter(engine, scope, opens=True)
    except SessionwareError as error:
        entered = failed(error, style=engine.options.ratelimit_headers)
    if isinstance(entered, Problem):
        await refuse(scope, receive, send, entered)
        return
    await _Socket(engine, entered, scope, receive, send).run(app)


class _Socket:
    """One socket that was let in."""

    def __init__(self, engine: Engine, entered: Entered, scope: Scope, receive: Receive, send: Send) -> None:
        self._engine = engine
        self._entered = entered
        self._scope = scope
        self._receive = receive
        self._send = send
        self._passage = Passage(engine, entered)
        self._counts_messages = any(ladder.resource == MESSAGES for ladder in engine.runtime.policy.ladders)
        self._saving: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._is_accepted = False
        self._has_begun = False  # the app has heard of the handshake

    @property
    def _session(self) -> RequestSession | None:
        return self._passage.session

    async def run(self, app: App) -> None:
        """Run the app until it or the session ends; what was written is saved, the session is open no more."""
        self._passage.begin(self._scope)
        running = asyncio.ensure_future(app(self._scope, self._heard, self._pass_on))
        told = self._passage.close_when_over(running.cancel)
        try:
            await self._run_until_told(running, told)
        except SessionwareError as error:
            await self._refuse(error)
        finally:
            self._passage.finish()
            await self._save_last(is_over=told.is_over)
            self._passage.session = None  # as in Exchange.run

    async def _run_until_told(self, running: asyncio.Future[None], told: Told) -> None:
        try:
            await running
        except asyncio.CancelledError:
            if not told.is_over:
                running.cancel()
                raise
            await self._close(SESSION_OVER, "session over")

    # -------------------------------------------------------------- messages

    async def _heard(self) -> Message:
        message = await self._receive()
        self._has_begun = True
        if message["type"] == "websocket.receive":
            await self._count()
            self._save_soon()
        return message

    async def _count(self) -> None:
        """One message more. Raises LimitExceeded, which ends the app and closes the socket."""
        session, runtime = self._session, self._engine.runtime
        if session is not None and session.is_stored:
            runtime.health.said(session.record.key, now=runtime.now())
        if self._counts_messages:
            await amounts.spend(runtime, self._passage.stand, {MESSAGES: 1})

    async def _pass_on(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            message = await self._accepting(message)
        elif kind == "websocket.close":
            refusal = self._passage.refusal
            if refusal is not None and not self._is_accepted:
                await self._turn_away(refusal)  # the framework closed for an error of ours that nobody caught
                return
            self._closing.set()
        await self._send(message)
        self._save_soon()

    async def _accepting(self, message: Message) -> Message:
        """The acceptance with ours: the subprotocol that the client asked for, and a new id."""
        await self._save()
        self._passage.has_begun = self._is_accepted = True
        if PROTOCOL in (self._scope.get("subprotocols") or ()) and not message.get("subprotocol"):
            message = {**message, "subprotocol": PROTOCOL}
        if self._session is None:
            return message
        added = handing_headers(self._engine.options, self._scope, self._entered.visit, self._session)
        return {**message, "headers": [*message.get("headers", ()), *added]} if added else message

    # -------------------------------------------------------------- what is saved

    def _save_soon(self) -> None:
        """Within a second from now what the app changed is saved."""
        if self._session is not None and self._saving is None and not self._closing.is_set():
            self._saving = self._engine.loop.create_task(self._save_later())

    async def _save_later(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAVE_EVERY_S):
                await self._closing.wait()
        self._saving = None
        await self._save()

    async def _save_last(self, *, is_over: bool) -> None:
        """What is left to save when the socket closes; a server that shuts down does not stop it."""
        if self._saving is not None:
            self._saving.cancel()
        if not is_over:
            await asyncio.shield(self._engine.loop.create_task(self._save()))

    async def _save(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            async with asyncio.timeout(SAVE_AT_CLOSE_S):
                await session.save()
        except (SessionwareError, TimeoutError) as error:
            self._engine.runtime.telemetry.degraded(Feature.SAVING, Reason.FAILED, Action.DROPPED, error=error)
            log.warning("session %s: what a socket changed is lost: %s", session.ref, error)

    async def _refuse(self, error: SessionwareError) -> None:
        """The app let an error of ours through: it is the answer, unless it is the app's own fault."""
        if error.status_hint == FAILED:
            raise error
        if self._is_accepted:
            is_limit = isinstance(error, LimitExceeded)
            await self._close(CLOSED_BY_US + error.status_hint, "limit exceeded" if is_limit else error.code)
        else:
            await self._turn_away(error)

    async def _turn_away(self, error: SessionwareError) -> None:
        """Refuse the handshake as we do before the app hears of it."""
        if self._closing.is_set():
            return
        self._closing.set()
        answer = failed(error, style=self._engine.options.ratelimit_headers)
        with contextlib.suppress(RuntimeError, OSError):
            await refuse(self._scope, _nothing if self._has_begun else self._receive, self._send, answer)

    async def _close(self, code: int, reason: str) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        with contextlib.suppress(RuntimeError, OSError):  # the client may have gone already
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


async def _nothing() -> Message:
    """The handshake was received already."""
    return {"type": "websocket.connect"}
