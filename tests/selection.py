"""The only place that knows which stores and which clients this run tests: `make test STORES=memory,sqlite`."""

import os

ALL_STORES = ("memory", "sqlite", "redis", "sentinel", "cluster", "postgres")
OFFICIAL_CLIENTS = ("official-legacy", "official-auto")
OTHER_CLIENTS = ("fastmcp-legacy", "fastmcp-auto", "typescript-legacy", "typescript-auto", "typescript-first")


def selected_stores() -> tuple[str, ...]:
    """The chosen stores; all of them when none are named."""
    return _named("STORES", ALL_STORES) or ALL_STORES


def is_selected(store: str) -> bool:
    return store in selected_stores()


def selected_clients() -> tuple[str, ...]:
    """The chosen clients of MCP; the official ones when none are named (`make clients` names the others)."""
    return _named("CLIENTS", OFFICIAL_CLIENTS + OTHER_CLIENTS) or OFFICIAL_CLIENTS


def _named(what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    variable = f"SESSIONWARE_TEST_{what}"
    named = os.environ.get(variable, "").replace(",", " ").split()
    unknown = [name for name in named if name not in known]
    if unknown:
        one = what.lower().removesuffix("s")
        raise ValueError(f"{variable}: no {one} is called {unknown[0]}; there are: {', '.join(known)}")
    return tuple(named)
