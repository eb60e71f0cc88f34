"""The session client for plain code: a `with` block, and a thread that keeps the session alive."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from sessionware.client import protocol
from sessionware.client.protocol import KEEP_ALIVE_SECONDS, TIMEOUT_SECONDS, Opened, Wanted
from sessionware.errors import SessionNotFound, SessionwareError

JOIN_SECONDS = TIMEOUT_SECONDS + 1  # a ping under way ends by its own timeout


class SessionClient:
    """Starts a session on entering and closes it on leaving, whatever happens in between.

    `http` is a client of your own, which stays open; it gets no header of ours. Raises, on entering, what the
    server refused: SessionExists, InvalidToken, TooManySessions, ...; httpx2's errors when it cannot be reached.
    """

    def __init__(  # noqa: PLR0913  # what users type
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        http: httpx2.Client | None = None,
    ) -> None:
        self._wanted = Wanted(
            url=url, token=token, headers=headers or {}, session_id=session_id, metadata=metadata or {}, ttl=ttl
        )
        self._is_own = http is None
        self._http = http or httpx2.Client(timeout=TIMEOUT_SECONDS)
        self._opened: Opened | None = None
        self._stopped = threading.Event()
        self._keeper: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<session client {self._opened!r}>"

    @property
    def opened(self) -> Opened:
        """What the server said at the start. Raises RuntimeError outside the `with` block."""
        if self._opened is None:
            raise RuntimeError("the session is not open: use the client in a `with` block")
        return self._opened

    @property
    def id(self) -> str:
        return self.opened.session_id

    @property
    def ref(self) -> str:
        return self.opened.ref

    def __enter__(self) -> Self:
        try:
            wanted = self._wanted
            answer = self._http.post(wanted.base_url + protocol.START, json=wanted.body, headers=wanted.credentials)
            self._opened = protocol.opened(answer.status_code, answer.content)
        except BaseException:
            self._close_http()
            raise
        self._stopped.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session. That it is gone already is fine; any other trouble never hides an error of the block."""
        hidden = (httpx2.HTTPError, SessionwareError) if kind is not None else (SessionNotFound,)
        try:
            self._stop_keeping()
            with contextlib.suppress(*hidden):
                self._ask("POST", protocol.CLOSE)
        finally:
            self._opened = None
            self._close_http()

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request in this session to the same server; answers whatever it says."""
        headers = {**self._wanted.credentials, **self.opened.names_itself(), **(options.pop("headers", None) or {})}
        return self._http.request(method, self._wanted.base_url + path, headers=headers, **options)

    def ping(self) -> dict[str, Any]:
        """Begin the idle time anew. Raises SessionNotFound."""
        return self._ask("POST", protocol.PING)

    def status(self) -> dict[str, Any]:
        """All that the server says of the session; keeps nothing alive."""
        return self._ask("GET", protocol.STATUS)

    def keep_alive(self, interval: float = KEEP_ALIVE_SECONDS) -> threading.Thread:
        """Ping every `interval` seconds in the background, until the session is gone or closed.

        A server that cannot be reached is asked again. Answers the thread, the same one when it runs already.
        """
        _ = self.opened
        if self._keeper is None or not self._keeper.is_alive():
            self._keeper = threading.Thread(
                target=self._keep, args=(interval,), name="sessionware-keep-alive", daemon=True
            )
            self._keeper.start()
        return self._keeper

    def _keep(self, interval: float) -> None:
        while not self._stopped.wait(interval):
            try:
                self.ping()
            except SessionwareError as error:
                if protocol.is_final(error):
                    return
            except httpx2.HTTPError:
                continue

    def _stop_keeping(self) -> None:
        self._stopped.set()
        if self._keeper is not None:
            self._keeper.join(JOIN_SECONDS)

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        answer = self.request(method, path)
        protocol.check(answer.status_code, answer.content)
        return msgspec.json.decode(answer.content, type=dict[str, Any])

    def _close_http(self) -> None:
        if self._is_own:
            self._http.close()
