"""The only place of the settings that reads files: one TOML file, and secrets that lie in files of their own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Final

from sessionware.errors import ConfigError

FILE_MAX: Final = 1 << 20  # bytes; a larger one is no settings and no secret


def read_secret(path: str, *, source: str) -> str:
    """The text of a file without the newline at its end.

    Raises ConfigError that names the source and the path, also when the file is empty: a mount that failed must
    not switch a check off.
    """
    text = _read(path, source).removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ConfigError(f"{source}: {path!r} is empty: write the value into it, or unset {source}")
    return text


def read_toml(path: str | os.PathLike[str], *, source: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError that names the file and the line."""
    shown = os.fspath(path)
    text = _read(shown, source)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source}: {shown!r} is no TOML: {error}") from error


def _read(path: str, source: str) -> str:
    try:
        with Path(path).open("rb") as file:
            found = file.read(FILE_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{source}: {path!r} cannot be read: {why}") from error
    if len(found) > FILE_MAX:
        raise ConfigError(f"{source}: {path!r} is larger than {FILE_MAX} bytes: is it the right file?")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: {path!r} is no UTF-8 text: for a key write base64 into it") from error
