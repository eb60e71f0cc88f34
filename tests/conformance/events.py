"""The only place that keeps the events of legacy streams, so that a client that comes back gets what it missed."""

from collections import deque
from typing import Final

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

KEPT: Final = 10_000  # events of all streams together; a run of the suite has some hundreds


class KeptEvents(EventStore):
    """Ids are places in one sequence over all streams."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, StreamId, JSONRPCMessage | None]] = deque(maxlen=KEPT)
        self._last = 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        self._last += 1
        self._events.append((self._last, stream_id, message))
        return str(self._last)

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        if not last_event_id.isdecimal():
            return None
        seen = int(last_event_id)
        stream = next((stream for place, stream, _ in self._events if place == seen), None)
        if stream is None:
            return None
        missed = [(place, message) for place, its, message in self._events if its == stream and place > seen]
        for place, message in missed:
            if message is not None:  # a priming event has none
                await send_callback(EventMessage(message, str(place)))
        return stream
