"""The only place that looks at a request before the middleware does: where it leads, and what it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import Receive, Scope
from sessionware.asgi.problems import Problem, problem
from sessionware.asgi.reading import host_of
from sessionware.asgi.routing import Makes, Routed
from sessionware.core.request import Facts
from sessionware.proxy.asked import SCOPE_KEY, Asked, names_link
from sessionware.proxy.headers import SESSION_ID, head_fault
from sessionware.proxy.incoming import BodyTooLarge, ClientGone, Incoming
from sessionware.proxy.mcp.answers import as_json_rpc, bad_body, error_answer, header_mismatch
from sessionware.proxy.mcp.era import Era, era_of
from sessionware.proxy.mcp.messages import INITIALIZE, TOOLS_CALL, BadBody, read_body
from sessionware.proxy.mcp.mirrors import header_text, mismatch
from sessionware.proxy.metadata import Metadata, is_document
from sessionware.proxy.old_stream import take_id
from sessionware.proxy.pages import Pages
from sessionware.proxy.paths import METHODS, BadPath, Role, Route, Routes, path_fault
from sessionware.proxy.placing import Placing
from sessionware.proxy.pool_rules import NO_RULES, PoolRules

ACCEPT_ENCODING: Final = b"accept-encoding"
READ_AT_ONCE: Final = 64 << 10  # bytes of JSON that are read on the event loop; more are read in a thread
CLIENT_CLOSED: Final = 400  # nobody reads it


class Door(Struct, frozen=True, kw_only=True):
    """What the settings say of who and what comes in.

    `max_body` bounds the bodies of MCP requests, `is_result` is MCP_LIMIT_ANSWER, `rules` are those of the pools that
    have some, by name.
    """

    max_body: int
    is_result: bool = False
    pages: Pages = Pages()
    rules: Mapping[str, PoolRules] = {}


class Entrance:
    """Knows all pools by path."""

    def __init__(self, routes: Routes, placing: Placing, door: Door, *, metadata: Metadata) -> None:
        self._routes = routes
        self._candidates = {pool: partial(placing.candidate, pool) for pool in placing.fleet.pools}
        self._door = door
        self._metadata = metadata

    def told(self, scope: Scope, answer: Problem) -> Problem:
        """A refusal from before anybody has looked: on a path of MCP it is a JSON-RPC error."""
        route = self._routes.find(scope["path"], scope.get("raw_path"))
        return as_json_rpc(answer) if isinstance(route, Route) and route.is_mcp else answer

    async def look_at(self, engine: Engine, scope: Scope, receive: Receive) -> Routed | Problem:
        """Lead the request to its pool; an MCP body is read where limits or the session depend on it."""
        method, path, raw_path = scope["method"], scope["path"], scope.get("raw_path")
        if is_document(path):
            return await self._metadata.answer(scope)
        route = path_fault(method, path, raw_path) or self._routes.find(path, raw_path)
        if route is None:
            return error_answer(404, "Not found: no pool has this path")
        if isinstance(route, BadPath):
            return error_answer(route.status, route.message)
        refused = self._refusal(engine, scope, route)
        if refused is not None:
            return refused
        if route.role is Role.HTTP:
            rules = self._door.rules.get(route.pool.name, NO_RULES)
            asked = scope[SCOPE_KEY] = Asked(route, Incoming(receive))
            facts = Facts(method=method, path=path, pool=route.pool.name)
            # Nothing behind us writes to a session: one that waits to be written to would never be there.
            makes: Makes = "always" if engine.options.has_cookie and engine.options.on_missing == "auto" else "as_set"
            candidate = self._candidates[route.pool.name]
            return Routed(facts=facts, told=asked.turned_away, makes=makes, groups=rules.groups, candidate=candidate)
        fault = None if route.role is Role.MCP else take_id(scope, route)
        return fault or await self._look_at_mcp(engine, scope, Incoming(receive, at_most=self._door.max_body), route)

    async def _look_at_mcp(self, engine: Engine, scope: Scope, incoming: Incoming, route: Route) -> Routed | Problem:
        era = era_of(_header(scope, b"mcp-protocol-version")) if route.role is Role.MCP else Era.LEGACY
        if era is Era.MODERN:  # it has no such sessions: an id that a client sends all the same means nothing
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != SESSION_ID]
        rules = self._door.rules.get(route.pool.name, NO_RULES)
        if rules.tools is not None:  # what is looked through must be readable
            others = [pair for pair in scope["headers"] if pair[0] != ACCEPT_ENCODING]
            scope["headers"] = [*others, (ACCEPT_ENCODING, b"identity")]
        asked = scope[SCOPE_KEY] = Asked(route, incoming, era=era, has_link=names_link(scope["headers"]))
        asked.rules, asked.metadata_url = rules, partial(self._metadata.url, scope, route.pool)
        asked.is_result = self._door.is_result
        facts = _facts(scope, route)
        if scope["method"] == "POST" and (rules.tools is not None or _is_read(engine, era, facts)):
            fault = await self._read(scope, asked)
            if fault is not None:
                return fault
            if asked.body is not None and asked.body.is_mixed and engine.runtime.policy.minds_requests:
                return error_answer(400, "Invalid request: limits tell requests apart here, send one message each")
            facts = _facts(scope, route, asked)
        return Routed(
            facts=facts, told=asked.turned_away, makes=_makes(asked, facts), groups=rules.groups,
            candidate=self._candidates[route.pool.name],
        )  # fmt: skip

    def _refusal(self, engine: Engine, scope: Scope, route: Route) -> Problem | None:
        """What is wrong with a request's head, whoever sends it."""
        fault = head_fault(scope["headers"])
        if fault is not None:
            return _refused(route, fault.status, fault.message, "invalid_request")
        if not route.allows(scope["method"]):
            allowed = ", ".join(sorted(METHODS[route.role])).encode()
            return error_answer(405, f"Method not allowed: {scope['method'][:16]}", headers=[(b"allow", allowed)])
        # An app has its own mind about other pages, unless a list says it for all.
        is_judged = route.is_mcp or bool(self._door.pages.listed)
        origin = _header(scope, b"origin")
        if is_judged and not self._door.pages.may_ask(origin, host=host_of(scope)):
            engine.runtime.telemetry.cross_site(origin or "")
            return _refused(route, 403, "Origin not allowed", "origin_not_allowed")
        return None

    async def _read(self, scope: Scope, asked: Asked) -> Problem | None:
        """Read the whole body; says what is wrong with it."""
        try:
            content = await asked.incoming.whole()
        except BodyTooLarge:
            return error_answer(413, f"Request body too large: at most {self._door.max_body} bytes")
        except ClientGone:
            return error_answer(CLIENT_CLOSED, "The request was not finished")
        version = _header(scope, b"mcp-protocol-version") if asked.era is Era.LEGACY else "2025-11-25"
        if len(content) > READ_AT_ONCE:
            body = await asyncio.to_thread(read_body, content, version=version, at_most=self._door.max_body)
        else:
            body = read_body(content, version=version, at_most=self._door.max_body)
        if isinstance(body, BadBody):
            return bad_body(body)
        asked.content, asked.body = content, body
        if asked.era is Era.MODERN:
            method, name = _header(scope, b"mcp-method"), _header(scope, b"mcp-name")
            difference = mismatch(body, method=method, name=name)
            if difference is not None:
                return header_mismatch(difference, asked.request_id)
        return None


def _is_read(engine: Engine, era: Era, facts: Facts) -> bool:
    """Whether the body must be known: a modern one only where its headers would be believed."""
    return era is Era.LEGACY or facts.is_lifecycle or engine.runtime.policy.minds_requests


def _facts(scope: Scope, route: Route, asked: Asked | None = None) -> Facts:
    """What limits may look at: of the body, if it was read, else of the headers that repeat it."""
    mcp_method, tool, count = "", "", 1
    if asked is not None and asked.body is not None:
        leading = asked.body.leading
        mcp_method, tool, count = leading.method, leading.tool, asked.body.count
    elif era_of(_header(scope, b"mcp-protocol-version")) is Era.MODERN:
        mcp_method = header_text(_header(scope, b"mcp-method")) or ""
        tool = (header_text(_header(scope, b"mcp-name")) or "") if mcp_method == TOOLS_CALL else ""
    return Facts(
        method=scope["method"], path=scope["path"], is_mcp=True, pool=route.pool.name,
        mcp_method=mcp_method, tool=tool, count=count,
    )  # fmt: skip


def _makes(asked: Asked, facts: Facts) -> Makes:
    """Only `initialize`, or a stream of 2024-11-05, begins a session; all else that names none has none."""
    begins = asked.route.role is Role.EVENTS or (asked.era is Era.LEGACY and facts.mcp_method == INITIALIZE)
    return "always" if begins else "never"


def _refused(route: Route, status: int, message: str, code: str) -> Problem:
    return error_answer(status, message) if route.is_mcp else problem(status, message, code)


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.strip(b" \t").decode("latin-1") for key, value in scope["headers"] if key == name), None)
