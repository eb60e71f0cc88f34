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
from sessionware.asgi.routing import Makes, Routed
from sessionware.core.request import Facts
from sessionware.proxy.asked import SCOPE_KEY, Asked
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.heads import Head, Heads
from sessionware.proxy.incoming import GONE_KEY, BodyTooLarge, ClientGone, Incoming
from sessionware.proxy.mcp.answers import as_json_rpc, bad_body, error_answer, header_mismatch
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import INITIALIZE, TOOLS_CALL, BadBody, read_body
from sessionware.proxy.mcp.mirrors import mismatch
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
        self._bound = placing.loads.bound
        self._candidates = {pool: partial(placing.candidate, pool) for pool in placing.fleet.pools}
        self._door = door
        self._metadata = metadata
        self._heads = Heads()

    def told(self, scope: Scope, answer: Problem) -> Problem:
        """A refusal from before anybody has looked: on a path of MCP it is a JSON-RPC error."""
        route = self._routes.find(scope["path"], scope.get("raw_path"))
        return as_json_rpc(answer) if isinstance(route, Route) and route.is_mcp else answer

    async def look_at(self, engine: Engine, scope: Scope, receive: Receive) -> Routed | Problem:
        """Lead the request to its pool; an MCP body is read where limits or the session depend on it."""
        route = await self._led(scope)
        if isinstance(route, Problem):
            return route
        head = self._heads.of(scope["headers"])
        refused = self._refusal(engine, scope, route, head)
        if refused is not None:
            return refused
        is_mcp = route.role is not Role.HTTP
        incoming = Incoming(receive, at_most=self._door.max_body if is_mcp else 0, tell_gone=scope.get(GONE_KEY))
        if not is_mcp:
            return self._look_at_http(engine, scope, Asked(route, incoming, head))
        era = head.era if route.role is Role.MCP else Era.LEGACY
        asked = Asked(route, incoming, head, era=era)
        fault = None if route.role is Role.MCP else take_id(scope, route)
        return fault or await self._look_at_mcp(engine, scope, asked)

    async def _led(self, scope: Scope) -> Route | Problem:
        """Where the path leads."""
        method, path, raw_path = scope["method"], scope["path"], scope.get("raw_path")
        usual = self._routes.at_once(method, path, raw_path)
        if usual is not None:
            return usual
        if is_document(path):
            return await self._metadata.answer(scope)
        route = path_fault(method, path, raw_path) or self._routes.find(path, raw_path)
        if route is None:
            return error_answer(404, "Not found: no pool has this path")
        return error_answer(route.status, route.message) if isinstance(route, BadPath) else route

    def _look_at_http(self, engine: Engine, scope: Scope, asked: Asked) -> Routed:
        scope[SCOPE_KEY], name = asked, asked.route.pool.name
        facts = Facts(method=scope["method"], path=scope["path"], pool=name)
        # Nothing behind us writes to a session: one that waits to be written to would never be there.
        makes: Makes = "always" if engine.options.has_cookie and engine.options.on_missing == "auto" else "as_set"
        return Routed(
            facts=facts, told=asked.turned_away, makes=makes, candidate=self._candidates[name],
            bound=self._bound, groups=self._door.rules.get(name, NO_RULES).groups,
        )  # fmt: skip

    async def _look_at_mcp(self, engine: Engine, scope: Scope, asked: Asked) -> Routed | Problem:
        route = asked.route
        if asked.era is Era.MODERN and asked.head.has_link:
            # It has no such sessions: an id that a client sends all the same means nothing.
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != SESSION_ID]
        rules = self._door.rules.get(route.pool.name, NO_RULES)
        if rules.tools is not None:  # what is looked through must be readable
            others = [pair for pair in scope["headers"] if pair[0] != ACCEPT_ENCODING]
            scope["headers"] = [*others, (ACCEPT_ENCODING, b"identity")]
        scope[SCOPE_KEY] = asked
        asked.has_link = asked.era is Era.LEGACY and (asked.head.has_link or route.role is Role.MESSAGES)
        asked.rules, asked.metadata_url = rules, partial(self._metadata.url, scope, route.pool)
        asked.is_result = self._door.is_result
        facts = _facts(scope, asked)
        if scope["method"] == "POST" and (rules.tools is not None or _is_read(engine, asked.era, facts)):
            fault = await self._read(asked)
            if fault is not None:
                return fault
            if asked.body is not None and asked.body.is_mixed and engine.runtime.policy.minds_requests:
                return error_answer(400, "Invalid request: limits tell requests apart here, send one message each")
            facts = _facts(scope, asked)
        return Routed(
            facts=facts, told=asked.turned_away, makes=_makes(asked, facts), groups=rules.groups,
            candidate=self._candidates[route.pool.name], bound=self._bound,
        )  # fmt: skip

    def _refusal(self, engine: Engine, scope: Scope, route: Route, head: Head) -> Problem | None:
        """What is wrong with a request's head, whoever sends it."""
        fault = head.fault
        if fault is not None:
            return _refused(route, fault.status, fault.message, "invalid_request")
        if not route.allows(scope["method"]):
            allowed = ", ".join(sorted(METHODS[route.role])).encode()
            return error_answer(405, f"Method not allowed: {scope['method'][:16]}", headers=[(b"allow", allowed)])
        # An app has its own mind about other pages, unless a list says it for all.
        is_judged = route.is_mcp or bool(self._door.pages.listed)
        if is_judged and head.origin is not None and not self._door.pages.may_ask(head.origin, host=head.host):
            engine.runtime.telemetry.cross_site(head.origin)
            return _refused(route, 403, "Origin not allowed", "origin_not_allowed")
        return None

    async def _read(self, asked: Asked) -> Problem | None:
        """Read the whole body; says what is wrong with it."""
        try:
            content = await asked.incoming.whole()
        except BodyTooLarge:
            return error_answer(413, f"Request body too large: at most {self._door.max_body} bytes")
        except ClientGone:
            return error_answer(CLIENT_CLOSED, "The request was not finished")
        version = asked.head.version if asked.era is Era.LEGACY else "2025-11-25"
        if len(content) > READ_AT_ONCE:
            body = await asyncio.to_thread(read_body, content, version=version, at_most=self._door.max_body)
        else:
            body = read_body(content, version=version, at_most=self._door.max_body)
        if isinstance(body, BadBody):
            return bad_body(body)
        asked.content, asked.body = content, body
        if asked.era is Era.MODERN:
            difference = mismatch(body, method=asked.head.method, name=asked.head.name)
            if difference is not None:
                return header_mismatch(difference, asked.request_id)
        return None


def _is_read(engine: Engine, era: Era | None, facts: Facts) -> bool:
    """Whether the body must be known: a modern one only where its headers would be believed."""
    return era is Era.LEGACY or facts.is_lifecycle or engine.runtime.policy.minds_requests


def _facts(scope: Scope, asked: Asked) -> Facts:
    """What limits may look at: of the body, if it was read, else of the headers that repeat it."""
    mcp_method, tool, count, route = "", "", 1, asked.route
    if asked.body is not None:
        leading = asked.body.leading
        mcp_method, tool, count = leading.method, leading.tool, asked.body.count
    elif asked.era is Era.MODERN:
        mcp_method = asked.head.mcp_method
        tool = asked.head.target if mcp_method == TOOLS_CALL else ""
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
