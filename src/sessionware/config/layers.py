"""The only place that gathers what each source says, by setting, and tells ours from strangers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from sessionware.config.files import read_secret, read_toml
from sessionware.config.given import Given
from sessionware.config.table import BY_KEY, FILE_SUFFIX, PREFIX, PRESETS
from sessionware.core.limit_text import nearest, quoted
from sessionware.errors import ConfigError

Origin = Literal["keyword", "flag", "environment", "file", "preset dev", "preset single", "preset cluster", "default"]

_TESTS: Final = f"{PREFIX}TEST_"  # of this package's own test suite
_SERVICE_LINK: Final = re.compile(
    r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?)"
)
_LINK_TARGET: Final = re.compile(r"(?:tcp|udp|sctp)://")
_FILE: Final = FILE_SUFFIX.lower()


class Layer(Struct, frozen=True):
    """What one source says, by setting. `strangers`: a sentence for each name that is no setting."""

    origin: Origin
    values: Mapping[str, Given]
    strangers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def keyword_layer(keywords: Mapping[str, Any]) -> Layer:
    return _gather("keyword", ((name, name, value) for name, value in keywords.items()), is_ours_alone=True)


def flag_layer(flags: Mapping[str, Any]) -> Layer:
    named = ((name, f"--{name.replace('_', '-')}", value) for name, value in flags.items())
    return _gather("flag", named, is_ours_alone=True)


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Variables with our prefix; what Kubernetes sets for a service of our name is nobody's wish."""
    ours = (
        (name.removeprefix(PREFIX).lower(), name, value)
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name == name.upper() and not name.startswith(_TESTS)
        if not _is_service_link(name.removeprefix(PREFIX), value)
    )
    return _gather("environment", ours)


def file_layer(path: str | os.PathLike[str], *, source: str) -> Layer:
    """The settings of a TOML file; one that cannot be read is a problem and says nothing."""
    shown = os.fspath(path)
    try:
        table = read_toml(path, source=source)
    except ConfigError as error:
        return Layer("file", {}, problems=(str(error),))
    named = ((name, f"{name} in {shown}", value) for name, value in table.items())
    return _gather("file", named, is_ours_alone=True)


def preset_layer(preset: Given, *, redis_url: Given | None, has_store: bool) -> Layer:
    """What a preset sets. Raises ConfigError when it has no such name, or when `cluster` finds no Redis."""
    name = BY_KEY["preset"].read(preset.value, preset.source)
    if name is None:
        return Layer("default", {})
    values = {key: Given(value, f"preset {name}") for key, value in PRESETS[name].items()}
    if name == "cluster" and redis_url is not None:
        values["store"] = redis_url
    elif name == "cluster" and not has_store:
        preset.fail("needs a Redis: set SESSIONWARE_REDIS_URL or REDIS_URL, for example redis://127.0.0.1:6379/0")
    origins: Mapping[str, Origin] = {"dev": "preset dev", "single": "preset single", "cluster": "preset cluster"}
    return Layer(origins[name], values)


def _gather(origin: Origin, named: Iterable[tuple[str, str, Any]], *, is_ours_alone: bool = False) -> Layer:
    """Sort what was given into settings and strangers, and read the files that `..._file` names.

    The environment is shared, so a stranger in it is doubtful; in a source that `is_ours_alone` it is a mistake.
    """
    values: dict[str, Given] = {}
    strangers: list[str] = []
    problems: list[str] = []
    for name, source, value in named:
        key, place = _key_of(name)
        if key is None:
            strangers.append(_stranger(name, source, origin))
            continue
        given = Given(value, source, BY_KEY[key].is_secret and not place)
        if given.is_empty:
            continue
        try:
            found = _from_file(given) if place else given
            if key in values:
                raise ConfigError(f"{values[key].source} and {source} are both set: keep one")  # noqa: TRY301
            values[key] = found
        except ConfigError as error:
            problems.append(str(error))
    if is_ours_alone:
        return Layer(origin, values, problems=(*problems, *strangers))
    return Layer(origin, values, tuple(strangers), tuple(problems))


def _stranger(name: str, source: str, origin: Origin) -> str:
    if origin == "environment":
        near = nearest(name.upper(), [row.name for row in BY_KEY.values()]).replace("`", f"`{PREFIX}", 1)
        return f"{source} is no setting{near or ': unset it'}"
    shown = f"{quoted(name)}{quoted(source[len(name) :])[1:-1]}" if origin == "file" else quoted(source)
    return f"{shown} is no setting{nearest(name, BY_KEY) or ': leave it out'}"


def _key_of(name: str) -> tuple[str | None, bool]:
    """The setting that a name means, and whether by the path of a file."""
    if name in BY_KEY:
        return name, False
    key = name.removesuffix(_FILE)
    return (key, True) if key in BY_KEY.keys() - {"config", name} else (None, False)


def _from_file(given: Given) -> Given:
    return Given(read_secret(given.text, source=given.source), given.source, is_secret=True)


def _is_service_link(name: str, value: str) -> bool:
    is_address = name.endswith("PORT") and _LINK_TARGET.match(value) is not None
    return is_address or _SERVICE_LINK.fullmatch(name) is not None
