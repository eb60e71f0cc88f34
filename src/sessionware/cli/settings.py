"""`sessionware config`: what holds, where it came from, and what is wrong with it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from sessionware.cli.on_disk import problems_of_files
from sessionware.config.kinds import shown_as
from sessionware.config.load import Loaded, survey
from sessionware.config.settings import redacted
from sessionware.config.table import PROXY_SETTINGS, SETTINGS, Row
from sessionware.core.limits import Limit, describe
from sessionware.core.policy import CREATION
from sessionware.errors import ConfigError
from sessionware.proxy.upstreams import SOURCE, pools_of

DEFAULT_FILE: Final = "sessionware.toml"  # in the current folder


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    config = commands.add_parser(
        "config",
        help="print the settings that hold",
        description="Prints the settings that hold: from the environment, from SESSIONWARE_CONFIG or "
        "./sessionware.toml, and from presets. Secrets are not shown. Exit code 1 if anything is wrong.",
    )
    config.add_argument("--proxy", action="store_true", help="those of `sessionware proxy`, its own among them")
    config.add_argument("--show-origin", action="store_true", help="say where each setting came from")
    config.add_argument("--check", action="store_true", help="print only what is wrong, for CI")
    config.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print or check; 1 when the settings cannot be started with."""
    loaded = survey(file=here_or_named(), for_proxy=arguments.proxy)
    problems = loaded.problems or (*problems_of_files(loaded), *_pool_problems(loaded))
    if not arguments.check:
        print("\n".join(_lines(loaded, show_origin=arguments.show_origin)))
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if arguments.check:
        print(f"{_counted(len(problems), 'error')}, {_counted(len(loaded.warnings), 'warning')}")
    return 1 if problems else 0


def here_or_named() -> str | None:
    """The settings file of the current folder, unless SESSIONWARE_CONFIG names another or there is none."""
    is_named = os.environ.get("SESSIONWARE_CONFIG", "").strip()
    return DEFAULT_FILE if not is_named and Path(DEFAULT_FILE).is_file() else None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _pool_problems(loaded: Loaded) -> Iterator[str]:
    """What is wrong with the upstreams."""
    if loaded.problems or loaded.proxy is None:
        return
    try:
        pools_of(loaded.proxy, source=loaded.sources.get("upstreams", SOURCE))
    except ConfigError as error:
        yield str(error)


def _lines(loaded: Loaded, *, show_origin: bool) -> Iterator[str]:
    """An environment file that a shell or a container could read, if it were not for the secrets."""
    shown = SETTINGS + (PROXY_SETTINGS if loaded.proxy is not None else ())
    for section, rows in groupby(shown, key=lambda row: row.section):
        yield f"# {section}"
        for row in rows:
            value = getattr(loaded.proxy if row.role == "proxy" else loaded.settings, row.key)
            yield _line(row, value) + (f"  # {_origin(loaded, row)}" if show_origin else "")
            yield from (f"#   {describe(limit)}" for limit in _limits_in(row, value))
        yield ""


def _line(row: Row, value: Any) -> str:
    shown = redacted(row.key, value)
    return f"{row.variable}={shown if row.is_secret and value else shown_as(row.kind, shown)}"


def _origin(loaded: Loaded, row: Row) -> str:
    origin = loaded.origins[row.key]
    source = loaded.sources.get(row.key, origin)
    return origin if source in {row.variable, origin} else f"{origin}: {source}"


def _limits_in(row: Row, value: Any) -> tuple[Limit, ...]:
    if row.key == "create_limit" and value is not None:
        return (replace(value, name=value.name if value.is_named else CREATION, resource="new sessions"),)
    return value if row.key == "limits" else ()
