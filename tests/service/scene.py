"""One service on a memory store whose time stands still, and a few people who ask it."""

from contextlib import asynccontextmanager
from typing import Any

from sessionware import Sessionware
from sessionware.config.settings import Settings
from sessionware.core.identity import Claims, prove
from sessionware.core.ids import parse_presented
from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.service import Actor
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Observer
from sessionware.testing import FaultyStore, Maker, ManualClock
from tests.stories import stories

ISSUER = "https://issuer.test"
SECRET = "a secret of more than thirty-two bytes, for tests"


class Witness(Observer):
    """Writes down what it is told."""

    def __init__(self):
        self.starts = []
        self.ends = []

    async def on_start(self, session):
        self.starts.append(session.key)

    async def on_end(self, session, reason):
        self.ends.append((session.key, reason))


class Scene:
    def __init__(self, store, clock, sessions, witness):
        self.store = store
        self.clock = clock
        self.sessions = sessions
        self.runtime = sessions.runtime
        self.witness = witness
        self.make = Maker.of(store)

    def identity(self, user="alice", *, jti="token", **claims):
        token = self.make.token(f"{user}-{jti}", issued_at=self.clock.now())
        said = Claims(issuer=ISSUER, user_id=user, token=token, **claims)
        return prove(said, addresses=self.store.addresses, partition=self.runtime.terms.partition)

    def actor(self, user="alice", **fields):
        return Actor(identity=self.identity(user), client="192.0.2.1", **fields)

    def admin(self):
        return self.actor("root", is_admin=True)

    def holder(self, started, **fields):
        """Whoever presents nothing but the id."""
        return Actor(presented=parse_presented(started.id), client="192.0.2.1", **fields)

    def stranger(self, **fields):
        """Somebody who shows nothing at all."""
        return Actor(client="192.0.2.1", **fields)


@asynccontextmanager
async def scene(*, limits="", create_limit="60/minute per user", store=None, **settings: Any):
    """An installation under these settings (durations in milliseconds), on a store that fails on command."""
    clock = ManualClock()
    faulty, witness = FaultyStore(store or MemoryStore(clock=clock)), Witness()
    if "issuers" not in settings:
        settings |= {"jwt_secret": SECRET, "jwt_issuer": ISSUER}
    creation = parse_limit(create_limit) if create_limit else None
    chosen = Settings(limits=parse_limits(limits), create_limit=creation, **settings)
    async with Sessionware(chosen, store=faulty, observers=[witness]) as sessionware:
        yield Scene(faulty, clock, sessionware.sessions, witness)


in_scene = stories(scene)
