"""The only place that tells readers of an app's OpenAPI document about sessions: what to send, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI

from sessionware.config.settings import Settings
from sessionware.integrations.openapi_words import (
    LIMITED_SAID,
    MEDIA_TYPE,
    REFUSED_SAID,
    SESSION_ID,
    id_schemes,
    problem_schema,
)

SESSION_HEADER: Final = "X-Session-ID"
_HEADERS: Final = {
    "Retry-After": {"description": "Whole seconds to wait.", "schema": {"type": "integer"}},
    "RateLimit": {"description": "What is left of each limit, and for how long.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "Each limit's allowance and window.", "schema": {"type": "string"}},
}
_CONTENT: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/SessionProblem"}}}
_RESPONSES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "401": ("SessionRefused", {"description": REFUSED_SAID, "content": _CONTENT}),
    "429": ("LimitExceeded", {"description": LIMITED_SAID, "headers": _HEADERS, "content": _CONTENT}),
}
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def install_openapi(app: FastAPI, settings: Settings | None = None) -> None:
    """Add 401 and 429 to every operation, and name the header or cookie that is really looked at.

    `Sessionware.install(app)` does it, and so does the middleware when the app starts up with it; call it where
    neither happens before the document is made. What the app says itself stands. Doing it again changes nothing.
    """
    if not isinstance(app.openapi, _Described):
        described = _Described(app.openapi, settings or Settings())
        app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way of extending the document


class _Described:
    """Makes the app's document and adds to it what stands in front of the app."""

    def __init__(self, plain: Callable[[], dict[str, Any]], settings: Settings) -> None:
        self._plain = plain
        self._settings = settings

    def __call__(self) -> dict[str, Any]:
        document = self._plain()
        components = document.setdefault("components", {})
        if "SessionProblem" not in components.get("schemas", {}):  # FastAPI keeps the document that it made
            _describe(document, self._settings)
        return document


def _describe(document: dict[str, Any], settings: Settings) -> None:
    components = document["components"]
    components.setdefault("schemas", {})["SessionProblem"] = problem_schema()
    components.setdefault("responses", {}).update(deepcopy(dict(_RESPONSES.values())))
    schemes = {
        each.name: {"type": "apiKey", "in": each.place, "name": each.field, "description": each.said}
        for each in id_schemes(settings)
    }
    known = components.get("securitySchemes", {})
    if SESSION_ID in known:
        del known[SESSION_ID]
        known |= schemes
    for path, operation in _operations(document):
        security = operation.get("security", [])
        if {SESSION_ID: []} in security:
            operation["security"] = [{name: []} for name in schemes] + [
                each for each in security if each != {SESSION_ID: []}
            ]
        if path in settings.exempt_paths:
            continue
        for status, (name, _) in _RESPONSES.items():
            operation["responses"].setdefault(status, {"$ref": f"#/components/responses/{name}"})


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, operation
