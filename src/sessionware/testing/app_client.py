"""The only place that gives a test a client of an app: signed in as whom it likes, at a time that it sets.

clock = ManualClock()
async with client(app, "alice", groups=["pro"], clock=clock) as alice:
    assert (await alice.get("/")).status_code == 200
    bob = alice.as_user("bob")
    clock.advance(3_600_000)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct

from sessionware.asgi.messages import App
from sessionware.assembly.overriding import Overrides
from sessionware.core.store import Clock, Store
from sessionware.stores.memory import MemoryStore
from sessionware.testing.running import RunningApp
from sessionware.testing.stand_in import Person, Signed, StandIn

BASE_URL: Final = "http://testserver"
UNAUTHORIZED: Final = 401


@asynccontextmanager
async def client(  # noqa: PLR0913  # one call says all that a test wants of an app
    app: App, user: str | None = None, *, groups: Collection[str] = (), org: str | None = None,
    scopes: Collection[str] = (), clock: Clock | None = None, store: Store | None = None, base_url: str = BASE_URL,
    **claims: Any,
) -> AsyncIterator[Client]:  # fmt: skip
    """A client of the running app, from its startup to its shutdown; afterwards the app is as it was before.

    Every request carries a token for `user` that the app accepts, whatever issuer it trusts; None sends none.
    With `clock` the app works on a new memory store at that clock's time, with `store` on that one, else on its
    own, where `memory://` begins anew. Raises what the app's startup raises, ValueError for a `clock` beside a `store`.
    """
    if clock is not None and store is not None:
        raise ValueError("clock beside a store: give the clock to the store, as in MemoryStore(clock=clock)")
    kept = MemoryStore(clock=clock) if clock is not None else store
    stand_in = StandIn(None if kept is None else kept.clock)
    async with (
        AsyncExitStack() as started,
        RunningApp(app, Overrides(stand_in.beside, started, kept)) as running,
        AsyncExitStack() as clients,
    ):
        here = _Here(running, stand_in, base_url, clients)
        yield here.client(user, groups=groups, org=org, scopes=scopes, **claims)


class _Here(Struct, frozen=True):
    """One running app, its issuer, its address, and all clients of it."""

    app: RunningApp
    stand_in: StandIn
    base_url: str
    clients: AsyncExitStack

    def client(
        self, user: str | None, *, groups: Collection[str], org: str | None, scopes: Collection[str], **claims: Any
    ) -> Client:
        person = None if user is None else Person(user, tuple(groups), org, tuple(scopes), claims)
        made = Client(self, None if person is None else _Bearer(self.stand_in, person))
        self.clients.push_async_callback(made.aclose)
        return made


class Client(httpx2.AsyncClient):
    """An httpx client of a running app; each has cookies of its own. A request's own Authorization stands.

    It inherits because it is one: whoever knows httpx knows it.
    """

    def __init__(self, here: _Here, bearer: _Bearer | None) -> None:
        self._here = here
        self._bearer = bearer
        super().__init__(transport=httpx2.ASGITransport(here.app), base_url=here.base_url, auth=bearer)

    @property
    def token(self) -> str:
        """The token that the next request carries; empty for nobody."""
        return "" if self._bearer is None else self._bearer.token

    def as_user(
        self, user: str | None, *, groups: Collection[str] = (), org: str | None = None,
        scopes: Collection[str] = (), **claims: Any,
    ) -> Client:  # fmt: skip
        """Another client of the same running app, open as long as the first one. None is nobody."""
        return self._here.client(user, groups=groups, org=org, scopes=scopes, **claims)


class _Bearer(httpx2.Auth):
    """Signs a request for one person."""

    requires_request_body = True  # so that it can be sent again

    def __init__(self, stand_in: StandIn, person: Person) -> None:
        self._stand_in = stand_in
        self._person = person
        self._signed: Signed | None = None

    @property
    def token(self) -> str:
        signed = self._signed
        if signed is None or not self._stand_in.holds(signed):
            signed = self._signed = self._stand_in.sign(self._person)
        return signed.text

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """An app without a lifespan starts with its first request: whom it trusts is known only after that."""
        if "authorization" in request.headers:
            yield request
            return
        starts = self._stand_in.starts
        request.headers["authorization"] = f"Bearer {self.token}"
        answer = yield request
        if answer.status_code == UNAUTHORIZED and self._stand_in.starts != starts:
            request.headers["authorization"] = f"Bearer {self.token}"
            answer = yield request
        if answer.status_code == UNAUTHORIZED and not self._stand_in.starts:
            raise RuntimeError(
                "401, and no Sessionware has started inside client(): does the app have SessionMiddleware, "
                "and was it not running already?"
            )
