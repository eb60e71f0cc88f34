"""The only place that reads `[pools.NAME]`, which does not fit a variable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from msgspec.structs import asdict

from sessionware.config.given import OFF, Given, Kind
from sessionware.config.kinds import choice, duration, texts, word
from sessionware.config.proxy_settings import Forwarding, PoolKind, PoolSettings, Selection
from sessionware.config.settings import DAY, SECOND, SET
from sessionware.core.globs import name_fault
from sessionware.core.limit_grammar import parse_limits
from sessionware.core.limit_text import nearest
from sessionware.core.limits import Limit

_EXAMPLE: Final = '[pools.memory] upstreams = ["http://127.0.0.1:9001/mcp"]'
_CREDENTIAL: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+(?: [\x21-\x7e]+)*", re.ASCII)
_FORWARDING: Final[tuple[Forwarding, ...]] = get_args(Forwarding)


def _glob(given: Given) -> str:
    fault = name_fault(given.text)
    if fault is not None:
        given.fail(f"names no tools: {fault[1]}")
    return given.text


_GLOBS: Final = texts(_glob, "tools")
_KINDS: Final[Mapping[str, Kind]] = {
    "kind": choice(get_args(PoolKind)),
    "upstreams": texts(word, "upstreams"),
    "selection": choice(get_args(Selection)),
    "timeout": duration(SECOND, DAY),
    "required_groups": texts(word, "groups"),
}
_KNOWN: Final = (*_KINDS, "limits", "tools", "authorization")
_TOOLS: Final = ("include", "exclude")


def pools() -> Kind:
    """A table of tables, in the file or as a keyword."""
    return Kind(_read, lambda value: "; ".join(map(_shown, value)) or OFF, "[pools.NAME] in the file")


def credential() -> Kind:
    """The value of an Authorization header for upstreams; `off` and `auto` send none."""

    def read(given: Given) -> str | None:
        return None if given.text in {OFF, "auto"} else _credential(given)

    return Kind(read, lambda value: OFF if value is None else SET, "a scheme and a credential, off")


def _credential(given: Given) -> str:
    if not _CREDENTIAL.fullmatch(given.text):
        given.fail("is no value of an Authorization header: write a scheme and a credential, as in `Bearer abc`")
    return given.text


def _read(given: Given) -> tuple[PoolSettings, ...]:
    if given.value == OFF:
        return ()
    if isinstance(given.value, list | tuple) and all(isinstance(each, PoolSettings) for each in given.value):
        return tuple(given.value)
    if not isinstance(given.value, Mapping):
        given.fail(f"is no table of pools: write {_EXAMPLE} in a TOML file (SESSIONWARE_CONFIG)")
    return tuple(_pool(str(name), Given(table, f"{given.source}, {name}")) for name, table in given.value.items())


def _pool(name: str, given: Given) -> PoolSettings:
    table = _table(given, known=_KNOWN)
    found: dict[str, Any] = {key: _KINDS[key].read(each) for key, each in table.items() if key in _KINDS}
    if "limits" in table:
        found["limits"] = _limits(name, table["limits"])
    if "tools" in table:
        chosen = _table(table["tools"], known=_TOOLS)
        found |= {key: _GLOBS.read(each) for key, each in chosen.items()}
    if "authorization" in table:
        found |= _authorization(table["authorization"])
    return PoolSettings(name=name, **found)


def _authorization(given: Given) -> dict[str, Any]:
    """What becomes of the client's own credential, or the one that is sent in its place."""
    if given.text in _FORWARDING:
        return {"forwarding": given.text}
    secret = Given(given.value, given.source, is_secret=True)
    return {"forwarding": "strip", "authorization": _credential(secret)}


def _limits(name: str, given: Given) -> tuple[Limit, ...]:
    """The limits of one pool: `for pool NAME` is added to each, so that they count nothing else."""
    listed = given.value if isinstance(given.value, list | tuple) else re.split(r"[;\n]", given.raw)
    narrowed = [f"{str(each).strip()} for pool {name}" for each in listed if str(each).strip() not in {"", OFF}]
    return parse_limits(narrowed, source=given.source)


def _table(given: Given, *, known: Sequence[str]) -> dict[str, Given]:
    """The values of a table, each with its place. Raises ConfigError for a key that means nothing."""
    if not isinstance(given.value, Mapping):
        given.fail(f"is no table: its keys are {', '.join(known)}")
    strangers = [str(key) for key in given.value if key not in known]
    if strangers:
        near = nearest(strangers[0], known) or ":"
        # The table may hold a credential: only the stranger is shown.
        hidden = Given(given.value, given.source, is_secret=True)
        hidden.fail(f"has a key {strangers[0]!r} that means nothing{near} Known are {', '.join(known)}")
    found = {key: Given(value, f"{given.source}, {key}") for key, value in given.value.items()}
    return {key: each for key, each in found.items() if not each.is_empty}


def _shown(pool: PoolSettings) -> str:
    """What is not empty, as an inline table of TOML, without the credential."""
    plain = {key: value for key, value in asdict(pool).items() if value and key != "limits"}
    if pool.limits:
        plain["limits"] = [limit.text for limit in pool.limits]
    if pool.authorization:
        plain["authorization"] = SET
    return json.dumps(plain, separators=(", ", "="), ensure_ascii=False)
