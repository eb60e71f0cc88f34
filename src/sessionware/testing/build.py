"""The only place that makes sessions, admissions and spends for tests: everything a test does not care about.

    make = Maker.of(store)
    work = make.session("work", user="alice")
    await store.create(make.new(work), operation=make.operation(), now=make.now)
    answer = await store.admit(make.ask(work, spends=(make.spend(allowance=10),)))

Every method takes further fields of the value that it makes by their names.
"""

from __future__ import annotations

from typing import Any, Final, Self

from msgspec.structs import replace

from sessionware.core.admission import Admission, Caps, Level, NewSession, Token
from sessionware.core.ids import HASH_BYTES, OWNER_BYTES, Addresses, SessionKey, anonymous_tag, mint
from sessionware.core.ledger import Lease, Scope, Spend
from sessionware.core.session import Birth, Link, Proof, Session, deadline
from sessionware.core.store import Clock, Store
from sessionware.core.windows import NEVER, Sliding, Total, Window

ISSUER: Final = "https://issuer.test"
IDLE_MS: Final = 1_800_000  # the default of SESSION_TTL
MINUTE_MS: Final = 60_000
EVERY_MINUTE: Final = Sliding(MINUTE_MS)
LEVEL: Final = Total()
NO_CAPS: Final = Caps()


class Maker:
    """Makes values for one set of addresses at one clock's time; no two operations or minted ids are alike."""

    def __init__(self, addresses: Addresses, clock: Clock) -> None:
        self.addresses = addresses
        self._clock = clock
        self._made = 0

    @classmethod
    def of(cls, store: Store) -> Self:
        """Make values for an entered store."""
        return cls(store.addresses, store.clock)

    @property
    def now(self) -> int:
        return self._clock.now()

    # -------------------------------------------------------------- addresses

    def operation(self) -> bytes:
        """An operation id that was not handed out before."""
        return self._next().to_bytes(16, "big")

    def owner(self, user: str = "alice") -> bytes:
        return self.addresses.owner(ISSUER, user)

    def bucket(self, user: str = "alice") -> int:
        return self.addresses.bucket(self._tag(user))

    def key(self, name: str, *, user: str = "alice") -> SessionKey:
        """The key of a named session, made or not."""
        return self.addresses.named_key(self._tag(user), self.owner(user), name)

    def key_beside(self, key: SessionKey) -> SessionKey:
        """A key that nothing stands under, in the same bucket."""
        return SessionKey(key.bucket, self._next().to_bytes(HASH_BYTES, "big"))

    def token(self, jti: str = "token", *, issued_at: int | None = None) -> Token:
        return Token(self.addresses.token(ISSUER, jti), self.now if issued_at is None else issued_at)

    # -------------------------------------------------------------- sessions

    def session(self, name: str | None = "work", *, user: str = "alice", **fields: Any) -> Session:
        """A named session of a user; a minted one when the name is None. Takes fields of its birth, too."""
        tag = self._tag(user)
        key = self.key(name, user=user) if name is not None else self._minted_key(tag)
        birth = Birth(key, tag, self.owner(user), Proof.TOKEN, self.now, name, user, ISSUER)
        return self._with(birth, fields)

    def anonymous(self, **fields: Any) -> Session:
        """A minted session that is its own owner: whoever shows its id may use it."""
        tag = anonymous_tag(self._entropy())
        minted = mint(tag, self._entropy())
        key, owner = self.addresses.minted_key(minted), self.addresses.anonymous_owner(minted.text)
        return self._with(Birth(key, tag, owner, Proof.ID, self.now), fields)

    def new(self, session: Session, caps: Caps = NO_CAPS) -> NewSession:
        """The session to be made within `caps`, holding the levels that they count."""
        holds = tuple([level.key for level in caps.levels])
        return NewSession(replace(session, birth=replace(session.birth, holds=holds)), caps)

    def link(self, session: Session, legacy_id: str = "legacy", **fields: Any) -> Link:
        """One legacy MCP session inside `session`."""
        key = self.addresses.link_key(session.key.bucket, legacy_id)
        link = Link(
            key, session.key, session.birth.owner, "tools", "http://a:9001/mcp", "u-1", "2025-06-18", self.now, self.now
        )
        return replace(link, **fields)

    # -------------------------------------------------------------- questions

    def ask(self, about: Session | SessionKey | None = None, **fields: Any) -> Admission:
        """One request for a session, in the name of its owner; anonymous ones show their id alone.

        With a key instead nobody is proved, and without either it is an unsessioned request in alice's partition.
        """
        if isinstance(about, Session):
            owner = about.birth.owner if about.birth.user_id is not None else None
            ask = Admission(self.now, about.key.bucket, self.operation(), about.key, owner)
        else:
            ask = Admission(self.now, self.bucket() if about is None else about.bucket, self.operation(), about)
        return replace(ask, **fields)

    def spend(
        self, limit: str = "calls", *, allowance: int = 10, cost: int = 1, scope: Scope = Scope.USER, **fields: Any
    ) -> Spend:
        """A spend of the current minute, counted over alice; `over` names another one, `span` another window."""
        span: Window = fields.pop("span", EVERY_MINUTE)
        key = self.addresses.counter(limit, str(span), scope, fields.pop("over", "alice"))
        return replace(Spend(limit, key, scope, span, allowance, cost, 0, 0, NEVER).at(self.now), **fields)

    def lease(self, limit: str = "at-once", *, allowance: int = 2, **fields: Any) -> Lease:
        """One running request inside a `concurrent` limit; `over` names whom it is counted over."""
        scope: Scope = fields.pop("scope", Scope.USER)
        key = self.addresses.counter(limit, "concurrent", scope, fields.pop("over", "alice"))
        return replace(Lease(limit, key, scope, allowance), **fields)

    def level(self, name: str = "MAX_SESSIONS", *, allowance: int) -> Level:
        return Level(name, self.addresses.counter(name, "level"), allowance)

    # -------------------------------------------------------------- inside

    def _with(self, birth: Birth, fields: dict[str, Any]) -> Session:
        born = {field: fields.pop(field) for field in list(fields) if field in Birth.__struct_fields__}
        birth = replace(birth, **born)
        idle, absolute_at = fields.pop("idle", IDLE_MS), fields.pop("absolute_at", 0)
        expires_at = deadline(birth.created_at, idle, absolute_at)
        return replace(Session(birth, idle, absolute_at, expires_at, birth.created_at), **fields)

    def _minted_key(self, tag: str) -> SessionKey:
        return self.addresses.minted_key(mint(tag, self._entropy()))

    def _tag(self, user: str) -> str:
        return self.addresses.tag("u", self.owner(user))

    def _entropy(self) -> bytes:
        return self.addresses.secret(f"test {self._next()}")

    def _next(self) -> int:
        self._made += 1
        return self._made


def stranger() -> bytes:
    """An owner whom nobody is."""
    return bytes(OWNER_BYTES)
