"""`sessionware sessions close|revoke` and `sessionware cleanup`: what ends sessions from the command line.

Whoever serves the store hears of it at once, and tells its own observers within a minute or two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

from sessionware.cli.meaning import meant
from sessionware.cli.on_store import add_store_to, add_user_to, on_store, whose
from sessionware.cli.printing import print_json, printable
from sessionware.config.given import Given
from sessionware.config.kinds import duration
from sessionware.errors import ConfigError, SessionNotFound
from sessionware.service.actors import APP
from sessionware.service.sessions import Sessions

TOKEN_MAX: Final = 64 * 1024  # characters on standard input
_IDLE: Final = duration(1, 365 * 86_400_000)


def add_to(actions: Any, *, which: str) -> None:
    """Teach the parser of `sessions` these actions."""
    close = actions.add_parser("close", help="end sessions; what they have upstream ends, too")
    close.add_argument("which", metavar=which, nargs="*", help="none, with --user: all sessions of that user")
    add_user_to(close, what="whose sessions")
    close.set_defaults(command=close_sessions)
    revoke = actions.add_parser(
        "revoke",
        help="refuse a token, or all tokens that a user has now; ends the sessions, too",
        description="Exactly one of --user, --jti (with --iss) and --token. It is in force everywhere at once.",
    )
    add_user_to(revoke, what="refuse what was issued to this user until now, and end all sessions")
    revoke.add_argument("--jti", metavar="ID", help="refuse the token that has this jti")
    revoke.add_argument("--token", choices=["-"], help="- refuses the token that stands on standard input")
    revoke.set_defaults(command=revoke_tokens)
    for action in (close, revoke):
        add_store_to(action)


def add_cleanup_to(commands: Any) -> None:
    """Teach the parser `cleanup`."""
    cleanup = commands.add_parser("cleanup", help="remove expired sessions now, and those that were idle for long")
    cleanup.add_argument("--idle", metavar="DURATION", help="remove what was idle for so long, too: 90, 30m, 12h")
    cleanup.set_defaults(command=clean_up)
    add_store_to(cleanup)


def close_sessions(arguments: argparse.Namespace) -> int:
    """End those that are named, or all of a user; 1 when one of them is not there."""
    if not arguments.which and arguments.user is None:
        raise ConfigError("sessions close: which? Name handles from `sessionware sessions list`, or a --user")

    async def work(sessions: Sessions) -> tuple[Sequence[str], list[str]]:
        by = whose(sessions, arguments) or APP
        if not arguments.which:
            return await sessions.close_all(by=by), []
        handles, missing = [], []
        for which in arguments.which:
            try:
                closed = await sessions.close(await meant(sessions, which, by), by=by)
            except SessionNotFound:
                missing.append(which)
            else:
                handles.append(closed.session.handle)
        return handles, missing

    handles, missing = on_store(arguments, work)
    _tell(arguments, "closed", handles, missing=missing)
    return 1 if missing else 0


def revoke_tokens(arguments: argparse.Namespace) -> int:
    """Revoke one thing, and say what ended by it. Raises ConfigError for none, or several."""
    if [arguments.user, arguments.jti, arguments.token].count(None) != 2:  # noqa: PLR2004  # of three
        raise ConfigError("sessions revoke: say exactly one of --user, --jti (with --iss) and --token -")
    token = None if arguments.token is None else sys.stdin.read(TOKEN_MAX).strip()
    iss = None if token is not None else arguments.iss

    async def work(sessions: Sessions) -> Sequence[str]:
        return await sessions.revoke(user=arguments.user, jti=arguments.jti, token=token, iss=iss)

    _tell(arguments, "ended", on_store(arguments, work))
    return 0


def clean_up(arguments: argparse.Namespace) -> int:
    """Remove now what is over. Raises ConfigError for an idle time that is none."""
    idle_ms = None if arguments.idle is None else _IDLE.read(Given(arguments.idle, "--idle"))

    async def work(sessions: Sessions) -> Sequence[str]:
        return await sessions.cleanup(idle_seconds=None if idle_ms is None else idle_ms / 1000)

    _tell(arguments, "removed", on_store(arguments, work))
    return 0


def not_there(which: str) -> int:
    """Say that no session lives under it; the exit code."""
    print(f"sessionware: no live session is {printable(which)}: see `sessionware sessions list`", file=sys.stderr)
    return 1


def _tell(arguments: argparse.Namespace, what: str, handles: Sequence[str], *, missing: Sequence[str] = ()) -> None:
    if arguments.json:
        print_json({what: len(handles), "handles": handles, "missing": missing})
        return
    for each in handles:
        print(f"{what} {each}")
    for each in missing:
        not_there(each)
    if not handles and not missing:
        print(f"{what} none")
