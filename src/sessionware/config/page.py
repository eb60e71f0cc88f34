"""The only place that writes docs/settings.md: `python -m sessionware.config.page > docs/settings.md`."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Final

from sessionware.config.kinds import shown_as
from sessionware.config.table import ROWS, Row

_HEAD: Final = """\
# Settings

<!-- Written by `python -m sessionware.config.page` from the code: change `src/sessionware/config/` instead. -->

Each setting has one name: `SESSIONWARE_SESSION_TTL` in the environment, `session_ttl` as a keyword of
`SessionMiddleware(app, session_ttl=…)` and in TOML. A keyword wins over the environment, the environment over the
file, the file over a preset, a preset over the default. Your ASGI server's flags (`--workers`, `--port`) are its own:
they set nothing here. `sessionware proxy` takes every setting as a flag (`--session-ttl 1h`), which wins over the
environment.

- **Durations**: a number is seconds; or `250ms`, `30s`, `15m`, `12h`, `7d`. **Sizes**: bytes; or `64k`, `4M`.
- **Lists** by comma, limits by `;` or newline; in TOML and Python a list. **Switches**: on, off (true, false, yes, no).
- **Empty** is the same as unset. **`off`** switches off, where the column *write* says so.
- **`…_FILE`** reads any setting from the file that it names: `SESSIONWARE_JWT_SECRET_FILE=/run/secrets/jwt`.
- An unknown `SESSIONWARE_*` variable is a warning with the nearest name; with `SESSIONWARE_STRICT=1` it stops the
  start. An unknown keyword, flag or key of the file always does. What Kubernetes sets for a service that happens to
  be called `sessionware` (`SESSIONWARE_PORT=tcp://…`, `…_SERVICE_HOST`) is ignored.

`sessionware config` prints what holds, each limit in words; `--show-origin` says where it came from, and `--check`
finds every mistake and fails if there is one, for CI: also a folder or file that is not there or cannot be used
(`STORE=sqlite:///…`, `API_KEYS_FILE`, `AUDIT=file:…`). It sees the environment and the file, not the keywords of an
app; those are in `sessionware.settings`, which can be printed and shows no secret.
"""
_TABLE: Final = "| variable | default | write | meaning |\n|---|---|---|---|\n"
_PROXY_ALONE: Final = (
    "Only `sessionware proxy` obeys these (`sessionware config --proxy` shows them); an app that is given one warns.\n"
    "\n"
)
_FILE: Final = """
## One complete file

```toml
"""


def page() -> str:
    """The whole page, from the table and the example."""
    parts = [_HEAD]
    for section in dict.fromkeys(row.section for row in ROWS):
        rows = [row for row in ROWS if row.section == section]
        parts.append(f"\n## {section}\n\n")
        parts.append((_PROXY_ALONE if rows[0].role == "proxy" else "") + _TABLE + "".join(map(_line, rows)))
    return "".join([*parts, _FILE, example(), "```\n"])


def example() -> str:
    """The complete TOML file that the page shows."""
    return files("sessionware.config").joinpath("example.toml").read_text("utf-8")


def _line(row: Row) -> str:
    return f"| `{row.name}` | {_default(row)} | {_cell(row.kind.writes)} | {_cell(row.meaning)} |\n"


def _default(row: Row) -> str:
    if row.role == "loading":
        return "-"
    shown = shown_as(row.kind, row.default)
    return "off" if shown == "off" else f"`{_cell(shown)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
