"""The only place that runs a TypeScript client for the suite: a Node process that is told what to do, line by line."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.conformance.suite import folder, node

SCRIPT: Final = Path(__file__).with_name("typescript.mjs")
LINE_MAX: Final = 1 << 20
END_WITHIN_S: Final = 10.0


class NodeFailed(Exception):
    """The client raised an error; the message carries its kind and what it said."""


class Process:
    """One client. It does several things at once, as it is asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self._waiting: dict[int, tuple[asyncio.Future[Any], Callable[[float], None] | None]] = {}
        self._asked = 0

    async def do(self, action: str, on_progress: Callable[[float], None] | None = None, **what: Any) -> Any:
        """Raises NodeFailed."""
        self._asked += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._asked] = answer, on_progress
        self._to.write(json.dumps({"id": self._asked, "action": action, **what}).encode() + b"\n")
        await self._to.drain()
        return await answer

    async def listen(self) -> None:
        """Hand out the answers until the process ends; whoever still waits then is told so."""
        while line := await self._from.readline():
            said = json.loads(line)
            answer, on_progress = self._waiting[said["id"]]
            if "progress" in said:
                if on_progress is not None:
                    on_progress(said["progress"]["progress"])
                continue
            del self._waiting[said["id"]]
            if answer.done():  # whoever asked has gone
                continue
            if "error" in said:
                answer.set_exception(NodeFailed(f"{said['error']['kind']}: {said['error']['message']}"))
            else:
                answer.set_result(said["result"])
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(NodeFailed("the process ended; what it said stands in standard error"))


@asynccontextmanager
async def started(package: str, mode: str) -> AsyncIterator[Process]:
    """Raises SuiteMissing when Node is not there."""
    command = [str(node()), str(SCRIPT), str(folder().resolve()), package, mode]
    running = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE_MAX)
    process = Process(running)
    listening = asyncio.create_task(process.listen())
    try:
        yield process
    finally:
        assert running.stdin is not None
        running.stdin.close()
        try:
            await asyncio.wait_for(running.wait(), END_WITHIN_S)
        except TimeoutError:
            running.kill()
            await running.wait()
        await listening
