"""The only place that writes how limits stand into response headers (RateLimit and RateLimit-Policy, draft -11)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from sessionware.core.standing import Glance

Style = Literal["draft", "dual", "legacy", "off"]
Header = tuple[bytes, bytes]

POLICIES_KEPT: Final = 1_024  # written policies: few limits, few overrides of each
_LEGACY: Final = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")


def limit_headers(glances: Sequence[Glance], *, style: Style) -> list[Header]:
    """The headers for the limits that bind and have a window; limits in shadow are nobody's business but ours.

    `legacy` can tell of one limit only: the one with the smallest part of its allowance left.
    """
    if not glances or style == "off":
        return []
    if style == "legacy":
        return _legacy(min(glances, key=lambda each: each[2] / (each[1] or 1)))
    policies, states = [], []
    for name, allowance, remaining, seconds, period in glances:
        policies.append(_policy(name, allowance, period))
        state = f'"{name}";r={remaining}' if seconds is None else f'"{name}";r={remaining};t={seconds}'
        # The coming draft puts the allowance and its window beside what is left.
        states.append(state + _allowed(allowance, period) if style == "dual" else state)
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(states).encode())]


@lru_cache(POLICIES_KEPT)
def _policy(name: str, allowance: int, period: int | None) -> str:
    window = f";w={period}" if period is not None else ""
    return f'"{name}";q={allowance}{window}'


def _allowed(allowance: int, period: int | None) -> str:
    return f";a={allowance}" if period is None else f";a={allowance};w={period}"


def _legacy(glance: Glance) -> list[Header]:
    values = (glance[1], glance[2], glance[3] or 0)
    return [(name, str(value).encode()) for name, value in zip(_LEGACY, values, strict=True)]
