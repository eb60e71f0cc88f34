"""The only place that knows whether this process has been asked to end, and how soon."""

from __future__ import annotations

import asyncio
import contextlib
import signal


class Leaving:
    """Needs a running event loop. The first signal asks for an orderly end, a second SIGINT for one at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    @property
    def is_hurried(self) -> bool:
        return self._hurried.is_set()

    def ask(self) -> None:
        """End in good order."""
        self._asked.set()

    def hurry(self) -> None:
        """End at once."""
        self._asked.set()
        self._hurried.set()

    def interrupted(self) -> None:
        """Ctrl-C: the first time in good order, the second time at once."""
        if self._asked.is_set():
            self._hurried.set()
        self._asked.set()

    def obey_signals(self, *, is_worker: bool = False) -> None:
        """SIGTERM and SIGINT; a worker is told everything by its supervisor: SIGTERM, and SIGUSR2 for at once."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.ask)
        if is_worker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all of us
            loop.add_signal_handler(signal.SIGUSR2, self.hurry)
        else:
            loop.add_signal_handler(signal.SIGINT, self.interrupted)

    def end_with(self, lifeline: int) -> None:
        """End in good order when the other end of this pipe is closed: whoever held it is no more."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(lifeline)
            self.ask()

        loop.add_reader(lifeline, ended)

    async def until_asked(self) -> None:
        await self._asked.wait()

    async def hurried_within(self, seconds: float) -> bool:
        """Wait so long, or until there is no time to wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        return self.is_hurried
