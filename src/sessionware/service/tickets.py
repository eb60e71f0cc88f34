"""The only place that writes and reads tickets: a session and its owner's identity, for one use within 30 s.

For clients that can send no header (EventSource): the ticket travels in the URL, so it holds no id and dies with
its first use. Signed with a key that every worker of the installation has.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from sessionware.core.admission import Token
from sessionware.core.identity import Claims, Identity, Partition, prove
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.ledger import Scope, Spend
from sessionware.core.session import Proof
from sessionware.core.windows import Total
from sessionware.errors import InvalidToken
from sessionware.service.making import Entropy

TICKET_MS: Final = 30_000
TICKET_MAX: Final = 4096  # characters; a URL is cut by many servers beyond 8 KiB
TICKET_SPEND: Final = "$ticket"  # no limit can be called so
NONCE_BYTES: Final = 16
_MAC_BYTES: Final = 32
_KEPT_MS: Final = 60_000  # the used nonce outlives its ticket by the skew of every clock
_REFUSED: Final = "Invalid or expired ticket"


class Ticket(Struct, frozen=True, array_like=True):
    """What a ticket stands for. `issuer` is None when the session itself is the only proof."""

    session: SessionKey
    expires_at: int
    nonce: bytes
    issuer: str | None = None
    user_id: str | None = None
    org_id: str | None = None
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    proof: Proof = Proof.ID
    token: Token | None = None
    proved_until: int | None = None

    def identity(self, *, addresses: Addresses, partition: Partition = "owner") -> Identity | None:
        """Who asked for the ticket."""
        if self.issuer is None or self.user_id is None:
            return None
        claims = Claims(
            issuer=self.issuer, user_id=self.user_id, org_id=self.org_id, groups=self.groups,
            scopes=self.scopes, token=self.token, proof=self.proof, expires_at=self.proved_until,
        )  # fmt: skip
        return prove(claims, addresses=addresses, partition=partition)

    def use(self, *, addresses: Addresses) -> Spend:
        """The spend that lets a ticket be used once; it goes into the admission of the request that shows it."""
        key = addresses.counter("ticket", self.nonce.hex())
        return Spend(TICKET_SPEND, key, Scope.USER, Total(), 1, 1, 0, 0, self.expires_at + _KEPT_MS)


_decoder = msgspec.msgpack.Decoder(Ticket)


def write_ticket(
    session: SessionKey, identity: Identity | None, *, addresses: Addresses, now: int, entropy: Entropy
) -> str:
    """A ticket for one request of this session within TICKET_MS."""
    ticket = Ticket(session, now + TICKET_MS, entropy(NONCE_BYTES))
    if identity is not None and identity.user_id is not None:
        ticket = Ticket(
            session, ticket.expires_at, ticket.nonce, identity.issuer, identity.user_id, identity.org_id,
            identity.groups, identity.scopes, identity.proof, identity.token, identity.expires_at,
        )  # fmt: skip
    packed = msgspec.msgpack.encode(ticket)
    return urlsafe_b64encode(_mac(packed, addresses) + packed).decode().rstrip("=")


def read_ticket(text: str, *, addresses: Addresses, now: int) -> Ticket:
    """What `write_ticket` wrote. Raises InvalidToken for anything else, and when its time is over."""
    if len(text) > TICKET_MAX or not text.isascii():
        raise InvalidToken(_REFUSED)
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise InvalidToken(_REFUSED) from error
    mac, packed = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(packed, addresses)):
        raise InvalidToken(_REFUSED)
    ticket = _decoder.decode(packed)
    if now >= ticket.expires_at:
        raise InvalidToken(_REFUSED)
    return ticket


def _mac(packed: bytes, addresses: Addresses) -> bytes:
    return blake2b(packed, key=addresses.secret("ticket"), digest_size=_MAC_BYTES, person=b"sw-ticket").digest()
