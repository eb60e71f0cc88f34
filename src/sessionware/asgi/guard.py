"""The door: which requests come in at all, and which way they go."""

from __future__ import annotations

from sessionware.asgi.bodies import METHODS, id_in_body
from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import enter
from sessionware.asgi.exchange import Exchange
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.passage import pass_unseen
from sessionware.asgi.problems import Problem, failed, problem
from sessionware.asgi.reading import host_of, is_preflight
from sessionware.asgi.refusing import refuse, respond
from sessionware.asgi.socket import run_socket
from sessionware.errors import SessionwareError


async def guarded(engine: Engine, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Let a request or socket through to the app if it may; answer it if not."""
    options, path = engine.options, scope["path"]
    if options.allowed_hosts and host_of(scope) not in options.allowed_hosts:
        # RFC 9110 7.4: a name that is not ours is another server's, or a page that rebound its own.
        await refuse(scope, receive, send, problem(421, "Host not allowed", "host_not_allowed"))
        return
    if path in options.exempt_paths or (scope.get("method") == "OPTIONS" and is_preflight(scope)):
        pass_unseen(scope)
        await app(scope, receive, send)
        return
    if scope["type"] == "websocket":
        await run_socket(engine, app, scope, receive, send)
        return
    body_id = None
    if options.body_field and scope["method"].upper() in METHODS:
        body_id, receive = await id_in_body(receive, options.body_field)
    try:
        entered = await enter(engine, scope, body_id=body_id)
    except SessionwareError as error:
        await respond(send, failed(error, style=options.ratelimit_headers))
        return
    if isinstance(entered, Problem):
        await respond(send, entered)
        return
    await Exchange(engine, scope, send, entered).run(app, receive)
