"""The only place that remembers which upstream has made which task, so that whoever asks for it is led there.

A task is asked for under its id alone, perhaps from another session, or after the session has moved. What another
worker has seen is not known here: then the session's own upstream is asked, which is mostly the one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec

from sessionware.asgi.passage import Passage
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.mcp.messages import TOOLS_CALL
from sessionware.proxy.mcp.mirrors import header_text

TASKS_METHOD: Final = "tasks/"
TASKS_MAX: Final = 10_000  # tasks that are remembered; the longest unused one is forgotten
ID_MAX: Final = 256  # characters of a task's id
FOUND_MAX: Final = 8  # tasks of one answer
_TASK_ID: Final = re.compile(rb'"taskId"\s*:\s*("(?:[^"\\]|\\.){1,%d}")' % ID_MAX)
_MARK: Final = b'"taskId"'
_TAIL: Final = 4 * ID_MAX  # bytes of the last part in which an id may have begun


class Tasks:
    """What this worker has seen, of the era that has no sessions of its own.

    `owner` is whoever may ask for the task: nobody else is led anywhere by its id.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, bytes, str], str] = OrderedDict()

    def made(self, pool: str, owner: bytes, task: str, *, upstream: str) -> None:
        """An upstream has answered with this task."""
        key = (pool, owner, task)
        self._made[key] = upstream
        self._made.move_to_end(key)
        if len(self._made) > TASKS_MAX:
            self._made.popitem(last=False)

    def place(self, pool: str, owner: bytes, task: str) -> str | None:
        """Who has made it, by name; None: nobody knows here."""
        key = (pool, owner, task)
        found = self._made.get(key)
        if found is not None:
            self._made.move_to_end(key)
        return found

    def maker(self, passage: Passage, headers: Iterable[Header]) -> str | None:
        """Who has made the task that a request asks for; None: it asks for none, or nobody knows here."""
        facts = passage.entered.facts
        if not facts.mcp_method.startswith(TASKS_METHOD):
            return None
        named = next((value for name, value in headers if name == b"mcp-name"), b"")
        task = header_text(named.strip(b" \t").decode("latin-1"))
        return self.place(facts.pool, _owner(passage), task) if task else None

    def finder(self, passage: Passage, upstream: str) -> TaskFinder | None:
        """Who looks at the answer to this request; None: it makes no tasks."""
        facts = passage.entered.facts
        if facts.mcp_method != TOOLS_CALL:
            return None
        return TaskFinder(self, facts.pool, _owner(passage), upstream=upstream)


class TaskFinder:
    """Finds the ids of tasks in an answer that passes, and holds nothing back."""

    __slots__ = ("_owner", "_pool", "_tail", "_tasks", "_upstream", "found")

    def __init__(self, tasks: Tasks, pool: str, owner: bytes, *, upstream: str) -> None:
        self._tasks = tasks
        self._pool = pool
        self._owner = owner
        self._upstream = upstream
        self._tail = b""
        self.found = 0

    def feed(self, part: bytes) -> None:
        """Look at bytes that pass."""
        if self.found >= FOUND_MAX:
            return
        seen, end = self._tail + part if self._tail else part, 0
        if _MARK in seen:
            for match in _TASK_ID.finditer(seen):
                end = match.end()
                self._note(match[1])
        self._tail = seen[max(end, len(seen) - _TAIL) :]

    def _note(self, quoted: bytes) -> None:
        try:
            task = msgspec.json.decode(quoted, type=str)
        except msgspec.DecodeError:
            return
        if self.found < FOUND_MAX:
            self._tasks.made(self._pool, self._owner, task, upstream=self._upstream)
            self.found += 1


def _owner(passage: Passage) -> bytes:
    visit = passage.entered.visit
    return visit.client.encode() if visit.identity is None else visit.identity.owner
