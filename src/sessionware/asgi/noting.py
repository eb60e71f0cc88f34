"""The only place that remembers what an app was refused, for a framework that would make a 500 of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from sessionware.core.session import Session
from sessionware.errors import SessionwareError

Asked = ParamSpec("Asked")
Answered = TypeVar("Answered")


class Holder(Protocol):
    """The request or socket that a session object belongs to."""

    has_begun: bool
    refusal: SessionwareError | None

    def moved(self, session: Session) -> None: ...

    def moving(self) -> AbstractContextManager[None]: ...


def noted(method: Callable[Asked, Awaitable[Answered]]) -> Callable[Asked, Awaitable[Answered]]:
    """A method of the session: what it raises of ours is also told to `note_refusal`."""

    @wraps(method)
    async def noting(*values: Asked.args, **named: Asked.kwargs) -> Answered:
        try:
            return await method(*values, **named)
        except SessionwareError as error:
            session: Any = values[0]
            session.note_refusal(error)
            raise

    return noting
