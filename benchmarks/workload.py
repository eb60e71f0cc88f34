"""The sessions and admissions that every store is measured with: a session, its owner, two limits, a touch."""

from __future__ import annotations

import secrets

from sessionware.core.admission import Admission, NewSession, Token
from sessionware.core.ids import Addresses, SessionKey, mint
from sessionware.core.ledger import CAP, Scope, Spend
from sessionware.core.payload import DATA_MAX, METADATA_MAX, pack
from sessionware.core.session import Birth, Proof, Session
from sessionware.core.windows import Sliding

IDLE_MS = 7_200_000  # nothing expires while a benchmark runs
MAX_AGE_MS = 86_400_000
METADATA = pack({"client": "benchmark", "purpose": "a note of some length"}, what="metadata", at_most=METADATA_MAX)
DATA = pack({"turns": 3, "theme": "dark", "cart": ["a", "b", "c"]}, what="data", at_most=DATA_MAX)


def new_session(addresses: Addresses, number: int, now: int) -> NewSession:
    """Session `number`, of a user of its own."""
    owner = addresses.owner("https://issuer.example", f"user-{number}")
    tag = addresses.tag("u", owner)
    key = addresses.minted_key(mint(tag, secrets.token_bytes(32)))
    birth = Birth(
        key, tag, owner, Proof.TOKEN, now, user_id=f"user-{number}", issuer="https://issuer.example", groups=("pro",)
    )
    return NewSession(Session(birth, IDLE_MS, now + MAX_AGE_MS, now + IDLE_MS, now, metadata=METADATA, data=DATA))


def admission(addresses: Addresses, new: NewSession, now: int) -> Admission:
    """One request of that session: owner, token, two limits, touch."""
    key, owner = new.session.key, new.session.birth.owner
    spends = (
        Spend("burst", addresses.counter("burst"), Scope.SESSION, Sliding(60_000), CAP, 1, 0, 0, 0),
        Spend("hourly", addresses.counter("hourly", owner.hex()), Scope.USER, Sliding(3_600_000), CAP, 1, 0, 0, 0),
    )
    return Admission(
        now,
        key.bucket,
        secrets.token_bytes(16),
        key,
        owner,
        Token(addresses.token("https://issuer.example", "jti"), now),
        spends=tuple(spend.at(now) for spend in spends),
    )


def asked_at(ask: Admission, now: int) -> Admission:
    """The same request, now: what planning a request anew costs is part of the call."""
    return Admission(now, ask.bucket, ask.operation, ask.key, ask.owner, ask.token, spends=ask.spends)


def key_of(new: NewSession) -> SessionKey:
    return new.session.key
