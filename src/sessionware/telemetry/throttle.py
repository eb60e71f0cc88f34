"""The only place that decides whether something that keeps happening is said once more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from sessionware.clock import monotonic_ms

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
KEYS_MAX: Final = 1024  # keys may come from clients; the one that was silent longest is forgotten


class Throttle:
    """Lets each key through once per period.

    silenced = throttle.take("jwt refused")
    if silenced is not None:
        log.warning("... (%d more like this)", silenced)
    """

    def __init__(
        self, period_ms: int, *, monotonic: Callable[[], int] = monotonic_ms, keys_max: int = KEYS_MAX
    ) -> None:
        self._period = period_ms
        self._monotonic = monotonic
        self._keys_max = keys_max
        self._keys: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # when it was said, how often not since

    def take(self, key: Hashable) -> int | None:
        """How often the key was silenced since it was let through last; None to stay silent."""
        now = self._monotonic()
        said_at, silenced = self._keys.get(key, (None, 0))
        if said_at is not None and now - said_at < self._period:
            self._keys[key] = (said_at, silenced + 1)
            return None
        self._keys[key] = (now, 0)
        self._keys.move_to_end(key)
        if len(self._keys) > self._keys_max:
            self._keys.popitem(last=False)
        return silenced
