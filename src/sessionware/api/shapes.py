"""The only place that says what a session looks like in JSON."""

from __future__ import annotations

from typing import Any

from sessionware.core.ids import SessionKey
from sessionware.core.session import Link
from sessionware.core.times import rfc3339
from sessionware.service import Closed, Snapshot, Started


def started(made: Started) -> dict[str, Any]:
    record = made.session.record
    body = {
        "session_id": made.id,
        "ref": made.session.ref,
        "status": "started" if made.is_new else "active",
        "created_at": rfc3339(record.birth.created_at),
        "user_id": record.birth.user_id,
        "expires_at": rfc3339(record.expires_at),
    }
    return body if made.token is None else body | {"token": made.token}


def pinged(found: Snapshot) -> dict[str, Any]:
    return {
        "session_id": found.id,
        "status": "active",
        "last_ping": rfc3339(found.record.seen_at),
        "expires_at": rfc3339(found.record.expires_at),
    }


def closed(ended: Closed) -> dict[str, Any]:
    return {
        "session_id": ended.session.id,
        "status": "closed",
        "duration": ended.duration,
        "duration_seconds": ended.duration_ms // 1000,
        "total_requests": ended.total_requests,
    }


def status(found: Snapshot) -> dict[str, Any]:
    record = found.record
    birth = record.birth
    return {
        "session_id": found.id,
        "ref": found.ref,
        "state": "active",
        "user_id": birth.user_id,
        "org_id": birth.org_id,
        "name": birth.name,
        "created_at": rfc3339(birth.created_at),
        "last_activity": rfc3339(record.active_at),
        "expires_at": rfc3339(record.expires_at),
        "total_requests": record.hits,
        "links": [_link(link) for link in record.links],
        "metadata": found.metadata,
    }


def listed(found: Snapshot, current: SessionKey | None, *, with_owner: bool) -> dict[str, Any]:
    """One row of a listing: nothing in it lets its reader use the session."""
    record = found.record
    row = {
        "handle": found.handle,
        "ref": found.ref,
        "name": found.name,
        "current": record.key == current,
        "client": record.birth.client,
        "created_at": rfc3339(record.birth.created_at),
        "last_activity": rfc3339(record.active_at),
        "expires_at": rfc3339(record.expires_at),
    }
    return row | {"user_id": found.user_id, "org_id": found.org_id} if with_owner else row


def _link(link: Link) -> dict[str, Any]:
    return {"pool": link.pool, "protocol_version": link.version, "client": link.client, "state": "active"}
