"""`sessionware key add|list|revoke`: static API keys, of which only a hash is kept."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from sessionware.cli.settings import here_or_named
from sessionware.clock import wall_ms
from sessionware.config.load import survey
from sessionware.credentials.api_keys import ApiKey, Revoked, append, load, new_key
from sessionware.errors import ConfigError


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    key = commands.add_parser("key", help="static API keys", description="Static API keys, kept hashed in a file.")
    actions = key.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key for a user and print it once")
    add.add_argument("user", help="whom the key proves; all keys of a user share their sessions")
    add.add_argument("--group", action="append", default=[], metavar="NAME", help="a group of the user (repeat)")
    add.add_argument("--scope", action="append", default=[], metavar="NAME", help="a scope of the key (repeat)")
    add.add_argument("--org", metavar="NAME", help="the user's organisation")
    add.set_defaults(command=add_key)
    listing = actions.add_parser("list", help="show the keys that count, without the keys themselves")
    listing.set_defaults(command=list_keys)
    revoke = actions.add_parser("revoke", help="take a key back: it stops within a second, without a restart")
    revoke.add_argument("which", metavar="ID|USER", help="a key's id from the list, or a user: all keys of that user")
    revoke.set_defaults(command=revoke_keys)
    for action in (add, listing, revoke):
        action.add_argument(
            "--file", default="", metavar="PATH", help="the file of keys (default: $SESSIONWARE_API_KEYS_FILE)"
        )


def add_key(arguments: argparse.Namespace) -> int:
    """Print a fresh key, and nothing else on that line. Raises ConfigError when it cannot be kept."""
    path = _path(arguments)
    text, key = new_key(
        arguments.user, now=wall_ms(), org=arguments.org, groups=arguments.group, scopes=arguments.scope
    )
    append(path, key)
    print(text)
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """One line for each key that counts; 1 when there are lines that nobody can read."""
    journal = load(_path(arguments))
    for key in sorted(journal.keys.values(), key=lambda key: (key.user, key.created_at)):
        print(_line(key))
    for number in journal.unreadable:
        print(f"line {number} cannot be read and counts for nothing")
    return 1 if journal.unreadable else 0


def revoke_keys(arguments: argparse.Namespace) -> int:
    """Revoke a key, or all keys of a user. Raises ConfigError when there is none."""
    path = _path(arguments)
    found = [key for key in load(path).keys.values() if arguments.which in {key.id, key.user}]
    if not found:
        raise ConfigError(f"key: no key that counts has the id or user {arguments.which!r}: see sessionware key list")
    for key in found:
        append(path, Revoked(revoked=key.id, at=wall_ms()))
        print(f"revoked {_line(key)}")
    return 0


def _path(arguments: argparse.Namespace) -> str:
    """The file that is named, else the one in the settings, even where other settings are wrong."""
    path: str | None = arguments.file or survey(file=here_or_named()).settings.api_keys_file
    if not path:
        raise ConfigError("key: which file? Set SESSIONWARE_API_KEYS_FILE, or say --file api-keys.jsonl")
    return path


def _line(key: ApiKey) -> str:
    made = datetime.fromtimestamp(key.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    more = [
        f"{name} {','.join(values)}"
        for name, values in (("org", (key.org,) if key.org else ()), ("groups", key.groups), ("scopes", key.scopes))
        if values
    ]
    return "  ".join([key.id, made, key.user, *more])
