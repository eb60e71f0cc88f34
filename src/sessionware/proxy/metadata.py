"""The only place that tells clients where they get a token for us (RFC 9728), in an upstream's words or in our own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sessionware.asgi.messages import Scope
from sessionware.asgi.problems import Problem
from sessionware.asgi.reading import host_of
from sessionware.proxy.mcp.answers import error_answer
from sessionware.proxy.standing import Upstream
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import BadAnswer, Deadlines, Response, UpstreamRequest, WireFault

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
ASKED_MAX: Final = 2  # upstreams that are asked for a document: strangers ask for it, and one should do
DOCUMENT_MAX: Final = 64 << 10  # bytes of an upstream's document
BODY_WITHIN_S: Final = 5.0  # all of it: one that comes byte by byte must not hold whoever asks
_SOON: Final = Deadlines(connect=3.0, head=10.0, idle=5.0)
_OK: Final = 200


class Authorities(Struct, frozen=True, kw_only=True):
    """What the settings say of who may come, and where to: PUBLIC_URL, the issuers we believe, and our audiences.

    `forwarding` are the pools whose upstreams see the client's own token. `is_local`: only this machine can reach us,
    so that the names it calls us by are ours.
    """

    public_url: str | None = None
    issuers: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    forwarding: frozenset[str] = frozenset()
    is_local: bool = False


class Metadata:
    """The documents of all MCP pools. `members` are a pool's upstreams, by its name."""

    def __init__(
        self, pools: Sequence[Pool], authorities: Authorities, *, members: Mapping[str, Iterable[Upstream]]
    ) -> None:
        self._pools = [pool for pool in pools if pool.kind != "http"]
        self._authorities = authorities
        self._members = members

    def url(self, scope: Scope, pool: Pool) -> bytes | None:
        """Where the document about a pool is; None: there is none."""
        resource = self._resource(scope, pool)
        return None if resource is None else _well_known(resource).encode()

    async def answer(self, scope: Scope) -> Problem:
        """The document that is asked for, if there is one. Nobody needs a credential for it."""
        path: str = scope["path"]
        if scope["method"] not in {"GET", "HEAD"}:
            return error_answer(405, "Method not allowed: a document is read", headers=[(b"allow", b"GET, HEAD")])
        pool = self._pool_at(scope, path.removeprefix(WELL_KNOWN).rstrip("/"))
        resource = None if pool is None else self._resource(scope, pool)
        if pool is None or resource is None:
            return error_answer(404, "Not found: nothing here asks for a token that is issued elsewhere")
        if self._authorities.issuers:
            return _document(
                {
                    "resource": resource,
                    "authorization_servers": list(self._authorities.issuers),
                    "bearer_methods_supported": ["header"],
                }
            )
        return await self._of_upstreams(pool, resource)

    def _resource(self, scope: Scope, pool: Pool) -> str | None:
        """What a token for this pool is for. None: no token is asked for, or nobody knows what we are called."""
        known = self._authorities
        endpoint = self._endpoint(scope, pool)
        if endpoint is None or not (known.issuers or pool.name in known.forwarding):
            return None
        if not known.issuers or known.public_url is None or endpoint in known.audience:
            return endpoint
        return known.public_url

    def _endpoint(self, scope: Scope, pool: Pool) -> str | None:
        """The pool's URL. PUBLIC_URL may be that of the endpoint itself, or of what is above it."""
        known = self._authorities
        if known.public_url is not None:
            base = known.public_url.rstrip("/")
            return base if urlsplit(base).path.endswith(pool.path) else base + pool.path
        host = host_of(scope) if known.is_local else ""
        return f"{scope.get('scheme', 'http')}://{host}{pool.path}" if host else None

    def _pool_at(self, scope: Scope, suffix: str) -> Pool | None:
        """The pool whose document is asked for; at the root the first one's."""
        for pool in self._pools:
            endpoint, resource = self._endpoint(scope, pool), self._resource(scope, pool)
            named = {pool.path, *[urlsplit(each).path.rstrip("/") for each in (endpoint, resource) if each]}
            if suffix in named:
                return pool
        return self._pools[0] if self._pools and not suffix else None

    async def _of_upstreams(self, pool: Pool, resource: str) -> Problem:
        """What an upstream says, as if it stood where we do: clients refuse a document about another resource."""
        for upstream in islice(self._members[pool.name], ASKED_MAX):
            for target in dict.fromkeys((WELL_KNOWN + upstream.address.path.rstrip("/"), WELL_KNOWN)):
                found = await _fetched(upstream, target)
                if found is not None:
                    # What is signed speaks of the upstream's own address.
                    kept = {name: value for name, value in found.items() if name != "signed_metadata"}
                    return _document(kept | {"resource": resource})
        return error_answer(404, "Not found: no upstream says where its tokens are issued")


def is_document(path: str) -> bool:
    """Whether what is asked for is a document about a resource."""
    return path.startswith(WELL_KNOWN) and path[len(WELL_KNOWN) :][:1] in {"", "/"}


def challenge(metadata_url: bytes | None, *, error: str = "") -> tuple[bytes, bytes]:
    """WWW-Authenticate as RFC 6750 and RFC 9728 want it. `error` only where a token has a fault."""
    said = [f'error="{error}"'.encode()] if error else []
    if metadata_url is not None:
        said.append(b'resource_metadata="' + metadata_url + b'"')
    return b"www-authenticate", b" ".join([b"Bearer", b", ".join(said)]).rstrip()


def _well_known(resource: str) -> str:
    """RFC 9728 3.1: between the host and the path of the resource."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"


def _document(members: Mapping[str, Any]) -> Problem:
    body = msgspec.json.encode(members)
    return Problem(
        _OK,
        [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-cache"),
            (b"access-control-allow-origin", b"*"),  # it is for everybody, and holds no secret
        ],
        body,
    )


async def _fetched(upstream: Upstream, target: str) -> dict[str, Any] | None:
    """The document that an upstream has there; None: it has none, or it cannot be read."""
    request = UpstreamRequest("GET", target.encode(), [(b"accept", b"application/json")])
    try:
        response = await upstream.wire.send(request, deadlines=_SOON)
    except WireFault:
        return None
    try:
        body = await _bounded(response) if response.status == _OK else b""
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (BadAnswer, TimeoutError, msgspec.DecodeError):
        return None
    finally:
        await response.aclose()
    return found


async def _bounded(response: Response) -> bytes:
    """The whole body; nothing when it is longer than a document can be. Raises BadAnswer, TimeoutError."""
    body = bytearray()
    async with asyncio.timeout(BODY_WITHIN_S):
        async for part in response:
            body += part
            if len(body) > DOCUMENT_MAX:
                return b""
    return bytes(body)
