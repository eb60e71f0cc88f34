"""The door: which requests come in at all, and which way they go."""

from __future__ import annotations

from sessionware.asgi.bodies import METHODS, id_in_body
from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import Entered, enter
from sessionware.asgi.exchange import Exchange
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.passage import hide_user, pass_unseen
from sessionware.asgi.problems import Problem, failed
from sessionware.asgi.reading import host_of, is_preflight
from sessionware.asgi.refusing import is_for_us, not_for_us, refuse, respond
from sessionware.asgi.routing import Route, Routed, told_at
from sessionware.asgi.socket import run_socket
from sessionware.asgi.spend_header import hiding_spend
from sessionware.errors import SessionwareError


async def guarded(  # noqa: PLR0913  # an ASGI call, and what it is served with
    engine: Engine, app: App, scope: Scope, receive: Receive, send: Send, *, route: Route | None = None
) -> None:
    """Let a request or socket through to the app if it may; answer it if not. `route`: the app is a proxy."""
    options, path = engine.options, scope["path"]
    if options.allowed_hosts and not is_for_us(scope, options.allowed_hosts):
        engine.runtime.telemetry.foreign_host(host_of(scope))
        await refuse(scope, receive, send, told_at(route, scope, not_for_us()))
        return
    if path in options.exempt_paths or (scope.get("method") == "OPTIONS" and is_preflight(scope)):
        client = scope.get("client")
        if not engine.resolver.trusts(client[0] if client else None):
            hide_user(engine, scope)
        pass_unseen(scope)
        await app(scope, receive, hiding_spend(send))
        return
    if scope["type"] == "websocket":
        await run_socket(engine, app, scope, receive, send)
        return
    body_id, routed = None, None
    if route is not None:
        looked = await route.look_at(engine, scope, receive)
        if isinstance(looked, Problem):
            await respond(send, looked)
            return
        routed = looked
    elif options.body_field and scope["method"].upper() in METHODS:
        body_id, receive = await id_in_body(receive, options.body_field)
    news = engine.ends.news
    try:
        entered: Entered | Problem = await enter(engine, scope, body_id=body_id, routed=routed)
    except SessionwareError as error:
        entered = failed(error, style=options.ratelimit_headers)
    if isinstance(entered, Problem):
        await respond(send, await _told(routed, entered))
        return
    await Exchange(engine, scope, send, entered, news=news).run(app, receive)


async def _told(routed: Routed | None, answer: Problem) -> Problem:
    return answer if routed is None else await routed.told(answer)
