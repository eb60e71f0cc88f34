"""The endpoints of one session's life: started, pinged, looked at, changed, closed."""

from __future__ import annotations

from typing import Any, Final

from sessionware.api import shapes
from sessionware.api.calls import HANDS_OUT_ID, Answer, Call, check_fields, object_field, seconds_field, text_field
from sessionware.api.faults import ChangedMeanwhile
from sessionware.api.merging import etag, merged, read_if_match, read_patch
from sessionware.core.ids import check_name
from sessionware.errors import Conflict, InvalidSessionId, InvalidValue
from sessionware.service import Started
from sessionware.service.tickets import TICKET_MS

CREATED: Final = 201
ACCEPTED: Final = 202
FIELDS: Final = ("session_id", "metadata", "ttl")  # of a new session


async def start(call: Call) -> Answer:
    """POST /session/start."""
    by, body = await call.actor(), await call.body()
    check_fields(body, *FIELDS)
    name = text_field(body, "session_id")
    if name is not None:
        call.about = name
    metadata, ttl = object_field(body, "metadata"), seconds_field(body, "ttl")
    made = await call.sessions.start(name, by=by, metadata=metadata, ttl=ttl)
    return _handing_out(call, made)


async def put(call: Call) -> Answer:
    """PUT /session/{name}: create, or the caller's own existing one; safe to retry."""
    by, body = await call.actor(), await call.body()
    name = call.about = check_name(call.part("id"))
    check_fields(body, *FIELDS)
    asked = text_field(body, "session_id")
    if asked is not None and asked != name:
        raise InvalidSessionId("the body names another session than the path")
    metadata, ttl = object_field(body, "metadata"), seconds_field(body, "ttl")
    made = await call.sessions.start(name, by=by, metadata=metadata, ttl=ttl, reuse=True)
    return _handing_out(call, made)


async def ping(call: Call) -> Answer:
    """POST /session/{id}/ping."""
    return Answer(shapes.pinged(await call.sessions.ping(await call.session_id(), by=await call.actor())))


async def close(call: Call) -> Answer:
    """POST /session/{id}/close and DELETE /session/{id}."""
    return Answer(shapes.closed(await call.sessions.close(await call.session_id(), by=await call.actor())))


async def status(call: Call) -> Answer:
    """GET /session/{id}/status: keeps nothing alive."""
    found = await call.sessions.status(await call.session_id(), by=await call.actor())
    return Answer(shapes.status(found), headers=(etag(found.revision),))


async def patch(call: Call) -> Answer:
    """PATCH /session/{id}: a JSON merge patch of the metadata."""
    session_id, by = await call.session_id(), await call.actor()
    revision = read_if_match(call.request.headers.get("if-match"))
    change = read_patch(await call.body(), at_most=call.options.body_max)

    def merge(metadata: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = merged(metadata, change)
        return result

    try:
        found = await call.sessions.set_metadata(session_id, merge, by=by, revision=revision)
    except Conflict as conflict:
        if revision is None:
            raise
        raise ChangedMeanwhile(f"Session changed meanwhile: {conflict}", revision=conflict.revision) from conflict
    return Answer(shapes.status(found), headers=(etag(found.revision),))


async def set_ttl(call: Call) -> Answer:
    """PUT /session/{id}/ttl."""
    session_id, by, body = await call.session_id(), await call.actor(), await call.body()
    if "ttl" not in body:
        raise InvalidValue('ttl is missing: send {"ttl": seconds}, or null to lift the idle time')
    found = await call.sessions.set_ttl(session_id, seconds_field(body, "ttl"), by=by)
    return Answer(shapes.status(found), headers=(etag(found.revision),))


async def ticket(call: Call) -> Answer:
    """POST /session/ticket: one request of the presented session, by `?ticket=`."""
    written = await call.sessions.ticket(by=await call.actor())
    return Answer({"ticket": written, "expires_in": TICKET_MS // 1000})


async def interrupt(call: Call) -> Answer:
    """POST /session/{id}/interrupt: stops what runs in this session, and only there."""
    found = await call.sessions.interrupt(await call.session_id(), by=await call.actor())
    return Answer({"session_id": found.id, "status": "interrupted"}, ACCEPTED)


def _handing_out(call: Call, made: Started) -> Answer:
    """An id that is new travels in the headers too; such a response is nobody else's."""
    if not made.is_new:
        return Answer(shapes.started(made))
    headers = (HANDS_OUT_ID, *call.options.id_headers(call.request.scope, made.id))
    return Answer(shapes.started(made), CREATED, headers)
