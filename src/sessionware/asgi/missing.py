"""The only place that says which session a request makes when it has none: ON_MISSING and ON_UNKNOWN."""

from __future__ import annotations

from typing import Final, assert_never

from msgspec import Struct

from sessionware.asgi.engine import Engine
from sessionware.asgi.routing import Makes
from sessionware.asgi.visits import Visit
from sessionware.core.admission import NewSession
from sessionware.core.ids import MintedId, SessionName
from sessionware.credentials.resolved import Kind
from sessionware.errors import NoSessionId
from sessionware.service.making import fresh_id, new_session


class Making(Struct, frozen=True):
    """The session that a request makes. `text` is what its caller calls it; `is_lazy`: only once it is written to.

    `hands_out`: the id was made by us and must be sent. Without `new` the request goes on without a session.
    """

    new: NewSession | None = None
    text: str = ""
    hands_out: bool = False
    is_lazy: bool = False


NONE: Final = Making()


def made_if_absent(engine: Engine, visit: Visit, now: int) -> Making:
    """What is made when the session that is meant does not exist: derived ones always, names unless rejected."""
    target = visit.target
    if target is None or target.kind is Kind.MINTED:
        return NONE
    if target.kind is Kind.NAMED and engine.options.on_unknown == "reject":
        return NONE
    new = _new(engine, visit, SessionName(target.text), now, is_derived=target.kind is Kind.DERIVED)
    return Making(new, target.text)


def made_without_id(engine: Engine, visit: Visit, now: int, *, makes: Makes = "as_set") -> Making:
    """What a request without a session id gets. Raises NoSessionId where one is required."""
    options = engine.options
    choice = options.on_missing
    if makes == "always" and (visit.identity is not None or choice != "reject"):
        choice = "create"
    elif makes == "never" and choice != "reject":
        choice = "anonymous"
    if choice == "auto":
        choice = "lazy" if options.has_cookie else "create"
    match choice:
        case "reject":
            raise NoSessionId("No session ID provided")
        case "anonymous":
            return NONE
        case "create" | "lazy":
            minted = fresh_id(visit.identity, entropy=engine.runtime.entropy)
            new = _new(engine, visit, minted, now)
            return Making(new, minted.text, hands_out=True, is_lazy=choice == "lazy")
        case _:
            assert_never(choice)


def may_begin_anew(engine: Engine, visit: Visit) -> bool:
    """Whether an unknown id is answered with a new session: an old cookie is; a header's holder must learn of it."""
    choice = engine.options.on_unknown
    if choice == "auto":
        return visit.is_by_cookie and engine.options.on_missing != "reject"
    return choice == "create" and visit.link is None


def _new(
    engine: Engine, visit: Visit, target: MintedId | SessionName, now: int, *, is_derived: bool = False
) -> NewSession:
    runtime = engine.runtime
    return new_session(
        target, visit.identity, terms=runtime.terms, addresses=runtime.addresses, now=now,
        client=visit.client, is_derived=is_derived,
    )  # fmt: skip
