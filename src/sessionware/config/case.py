"""What the checks look at: settings that were read well, and what each is called where the user wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.config.table import BY_KEY


class Case(Struct, frozen=True, kw_only=True):
    """All settings together, the environment that they came from, and how this process was called.

    `proxy` is None in the library.
    """

    settings: Settings
    sources: Mapping[str, str]
    environ: Mapping[str, str]
    arguments: Sequence[str] = ()
    proxy: ProxySettings | None = None

    def named(self, key: str) -> str:
        return self.sources.get(key) or BY_KEY[key].variable

    def is_set(self, key: str) -> bool:
        return key in self.sources

    @property
    def is_memory(self) -> bool:
        return self.settings.store.lower().startswith("memory:")


Check = Callable[[Case], Iterator[str]]
