"""The command line: reads arguments, prints answers, and turns every mistake into one clear line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

from sessionware.cli import checking, keys
from sessionware.errors import SessionwareError

BAD_INPUT: Final = 2  # as argparse itself does


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 the answer is no, 2 the question was wrong."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = getattr(arguments, "command", None)
    if command is None:
        parser.print_usage(sys.stderr)
        print("sessionware: say what to do, for example: sessionware check-store memory://", file=sys.stderr)
        return BAD_INPUT
    try:
        return command(arguments)
    except SessionwareError as error:
        print(f"sessionware: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sessionware", description="Real multi-user sessions for ASGI apps and MCP.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    checking.add_to(commands)
    keys.add_to(commands)
    return parser
