"""The only place that reads `[[issuers]]`, which does not fit a variable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from sessionware.config.given import OFF, Given, Kind
from sessionware.config.keys import algorithm, public_key
from sessionware.config.kinds import text, texts, word
from sessionware.config.settings import ClaimNames, IssuerSettings
from sessionware.config.shapes import keys_url
from sessionware.core.limit_text import nearest

_EXAMPLE: Final = '[[issuers]] issuer = "https://login.example.com"'
_CLAIM: Final = texts(word, "claims")
_KINDS: Final[Mapping[str, Kind]] = {
    "issuer": text(word, "text", off=False),
    "audience": texts(word, "texts"),
    "jwks_url": text(keys_url, "URL"),
    "public_key": text(public_key, "PEM"),
    "algorithms": texts(algorithm, "algorithms"),
    "types": texts(word, "types"),
}


def issuers() -> Kind:
    """A list of tables, in the file or as a keyword."""
    return Kind(_read, lambda value: "; ".join(map(_shown, value)) or OFF, "[[issuers]] in the file")


def _read(given: Given) -> tuple[IssuerSettings, ...]:
    if given.value == OFF:
        return ()
    if not isinstance(given.value, list | tuple):
        given.fail(f"is no list of tables: write {_EXAMPLE} in a TOML file (SESSIONWARE_CONFIG)")
    return tuple(_issuer(Given(item, f"{given.source}, item {number}")) for number, item in enumerate(given.value, 1))


def _issuer(given: Given) -> IssuerSettings:
    if isinstance(given.value, IssuerSettings):
        return given.value
    table = _table(given, known=[*_KINDS, "claims"])
    if "issuer" not in table:
        given.fail('names no issuer: write issuer = "https://login.example.com", exactly as its tokens say in `iss`')
    found: dict[str, Any] = {key: _KINDS[key].read(each) for key, each in table.items() if key in _KINDS}
    claims = table.get("claims")
    if claims is not None:
        named = _table(claims, known=ClaimNames.__struct_fields__)
        found["claims"] = ClaimNames(**{key: _CLAIM.read(each) for key, each in named.items()})
    return IssuerSettings(**found)


def _table(given: Given, *, known: Sequence[str]) -> dict[str, Given]:
    """The values of a table, each with its place. Raises ConfigError for a key that means nothing."""
    if isinstance(given.value, ClaimNames):
        return {key: Given(value, given.source) for key, value in asdict(given.value).items()}
    if not isinstance(given.value, Mapping):
        given.fail(f"is no table: its keys are {', '.join(known)}")
    strangers = [str(key) for key in given.value if key not in known]
    if strangers:
        near = nearest(strangers[0], known) or ":"
        given.fail(f"has a key {strangers[0]!r} that means nothing{near} Known are {', '.join(known)}")
    found = {key: Given(value, f"{given.source}, {key}") for key, value in given.value.items()}
    return {key: each for key, each in found.items() if not each.is_empty}


def _shown(issuer: Struct) -> str:
    """What is not empty, as an inline table of TOML."""
    return json.dumps(_plain(issuer), separators=(", ", "="), ensure_ascii=False)


def _plain(value: Struct) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, each in asdict(value).items():
        if each:
            plain[name] = _plain(each) if isinstance(each, Struct) else each
    return plain
