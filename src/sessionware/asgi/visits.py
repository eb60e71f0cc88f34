"""The only place that remembers what the headers of a caller mean, so that most requests resolve nothing anew."""

from __future__ import annotations

from typing import Final

from sessionware.core.admission import Admission
from sessionware.core.identity import Identity
from sessionware.core.policy import Caller
from sessionware.core.request import Facts
from sessionware.credentials.presented import Place
from sessionware.credentials.resolved import Resolved, Target

VISITS_MAX: Final = 4_096  # callers that are kept ready
REQUESTS_MAX: Final = 32  # kinds of request that are kept ready of each
HEADERS_MAX: Final = 8 * 1024  # bytes of one caller's: who sends more is met each time, or strangers fill the memory
PATH_MAX: Final = 256
KEPT_MS: Final = 60_000
UNSURE_MS: Final = 500  # a static key or a proxy's word is looked at again after that

Fingerprint = tuple[object, ...]
Asked = tuple[str, str, str, str]  # method and path; of MCP, also its method and the tool
Usual = tuple[Facts, Admission, int]  # such a request of this caller: its facts, what it asks, until when that holds


class Visit:
    """Who asks and for which session, as one set of headers says it.

    `has_lived`: the session was there when this caller last asked, so that no new one needs to be prepared.
    `poses`: a peer that nobody trusts names a user; the app must not see it. `is_default`: they name no session, and
    get the one that is theirs. `pools`: in these it has an upstream, as long as it lives.
    """

    __slots__ = (
        "caller", "client", "has_lived", "identity", "is_by_cookie", "is_default", "is_unsessioned", "link", "pools",
        "poses", "session_token", "since", "target", "until", "usual",
    )  # fmt: skip

    def __init__(
        self, resolved: Resolved, caller: Caller, *, client: str, session_token: str | None = None, until: int = 0
    ) -> None:
        self.identity: Identity | None = resolved.identity
        self.target: Target | None = resolved.target
        self.link: Target | None = resolved.link
        self.caller = caller
        self.client = client
        self.session_token = session_token
        self.since = 0
        self.until = until
        self.has_lived = False
        self.poses = False
        self.is_unsessioned = resolved.target is None and resolved.link is None  # no session is meant at all
        self.is_by_cookie = self.place is Place.COOKIE
        self.is_default = resolved.target is not None and resolved.target.is_default
        self.pools: tuple[str, ...] = ()
        self.usual: dict[Asked, Usual] = {}

    @property
    def place(self) -> Place | None:
        """Where the session's id was found."""
        return None if self.target is None else self.target.place

    def remember(self, facts: Facts, ask: Admission, until: int) -> None:
        """Such a request of this caller asks just that; a long path is not worth its room."""
        if len(facts.path) + len(facts.tool) + len(facts.mcp_method) > PATH_MAX or facts.count != 1:
            return
        if len(self.usual) >= REQUESTS_MAX:
            self.usual.clear()
        self.usual[facts.method, facts.path, facts.mcp_method, facts.tool] = facts, ask, until


class Visits:
    """The callers of late. What was refused is never remembered; a revocation empties it."""

    def __init__(self) -> None:
        self.known: dict[Fingerprint, Visit] = {}  # what stands here may be out of date: ask `get`
        self.generation = 0

    def get(self, fingerprint: Fingerprint, now: int) -> Visit | None:
        """The caller whose headers these are to the letter, if what they say still holds (not by a clock set back)."""
        visit = self.known.get(fingerprint)
        return visit if visit is not None and visit.since <= now < visit.until else None

    def put(self, fingerprint: Fingerprint, visit: Visit, *, generation: int) -> None:
        """Remember, unless all was flushed since `generation` or it is too long; the oldest makes room."""
        if generation != self.generation or _length(fingerprint) > HEADERS_MAX:
            return
        self.known.pop(fingerprint, None)
        if len(self.known) >= VISITS_MAX:
            del self.known[next(iter(self.known))]
        self.known[fingerprint] = visit

    def flush(self) -> None:
        """Forget everybody: a token may have been revoked, or an organisation given other limits."""
        self.known.clear()
        self.generation += 1


def _length(fingerprint: Fingerprint) -> int:
    return sum([len(part) for part in fingerprint if isinstance(part, bytes | str)])


def believed_until(resolved: Resolved, now: int) -> int:
    """How long the same headers may be believed to mean the same. A bare id proves nobody, so it never turns false."""
    if resolved.identity is None or resolved.identity.is_anonymous:
        return now + KEPT_MS
    return min(resolved.until or now + UNSURE_MS, now + KEPT_MS)
