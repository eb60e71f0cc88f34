"""The only place that lets every client of MCP do the same things in the same words.

async with calling("fastmcp-legacy", f"{proxy.url}/mcp", {"Authorization": "Bearer …"}) as caller:
    await caller.call("remember", text="tea")
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.clients.node import NodeFailed, Process, started

PATIENCE_S: Final = 30.0
_BODY: Final = re.compile(r'\{"jsonrpc".*\}', re.DOTALL)

OnProgress = Callable[[float], None]


class Refused(Exception):
    """What the client told its user, of a JSON-RPC error: its code, and `data` with the reason and the wait."""

    def __init__(self, code: int, message: str, data: dict[str, Any] | None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data or {}


class Caller(Protocol):
    """A client that is connected. Its methods raise Refused."""

    version: str

    async def call(self, tool: str, on_progress: OnProgress | None = None, **given: Any) -> str: ...
    async def prompt(self, name: str) -> str: ...
    async def resource(self, uri: str) -> str: ...


class Official:
    """The package `mcp`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.version = client.protocol_version

    async def call(self, tool: str, on_progress: OnProgress | None = None, **given: Any) -> str:
        answer = await _heard(self._client.call_tool(tool, given, progress_callback=_told(on_progress)))
        assert not answer.is_error, answer
        return _text(answer.content)

    async def prompt(self, name: str) -> str:
        return _text([message.content for message in (await _heard(self._client.get_prompt(name))).messages])

    async def resource(self, uri: str) -> str:
        return _text((await _heard(self._client.read_resource(uri))).contents)


class Fastmcp:
    """The package `fastmcp`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.version = str(client.session.protocol_version)

    async def call(self, tool: str, on_progress: OnProgress | None = None, **given: Any) -> str:
        answer = await _heard(self._client.call_tool(tool, given, progress_handler=_told(on_progress)))
        return _text(answer.content)

    async def prompt(self, name: str) -> str:
        return _text([message.content for message in (await _heard(self._client.get_prompt(name))).messages])

    async def resource(self, uri: str) -> str:
        return _text(await _heard(self._client.read_resource(uri)))


class TypeScript:
    """A package of npm, in a process of its own."""

    def __init__(self, process: Process, version: str) -> None:
        self._process = process
        self.version = version

    async def call(self, tool: str, on_progress: OnProgress | None = None, **given: Any) -> str:
        return str(await _read(self._process.do("call", on_progress, tool=tool, given=given)))

    async def prompt(self, name: str) -> str:
        return str(await _read(self._process.do("prompt", prompt=name)))

    async def resource(self, uri: str) -> str:
        return str(await _read(self._process.do("resource", uri=uri)))


@asynccontextmanager
async def _official(url: str, headers: dict[str, str], *, mode: str) -> AsyncIterator[Official]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield Official(client)


@asynccontextmanager
async def _fastmcp(url: str, headers: dict[str, str], *, mode: str) -> AsyncIterator[Fastmcp]:
    from fastmcp import Client as FastmcpClient  # noqa: PLC0415  # it takes a second
    from fastmcp.client.transports import StreamableHttpTransport  # noqa: PLC0415  # the same

    async with FastmcpClient(StreamableHttpTransport(url, headers), mode=mode, timeout=PATIENCE_S) as client:
        yield Fastmcp(client)


@asynccontextmanager
async def _typescript(url: str, headers: dict[str, str], *, package: str, mode: str) -> AsyncIterator[TypeScript]:
    async with started(package, mode) as process:
        yield TypeScript(process, str(await _read(process.do("connect", url=url, headers=headers))))
        await _read(process.do("close"))


_V1, _V2 = "@modelcontextprotocol/sdk", "@modelcontextprotocol/client"
_OPENED: Final[dict[str, Callable[[str, dict[str, str]], AbstractAsyncContextManager[Caller]]]] = {
    "official-legacy": partial(_official, mode="legacy"),
    "official-auto": partial(_official, mode="auto"),
    "fastmcp-legacy": partial(_fastmcp, mode="legacy"),
    "fastmcp-auto": partial(_fastmcp, mode="auto"),
    "typescript-legacy": partial(_typescript, package=_V2, mode="legacy"),
    "typescript-auto": partial(_typescript, package=_V2, mode="auto"),
    "typescript-first": partial(_typescript, package=_V1, mode="legacy"),  # the 1.x line, which knows no other era
}


def calling(client: str, url: str, headers: dict[str, str]) -> AbstractAsyncContextManager[Caller]:
    """Connect this client; at the end it says goodbye as its users do. Raises Refused."""
    return _OPENED[client](url, headers)


def is_legacy(client: str) -> bool:
    """Whether the client speaks the era with a handshake to a server that knows both."""
    return not client.endswith("-auto")


async def _heard(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except MCPError as error:
        raise Refused(error.code, error.message, error.data) from error


async def _read(answer: Awaitable[Any]) -> Any:
    """TypeScript clients put the whole body of a refusal into the message of their error."""
    try:
        return await answer
    except NodeFailed as error:
        body = _BODY.search(str(error))
        if body is None:
            raise
        told = json.loads(body[0])["error"]
        raise Refused(told["code"], told["message"], told.get("data")) from error


def _told(on_progress: OnProgress | None) -> Any:
    if on_progress is None:
        return None

    async def tell(done: float, total: float | None, message: str | None) -> None:
        on_progress(done)

    return tell


def _text(parts: list[Any]) -> str:
    return "".join(part.text for part in parts)
