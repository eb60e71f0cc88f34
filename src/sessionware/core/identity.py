"""The only place that says who a caller has proved to be, and which session that selects when none is named."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, Literal

from msgspec import Struct

from sessionware.core.admission import Token
from sessionware.core.ids import Addresses, MintedId, SessionKey, SessionName, check_name
from sessionware.core.ledger import CAP
from sessionware.core.session import Proof
from sessionware.errors import InvalidSessionId, InvalidToken

Partition = Literal["owner", "org"]

DEFAULT_SESSION: Final = SessionName("default")
DEVELOPER: Final = "dev"  # the one owner of all named anonymous sessions (ANONYMOUS=named)
SID_HASH_BYTES: Final = 16


class Claims(Struct, frozen=True, kw_only=True):
    """What a verified credential says, whatever kind it was.

    `issuer` is a JWT's `iss` (empty if none), `key:`, `header:` or `login:`. `limits` is untrusted in shape.
    """

    issuer: str
    user_id: str
    org_id: str | None = None
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    sid: str | None = None
    token: Token | None = None
    expires_at: int | None = None
    proof: Proof = Proof.TOKEN
    limits: Mapping[str, Any] = {}


class Identity(Struct, frozen=True, kw_only=True):
    """Who a caller has proved to be. A caller who has proved nothing has no identity: None.

    `tag` is the partition of everything that is the caller's; `counts_as_user` is what limits per user count
    over (empty: the client counts instead), `counts_as_org` what limits per org count over (empty: they do not
    apply). `proof` is what the sessions made for this identity will ask for; `expires_at` is the credential's end.
    """

    owner: bytes
    tag: str
    issuer: str
    user_id: str | None
    counts_as_user: bytes
    counts_as_org: bytes = b""
    org_id: str | None = None
    org: bytes = b""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    sid: str | None = None
    token: Token | None = None
    expires_at: int | None = None
    proof: Proof = Proof.TOKEN
    limits: dict[str, int] = {}

    @property
    def is_anonymous(self) -> bool:
        """Whether there is an owner but no user behind it (ANONYMOUS=named)."""
        return self.user_id is None

    def may_hold(self, minted: MintedId) -> bool:
        """Whether a minted id can be this caller's at all; if not it is foreign without a lookup."""
        return minted.tag == self.tag


def prove(claims: Claims, *, addresses: Addresses, partition: Partition = "owner") -> Identity:
    """The identity that verified claims make.

    With `partition` "org" the organisation's members share a partition and limits per user count per
    (user, org); a caller without an organisation keeps a partition of their own. Overrides that are no
    allowances are dropped: a token must not be able to break a request.
    """
    _check_text("user", claims.user_id)
    _check_text("organisation", claims.org_id or "")
    for group in claims.groups:
        _check_text("group", group)
    owner = addresses.owner(claims.issuer, claims.user_id)
    org = addresses.org(claims.issuer, claims.org_id) if claims.org_id else b""
    user_tag = addresses.tag("u", owner)
    org_tag = addresses.tag("o", org) if org else ""
    shares = bool(org) and partition == "org"
    return Identity(
        owner=owner,
        tag=org_tag if shares else user_tag,
        issuer=claims.issuer,
        user_id=claims.user_id,
        counts_as_user=(user_tag + org_tag if shares else user_tag).encode(),
        counts_as_org=org_tag.encode(),
        org_id=claims.org_id,
        org=org,
        groups=claims.groups,
        scopes=claims.scopes,
        sid=claims.sid,
        token=claims.token,
        expires_at=claims.expires_at,
        proof=claims.proof,
        limits=_allowances(claims.limits),
    )


def _check_text(what: str, text: str) -> None:
    """Raise InvalidToken for half a surrogate pair: no store and no log can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidToken(f"the {what} is not proper Unicode text") from error


def developer(addresses: Addresses) -> Identity:
    """The shared owner of named anonymous sessions: no user, so limits count per client, and no cap holds."""
    owner = addresses.owner("dev:", DEVELOPER)
    return Identity(
        owner=owner, tag=addresses.tag("u", owner), issuer="dev:", user_id=None, counts_as_user=b"", proof=Proof.ID
    )


def derived_name(identity: Identity) -> SessionName:
    """The session that a proved identity selects when no id is presented: its `sid`, else `default`.

    A `sid` that may not be chosen as a name (too long, foreign characters, reserved) is hashed into one.
    """
    if not identity.sid:
        return DEFAULT_SESSION
    try:
        return SessionName(check_name(identity.sid))
    except InvalidSessionId:
        raw = identity.sid.encode("utf-8", "surrogatepass")
        return SessionName("sid-" + blake2b(raw, digest_size=SID_HASH_BYTES, person=b"sw-sid").hexdigest())


def named_key(identity: Identity, name: SessionName, *, addresses: Addresses) -> SessionKey:
    """Where this caller's session of that name lies."""
    return addresses.named_key(identity.tag, identity.owner, name.text)


def _allowances(claimed: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: min(allowance, CAP)
        for name, allowance in claimed.items()
        if isinstance(allowance, int) and not isinstance(allowance, bool) and allowance >= 0
    }
