"""The names of ASGI's callables and of what they pass on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = Any  # a mapping that its type describes; every server and framework annotates it in its own way
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # the same: Litestar's own scopes are TypedDicts
