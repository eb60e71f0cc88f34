"""The only place that says in which bucket of a cluster a counter lies, and takes an admission and facts apart by it.

What counts over a session, a user, or (with PARTITION=org) an organisation is narrow: it lies in the partition's
bucket, beside the session. Everything else is wide: it lies in the bucket that the first byte of its own key names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, Level
from sessionware.core.facts import Fact, Released, Renewed, Settled
from sessionware.core.ledger import Lease, Scope, Spend, When

Item = TypeVar("Item", Spend, Lease)


class Wide(Struct, frozen=True):
    """The places, in an admission, of what counts in other buckets: `created` ones count only for a new session."""

    always: tuple[int, ...]
    created: tuple[int, ...]
    leases: tuple[int, ...]

    def narrowed(self, ask: Admission) -> Admission:
        """What is left for the partition's own bucket; a lease elsewhere opens the session all the same."""
        apart = {*self.always, *self.created}
        return replace(
            ask,
            spends=tuple([spend for at, spend in enumerate(ask.spends) if at not in apart]),
            leases=tuple([lease for at, lease in enumerate(ask.leases) if at not in self.leases]),
            opens=ask.opens or bool(ask.leases),
        )


class Placing(Struct, frozen=True):
    """With PARTITION=org an organisation lies in one bucket."""

    org_is_narrow: bool = False

    def is_wide(self, scope: Scope) -> bool:
        if scope is Scope.CLIENT or scope is Scope.GLOBAL:
            return True
        return scope is Scope.ORG and not self.org_is_narrow

    def wide_of(self, ask: Admission) -> Wide | None:
        """What of an admission lies elsewhere; None when all of it is in one bucket, as it usually is.

        One that may be repeated is never None: what it said elsewhere is kept, even if that is nothing.
        """
        always: list[int] = []
        created: list[int] = []
        for at, spend in enumerate(ask.spends):
            if self.is_wide(spend.scope):
                (created if spend.when is When.CREATED else always).append(at)
        leases = [at for at, lease in enumerate(ask.leases) if self.is_wide(lease.scope)] if ask.leases else ()
        levels = ask.new is not None and ask.new.caps.levels
        if not (always or created or leases or levels or ask.once):
            return None
        return Wide(tuple(always), tuple(created), tuple(leases))

    def scattered(self, fact: Fact) -> list[Fact]:
        """The parts of a fact, one for each bucket that it touches; the first is the partition's own."""
        match fact:
            case Settled(spends=spends) if any(self.is_wide(spend.scope) for spend in spends):
                own = tuple([spend for spend in spends if not self.is_wide(spend.scope)])
                return [
                    replace(fact, spends=own),
                    *[
                        replace(fact, bucket=bucket, session=None, spends=tuple(part))
                        for bucket, part in by_bucket(spend for spend in spends if self.is_wide(spend.scope))
                    ],
                ]
            case Renewed(leases=leases) | Released(leases=leases) if any(self.is_wide(each.scope) for each in leases):
                rest = tuple([lease for lease in leases if not self.is_wide(lease.scope)])
                return [
                    replace(fact, leases=rest),
                    *[
                        replace(fact, bucket=bucket, session=None, leases=tuple(part))
                        for bucket, part in by_bucket(lease for lease in leases if self.is_wide(lease.scope))
                    ],
                ]
            case _:
                return [fact]


def bucket_of(wide: Spend | Lease | Level) -> int:
    return wide.key[0]


def by_bucket(items: Iterable[Item]) -> list[tuple[int, list[Item]]]:
    """Wide items grouped by where they lie."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(bucket_of(item), []).append(item)
    return list(groups.items())
