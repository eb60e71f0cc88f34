"""The only place that lets event streams pass: no event too long, and none with the tools that a pool hides."""

from __future__ import annotations

from sessionware.proxy.pool_rules import PoolRules
from sessionware.proxy.sse import EVENT_MAX, SseScanner
from sessionware.proxy.tool_events import ToolEvents


class Sifting:
    """One stream, part by part. `looks_for_tools`: it may list them."""

    __slots__ = ("_sieve", "scanner")

    def __init__(self, rules: PoolRules, *, looks_for_tools: bool = True) -> None:
        self.scanner = SseScanner(rules.max_answer or EVENT_MAX)
        self._sieve = ToolEvents(rules.tools) if rules.tools is not None and looks_for_tools else None

    @property
    def changes(self) -> bool:
        """Whether it may take something out: then it must be able to read, and holds back what is not whole."""
        return self._sieve is not None

    @property
    def is_over(self) -> bool:
        """Whether an event is too long, so that nothing more may pass."""
        return self.scanner.is_overlong or (self._sieve is not None and self._sieve.held > self.scanner.event_max)

    def feed(self, part: bytes) -> bytes:
        """What may pass now."""
        passed = self.scanner.fitting(part if self._sieve is None else self._sieve.feed(part))
        self.scanner.feed(passed)
        return passed

    def end(self) -> bytes:
        """The stream is over: what was begun of an event, and held back."""
        return b"" if self._sieve is None else self._sieve.end()
