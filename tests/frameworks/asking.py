"""How the tests of frameworks ask: as a server does, with every message of the answer, or for statuses alone."""

import asyncio
from typing import Any, NamedTuple

import httpx2

from sessionware import SessionwareError


class Answered(NamedTuple):
    """What was sent, in order; `raised` stands last where the app raised an error of ours."""

    status: int
    body: bytes
    sent: list[str]


async def asked(app: Any, path: str) -> Answered:
    """One GET of a stranger who stays until the answer is complete."""
    sent: list[dict[str, Any]] = []
    said = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if said:
            return said.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "client": ("203.0.113.7", 1), "server": ("app.test", 80), "scheme": "http", "http_version": "1.1",
        "root_path": "", "state": {},
    }  # fmt: skip
    types = []
    try:
        await app(scope, receive, send)
    except SessionwareError:
        types = ["raised"]
    body = b"".join(message.get("body", b"") for message in sent)
    return Answered(sent[0]["status"], body, [message["type"] for message in sent] + types)


async def statuses(client: httpx2.AsyncClient, *requests: str) -> list[int]:
    """The status of each request, `GET` unless it says otherwise."""
    found = []
    for request in requests:
        method, _, path = request.rpartition(" ")
        found.append((await client.request(method or "GET", path)).status_code)
    return found
