"""The only place that says which session a request uses or makes: ON_MISSING and ON_UNKNOWN."""

from __future__ import annotations

from msgspec import Struct

from sessionware.asgi.options import Engine
from sessionware.core.admission import NewSession
from sessionware.core.identity import Identity
from sessionware.core.ids import MintedId, SessionKey, SessionName
from sessionware.credentials.presented import Place
from sessionware.credentials.resolved import Kind, Resolved, Target
from sessionware.errors import SessionwareError
from sessionware.service.making import fresh_id, new_session


class NoSessionId(SessionwareError):
    """A session is required and none was presented."""

    code = "session_required"
    status_hint = 401


class Meant(Struct, frozen=True):
    """What a request is about. `text` is what its caller calls the session; `new` is made if it is not there.

    `key` None: the request has no session (yet). `hands_out`: the id was made by us and must be sent.
    """

    identity: Identity | None
    key: SessionKey | None
    tag: str
    bucket: int
    text: str
    place: Place | None
    new: NewSession | None = None
    link: SessionKey | None = None
    hands_out: bool = False


def meant(engine: Engine, resolved: Resolved, *, client: str, now: int) -> Meant:
    """The session that a request uses, and the one to make if there is none. Raises NoSessionId."""
    target, identity = resolved.target, resolved.identity
    if target is None:
        if resolved.link is not None:
            link = resolved.link
            return Meant(identity, None, link.tag, link.key.bucket, link.text, Place.MCP, link=link.key)
        return missing(engine, identity, client=client, now=now)
    new = _template(engine, target, identity, client=client, now=now)
    link_key = resolved.link.key if resolved.link is not None else None
    return Meant(identity, target.key, target.tag, target.key.bucket, target.text, target.place, new, link_key)


def missing(engine: Engine, identity: Identity | None, *, client: str, now: int) -> Meant:
    """What a request without a session id gets. Raises NoSessionId where one is required."""
    options, runtime = engine.options, engine.runtime
    choice = options.on_missing
    if choice == "auto":
        choice = "lazy" if options.cookie.name else "create"
    if choice == "reject":
        raise NoSessionId("No session ID provided")
    if choice in {"anonymous", "lazy"}:
        tag = identity.tag if identity is not None else ""
        return Meant(identity, None, tag, runtime.addresses.bucket(tag) if tag else 0, "", None)
    return fresh(engine, identity, client=client, now=now)


def fresh(engine: Engine, identity: Identity | None, *, client: str, now: int) -> Meant:
    """A session under a new id of ours."""
    runtime = engine.runtime
    minted = fresh_id(identity, entropy=runtime.entropy)
    new = new_session(minted, identity, terms=runtime.terms, addresses=runtime.addresses, now=now, client=client)
    key = new.session.key
    return Meant(identity, key, minted.tag, key.bucket, minted.text, None, new, hands_out=True)


def may_begin_anew(engine: Engine, before: Meant) -> bool:
    """Whether an unknown id is answered with a new session: an old cookie is; a header's holder must learn of it."""
    choice = engine.options.on_unknown
    if choice == "auto":
        return before.place is Place.COOKIE
    return choice == "create" and before.link is None


def _template(engine: Engine, target: Target, identity: Identity | None, *, client: str, now: int) -> NewSession | None:
    """What is made when the target does not exist: derived sessions always, names unless ON_UNKNOWN rejects."""
    if target.kind is Kind.MINTED or (target.kind is Kind.NAMED and engine.options.on_unknown == "reject"):
        return None
    runtime = engine.runtime
    name: MintedId | SessionName = SessionName(target.text)
    return new_session(
        name, identity, terms=runtime.terms, addresses=runtime.addresses, now=now, client=client,
        is_derived=target.kind is Kind.DERIVED,
    )  # fmt: skip
