"""What a session object knows of the request or socket that it belongs to, and how that learns what was refused."""

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
    """A method of the session: the holder is told what it raises of ours, for frameworks that make a 500 of that."""

    @wraps(method)
    async def noting(*values: Asked.args, **named: Asked.kwargs) -> Answered:
        try:
            return await method(*values, **named)
        except SessionwareError as error:
            session: Any = values[0]  # Concatenate cannot say it of methods whose self may be named
            session.note_refusal(error)
            raise

    return noting
