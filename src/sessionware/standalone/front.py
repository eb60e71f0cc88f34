"""The only place that every request passes first: counted, logged, and led to our own pages or to the proxy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from typing import Final

from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.clock import SYSTEM_NS
from sessionware.proxy.asked import asked_of
from sessionware.proxy.wire import WireFault
from sessionware.standalone.access_log import REQUEST_ID, AccessLog
from sessionware.standalone.traffic import NO_POOL, Traffic

ADMINISTRATION: Final = "/upstreams"  # and what lies below it


class Front:
    """An ASGI app. `own` are pages of ours by path; `administration` serves what lies under `/upstreams`."""

    def __init__(
        self,
        app: App,
        *,
        own: Mapping[str, App],
        traffic: Traffic,
        access_log: AccessLog | None = None,
        administration: App | None = None,
    ) -> None:
        """Without an `access_log` nothing is logged."""
        self._app = app
        self._own = own
        self._traffic = traffic
        self._log = access_log
        self._administration = administration
        self._prefix = os.urandom(4).hex().encode()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._log is not None:
            self._name(scope)
        answering, since = _Answering(send, self._traffic), SYSTEM_NS()
        self._traffic.running += 1
        try:
            await self._app_of(scope["path"])(scope, receive, answering.send)
        except WireFault:
            if not answering.status:
                raise
            # The answer broke off and this was logged: the server cuts an answer that is not complete.
        finally:
            answering.end()
            self._ended(scope, answering.status, SYSTEM_NS() - since)

    def _app_of(self, path: str) -> App:
        own = self._own.get(path)
        if own is not None:
            return own
        if self._administration is not None and (path == ADMINISTRATION or path.startswith(f"{ADMINISTRATION}/")):
            return self._administration
        return self._app

    def _ended(self, scope: Scope, status: int, took_ns: int) -> None:
        asked = asked_of(scope)
        self._traffic.running -= 1
        self._traffic.ended(NO_POOL if asked is None else asked.route.pool.name, status)
        if self._log is not None:
            self._log.write(scope, status, took_ns)

    def _name(self, scope: Scope) -> None:
        """Give the request an id, which goes to the upstream too, unless it has one."""
        headers = scope["headers"]
        for name, _ in headers:
            if name == REQUEST_ID:
                return
        headers.append((REQUEST_ID, b"%s-%x" % (self._prefix, next(self._numbers))))


class _Answering:
    """One answer on its way out."""

    __slots__ = ("_is_stream", "_send", "_traffic", "status")

    def __init__(self, send: Send, traffic: Traffic) -> None:
        self._send = send
        self._traffic = traffic
        self._is_stream = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not self._is_stream and message.get("more_body"):
            self._is_stream = True
            self._traffic.streams += 1
        await self._send(message)

    def end(self) -> None:
        if self._is_stream:
            self._traffic.streams -= 1
