"""The only place that says how a credential is refused: in one public sentence, with the reason only in the log."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from sessionware.core.identity import Identity
from sessionware.errors import InvalidToken, PermissionDenied

log: Final = logging.getLogger("sessionware.credentials")

REFUSED: Final = "Invalid or expired token"  # the same for every fault: an answer must not help to forge
LOG_EVERY_MS: Final = 60_000  # per reason
REASONS_MAX: Final = 256  # reasons that are remembered; they are ours and few, but two issuers may double them
SHOWN_MAX: Final = 120  # characters of a foreign value in a log line


class ForeignId(PermissionDenied):
    """A proved caller presents a session id of another partition; it was not looked up."""

    def __init__(self, identity: Identity) -> None:
        super().__init__("Permission denied")
        self.identity = identity


class Refused(Exception):
    """A credential failed one check: `rule` names it, `reason` is for the operator's eyes only.

    It never leaves this layer; `InvalidToken` does.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


class RefusalLog:
    """Writes each reason at most once a minute, so that a flood of bad tokens is no flood of lines."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._written: dict[str, int] = {}
        self.count = 0

    def refuse(self, refused: Refused, now: int) -> InvalidToken:
        """Log the reason unless it was logged within the minute; answers the error that may leave."""
        self.count += 1
        self.note(refused.rule, f"{self._kind} refused: {refused.reason}", now)
        return InvalidToken(REFUSED)

    def note(self, rule: str, line: str, now: int) -> None:
        """Log `line` unless one of the same rule was logged within the minute before or after `now`."""
        written = self._written.get(rule)
        if written is not None and abs(now - written) < LOG_EVERY_MS:
            return
        if len(self._written) >= REASONS_MAX:
            self._written.clear()
        self._written[rule] = now
        log.warning("%s", line)


def shown(value: Any) -> str:
    """A foreign JSON value as it may stand in a log line: ASCII, no control characters, cut."""
    text = json.dumps(value).replace("\x7f", "\\u007f")
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
