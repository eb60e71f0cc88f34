"""`sessionware keys new`: a fresh key for SESSIONWARE_SECRET_KEYS."""

from __future__ import annotations

import argparse
from typing import Any

from sessionware.stores.sealing import new_key


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    keys = commands.add_parser("keys", help="keys that encrypt what lies at rest")
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="print a fresh key for SESSIONWARE_SECRET_KEYS (put it first, keep the old)")
    new.set_defaults(command=print_new)


def print_new(_: argparse.Namespace) -> int:
    print(new_key())
    return 0
