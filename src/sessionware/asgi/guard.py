"""The door: which requests come in at all, and which way they go."""

from __future__ import annotations

from sessionware.asgi.bodies import METHODS, id_in_body
from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import enter
from sessionware.asgi.exchange import Exchange
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.passage import hide_user, pass_unseen
from sessionware.asgi.problems import Problem, failed
from sessionware.asgi.reading import is_preflight
from sessionware.asgi.refusing import is_for_us, not_for_us, refuse, respond
from sessionware.asgi.socket import run_socket
from sessionware.asgi.spend_header import hiding_spend
from sessionware.errors import SessionwareError


async def guarded(engine: Engine, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Let a request or socket through to the app if it may; answer it if not."""
    options, path = engine.options, scope["path"]
    if options.allowed_hosts and not is_for_us(scope, options.allowed_hosts):
        await refuse(scope, receive, send, not_for_us())
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
    body_id = None
    if options.body_field and scope["method"].upper() in METHODS:
        body_id, receive = await id_in_body(receive, options.body_field)
    news = engine.ends.news
    try:
        entered = await enter(engine, scope, body_id=body_id)
    except SessionwareError as error:
        await respond(send, failed(error, style=options.ratelimit_headers))
        return
    if isinstance(entered, Problem):
        await respond(send, entered)
        return
    await Exchange(engine, scope, send, entered, news=news).run(app, receive)
