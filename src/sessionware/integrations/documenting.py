"""The only place that finds out whether an app documents itself, and has it document its sessions too."""

from __future__ import annotations

import sys
from typing import Any

from sessionware.config.settings import Settings


def document(app: Any, settings: Settings) -> None:
    """Let a FastAPI app tell of the sessions in front of it. Any other app is left alone."""
    fastapi = sys.modules.get("fastapi")
    if fastapi is None or not isinstance(app, fastapi.FastAPI):
        return
    from sessionware.integrations.fastapi.openapi import install_openapi  # noqa: PLC0415  # an extra

    install_openapi(app, settings)
