"""The only place that finds settings which work, though hardly as they were meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from sessionware.config.case import Case, Check
from sessionware.config.kinds import show_duration
from sessionware.config.table import BY_KEY
from sessionware.core.dead_limits import Surroundings, limits_that_match_nothing
from sessionware.core.limits import MESSAGES, REQUESTS

_EVERYBODY: Final = frozenset({"0.0.0.0/0", "::/0"})
_SEVERAL: Final = re.compile(r"0*(?:[2-9]|[1-9][0-9]{1,5})", re.ASCII)
_WORKERS_FLAGS: Final = ("--workers", "-w")
_WELL_KNOWN: Final = ("tokens", "storage_mb", "compute_seconds", MESSAGES, REQUESTS)
_ALIKE: Final = 0.8  # of 1: `tokesn` is a slip, `images` is a resource of the app's own


def doubts(case: Case) -> Iterator[str]:
    """One sentence for each."""
    for check in _CHECKS:
        yield from check(case)


def _lives(case: Case) -> Iterator[str]:
    ttl, age = case.settings.session_ttl, case.settings.session_max_age
    names = case.named("session_ttl"), case.named("session_max_age")
    if age and ttl > age:
        yield f"{names[0]} {show_duration(ttl)} is never reached: sessions end at {names[1]} {show_duration(age)}"
    if not ttl and not age:
        yield f"{names[0]} and {names[1]} are off: no session ever ends by itself"


def _several_processes(case: Case) -> Iterator[str]:
    """What uvicorn and gunicorn are told of workers is all that a library can see of its siblings."""
    hint = case.environ.get("WEB_CONCURRENCY", "").strip()
    said = f"WEB_CONCURRENCY={hint}" if _SEVERAL.fullmatch(hint) else ""
    said = _workers_flag(case.arguments) or said  # the servers let the flag win
    if case.is_memory and said:
        yield (
            f"{said} with {case.settings.store}: each worker process has sessions and counters of its "
            "own; set SESSIONWARE_STORE=sqlite:///sessionware.db or redis://…"
        )


def _workers_flag(arguments: Sequence[str]) -> str:
    """`--workers 2`, `--workers=2` or `-w 2` as it was written; nothing for one worker or no such flag."""
    for at, argument in enumerate(arguments):
        flag, is_joined, joined = argument.partition("=")
        number = joined if is_joined else next(iter(arguments[at + 1 : at + 2]), "")
        if flag in _WORKERS_FLAGS and _SEVERAL.fullmatch(number):
            return f"{flag} {number}"
    return ""


def _audience(case: Case) -> Iterator[str]:
    settings = case.settings
    if settings.audience or not settings.verifies_tokens or case.proxy is not None:  # the proxy refuses to start
        return
    if settings.describes_issuer or not all(issuer.audience for issuer in settings.issuers):
        yield (
            "SESSIONWARE_JWT_AUDIENCE and SESSIONWARE_PUBLIC_URL are unset: tokens that were issued for another "
            "service are accepted here; set one"
        )


def _idle_settings(case: Case) -> Iterator[str]:
    """What was set and changes nothing, because what it serves is off."""
    settings = case.settings
    if not settings.describes_issuer:
        keys = [key for key in ("jwt_audience", "jwt_algorithms") if case.is_set(key)]
        for key in keys if not settings.issuers else []:
            yield f"{case.named(key)} does nothing: no token is verified (JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL, …)"
    if case.is_set("user_header") and settings.user_header and not settings.trusted_proxies:
        yield f"{case.named('user_header')} does nothing: nobody is trusted to send it (TRUSTED_PROXIES)"
    if settings.session_cookie is None:
        for key in ("cookie_secure", "cookie_samesite", "cookie_domain", "cookie_path", "cookie_max_age"):
            if case.is_set(key):
                yield f"{case.named(key)} does nothing: there is no cookie (SESSION_COOKIE=on)"


def _closed_doors(case: Case) -> Iterator[str]:
    settings = case.settings
    if settings.proves_users:
        return
    asking = [key for key in ("required_groups", "require_org") if getattr(settings, key)]
    for key in [*asking, *(["anonymous"] if settings.anonymous == "off" else [])]:
        yield f"{case.named(key)} asks for an identity, and no credential is verified here: nobody gets in"


def _trust(case: Case) -> Iterator[str]:
    for each in sorted(_EVERYBODY.intersection(case.settings.trusted_proxies)):
        yield f"{case.named('trusted_proxies')}: {each} is everybody: any client may name its address and user"


def _presented_nowhere(case: Case) -> Iterator[str]:
    settings = case.settings
    places = (settings.session_header, settings.session_cookie, settings.session_query, settings.session_body_field)
    if not any(places) and not settings.proves_users:
        yield "SESSION_HEADER, SESSION_COOKIE and SESSION_QUERY are off: only MCP clients can present a session"


def _dead_limits(case: Case) -> Iterator[str]:
    settings = case.settings
    around = Surroundings(
        proves_users=settings.proves_users,
        proves_orgs=settings.proves_users,
        admits_anonymous=settings.anonymous != "off",
        exempt_paths=settings.exempt_paths,
    )
    yield from limits_that_match_nothing(settings.limits, around)


def _misspelt_resources(case: Case) -> Iterator[str]:
    for limit in case.settings.limits:
        meant = _meant_resource(limit.resource)
        if meant:
            yield (
                f"limit '{limit.name}': did you mean {meant}? Nothing that is called `{limit.resource}` is ever taken "
                "unless the app spends it under that name"
            )


def _meant_resource(resource: str) -> str:
    """The well-known resource that this is a slip for; nothing for one of these, and for one of the app's own."""
    if resource in _WELL_KNOWN:
        return ""
    folded = {_folded(known): known for known in _WELL_KNOWN}
    if _folded(resource) in folded:
        return folded[_folded(resource)]
    head = resource.rpartition("_")[0]
    if any(head and known.startswith(f"{head}_") for known in _WELL_KNOWN):  # another unit: storage_gb
        return ""
    return next(iter(get_close_matches(resource, _WELL_KNOWN, n=1, cutoff=_ALIKE)), "")


def _folded(resource: str) -> str:
    return resource.replace("_", "").removesuffix("s")


def _proxy_alone(case: Case) -> Iterator[str]:
    for key in case.sources if case.proxy is None else ():
        if BY_KEY[key].role == "proxy":
            yield f"{case.named(key)} is a setting of `sessionware proxy` and does nothing here"


_CHECKS: Final[tuple[Check, ...]] = (
    _several_processes, _lives, _audience, _closed_doors, _trust, _idle_settings, _presented_nowhere, _dead_limits,
    _misspelt_resources, _proxy_alone,
)  # fmt: skip
