"""The only place that writes how limits stand into response headers (RateLimit and RateLimit-Policy, draft -11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from sessionware.core.standing import Standing

Style = Literal["draft", "dual", "legacy", "off"]
Header = tuple[bytes, bytes]

_LEGACY: Final = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")


def limit_headers(standings: Iterable[Standing], *, style: Style) -> list[Header]:
    """The headers for the limits that bind; limits in shadow are nobody's business but ours.

    A concurrency limit has no window and is left out. `legacy` can tell of one limit only: the one with the
    smallest part of its allowance left.
    """
    if style == "off":
        return []
    shown = [standing for standing in standings if standing.binding and standing.window is not None]
    if not shown:
        return []
    if style == "legacy":
        return _legacy(min(shown, key=lambda each: each.remaining / (each.allowance or 1)))
    policies = ", ".join([_policy(standing) for standing in shown])
    states = ", ".join([_state(standing, dual=style == "dual") for standing in shown])
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


def _policy(standing: Standing) -> str:
    period = standing.period_seconds
    window = f";w={period}" if period is not None else ""
    return f'"{standing.name}";q={standing.allowance}{window}'


def _state(standing: Standing, *, dual: bool) -> str:
    seconds = standing.effective_seconds
    state = f'"{standing.name}";r={standing.remaining}'
    if seconds is not None:
        state += f";t={seconds}"
    if dual:  # the coming draft puts the allowance and its window beside what is left
        state += f";a={standing.allowance}"
        if standing.period_seconds is not None:
            state += f";w={standing.period_seconds}"
    return state


def _legacy(standing: Standing) -> list[Header]:
    values = (standing.allowance, standing.remaining, standing.effective_seconds or 0)
    return [(name, str(value).encode()) for name, value in zip(_LEGACY, values, strict=True)]
