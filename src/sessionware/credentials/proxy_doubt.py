"""The only place that notices a reverse proxy which nobody has told us to trust."""

from __future__ import annotations

import logging
from typing import Final

from sessionware.credentials.presented import Presented

ENOUGH: Final = 50  # callers from one peer, all forwarded: that is no coincidence

log: Final = logging.getLogger("sessionware")


class ProxyDoubt:
    """Says once that all callers share one address, as they do behind a proxy that is not in TRUSTED_PROXIES."""

    def __init__(self, *, is_settled: bool = False) -> None:
        self._is_settled = is_settled
        self._peer: str | None = None
        self._heard = 0

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
