"""The only place that knows which stores this run tests: `make test STORES=memory,sqlite`."""

import os

ALL_STORES = ("memory", "sqlite", "redis")


def selected_stores() -> tuple[str, ...]:
    """The chosen stores; all of them when none are named."""
    named = os.environ.get("SESSIONWARE_TEST_STORES", "").replace(",", " ").split()
    unknown = [name for name in named if name not in ALL_STORES]
    if unknown:
        raise ValueError(
            f"SESSIONWARE_TEST_STORES: no store is called {unknown[0]}; there are: {', '.join(ALL_STORES)}"
        )
    return tuple(named) or ALL_STORES


def is_selected(store: str) -> bool:
    return store in selected_stores()
