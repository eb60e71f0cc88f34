"""The only place that says whom `user=`, `org=` and `{user}` mean, and whose sessions a caller may list."""

from __future__ import annotations

from msgspec import Struct

from sessionware.core.identity import Identity
from sessionware.credentials.compact import is_plain
from sessionware.errors import IdentityRequired, InvalidValue, PermissionDenied
from sessionware.service.actors import Actor
from sessionware.service.finding import current, identity_for, vet
from sessionware.service.making import LOGIN_ISSUER, user_identity
from sessionware.service.runtime import Runtime


class Owner(Struct, frozen=True):
    """Whose sessions, and in which bucket they lie."""

    owner: bytes
    bucket: int


def issuer_of(runtime: Runtime, iss: str | None) -> str:
    """The issuer that is meant: the one named, or the only one configured. Raises InvalidValue, listing several."""
    known = runtime.terms.issuers
    if iss is not None:
        if not is_plain(iss):
            raise InvalidValue("iss must be 1..255 characters without control characters")
        return iss
    if len(known) > 1:
        raise InvalidValue(f"several issuers are configured, say which one (iss=): {', '.join(known)}")
    return known[0] if known else LOGIN_ISSUER


def named_user(
    runtime: Runtime, user: str, *, iss: str | None = None, org: str | None = None, groups: tuple[str, ...] = ()
) -> Identity:
    """The identity of the user that a path or a call names. Raises InvalidValue."""
    if not is_plain(user):
        raise InvalidValue("invalid user ID: 1..255 characters without control characters")
    if org is not None and not is_plain(org):
        raise InvalidValue("invalid org ID: 1..255 characters without control characters")
    issuer = issuer_of(runtime, iss)
    return user_identity(user, issuer=issuer, ground=runtime.ground, org_id=org, groups=groups)


def require_admin(by: Actor) -> None:
    """Raises PermissionDenied, or IdentityRequired for somebody who has not even said who they are."""
    if by.is_admin:
        return
    if by.identity is None:
        raise IdentityRequired("an administrator's token is required")
    raise PermissionDenied("Permission denied")


async def own(runtime: Runtime, by: Actor) -> Owner:
    """The caller as an owner: by identity, else by the session that the request presents.

    Raises IdentityRequired when there is neither, and what `find` raises.
    """
    identity = identity_for(runtime, by)
    if identity is not None and not (identity.is_anonymous and by.presented is not None):
        await vet(runtime, by)
        return owner_of(runtime, identity)
    if by.presented is None:
        raise IdentityRequired("an identity is required: present a token or a session")
    record = (await current(runtime, by=by)).record
    return Owner(record.birth.owner, record.key.bucket)


def owner_of(runtime: Runtime, identity: Identity) -> Owner:
    return Owner(identity.owner, runtime.addresses.bucket(identity.tag))
