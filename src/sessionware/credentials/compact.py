"""The only place that takes a compact JWS apart, before anything in it is believed.

One spelling only: base64url without padding or stray bits, JSON without repeated names, NaN or Infinity. What
another reader could understand differently is refused here.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final, NoReturn

from msgspec import Struct

from sessionware.credentials.refusals import Refused

TOKEN_MAX: Final = 8192  # characters; beyond this no header arrives at most servers anyway
PARTS: Final = 3  # five would be encrypted (JWE), which we do not read
TEXT_MAX: Final = 255  # of a subject, an organisation, a group (OpenID Connect Core 2: sub)

_DELETE: Final = "\x7f"


class Unverified(Struct, frozen=True):
    """A token that has been read and not yet believed."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def read(text: str) -> Unverified:
    """Take a token apart. Raises Refused when it is too long or not three parts of base64url, two of them JSON."""
    if len(text) > TOKEN_MAX:
        raise Refused("size", f"{len(text)} characters, at most {TOKEN_MAX} are read")
    if not text.isascii():
        raise Refused("form", "characters that no token has")
    parts = text.split(".")
    if len(parts) != PARTS:
        kind = " (an encrypted token, JWE, cannot be read)" if len(parts) == 5 else ""  # noqa: PLR2004  # RFC 7516 3.1
        raise Refused("form", f"{len(parts)} parts, expected {PARTS}{kind}")
    header, claims, signature = parts
    return Unverified(
        header=_object(_decoded(header, "header"), "header"),
        claims=_object(_decoded(claims, "payload"), "payload"),
        signing_input=text[: len(text) - len(signature) - 1].encode(),
        signature=_decoded(signature, "signature"),
    )


def is_plain(text: Any) -> bool:
    """Whether this may name somebody: 1..255 characters, none of them a control character or half a surrogate pair."""
    return isinstance(text, str) and 0 < len(text) <= TEXT_MAX and not any(_is_foreign(letter) for letter in text)


def _is_foreign(letter: str) -> bool:
    return letter < " " or _DELETE <= letter < "\xa0" or "\ud800" <= letter < "\ue000" or letter in "\u2028\u2029"


def is_encodable(text: Any) -> bool:
    """Whether this is text that UTF-8 can carry: JSON can smuggle in half a surrogate pair."""
    return isinstance(text, str) and not any("\ud800" <= letter < "\ue000" for letter in text)


def _decoded(part: str, name: str) -> bytes:
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise Refused("form", f"the {name} is not base64url") from error
    if urlsafe_b64encode(raw).rstrip(b"=") != part.encode():  # b64decode skips what it does not know
        raise Refused("form", f"the {name} is not base64url in its one spelling, without padding")
    return raw


def _object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Refused("form", f"the {name} is not JSON, or repeats a name") from error
    if not isinstance(found, dict):
        raise Refused("form", f"the {name} is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond all bounds")
    return number
