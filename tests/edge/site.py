"""The only place that puts the app behind the middleware on a server, and lets a test look into its store."""

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, Self, TypeVar

from sessionware import SessionMiddleware, Sessionware
from sessionware.config.load import load
from sessionware.core.session import Session
from sessionware.core.store import Query, Store
from sessionware.stores.memory import MemoryStore
from sessionware.testing import FaultyStore, ManualClock
from sessionware.testing.tokens import FakeIssuer
from tests.edge import app as told
from tests.edge import wire
from tests.edge.wire import Answer, Header
from tests.serving import Server

Result = TypeVar("Result")

AUDIENCE: Final = "api"
UNLIMITED: Final = {"limits": "off", "create_limit": "off", "max_sessions_per_client": "off"}
STRANGER: Final = "aaaaaaaaaaaa." + "x" * 43  # in the form of an id that we make, and made by nobody


class Site:
    """One app behind `SessionMiddleware` on one server, with a clock of the test's and a memory store unless given.

    `settings` are keywords as users write them; without any, nothing is limited. `store` counts every call.
    """

    def __init__(
        self, kind: str, *, issuer: FakeIssuer | None = None, store: Store | None = None,
        clock: ManualClock | None = None, api: str | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.clock = clock or ManualClock()
        self.store = FaultyStore(store or MemoryStore(clock=self.clock))
        self.issuer = issuer
        loaded = load(keywords={**UNLIMITED, **settings}, environ={})
        self.sessionware = Sessionware(loaded.settings, store=self.store)
        self.app = told.build()
        self.server = Server(SessionMiddleware(self.app, self.sessionware, api=api), kind, lifespan="on")

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    @property
    def kind(self) -> str:
        return self.server.kind

    @property
    def gates(self) -> told.Gates:
        gates: told.Gates = self.app.state.gates
        return gates

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.server.run(work)

    # -------------------------------------------------------------- requests

    def ask(
        self, method: str = "GET", target: str | bytes = "/who", *headers: Header, sid: str | bytes | None = None,
        user: str | None = None, token: str | bytes | None = None, body: bytes = b"",
    ) -> Answer:  # fmt: skip
        """One request and its answer, which must come."""
        answer = self.raw(wire.request(method, target, self._headers(headers, sid=sid, user=user, token=token), body))
        assert answer is not None, f"{self.kind} hung up"
        return answer

    def raw(self, sent: bytes) -> Answer | None:
        """Exactly these bytes; None when the server hung up on them."""
        return wire.exchange(self.server.connect(), sent)

    def _headers(
        self, headers: Iterable[Header], *, sid: str | bytes | None, user: str | None, token: str | bytes | None
    ) -> list[Header]:
        found = list(headers)
        if sid is not None:
            found.append(("X-Session-ID", sid))
        if user is not None:
            token = self.token(user)
        if token is not None:
            found.append(("Authorization", b"Bearer " + (token.encode() if isinstance(token, str) else token)))
        return found

    def token(self, subject: Any = "alice", **more: Any) -> str:
        """A good token by this site's clock, or whatever `more` makes of it."""
        assert self.issuer is not None, "this site believes no tokens"
        return self.issuer.token(subject, now=self.clock.now(), **more)

    def started(self, **who: Any) -> str:
        """A new anonymous session's id."""
        sid = self.ask("GET", "/who", **who).header("x-session-id")
        assert sid is not None
        return sid

    # -------------------------------------------------------------- the store

    @property
    def lookups(self) -> int:
        """How often the store was asked about a session so far; what a worker does by itself does not count."""
        return sum(self.store.calls[name] for name in ("admit", "create", "get", "update", "move", "delete"))

    @property
    def count(self) -> int:
        """How many sessions are stored."""
        return self.run(_count(self.store, self.clock))

    def newest(self) -> Session:
        """The stored session that was made last."""
        return max(self.run(_list(self.store, self.clock)), key=lambda session: session.birth.created_at)


async def _count(store: Store, clock: ManualClock) -> int:
    return (await store.list(Query(limit=0), now=clock.now())).total


async def _list(store: Store, clock: ManualClock) -> Sequence[Session]:
    return (await store.list(Query(), now=clock.now())).sessions
