"""The endpoints of what a session does: its conversation, its use of limits, its metrics and health."""

from __future__ import annotations

from typing import Any, Final

from sessionware.api.calls import Answer, Call
from sessionware.errors import InvalidValue

CREATED: Final = 201


async def add_context(call: Call) -> Answer:
    """POST /session/{id}/context: the body is the message."""
    session_id, by, message = await call.session_id(), await call.actor(), await call.body()
    if not message:
        raise InvalidValue('the message is empty: send a JSON object, for example {"role": "user", "content": "hello"}')
    return Answer(await call.sessions.append_context(session_id, message, by=by), CREATED)


async def last_context(call: Call) -> Answer:
    """GET /session/{id}/context?last_n=2: the newest, oldest first."""
    session_id, by = await call.session_id(), await call.actor()
    messages = await call.sessions.last_context(session_id, call.number("last_n"), by=by)
    return Answer({"session_id": session_id, "context": messages, "count": len(messages)})


async def session_usage(call: Call) -> Answer:
    """GET /session/{id}/usage."""
    session_id = await call.session_id()
    return Answer({"session_id": session_id} | await call.sessions.usage(session_id, by=await call.actor()))


async def own_usage(call: Call) -> Answer:
    """GET /usage: the caller's; of the presented session, if there is one. `?user=` for administrators."""
    by, user, sessions = await call.actor(), call.query("user"), call.sessions
    if user is not None:
        await sessions.admin("usage", by)
        return Answer(await sessions.usage(by=sessions.user(user, iss=call.query("iss"))))
    return Answer(await sessions.usage(None if by.presented is None else by.presented.text, by=by))


async def metrics(call: Call) -> Answer:
    """GET /session/{id}/metrics: what this worker has seen of it."""
    runtime, session_id = call.sessions.runtime, await call.session_id()
    found = await call.sessions.get(session_id, by=await call.actor())
    seen = runtime.health.metrics(found.record.key, now=runtime.now())
    age = max(runtime.now() - found.record.birth.created_at, 0) / 1000
    return Answer({"session_id": found.id} | seen | {"duration_seconds": age, "total_requests": found.total_requests})


async def health(call: Call) -> Answer:
    """GET /session/{id}/health."""
    found = await call.sessions.get(await call.session_id(), by=await call.actor())
    return Answer({"session_id": found.id} | call.sessions.runtime.health.health(found.record.key))


async def pending(call: Call) -> Answer:
    """GET /session/{id}/pending: what it is doing right now."""
    found = await call.sessions.get(await call.session_id(), by=await call.actor())
    running: list[Any] = list(await call.sessions.runtime.pending(found.record.key))
    return Answer({"session_id": found.id, "pending": running, "count": len(running)})
