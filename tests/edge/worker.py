"""One worker process of a test: a real uvicorn with the app behind the middleware, on a socket that it inherits.

python -m tests.edge.worker DESCRIPTOR SETTINGS-AS-JSON
"""

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn

from sessionware import SessionMiddleware
from tests.edge.app import build


async def serve(descriptor: int, settings: dict[str, Any]) -> None:
    config = uvicorn.Config(
        SessionMiddleware(build(), **settings),
        lifespan="on",
        log_level="critical",
        access_log=False,
        proxy_headers=False,
    )
    await uvicorn.Server(config).serve(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), json.loads(sys.argv[2])))
