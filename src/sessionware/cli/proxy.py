"""`sessionware proxy`: every setting as a flag, and every mistake as a line of its own."""

from __future__ import annotations

import argparse
import os
import re
import sys
from importlib.util import find_spec
from typing import Any, Final

from sessionware.cli.settings import here_or_named
from sessionware.config.load import Loaded, load
from sessionware.config.table import ROWS, Row
from sessionware.errors import ConfigError

BAD_SETTINGS: Final = 2
EXTRA: Final = ("uvicorn", "httptools", "uvloop", "prometheus_client")
_TABLES: Final = frozenset({"issuers", "pools"})  # only the file can hold them
_WORD: Final = re.compile(r"[a-z_]+", re.ASCII)
_SWITCH: Final = "on, off"


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    proxy = commands.add_parser(
        "proxy",
        help="serve MCP servers behind sessions and limits",
        description="Serves the upstreams behind sessions, limits and affinity, until SIGTERM or Ctrl-C. Each flag is "
        "the setting of the same name: --session-ttl is SESSIONWARE_SESSION_TTL, and wins over it. Exit code 2: "
        "it can never start.",
        epilog="A secret is safer in a file than on a command line, which others can list: --jwt-secret-file PATH.",
        usage="sessionware proxy [--upstream URL ...] [--port PORT] [--SETTING VALUE ...]",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    proxy.add_argument(
        "--upstream", "--upstreams", dest="upstreams", action="append", metavar="URL",
        help="an MCP server, or pools as SESSIONWARE_UPSTREAMS names them; may be repeated",
    )  # fmt: skip
    group: Any = proxy
    section = ""
    for row in ROWS:
        if row.key in _TABLES or row.key == "upstreams":
            continue
        if row.section != section:
            section = row.section
            group = proxy.add_argument_group(section)
        _add(group, row)
    proxy.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    """Serve; the exit code. Says each thing that is wrong, and serves nothing then."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(f"proxy needs {', '.join(missing)}: pip install 'sessionware[proxy]'")
    try:
        loaded = load_as_told(given)
        from sessionware.standalone.running import run as serve  # noqa: PLC0415  # an extra

        return serve(loaded)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"sessionware: {line}", file=sys.stderr)
        return BAD_SETTINGS


def load_as_told(given: argparse.Namespace) -> Loaded:
    """The settings: flags first, then the environment and the file. Raises ConfigError."""
    flags = {name: value for name, value in vars(given).items() if name != "command"}
    upstreams = flags.get("upstreams")
    if upstreams is not None and len(upstreams) == 1:
        flags["upstreams"] = upstreams[0]
    names_file = bool(flags.get("config") or flags.get("config_file"))
    return load(flags=flags, environ=os.environ, file=None if names_file else here_or_named(), for_proxy=True)


def _add(group: Any, row: Row) -> None:
    """The setting's flag, and the one that names a file to read it from."""
    flag = f"--{row.key.replace('_', '-')}"
    options: dict[str, Any] = {"nargs": "?", "const": "on"} if row.kind.writes == _SWITCH else {}
    meaning = row.meaning.replace("%", "%%").replace("`", "")
    group.add_argument(flag, dest=row.key, metavar=_metavar(row.kind.writes), help=meaning, **options)
    if row.key != "config" and not row.key.endswith("_file"):
        group.add_argument(f"{flag}-file", dest=f"{row.key}_file", metavar="PATH", help=argparse.SUPPRESS)


def _metavar(writes: str) -> str:
    """What one may write, as short as it goes."""
    choices = writes.split(", ")
    if all(_WORD.fullmatch(choice) for choice in choices):
        return "|".join(choices) if len(choices) > 1 else writes.upper()
    return "VALUE"
