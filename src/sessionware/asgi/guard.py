"""The way of one http request: who asks, one admission, the app, what is saved and sent.

Bodies are never touched: messages pass through as they come, and only `http.response.start` is added to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from sessionware.asgi import cookies
from sessionware.asgi.entering import Entered, enter
from sessionware.asgi.limit_headers import Header, limit_headers
from sessionware.asgi.messages import App, Message, Receive, Scope, Send, respond
from sessionware.asgi.options import Engine
from sessionware.asgi.problems import Problem, failed
from sessionware.asgi.reading import read
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.socket import run_socket
from sessionware.credentials.presented import Place
from sessionware.errors import LimitExceeded, SessionwareError, StoreUnavailable
from sessionware.gate import Running
from sessionware.telemetry import Action, Feature, Reason

FAILED: Final = 500  # a handler that answers with this or more saves nothing
log: Final = logging.getLogger("sessionware")


class Guard:
    """Stands in front of an app for requests and sockets; everything else is let through."""

    def __init__(self, app: App, engine: Callable[[], Engine]) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        engine = self._engine()
        if scope["path"] in engine.options.exempt_paths:
            await self._app(scope, receive, send)
            return
        if kind == "websocket":
            await run_socket(engine, self._app, scope, receive, send)
            return
        seen = read(scope, engine.options.names)
        try:
            admitted = await enter(engine, scope, seen)
        except SessionwareError as error:
            await respond(send, failed(error))
            return
        if isinstance(admitted, Problem):
            await respond(send, admitted)
            return
        await _Exchange(engine, scope, send, admitted).run(self._app, receive)


class _Exchange:
    """One request that runs: its session, and what is added to its response."""

    def __init__(self, engine: Engine, scope: Scope, send: Send, admitted: Entered) -> None:
        self._engine = engine
        self._scope = scope
        self._send = send
        self._admitted = admitted
        self._is_answered = False  # by us, in place of the app
        self._status = 0
        self._session = admitted.session(engine)

    async def run(self, app: App, receive: Receive) -> None:
        """Run the app; whatever it does, its leases are released and its operation ends."""
        engine, ask, session = self._engine, self._admitted.ask, self._session
        self._scope.setdefault("state", {})["session"] = session
        if session is not None and not ask.leases:
            engine.gate.leases.register(ask.operation, Running(ask.bucket, session.record.key))
        try:
            try:
                await app(self._scope, receive, self._pass_on)
            except LimitExceeded as error:
                if self._is_answered:
                    return
                if self._status:
                    raise
                await respond(self._send, failed(error))
                return
            if session is not None and self._status < FAILED:
                await self._save_late(session)
        finally:
            engine.gate.leases.release(ask.operation)

    async def _pass_on(self, message: Message) -> None:
        if self._is_answered:
            return  # the app's answer came after ours
        if message["type"] == "http.response.start":
            self._status = message["status"]
            problem = await self._before_the_head()
            if problem is not None:
                self._is_answered = True
                await respond(self._send, problem)
                return
            message = {**message, "headers": [*message.get("headers", ()), *self._headers()]}
        await self._send(message)

    async def _before_the_head(self) -> Problem | None:
        """Save what the handler changed; say what must be said in place of its answer, if anything."""
        session = self._session
        if session is None:
            return None
        if self._status < FAILED:
            try:
                await session.save()
            except StoreUnavailable as error:
                return failed(error)
        elif session.refusal is not None and self._status == FAILED:
            return failed(session.refusal)  # the framework made a 500 of a LimitExceeded that nobody caught
        session.has_begun = True
        return None

    def _headers(self) -> list[Header]:
        admitted, options = self._admitted, self._engine.options
        headers = limit_headers(admitted.decision.standings, style=options.ratelimit_headers)
        if admitted.decision.answer.is_new and admitted.meant.hands_out:
            headers.append((b"cache-control", b"private, no-store"))
            if options.names.session_header:
                headers.append((options.names.session_header, admitted.meant.text.encode()))
            if options.cookie.name:
                is_https = self._scope.get("scheme") == "https"
                cookie = cookies.set_cookie(options.cookie, admitted.meant.text, is_https=is_https)
                headers.append((b"set-cookie", cookie))
        if admitted.meant.place is Place.COOKIE:
            headers.append((b"vary", b"Cookie"))
        return headers

    async def _save_late(self, session: RequestSession) -> None:
        """What a stream changed after its head left: saved if it can be, else counted and said."""
        try:
            await session.save()
        except SessionwareError as error:
            telemetry = self._engine.runtime.telemetry
            telemetry.degraded(Feature.SAVING, Reason.FAILED, Action.DROPPED, error=error)
            log.warning("session %s: what changed after the response began is lost: %s", session.ref, error)
