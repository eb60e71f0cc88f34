"""The way of one http request through its app: what is saved and sent before its head leaves, and after its body.

Bodies are never touched: messages pass through as they come, and only `http.response.start` is added to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import Entered
from sessionware.asgi.handing import handing_headers
from sessionware.asgi.limit_headers import limit_headers
from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.problems import FAILED, Problem, failed
from sessionware.asgi.refusing import respond
from sessionware.asgi.spend_header import SPEND_HEADER, SPEND_HEADER_LENGTH, read_spend
from sessionware.core.standing import glances
from sessionware.errors import (
    Conflict,
    LimitExceeded,
    PayloadTooLarge,
    SessionNotFound,
    SessionwareError,
    StoreUnavailable,
    TooManySessions,
)
from sessionware.service import amounts
from sessionware.telemetry import Action, Feature, Reason

# What keeps a session from being saved although the app did nothing wrong: the client is told instead of a 500.
SAID_TO_CLIENT: Final = (
    StoreUnavailable, SessionNotFound, Conflict, LimitExceeded, TooManySessions, PayloadTooLarge
)  # fmt: skip
log: Final = logging.getLogger("sessionware")


class Exchange:
    """One request that runs: its session, and what is added to its response."""

    _is_answered = False  # by us, in place of the app
    _is_over = False  # the last byte has left
    _status = 0
    _spent: dict[str, int] | None = None

    def __init__(self, engine: Engine, scope: Scope, send: Send, entered: Entered, *, news: int) -> None:
        """`news` is how much had been heard of ends before the request was let in."""
        self._engine = engine
        self._news = news
        self._scope = scope
        self._send = send
        self._entered = entered
        self._passage = Passage(engine, entered)
        self._task = asyncio.current_task(engine.loop)

    async def run(self, app: App, receive: Receive) -> None:
        """Run the app; whatever it does, its leases are released and its operation ends."""
        passage = self._passage
        failure: str | None = None
        try:
            passage.begin(self._scope)
            await app(self._scope, receive, self._pass_on)
        except SessionwareError as error:
            await self._answer_error(error)
        except asyncio.CancelledError:
            await self._end_stream()
        except BaseException as error:
            failure = type(error).__name__
            raise
        else:
            is_read = passage.session is not None and passage.session.is_read
            if not self._is_answered and (is_read or self._spent is not None):
                await self._settle()
        finally:
            passage.finish()
            self._measure(failure)
            passage.session = None  # they know each other: without this only the garbage collector would free them

    # -------------------------------------------------------------- messages

    async def _pass_on(self, message: Message) -> None:
        if self._is_answered:
            return  # the app's answer came after ours
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            session = self._passage.session
            if self._status >= FAILED or (session is not None and session.is_read):
                problem = await self._before_the_head()
                if problem is not None:
                    self._is_answered = True
                    await respond(self._send, problem)
                    return
            self._passage.has_begun = True
            message = self._with_headers(message)
        elif kind == "http.response.body":
            if not message.get("more_body", False):
                self._is_over = True
            elif self._passage.told is None:
                await self._begin_stream()
        await self._send(message)

    def _with_headers(self, message: Message) -> Message:
        """The head of the response with ours."""
        options, passage, decision = self._engine.options, self._passage, self._entered.decision
        headers = list(message.get("headers", ()))
        for name, _ in headers:
            if len(name) == SPEND_HEADER_LENGTH and name.lower() == SPEND_HEADER:
                self._spent = read_spend(headers)
                headers = [pair for pair in headers if pair[0].lower() != SPEND_HEADER]
                break
        met = passage.met if passage.standings else glances(decision.ask, decision.answer)
        headers += limit_headers(met, style=options.ratelimit_headers)
        session = passage.session
        if session is not None and (options.has_cookie or session.hands_out):
            headers += handing_headers(options, self._scope, self._entered.visit, session)
        return {**message, "headers": headers}

    async def _before_the_head(self) -> Problem | None:
        """Save what the handler changed; say what must be said in place of its answer, if anything."""
        passage = self._passage
        session = passage.session
        if self._status < FAILED:  # a handler that fails saves nothing
            try:
                if session is not None and session.is_read:
                    await session.save()
            except SAID_TO_CLIENT as error:
                log.warning("session %s: not saved: %s", "" if session is None else session.ref, error)
                return self._said(error)
        elif self._status == FAILED and passage.refusal is not None:
            return self._said(passage.refusal)  # the framework made a 500 of an error of ours that nobody caught
        return None

    async def _answer_error(self, error: SessionwareError) -> None:
        """An error of ours that the app let through is its answer, unless it is the app's own fault."""
        if self._is_answered:
            return
        if self._status or error.status_hint == FAILED:
            raise error
        self._status = error.status_hint
        await respond(self._send, self._said(error))

    def _said(self, error: SessionwareError) -> Problem:
        return failed(error, style=self._engine.options.ratelimit_headers, met=self._passage.met)

    # -------------------------------------------------------------- streams

    async def _begin_stream(self) -> None:
        """From its first part on a body is a stream: it closes when its session or its credential ends."""
        told = self._passage.close_when_over(self._stop)
        if self._engine.ends.news != self._news and await self._passage.has_ended():
            told.tell()  # while the app was working on its first part

    def _stop(self) -> None:
        if self._task is not None and not self._is_over:
            self._task.cancel()

    async def _end_stream(self) -> None:
        """Cancelled: by us, then the stream simply ends here; by the server, then that goes on."""
        told, task = self._passage.told, self._task
        if told is None or not told.is_over or task is None or task.uncancel() > 0:
            raise asyncio.CancelledError
        if not self._is_over:
            self._is_over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    # -------------------------------------------------------------- afterwards

    async def _settle(self) -> None:
        """What became known after the head had left: the stream's changes, and what the answer said it took."""
        session = self._passage.session
        if self._spent:
            await amounts.charge(self._engine.runtime, self._passage.stand, self._spent)
        if session is None or self._status >= FAILED:
            return
        try:
            await session.save()
        except SessionwareError as error:
            self._engine.runtime.telemetry.degraded(Feature.SAVING, Reason.FAILED, Action.DROPPED, error=error)
            log.warning("session %s: what changed after the response began is lost: %s", session.ref, error)

    def _measure(self, failure: str | None) -> None:
        """Book how the request went for its session's health."""
        session = self._passage.session
        if session is None or not session.is_stored:
            return
        runtime = self._engine.runtime
        key = session.record.key
        now = runtime.store.clock.now()
        runtime.health.called(key, now=now, took_ms=now - self._entered.decision.ask.now)
        if self._status >= FAILED and failure is None:
            failure = f"status {self._status}"
        if failure is not None and runtime.health.failed(key, now=now, error=failure) is not None:
            runtime.telemetry.alerted()
