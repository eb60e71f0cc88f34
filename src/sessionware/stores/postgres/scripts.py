"""The only place that reads our .sql files."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_TABLES: Final = ("founding.sql", "schema.sql")  # all other files hold functions, but for the steps of migrations
_STEP: Final = "from-"  # from-1.sql leads from version 1 to version 2


def script(name: str) -> str:
    """The text of one of our .sql files."""
    return (files("sessionware.stores.postgres") / "sql" / name).read_text("utf-8")


def schema_text() -> str:
    """What makes the tables in an empty schema, once."""
    return "\n".join([script(name) for name in _TABLES])


def functions_text() -> str:
    """What makes all functions, or makes them anew."""
    names = sorted([entry.name for entry in (files("sessionware.stores.postgres") / "sql").iterdir()])
    return "\n".join([
        script(name)
        for name in names
        if name.endswith(".sql") and name not in _TABLES and not name.startswith(_STEP)
    ])  # fmt: skip
