"""The only place that makes a store's URL fit to be shown: without user and password, however it was mistyped."""

from __future__ import annotations

import re
from typing import Final

ENCODE_HINT: Final = "in a user name or password write / as %2F, # as %23, ? as %3F, @ as %40"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_OPTION: Final = re.compile(
    r"([?&](?:sentinel_|ssl)?password=).*", re.DOTALL
)  # to the end: it may hold what was not encoded


def redacted(text: str) -> str:
    """`text` without what lies before its last @, except a scheme, and without a password among its options.

    The whole text counts, not what a parser takes for the host: a password may hold / # ? or lack its slashes.
    """
    text = _OPTION.sub(r"\1***", text)
    before, at, after = text.rpartition("@")
    if not at:
        return text
    scheme = _SCHEME.match(before)
    return f"{scheme.group() if scheme else ''}***@{after}"
