"""The only place that notices, once each, what no setting can show: a proxy that nobody trusts, two middlewares."""

from __future__ import annotations

import logging
from typing import Final

from sessionware.credentials.presented import Presented

ENOUGH: Final = 50  # callers from one peer, all forwarded: that is no coincidence

log: Final = logging.getLogger("sessionware")


class Doubt:
    """Says once that all callers share one address, as they do behind a proxy that is not in TRUSTED_PROXIES.

    And once that requests pass through two session middlewares.
    """

    def __init__(self, *, is_settled: bool = False) -> None:
        self._is_settled = is_settled
        self._peer: str | None = None
        self._heard = 0
        self._has_met_twice = False

    def heard(self, presented: Presented) -> None:
        """A caller came that was not known yet."""
        if self._is_settled:
            return
        if not presented.forwarded_for or presented.peer is None or self._peer not in {None, presented.peer}:
            self._is_settled = True  # not everybody comes through one proxy
            return
        self._peer = presented.peer
        self._heard += 1
        if self._heard == ENOUGH:
            self._is_settled = True
            log.warning(
                "all requests come from %s with X-Forwarded-For: limits per client count them as one client; "
                "set SESSIONWARE_TRUSTED_PROXIES=%s if that is your proxy",
                presented.peer, presented.peer,
            )  # fmt: skip

    def met_twice(self) -> None:
        """A request that has passed one SessionMiddleware came through another."""
        if not self._has_met_twice:
            self._has_met_twice = True
            log.error(
                "requests pass through two SessionMiddleware: each looks for its own session in the same header, so "
                "clients are refused by one of them; keep one, and mount the other app behind it"
            )
