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
    policies = ", ".join([_policy(name, allowance, period) for name, allowance, _, _, period in glances])
    states = ", ".join([_state(glance, dual=style == "dual") for glance in glances])
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


@lru_cache(POLICIES_KEPT)
def _policy(name: str, allowance: int, period: int | None) -> str:
    window = f";w={period}" if period is not None else ""
    return f'"{name}";q={allowance}{window}'


def _state(glance: Glance, *, dual: bool) -> str:
    name, allowance, remaining, seconds, period = glance
    state = f'"{name}";r={remaining}' if seconds is None else f'"{name}";r={remaining};t={seconds}'
    if dual:  # the coming draft puts the allowance and its window beside what is left
        state += f";a={allowance}"
        if period is not None:
            state += f";w={period}"
    return state


def _legacy(glance: Glance) -> list[Header]:
    values = (glance[1], glance[2], glance[3] or 0)
    return [(name, str(value).encode()) for name, value in zip(_LEGACY, values, strict=True)]
