"""The only place that knows how a route of FastAPI or Starlette is written: never by the path that was asked for."""

from __future__ import annotations

from typing import Any

from starlette.routing import Match, Mount

from sessionware.asgi.messages import Scope


def template_of(scope: Scope) -> str:
    """The whole template of the route, with the prefixes of its routers and mounts: `/api/items/{item_id}`."""
    route = scope.get("route")
    return (_mounts(scope, route) + _own(scope, route)) or "/"


def _own(scope: Scope, route: Any) -> str:
    """The template within its app.

    Newer FastAPI copies no routes when a router is included: then the route in the scope is written without the
    prefix, and two inclusions are one route. The context of the inclusion, where there is one, knows better.
    """
    context = scope.get("fastapi", {}).get("effective_route_context")
    if context is not None and getattr(context, "original_route", None) is route:
        route = getattr(context, "starlette_route", None) or context
    template: str = getattr(route, "path_format", "")
    return template


def _mounts(scope: Scope, route: Any) -> str:
    """Where the app itself is mounted, as it was written."""
    outer = scope.get("app_root_path")
    if outer is None:
        return ""
    mounted: str = scope["root_path"].removeprefix(outer)
    others = scope.get("path_params", {}).keys() - getattr(route, "param_convertors", {}).keys()
    if not others:
        return mounted
    return _walked(scope, outer) or f"/{{{','.join(sorted(others))}}}"


def _walked(scope: Scope, outer: str) -> str:
    """The mounts between the outermost router and the app, found as it found them; they have parameters."""
    at = {**scope, "root_path": outer, "path_params": {}}
    routes, template = scope["router"].routes, ""
    while at["root_path"] != scope["root_path"]:
        for route in routes:
            match, child = route.matches(at)
            if match is Match.FULL:
                break
        else:
            return ""
        if not isinstance(route, Mount):
            return ""
        template, routes = template + route.path, route.routes
        at.update(child)
    return template
