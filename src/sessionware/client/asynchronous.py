"""The session client for async code: an `async with` block, and a task that keeps the session alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from sessionware.client import protocol
from sessionware.client.protocol import KEEP_ALIVE_SECONDS, TIMEOUT_SECONDS, Opened, Wanted
from sessionware.errors import SessionNotFound, SessionwareError


class AsyncSessionClient:
    """Starts a session on entering and closes it on leaving, whatever happens in between: cancellation, too.

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
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._wanted = Wanted(
            url=url, token=token, headers=headers or {}, session_id=session_id, metadata=metadata or {}, ttl=ttl
        )
        self._is_own = http is None
        self._http = http or httpx2.AsyncClient(timeout=TIMEOUT_SECONDS)
        self._opened: Opened | None = None
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<session client {self._opened!r}>"

    @property
    def opened(self) -> Opened:
        """What the server said at the start. Raises RuntimeError outside the `async with` block."""
        if self._opened is None:
            raise RuntimeError("the session is not open: use the client in an `async with` block")
        return self._opened

    @property
    def id(self) -> str:
        return self.opened.session_id

    @property
    def ref(self) -> str:
        return self.opened.ref

    async def __aenter__(self) -> Self:
        try:
            wanted = self._wanted
            answer = await self._http.post(
                wanted.base_url + protocol.START, json=wanted.body, headers=wanted.credentials
            )
            self._opened = protocol.opened(answer.status_code, answer.content)
        except BaseException:
            await self._close_http()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session. That it is gone already is fine; any other trouble never hides an error of the block."""
        hidden = (httpx2.HTTPError, SessionwareError) if kind is not None else (SessionNotFound,)
        closing = asyncio.ensure_future(self._close(hidden))
        await asyncio.shield(closing)

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request in this session to the same server; answers whatever it says."""
        headers = {**self._wanted.credentials, **self.opened.names_itself(), **(options.pop("headers", None) or {})}
        return await self._http.request(method, self._wanted.base_url + path, headers=headers, **options)

    async def ping(self) -> dict[str, Any]:
        """Begin the idle time anew. Raises SessionNotFound."""
        return await self._ask("POST", protocol.PING)

    async def status(self) -> dict[str, Any]:
        """All that the server says of the session; keeps nothing alive."""
        return await self._ask("GET", protocol.STATUS)

    def keep_alive(self, interval: float = KEEP_ALIVE_SECONDS) -> asyncio.Task[None]:
        """Ping every `interval` seconds in the background, until the session is gone or closed.

        A server that cannot be reached is asked again. Answers the task, the same one when it runs already.
        """
        _ = self.opened
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._keep(interval), name="sessionware-keep-alive")
        return self._keeper

    async def _keep(self, interval: float) -> None:
        never = asyncio.Event()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await never.wait()
            try:
                await self.ping()
            except SessionwareError as error:
                if protocol.is_final(error):
                    return
            except httpx2.HTTPError:
                continue

    async def _close(self, hidden: tuple[type[Exception], ...]) -> None:
        try:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.gather(self._keeper, return_exceptions=True)
            with contextlib.suppress(*hidden):
                await self._ask("POST", protocol.CLOSE)
        finally:
            self._opened = None
            await self._close_http()

    async def _ask(self, method: str, path: str) -> dict[str, Any]:
        answer = await self.request(method, path)
        protocol.check(answer.status_code, answer.content)
        return msgspec.json.decode(answer.content, type=dict[str, Any])

    async def _close_http(self) -> None:
        if self._is_own:
            await self._http.aclose()
