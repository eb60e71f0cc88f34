"""The only place that says what a caller sees of a session."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from sessionware.core.ids import handle, ref
from sessionware.core.payload import unpack
from sessionware.core.session import EndReason, Session
from sessionware.core.times import duration_text, moment
from sessionware.service.data import RESERVED_KEY


class Snapshot(Struct, frozen=True):
    """One session as it stood when it was read; nothing here changes later, and changing nothing here saves.

    `id` is what this caller calls it: the id that was presented or made, its name, or else its handle.
    """

    id: str
    record: Session

    def __repr__(self) -> str:
        return f"<session {self.ref}>"

    @property
    def handle(self) -> str:
        return handle(self.record.key)

    @property
    def ref(self) -> str:
        return ref(self.record.key)

    @property
    def name(self) -> str | None:
        return self.record.birth.name

    @property
    def user_id(self) -> str | None:
        return self.record.birth.user_id

    @property
    def org_id(self) -> str | None:
        return self.record.birth.org_id

    @property
    def groups(self) -> tuple[str, ...]:
        return self.record.birth.groups

    @property
    def created_at(self) -> datetime | None:
        return moment(self.record.birth.created_at)

    @property
    def last_activity(self) -> datetime | None:
        return moment(self.record.active_at)

    @property
    def expires_at(self) -> datetime | None:
        return moment(self.record.expires_at)

    @property
    def total_requests(self) -> int:
        return self.record.hits

    @property
    def revision(self) -> int:
        return self.record.revision

    @property
    def metadata(self) -> dict[str, Any]:
        return unpack(self.record.metadata or b"")

    @property
    def data(self) -> dict[str, Any]:
        values = unpack(self.record.data or b"")
        values.pop(RESERVED_KEY, None)
        return values


class Started(Struct, frozen=True):
    """A session that was started, or found under its name (`is_new` False). `token` is shown this once."""

    session: Snapshot
    is_new: bool = True
    token: str | None = None

    def __repr__(self) -> str:
        return f"<started {self.session!r}>"

    @property
    def id(self) -> str:
        return self.session.id


class Closed(Struct, frozen=True):
    """A session that has just ended, by this call."""

    session: Snapshot
    reason: EndReason
    ended_at: int

    @property
    def duration_ms(self) -> int:
        return max(self.ended_at - self.session.record.birth.created_at, 0)

    @property
    def duration(self) -> str:
        return duration_text(self.duration_ms)

    @property
    def total_requests(self) -> int:
        return self.session.record.hits


class Listing(Struct, frozen=True):
    """One page of sessions without their payload, oldest first; an empty `cursor` says that it was the last."""

    sessions: tuple[Snapshot, ...]
    cursor: str = ""
