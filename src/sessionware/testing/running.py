"""The only place that runs an app without a server: its startup, its requests, its shutdown."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

from sessionware.asgi.messages import App, Message, Receive, Scope, Send
from sessionware.assembly.overriding import Overrides, overriding

STAGE_S: Final = 10.0  # an app that takes longer to start in a test hangs


class RunningApp:
    """An app between its startup and its shutdown, to be called as the app itself.

    Whatever Sessionware starts in it starts under `changed`. An app that knows no lifespan does without.
    """

    def __init__(self, app: App, changed: Overrides) -> None:
        self._app = app
        self._changed = changed
        self._state: dict[str, Any] = {}
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._was_asked = False
        self._life: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with overriding(self._changed):
            await self._app({**scope, "state": dict(self._state)}, receive, send)

    async def __aenter__(self) -> Self:
        """Raises what the app's startup raises, and TimeoutError when it does not end."""
        self._life = asyncio.create_task(self._live())
        try:
            await self._stage("startup", self._life)
        except BaseException:
            await _stop(self._life)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        life = self._life
        if life is None or life.done():
            return
        try:
            await self._stage("shutdown", life)
            await asyncio.wait({life}, timeout=STAGE_S)
        finally:
            await _stop(life)

    async def _live(self) -> None:
        with overriding(self._changed):
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
            await self._app(scope, self._hear, self._said.put)

    async def _hear(self) -> Message:
        self._was_asked = True
        return await self._to_app.get()

    async def _stage(self, stage: str, life: asyncio.Task[None]) -> None:
        """Tell the app to start or to stop, and wait until it has."""
        self._to_app.put_nowait({"type": f"lifespan.{stage}"})
        answer = asyncio.create_task(self._said.get())
        try:
            await asyncio.wait({answer, life}, timeout=STAGE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()  # does nothing once it is there
        if answer.done():
            said = answer.result()
            if said["type"] == f"lifespan.{stage}.complete":
                return
            await asyncio.wait({life}, timeout=STAGE_S)  # most raise what went wrong after they said that it did
            failure = life.exception() if life.done() else None
            raise failure or RuntimeError(f"the app's {stage} failed: {said.get('message', '')}")
        if not life.done():
            raise TimeoutError(f"the app's {stage} did not end within {STAGE_S:.0f} s")
        failure = life.exception()
        if failure is not None and self._was_asked:
            raise failure


async def _stop(life: asyncio.Task[None]) -> None:
    """End what has not ended by itself."""
    life.cancel()
    await asyncio.wait({life})
