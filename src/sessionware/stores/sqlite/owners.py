"""The only place that keeps, in SQLite, what outlives sessions: owners' rows, revoked tokens, organisations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from sessionware.core.rules import NO_OVERRIDES
from sessionware.core.session import Override
from sessionware.stores.codec import pack, unpack_overrides
from sessionware.stores.sqlite.tables import Tables

_SET_OWNER: Final = (
    "INSERT INTO owners VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET not_before = excluded.not_before, limits = excluded.limits"
)
_SET_TOKEN: Final = "INSERT INTO tokens VALUES (?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)"
_SET_ORG: Final = "INSERT INTO orgs VALUES (?, ?) ON CONFLICT DO UPDATE SET limits = excluded.limits"


class OwnerRow(Struct, frozen=True, gc=False):
    """What is known of an owner apart from the sessions: a revocation instant and other allowances."""

    not_before: int = -1
    limits: Mapping[str, Override] = NO_OVERRIDES


NO_ROW: Final = OwnerRow()


def read_owner(not_before: int | None, limits: bytes | None) -> OwnerRow:
    """The row as its columns say, or the one that stands for none."""
    if not_before is None:
        return NO_ROW
    return OwnerRow(not_before, unpack_overrides(limits))


def owner_row(tables: Tables, owner: bytes) -> OwnerRow:
    row = tables.execute("SELECT not_before, limits FROM owners WHERE owner = ?", (owner,)).fetchone()
    return read_owner(*row) if row is not None else NO_ROW


def set_owner(tables: Tables, owner: bytes, row: OwnerRow) -> None:
    tables.execute(_SET_OWNER, (owner, row.not_before, pack(row.limits)))


def token_until(tables: Tables, token: bytes) -> int:
    """Until when a token is refused; 0 when it is not."""
    row = tables.execute("SELECT until FROM tokens WHERE hash = ?", (token,)).fetchone()
    return row[0] if row is not None else 0


def refuse_token(tables: Tables, token: bytes, until: int) -> None:
    tables.execute(_SET_TOKEN, (token, until))


def org_limits(tables: Tables, org: bytes) -> dict[str, Override]:
    row = tables.execute("SELECT limits FROM orgs WHERE org = ?", (org,)).fetchone()
    return unpack_overrides(row[0]) if row is not None else {}


def all_org_limits(tables: Tables) -> dict[bytes, dict[str, Override]]:
    """The overrides of all organisations that have any."""
    rows = tables.execute("SELECT org, limits FROM orgs").fetchall()
    found = {org: unpack_overrides(limits) for org, limits in rows}
    return {org: limits for org, limits in found.items() if limits}


def set_org_limits(tables: Tables, org: bytes, limits: Mapping[str, Override]) -> None:
    tables.execute(_SET_ORG, (org, pack(limits)))
