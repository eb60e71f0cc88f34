"""`sessionware sessions list|show`: the sessions of a shared store. Never an id, never what they hold."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from sessionware.api.shapes import listed
from sessionware.cli import carrying, ending
from sessionware.cli.meaning import every, meant
from sessionware.cli.on_store import add_store_to, add_user_to, on_store, whose
from sessionware.cli.printing import instant, print_json, printable, table
from sessionware.core.session import Link
from sessionware.core.times import rfc3339
from sessionware.errors import ConfigError, SessionNotFound
from sessionware.service import Snapshot
from sessionware.service.actors import APP
from sessionware.service.sessions import Sessions

SHOWN: Final = 100  # sessions that a listing shows unless it is told otherwise
WHICH: Final = "HANDLE|REF|NAME"
_HEAD: Final = ("HANDLE", "USER", "NAME", "CREATED", "LAST ACTIVE", "EXPIRES")


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    sessions = commands.add_parser(
        "sessions",
        help="see and end the sessions of a shared store",
        description="Works on the store of the settings (environment, ./sessionware.toml) beside the servers that use "
        "it. Shows handles, never ids or what sessions hold. The first ten characters of a handle are the ref that "
        "stands in logs. Times are UTC.",
    )
    actions = sessions.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all live sessions, or a user's, oldest first")
    add_user_to(listing, what="only the sessions of this user")
    listing.add_argument("--limit", type=int, default=SHOWN, metavar="N", help=f"show N at most ({SHOWN})")
    listing.add_argument("--count", action="store_true", help="only say how many")
    listing.set_defaults(command=list_sessions)
    show = actions.add_parser("show", help="one session: whose it is, since when, and its MCP connections")
    show.add_argument("which", metavar=WHICH, help="as the listing or a log shows it; a name wants its --user")
    add_user_to(show, what="whose session of that name")
    show.set_defaults(command=show_session)
    for action in (listing, show):
        add_store_to(action)
    ending.add_to(actions, which=WHICH)
    carrying.add_to(actions)


def list_sessions(arguments: argparse.Namespace) -> int:
    """Print a table, or how many there are."""
    if arguments.limit < 1:
        raise ConfigError(f"sessions list: --limit must be at least 1, got {arguments.limit}")

    async def work(sessions: Sessions) -> tuple[list[Snapshot], int]:
        by = whose(sessions, arguments) or APP
        found: list[Snapshot] = []
        if not arguments.count:
            async for each in every(sessions, by):
                if len(found) == arguments.limit:
                    break
                found.append(each)
        return found, await sessions.count(by=by)

    found, count = on_store(arguments, work)
    if arguments.json:
        print_json({"count": count} | ({} if arguments.count else {"sessions": [_listed(each) for each in found]}))
    elif arguments.count:
        print(count)
    else:
        print(table(_HEAD, [_cells(each) for each in found]))
        if count > len(found):
            print(f"sessionware: {len(found)} of {count} are shown: --limit {count} shows all", file=sys.stderr)
    return 0


def show_session(arguments: argparse.Namespace) -> int:
    """Print what is known of a session; 1 when there is none."""

    async def work(sessions: Sessions) -> Snapshot:
        by = whose(sessions, arguments) or APP
        return await sessions.status(await meant(sessions, arguments.which, by), by=by)

    try:
        found = on_store(arguments, work)
    except SessionNotFound:
        return ending.not_there(arguments.which)
    details = _details(found)
    if arguments.json:
        print_json(details)
        return 0
    for name, value in details.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            print(f"{name:15} {_line(each)}")
    return 0


def _listed(found: Snapshot) -> dict[str, Any]:
    """As the session API lists it; nobody is `current` here."""
    row = listed(found, None, with_owner=True)
    del row["current"]
    return row


def _cells(found: Snapshot) -> list[str]:
    birth, record = found.record.birth, found.record
    times = (birth.created_at, record.active_at, record.expires_at)
    return [found.handle, birth.user_id or "-", birth.name or "-", *map(instant, times)]


def _details(found: Snapshot) -> dict[str, Any]:
    birth, record = found.record.birth, found.record
    return _listed(found) | {
        "issuer": birth.issuer,
        "groups": birth.groups,
        "total_requests": record.hits,
        "limits": {name: override.allowance for name, override in record.limits.items()},
        "upstreams": record.bindings,
        "links": [_link(link) for link in record.links],
    }


def _link(link: Link) -> dict[str, Any]:
    """One legacy MCP connection; its two ids are for those who hold them."""
    return {
        "pool": link.pool,
        "upstream": link.upstream,
        "protocol_version": link.version,
        "client": link.client,
        "created_at": rfc3339(link.created_at),
        "last_activity": rfc3339(link.seen_at),
    }


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return printable(", ".join(f"{name} {each}" for name, each in value.items())) or "-"
    return "-" if value is None or value == "" else printable(str(value))
