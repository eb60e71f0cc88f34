"""The only place that writes what a benchmark found, beside the machine that it was found on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import msgspec


def write(path: Path, found: dict[str, Any]) -> None:
    """As JSON; folders that are missing are made."""
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine, **found}), indent=1))
    print(f"\nwritten to {path}")
