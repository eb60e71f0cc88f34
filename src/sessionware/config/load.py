"""The only place that decides which source wins: keyword, flag, environment, file, preset, default."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sessionware.config.case import Case
from sessionware.config.clashes import clashes
from sessionware.config.doubts import doubts
from sessionware.config.given import Given
from sessionware.config.layers import (
    Layer,
    Origin,
    environment_layer,
    file_layer,
    flag_layer,
    keyword_layer,
    preset_layer,
)
from sessionware.config.proxy_checks import proxy_clashes, proxy_doubts
from sessionware.config.proxy_settings import STANDALONE, ProxySettings
from sessionware.config.settings import Settings
from sessionware.config.table import PROXY_SETTINGS, SETTINGS, Row
from sessionware.errors import ConfigError


class Loaded(Struct, frozen=True, kw_only=True):
    """The settings, where each came from, and what to say at start. `sources`: the name of each as it was written.

    `strangers` are those warnings that tell of a name that is no setting: a mistyped one may be why another is
    missing. `proxy` is None unless they were asked for the proxy.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    sources: Mapping[str, str]
    proxy: ProxySettings | None = None
    warnings: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def load(  # noqa: PLR0913  # each is a source of settings
    *,
    keywords: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] | None = None,
    for_proxy: bool = False,
) -> Loaded:
    """The settings that hold; the environment is this process's unless another is given, the file CONFIG's.

    `arguments` are those of this process unless others are given: warnings look at them. `for_proxy`: those of
    `sessionware proxy`, its own and its own defaults among them.

    Raises ConfigError with every problem, one per line: the name as the user wrote it, the value unless it is
    secret, and the way out.
    """
    found = survey(keywords=keywords, flags=flags, environ=environ, file=file, arguments=arguments, for_proxy=for_proxy)
    if found.problems:
        raise ConfigError("\n".join((*found.problems, *found.strangers)))
    return found


def survey(  # noqa: PLR0913  # the same
    *,
    keywords: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] | None = None,
    for_proxy: bool = False,
) -> Loaded:
    """The same for a report: problems are values, and where one stands the default does."""
    environ = os.environ if environ is None else environ
    layers = [keyword_layer(keywords or {}), flag_layer(flags or {}), environment_layer(environ)]
    layers += _file(layers, file)
    problems = [problem for layer in layers for problem in layer.problems]
    try:
        layers += _preset(layers, environ)
    except ConfigError as error:
        problems.append(str(error))
    rows = SETTINGS + (PROXY_SETTINGS if for_proxy else ())
    chosen, origins = _choose(layers, rows)
    settings = Settings(**{**(STANDALONE if for_proxy else {}), **dict(_read(SETTINGS, chosen, problems))})
    proxy = ProxySettings(**dict(_read(PROXY_SETTINGS, chosen, problems))) if for_proxy else None
    if "max_sessions" not in chosen and not settings.store.startswith("memory:"):
        settings = replace(settings, max_sessions=0)  # only the memory store needs a cap to protect its process
    warnings = [stranger for layer in layers for stranger in layer.strangers]
    if settings.strict:
        problems, warnings = problems + warnings, []
    sources = {key: given.source for key, given in chosen.items()}
    called = sys.argv if arguments is None else arguments
    case = Case(settings=settings, sources=sources, environ=environ, arguments=called, proxy=proxy)
    if not problems:  # a default that stands in for a bad value proves nothing
        problems = [*clashes(case), *proxy_clashes(case)]
    return Loaded(
        settings=settings,
        origins=origins,
        sources=sources,
        proxy=proxy,
        warnings=(*warnings, *doubts(case), *proxy_doubts(case)),
        strangers=tuple(warnings),
        problems=tuple(dict.fromkeys(problems)),
    )


def _file(layers: Sequence[Layer], file: str | os.PathLike[str] | None) -> list[Layer]:
    if file is not None:
        return [file_layer(file, source="the settings file")]
    named = _first(layers, "config")
    return [] if named is None else [file_layer(str(named.value), source=named.source)]


def _preset(layers: Sequence[Layer], environ: Mapping[str, str]) -> list[Layer]:
    preset = _first(layers, "preset")
    if preset is None:
        return []
    redis_url = _first(layers, "redis_url")
    if redis_url is None and environ.get("REDIS_URL", "").strip():
        redis_url = Given(environ["REDIS_URL"], "REDIS_URL")
    return [preset_layer(preset, redis_url=redis_url, has_store=_first(layers, "store") is not None)]


def _first(layers: Sequence[Layer], key: str) -> Given | None:
    return next((layer.values[key] for layer in layers if key in layer.values), None)


def _choose(layers: Sequence[Layer], rows: Sequence[Row]) -> tuple[dict[str, Given], dict[str, Origin]]:
    """Of each setting the first that was given, in the order of the layers; proxy's own ones always come along."""
    chosen: dict[str, Given] = {}
    origins: dict[str, Origin] = {row.key: "default" for row in rows}
    for layer in reversed(layers):
        for key, given in layer.values.items():
            chosen[key] = given
            origins[key] = layer.origin
    return chosen, {row.key: origins[row.key] for row in rows}


def _read(rows: Sequence[Row], chosen: Mapping[str, Given], problems: list[str]) -> Iterator[tuple[str, Any]]:
    """The typed values; what cannot be read is told to `problems` and left out."""
    for row in rows:
        given = chosen.get(row.key)
        if given is None:
            continue
        try:
            yield row.key, row.kind.read(given)
        except ConfigError as error:
            problems.append(str(error))
