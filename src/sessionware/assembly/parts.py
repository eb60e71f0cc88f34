"""The only place that translates settings into what each layer wants to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sessionware.asgi.options import CookieOptions, Options
from sessionware.asgi.reading import Names
from sessionware.config.settings import Settings
from sessionware.core.ladders import place
from sessionware.core.ledger import Scope
from sessionware.core.policy import Policy
from sessionware.gate import FailurePolicy
from sessionware.gate.leases import RENEW_EVERY_MS
from sessionware.service.terms import Terms, issuers_of

RENEW_MIN_MS: Final = 250
RENEWALS_PER_LIFE: Final = 3  # two may be lost before a session with an open stream runs out of idle time
_OVER: Final = {Scope.CLIENT: "clients", Scope.GLOBAL: "everybody", Scope.ORG: "organisations"}
_SECURE = {"auto": None, "on": True, "off": False}


def terms_of(settings: Settings) -> Terms:
    """On which terms sessions live."""
    return Terms(
        idle_ms=settings.session_ttl,
        max_age_ms=settings.session_max_age,
        max_ttl_ms=settings.session_max_ttl,
        per_user=settings.max_sessions_per_user,
        evicts=settings.on_user_full == "evict_oldest",
        max_sessions=settings.max_sessions,
        per_client=settings.max_sessions_per_client,
        anonymous=settings.anonymous,
        partition=settings.partition,
        require_org=settings.require_org,
        required_groups=frozenset(settings.required_groups),
        session_token=settings.session_token,
        max_context=settings.max_context,
        max_metadata=settings.max_metadata,
        max_data=settings.max_data,
        issuers=issuers_of(settings),
    )


def failure_of(settings: Settings) -> FailurePolicy:
    """What happens when the store does not answer."""
    return FailurePolicy(
        sessions=settings.on_store_down_sessions,
        limits=settings.on_store_down_limits,
        workers_hint=settings.workers_hint,
        # Our own stores keep their deadlines themselves; a module:factory is held to it here.
        deadline_ms=0 if "://" in settings.store else settings.store_timeout,
    )


def renewal_of(settings: Settings) -> int:
    """How often what runs is told to the store: often enough for sessions that live shorter than a lease."""
    if not settings.session_ttl:
        return RENEW_EVERY_MS
    return min(RENEW_EVERY_MS, max(RENEW_MIN_MS, settings.session_ttl // RENEWALS_PER_LIFE))


def counted_apart(settings: Settings, policy: Policy) -> Iterator[str]:
    """A line for each limit whose counters lie elsewhere than the sessions that they hold back."""
    if "+cluster" not in settings.store.partition("://")[0].lower():
        return
    for name, limit in policy.limits.items():
        scope = place(limit.over)
        if scope in {Scope.CLIENT, Scope.GLOBAL} or (scope is Scope.ORG and settings.partition != "org"):
            yield f"limit {name!r} counts over {_OVER[scope]}: two network waits on Redis Cluster"


def options_of(settings: Settings) -> Options:
    """What the edge looks at."""
    return Options(
        names=Names(
            session_header=(settings.session_header or "").lower().encode(),
            session_cookie=settings.cookie_name(is_secure=False) or "",
            secure_cookie=settings.cookie_name(is_secure=True) or "",
            session_query=settings.session_query or "",
            user_header=(settings.user_header or "").lower().encode(),
        ),
        has_cookie=settings.session_cookie is not None,
        body_field=settings.session_body_field or "",
        allowed_hosts=frozenset(settings.allowed_hosts),
        exempt_paths=frozenset(settings.exempt_paths),
        on_missing=settings.on_missing,
        on_unknown=settings.on_unknown,
        ratelimit_headers=settings.ratelimit_headers,
        cookie=CookieOptions(
            secure=_SECURE[settings.cookie_secure],
            same_site=settings.cookie_samesite,
            domain=settings.cookie_domain or "",
            path=settings.cookie_path,
            max_age_s=settings.cookie_max_age // 1000 or None,
        ),
        csrf=settings.csrf,
        public_url=settings.public_url or "",
        allowed_origins=frozenset(settings.allowed_origins),
        scope_session=settings.scope_session,
    )
