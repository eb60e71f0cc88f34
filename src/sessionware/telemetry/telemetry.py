"""The only place through which the other layers count, audit and log: one call per thing that happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from sessionware.clock import monotonic_ms, wall_ms
from sessionware.core.decision import Refused
from sessionware.core.identity import Identity
from sessionware.core.ids import SessionKey, ref
from sessionware.core.session import Ended, Session
from sessionware.core.times import rfc3339_ms
from sessionware.telemetry.audit import AuditEvent, AuditSink, Happening
from sessionware.telemetry.counts import Action, Counts, Feature, Reason
from sessionware.telemetry.throttle import MINUTE_MS, SECOND_MS, Throttle

log: Final = logging.getLogger("sessionware")

Details = Mapping[str, str | int | float | bool | None]
_NO_DETAILS: Final[Details] = {}


class Who(Struct, frozen=True, gc=False):
    """Whom an event is about, as far as it is known: the session's `ref`, never its id."""

    ref: str | None = None
    user: str | None = None
    org: str | None = None


NOBODY: Final = Who()


class Telemetry:
    """What this worker tells about itself. Nothing here waits, and nothing raises into a request."""

    def __init__(
        self,
        *,
        counts: Counts | None = None,
        audit: AuditSink | None = None,
        monotonic: Callable[[], int] = monotonic_ms,
        wall: Callable[[], int] = wall_ms,
    ) -> None:
        self.counts = counts or Counts()
        self.admitted = self.counts.admitted  # on every request, and nothing else is told of it
        self._audit = audit
        self._wall = wall
        self._each_second = Throttle(SECOND_MS, monotonic=monotonic)
        self._each_minute = Throttle(MINUTE_MS, monotonic=monotonic)

    # -------------------------------------------------------------- requests

    def refused(self, refused: Refused, who: Who = NOBODY) -> None:
        """A request was refused: by a limit, an unknown session, a full cap, or a store that is down."""
        if self._audit is not None:
            details: Details = {"limit": refused.limit.name} if refused.limit is not None else _NO_DETAILS
            self._record(Happening.REFUSED, who, refused.code, details)

    def foreign_id(self, who: Who = NOBODY) -> None:
        """Somebody presented a session id that is another owner's. `who` is the caller, not the owner."""
        self.counts.foreign_ids += 1
        self._record(Happening.FOREIGN_ID, who)
        if self._each_minute.take(Happening.FOREIGN_ID) is not None:
            log.warning(
                "a session id of somebody else was presented beside a credential: refused (a session of "
                "before the login is taken over by `sessions.adopt`)"
            )

    def cross_site(self, origin: str) -> None:
        """Another site's page sent a request in its visitor's name."""
        if self._each_minute.take("cross_site") is not None:
            log.warning(
                "cross-site request refused: Origin %.100r is not ours; a front end of yours goes into "
                "SESSIONWARE_ALLOWED_ORIGINS",
                origin,
            )

    def foreign_host(self, host: str) -> None:
        """A request named a host that is none of ours."""
        if self._each_minute.take("foreign_host") is not None:
            log.warning(
                "request refused: Host %.100r is not ours; a name of yours goes into SESSIONWARE_ALLOWED_HOSTS", host
            )

    def key_used(self, name: str, who: Who = NOBODY) -> None:
        """A static API key was used."""
        self._record(Happening.KEY_USED, who, details={"key": name})

    def conflict(self) -> None:
        """Two writers of one session met."""
        self.counts.conflicts += 1

    def alerted(self) -> None:
        self.counts.alerts += 1

    # -------------------------------------------------------------- lives

    def started(self, session: Session) -> None:
        """A session was made, by whatever way."""
        self.counts.started()
        log.debug("session %s started", ref(session.key), extra={"ref": ref(session.key)})
        self._record(Happening.START, who_of(session))

    def ended(self, ended: Ended) -> None:
        """A session is no more. Called once for each end: `Endings` sees to it."""
        self.counts.finished(ended.reason)
        name, reason = ref(ended.session.key), ended.reason.value
        log.info("session %s ended: %s", name, reason, extra={"ref": name, "reason": reason})
        self._record(Happening.END, who_of(ended.session), reason, {"requests": ended.session.hits})

    def reinitialized(self, session: Session, pool: str, upstream: str) -> None:
        """A legacy MCP session of it was lost with its upstream, and begun anew on another."""
        self.counts.reinitialized += 1
        name = ref(session.key)
        log.warning("session %s: begun anew on upstream %s of pool %s", name, upstream, pool, extra={"ref": name})
        self._record(Happening.REINITIALIZED, who_of(session), details={"pool": pool, "upstream": upstream})

    def revoked(self, what: str, who: Who = NOBODY, *, sessions: int = 0) -> None:
        """A token or an owner was revoked; `sessions` ended by it."""
        self._record(Happening.REVOKED, who, what, {"sessions": sessions})

    def admin(self, act: str, who: Who = NOBODY, details: Details = _NO_DETAILS) -> None:
        """An administrator did something. `who` is the administrator; the details name on whom."""
        log.info("admin: %s", act)
        self._record(Happening.ADMIN, who, act, details)

    # -------------------------------------------------------------- trouble

    def degraded(self, feature: Feature, reason: Reason, action: Action, *, error: BaseException | None = None) -> None:
        """Something works worse than it should: counted every time, said at most once a second."""
        self.counts.degrade(feature, reason, action)
        silenced = self._each_second.take((feature, reason, action))
        if silenced is not None:
            log.warning(
                "degraded: %s, %s: %s%s%s", feature.value, reason.value, action.value,
                f" ({type(error).__name__}: {error})" if error is not None else "",
                f" (and {silenced} times more since)" if silenced else "",
                extra={"feature": feature.value, "reason": reason.value, "action": action.value},
            )  # fmt: skip

    def unavailable(self) -> None:
        """The store did not answer an admission, or was not asked because it has not answered lately."""
        self.counts.unavailable += 1

    def recovered(self) -> None:
        """The store answers again after the breaker was open."""
        log.warning("the store answers again")

    def _record(self, event: Happening, who: Who, reason: str | None = None, details: Details = _NO_DETAILS) -> None:
        if self._audit is None:
            return
        time = rfc3339_ms(self._wall()) or ""
        told = AuditEvent(
            time=time, event=event, ref=who.ref, user=who.user, org=who.org, reason=reason, details=details
        )
        try:
            self._audit(told)
        except Exception as error:  # noqa: BLE001  # a full disk or a foreign sink must not fail a request
            self.counts.degrade(Feature.AUDIT, Reason.FAILED, Action.DROPPED)
            silenced = self._each_minute.take(Feature.AUDIT)
            if silenced is not None:
                log.error("audit: %s event lost: %s (and %d since)", event.value, error, silenced)  # noqa: TRY400  # the sink's traceback helps nobody


def who_of(session: Session) -> Who:
    """Whom an event of this session is about."""
    return Who(ref(session.key), session.birth.user_id, session.birth.org_id)


def who_asks(identity: Identity | None, key: SessionKey | None = None) -> Who:
    """Whom an event of a request is about: who asks, as far as that is proved, and for which session."""
    user, org = (None, None) if identity is None else (identity.user_id, identity.org_id)
    return Who(None if key is None else ref(key), user, org)
