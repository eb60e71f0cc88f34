"""A read-only attribute of whatever holds a session's record, read from the record as it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sessionware.core.session import Session

Value = TypeVar("Value")


class HasRecord(Protocol):
    """Holds the record of a session."""

    @property
    def record(self) -> Session: ...


class OfRecord(Generic[Value]):
    """`name = OfRecord(lambda record: record.birth.name)`."""

    def __init__(self, read: Callable[[Session], Value]) -> None:
        self._read = read

    def __set__(self, holder: HasRecord, value: object) -> None:
        raise AttributeError("a session's record cannot be set: `login` gives it to a user, `data` keeps what is yours")

    def __get__(self, holder: HasRecord, _: type | None = None) -> Value:
        return self._read(holder.record)
