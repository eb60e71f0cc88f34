"""The only place that puts an app behind a real uvicorn on a free port for tests, and takes it down again."""

import socket
import threading
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

START_WITHIN_S: Final = 10.0
STOP_WITHIN_S: Final = 10.0


class Served:
    """`with Served(app) as server: httpx2.get(server.url)`. The app's lifespan runs if it has one."""

    def __init__(self, app: Any, **options: Any) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws="websockets-sansio",
            timeout_graceful_shutdown=2,
            **{"lifespan": "auto"} | options,
        )
        self._server = _Announced(config)
        self._listening = socket.socket()
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._listening.bind(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread.start()
        assert self._server.is_up.wait(START_WITHIN_S), "uvicorn did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN_S)
        assert not self._thread.is_alive(), "uvicorn did not stop"
        self._listening.close()


class _Announced(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()
