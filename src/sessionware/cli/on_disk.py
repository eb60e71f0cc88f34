"""The only place that looks whether the files that settings name can be worked with; it makes and changes none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sessionware.config.load import Loaded
from sessionware.config.table import BY_KEY
from sessionware.credentials.api_keys import load
from sessionware.errors import ConfigError
from sessionware.stores.open import open_store
from sessionware.stores.sqlite import SqliteStore
from sessionware.stores.sqlite.files import check_path

_FILE: Final = "file:"


def named(loaded: Loaded, key: str) -> str:
    """What the user called a setting."""
    return loaded.sources.get(key) or BY_KEY[key].variable


def problems_of_files(loaded: Loaded) -> Iterator[str]:
    """One sentence for each setting that could not be worked with, as far as that shows without connecting."""
    for look in (_store, _api_keys, _audit):
        yield from look(loaded)


def _store(loaded: Loaded) -> Iterator[str]:
    settings, source = loaded.settings, named(loaded, "store")
    if "://" not in settings.store:  # a module:factory is somebody's code, not run by a look
        return
    try:
        store = open_store(settings.store, keys=settings.secret_keys, timeout_ms=settings.store_timeout, source=source)
    except ConfigError as error:
        yield str(error)
        return
    if isinstance(store, SqliteStore):
        yield from _refusal(source, lambda: check_path(store.path))


def _api_keys(loaded: Loaded) -> Iterator[str]:
    path, source = loaded.settings.api_keys_file, named(loaded, "api_keys_file")
    if not path:
        return
    if not Path(path).exists():
        yield f"{source}: {path!r} does not exist: make it with `sessionware key add USER --file {path}`"
        return
    yield from _refusal(source, lambda: load(path))


def _audit(loaded: Loaded) -> Iterator[str]:
    place, source = loaded.settings.audit or "", named(loaded, "audit")
    if not place.startswith(_FILE):
        return
    path = Path(place.removeprefix(_FILE))
    if not path.parent.is_dir():
        yield f"{source}: the folder {path.parent} of {place!r} does not exist: make it first"
    elif path.is_dir() or path.is_symlink():
        yield f"{source}: {place!r} is a {'folder' if path.is_dir() else 'link'}: name a file"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        yield f"{source}: {place!r} cannot be written by this user"


def _refusal(source: str, look: Callable[[], object]) -> Iterator[str]:
    try:
        look()
    except ConfigError as error:
        yield f"{source}: {str(error).removeprefix('api_keys_file: ')}"
