"""The only place that puts the session API under a path: as an app to mount, or inside the middleware."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sessionware.api import ApiOptions, SessionApi, caller_of
from sessionware.api.calls import Endpoint
from sessionware.asgi.handing import id_headers
from sessionware.asgi.limit_headers import Header
from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.assembly.installation import Sessionware
from sessionware.assembly.metrics import metrics_of
from sessionware.errors import ConfigError

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*/?", re.ASCII)


def session_api(sessionware: Sessionware, *, own: Mapping[str, Mapping[str, Endpoint]] | None = None) -> SessionApi:
    """The session API of an installation as an ASGI app by itself, for a process of its own.

    In an app behind the middleware say `SessionMiddleware(app, sessionware, api="/auth")` instead: a mounted one
    would be asked only after the middleware had made a session for the request. `own`: other paths in its manner.
    """
    settings = sessionware.settings

    def handed(scope: Scope, text: str) -> list[Header]:
        return id_headers(sessionware.engine.options, scope, text)

    options = ApiOptions(
        admin_scopes=frozenset(settings.admin_scope),
        allowed_hosts=frozenset(settings.allowed_hosts),
        ratelimit_headers=settings.ratelimit_headers,
        id_headers=handed,
    )
    return SessionApi(
        lambda: sessionware.sessions,
        caller_of(lambda: sessionware.engine),
        options=options,
        metrics=metrics_of(sessionware),
        own=own,
    )


class ApiAt:
    """The session API under a prefix of an app's own paths. Raises ConfigError for what is no path."""

    def __init__(self, sessionware: Sessionware, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ConfigError(f'api={prefix!r} is no path: write for example api="/auth", or api="/" for the root')
        self._prefix = prefix.rstrip("/")
        self._api = session_api(sessionware)

    def serves(self, scope: Scope) -> bool:
        """Whether the path is one of the API's. At the root the app keeps its own health, ready and metrics."""
        if scope["type"] != "http":
            return False
        path: str = scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        if not path.startswith(f"{self._prefix}/"):
            return False
        return self._api.serves(path[len(self._prefix) :], with_probes=bool(self._prefix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "")
        await self._api({**scope, "root_path": root + self._prefix}, receive, send)
