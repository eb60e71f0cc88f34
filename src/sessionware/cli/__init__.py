"""The command line: reads arguments, prints answers, and turns every mistake into one clear line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

from sessionware.cli import (
    api_keys,
    call,
    checking,
    demo,
    ending,
    explain_token,
    keys,
    proxy,
    schema,
    sessions,
    settings,
)
from sessionware.errors import SessionwareError

BAD_INPUT: Final = 2  # as argparse itself does
INTERRUPTED: Final = 130  # 128 and the number of the signal, as a shell reports it: SIGINT
NO_READER: Final = 141  # SIGPIPE
TERMINATED: Final = 143  # SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 the answer is no, 2 the question was wrong, else what stopped it."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = getattr(arguments, "command", None)
    if command is None:
        parser.print_usage(sys.stderr)
        print("sessionware: say what to do, for example: sessionware check-store memory://", file=sys.stderr)
        return BAD_INPUT
    try:
        code = command(arguments)
        sys.stdout.flush()  # here, where it is known what a closed pipe means
    except SessionwareError as error:
        print(f"sessionware: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except checking.Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        print("sessionware: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush at exit complains
        return NO_READER
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sessionware", description="Real multi-user sessions for ASGI apps and MCP.")
    parser.add_argument("--version", action="version", version=f"sessionware {version('sessionware')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    proxy.add_to(commands)
    checking.add_to(commands)
    keys.add_to(commands)
    api_keys.add_to(commands)
    explain_token.add_to(commands)
    settings.add_to(commands)
    call.add_to(commands)
    sessions.add_to(commands)
    ending.add_cleanup_to(commands)
    schema.add_to(commands)
    demo.add_to(commands)
    return parser
