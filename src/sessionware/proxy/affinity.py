"""The only place that keeps legacy MCP sessions: which of ours is which of an upstream's."""

from __future__ import annotations

import contextlib

from msgspec import Struct
from msgspec.structs import replace

from sessionware.asgi.passage import Passage
from sessionware.core.ids import SECRET_ENTROPY_BYTES, mint
from sessionware.core.session import Ended, EndReason, Link
from sessionware.errors import StoreUnavailable
from sessionware.proxy.mcp.messages import INITIALIZE, Hello
from sessionware.service.amounts import give_back_making


def link_of(passage: Passage) -> Link | None:
    """The legacy session that the request was admitted with."""
    return passage.entered.decision.answer.link


class Begun(Struct, frozen=True):
    """A legacy session that an upstream has begun: where, what it is called there, and who asked for it.

    `handshake` is the `initialize` itself, where it may have to be said again.
    """

    pool: str
    upstream: str
    upstream_id: str
    hello: Hello
    handshake: bytes = b""


async def remember(passage: Passage, begun: Begun, *, at_most: int) -> bytes:
    """Keep a legacy session; answers our id for it. Over `at_most` of one session the longest unused one ends.

    A session that this very initialize has made lends its own id. Raises StoreUnavailable, SessionNotFound.
    """
    session, runtime = passage.session, passage.engine.runtime
    if session is None:
        raise StoreUnavailable("a legacy session was begun, and there is no session to keep it in")
    birth, now = session.record.birth, runtime.now()
    ours = session.id if session.hands_out else mint(birth.tag, runtime.entropy(SECRET_ENTROPY_BYTES)).text
    link = Link(
        key=runtime.addresses.link_key(birth.key.bucket, ours), session=birth.key, owner=birth.owner,
        pool=begun.pool, upstream=begun.upstream, upstream_id=begun.upstream_id, version=begun.hello.version,
        created_at=now, seen_at=now, client=begun.hello.client, handshake=begun.handshake,
    )  # fmt: skip
    linked = await runtime.store.link(link, operation=runtime.operation(), now=now, at_most=at_most)
    runtime.unlinked(linked.unlinked)
    return ours.encode()


async def forget(passage: Passage, link: Link) -> None:
    """The upstream has no such session any more; one of ours that was only there for it ends, too."""
    await _unlink(passage, link, EndReason.ENDED)


async def lose(passage: Passage, link: Link) -> None:
    """The same, and nobody has wished it: to begin anew costs its client nothing."""
    ended = await _unlink(passage, link, EndReason.UPSTREAM_LOST)
    if ended is not None:
        asked = replace(passage.entered.facts, method="POST", mcp_method=INITIALIZE, tool="", count=1)
        await give_back_making(passage.engine.runtime, ended.session, asked)


async def _unlink(passage: Passage, link: Link, reason: EndReason) -> Ended | None:
    """End the link; answers the session that ended with it, which observers are told for this reason."""
    runtime = passage.engine.runtime
    passage.session = None  # what this request still says is no part of a session that ends
    with contextlib.suppress(StoreUnavailable):  # it will be asked for again, and forgotten then
        unlinked = await runtime.store.unlink(link.key, now=runtime.now())
        if unlinked is not None and unlinked.ended is not None:
            ended = replace(unlinked.ended, reason=reason)
            await runtime.tell_ended([ended])
            return ended
    return None


async def forget_unused(passage: Passage) -> None:
    """An `initialize` came to nothing: the session that was made for it is nobody's."""
    session = passage.session
    if session is not None and session.hands_out:
        passage.session = None
        with contextlib.suppress(StoreUnavailable):  # it expires
            await passage.engine.runtime.end(session.record.key)
