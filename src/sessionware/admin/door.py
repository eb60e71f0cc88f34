"""The only place that keeps pages of other sites away from the administration (ADM-02)."""

from __future__ import annotations

from typing import Final

from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.problems import problem
from sessionware.asgi.reading import host_of
from sessionware.asgi.refusing import respond
from sessionware.proxy.pages import Pages

FORBIDDEN: Final = 403


def of_own_pages(app: App, pages: Pages) -> App:
    """The app, for whoever is no browser or one of our own pages.

    A token is no excuse: an authenticating proxy in front adds one to whatever a browser sends it.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if pages.may_ask(", ".join(origins) if origins else None, host=host_of(scope)):
            await app(scope, receive, send)
        else:
            await respond(send, problem(FORBIDDEN, "Cross-site request refused", "cross_site"))

    return serve
