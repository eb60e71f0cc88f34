"""The only place that starts worker processes of one app and stops them for certain."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.edge import wire
from tests.edge.wire import Answer, Header
from tests.servers import end

ROOT: Final = Path(__file__).resolve().parents[2]
ANSWER_WITHIN_S: Final = 30.0  # several processes start on few cores


class Worker:
    """One process; it listens before it runs, so that a connection waits for it."""

    def __init__(self, settings: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            self.port = listening.getsockname()[1]
            number = listening.fileno()
            command = [sys.executable, "-m", "tests.edge.worker", str(number), json.dumps(settings)]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[number], stdin=subprocess.DEVNULL)

    def kill9(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        end(self._process)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_WITHIN_S)

    def ask(self, method: str, target: str, *headers: Header, sid: str | None = None, body: bytes = b"") -> Answer:
        """One request to this worker."""
        answer = wire.exchange(self.connect(), wire.request(method, target, _with_id(headers, sid), body))
        assert answer is not None
        return answer


@contextlib.contextmanager
def running(count: int, **settings: str) -> Iterator[list[Worker]]:
    """So many workers of one app, all of which have answered once."""
    with contextlib.ExitStack() as stopping:
        workers = []
        for _ in range(count):
            workers.append(Worker(settings))
            stopping.callback(workers[-1].stop)
        for worker in workers:
            assert worker.ask("GET", "/health").status == 200
        yield workers


def at_once(workers: list[Worker], requests: Iterable[bytes]) -> list[Answer]:
    """Send all of them at the same time, in turn to each worker."""

    async def one(worker: Worker, sent: bytes) -> Answer | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        try:
            writer.write(sent)
            return wire.answer_of(await reader.read())
        finally:
            writer.close()

    async def all_() -> list[Answer | None]:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            turns = enumerate(requests)
            return await asyncio.gather(*[one(workers[number % len(workers)], sent) for number, sent in turns])

    return wire.all_of(asyncio.run(all_()))


def _with_id(headers: Iterable[Header], sid: str | None) -> list[Header]:
    return [*headers, *([] if sid is None else [("X-Session-ID", sid)])]
