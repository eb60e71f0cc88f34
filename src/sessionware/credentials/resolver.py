"""The only place that says who is asking and which session is meant (the rules are store.md 2, 5 and 6)."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from sessionware.config.settings import Settings
from sessionware.core.identity import Identity, developer, named_key
from sessionware.core.ids import Addresses, MintedId, SessionName, parse_presented
from sessionware.core.request import ADDRESS_MAX, UNKNOWN_CLIENT, client_group
from sessionware.credentials.presented import Place, Presented, SessionId, session_ids
from sessionware.credentials.proving import Pending, Prover
from sessionware.credentials.refusals import ForeignId
from sessionware.credentials.resolved import Kind, Proven, Resolved, Target
from sessionware.credentials.sources import Sources, read_sources
from sessionware.errors import IdentityRequired, NotAMember, SessionNotFound

CLIENTS_MAX: Final = 4096  # addresses whose group is kept ready
ANONYMOUS_CLASS: Final = "a"
_DENIED: Final = "Permission denied"


NOBODY: Final = Resolved()


class Resolver:
    """Turns what requests present into identities and session keys. Handles are not accepted here."""

    def __init__(self, settings: Settings, addresses: Addresses, *, sources: Sources | None = None) -> None:
        """Does no I/O; `sources` are read from the settings if they were not before. Raises ConfigError."""
        sources = sources or read_sources(settings)
        self._anonymous = settings.anonymous
        self._lets_nobody_in = settings.on_missing == "anonymous"
        self._required_groups = frozenset(settings.required_groups)
        self._requires_org = settings.require_org
        self._asks_membership = bool(settings.required_groups) or settings.require_org
        self._addresses = addresses
        self._proxies = sources.proxies
        self.jwt = sources.verifier(addresses)
        self._prover = Prover(
            addresses=addresses,
            partition=settings.partition,
            jwt=self.jwt,
            api_keys=sources.api_keys,
            proxies=sources.proxies,
            user_header=settings.user_header,
        )
        self._developer = developer(addresses)
        self._client_group = lru_cache(CLIENTS_MAX)(client_group)

    def resolve_at_once(self, presented: Presented, now: int) -> Resolved | None:
        """Who is asking and for what, without I/O; None when a key or a file must be fetched first: `resolve`.

        Raises InvalidSessionId, AmbiguousCredentials (400), InvalidToken, IdentityRequired (401),
        PermissionDenied (403), SessionNotFound (a foreign `Mcp-Session-Id`) and KeysUnavailable (503).
        """
        proven = self._prover.at_once(presented, now)
        if isinstance(proven, Pending):
            return None
        return self._select(proven, presented.ids)

    async def resolve(self, presented: Presented, now: int) -> Resolved:
        """Who is asking and for what; fetches what must be fetched first. Raises as `resolve_at_once`."""
        found = self.resolve_at_once(presented, now)
        return found or self._select(await self._prover.wait(presented, now), presented.ids)

    async def identify(self, presented: Presented, now: int) -> Identity | None:
        """Who is asking, for paths where no session is meant. Raises for bad credentials only."""
        proven = self._prover.at_once(presented, now)
        if isinstance(proven, Pending):
            proven = await self._prover.wait(presented, now)
        return None if proven is None else proven.identity

    def select(self, text: str, identity: Identity | None, place: Place = Place.PATH) -> Resolved:
        """The session that `text` (a minted id or a name) is for this caller, as if the request presented it."""
        named = SessionId(parse_presented(text), place)
        if identity is None or identity.is_anonymous:
            return self._select_for_nobody(named, None)
        return Resolved(identity, self._own(identity, named))

    @property
    def lets_strangers_in(self) -> bool:
        """Whether a request that proves nobody may come at all."""
        return not self._asks_membership and (self._anonymous != "off" or self._lets_nobody_in)

    def client(self, presented: Presented) -> str:
        """The client that limits count over, believing only trusted proxies."""
        address = self._proxies.client(presented.peer, presented.forwarded_for)
        if address is not None and len(address) > ADDRESS_MAX:  # a server that believes any proxy: keep none of it
            return UNKNOWN_CLIENT
        return self._client_group(address)

    @property
    def has_proxies(self) -> bool:
        """Whether some peers are proxies whose X-Forwarded-* are read here, not by the ASGI server."""
        return bool(self._proxies.networks) and not self._proxies.is_server_trusted

    def trusts(self, peer: str | None) -> bool:
        """Whether what this peer says of its user and client counts."""
        return self._proxies.trusts(peer)

    def check_member(self, groups: Collection[str], org_id: str | None) -> None:
        """Raise NotAMember unless one of REQUIRED_GROUPS is there, and an organisation where REQUIRE_ORG asks.

        For sessions that are proved by their id alone, ask again with what their record says.
        """
        if self._required_groups and self._required_groups.isdisjoint(groups):
            raise NotAMember(_DENIED)
        if self._requires_org and not org_id:
            raise NotAMember(_DENIED)

    def flush(self) -> None:
        """Forget all verified tokens: one may have been revoked, or news of it missed."""
        self._prover.flush()

    async def aclose(self) -> None:
        """Stop what still fetches."""
        if self.jwt is not None:
            await self.jwt.aclose()

    def _select(self, proven: Proven | None, ids: tuple[tuple[Place, str], ...]) -> Resolved:
        if proven is None:
            return self._select_for_nobody(*session_ids(ids))
        if proven.ids == ids:
            return proven.latest
        if self._asks_membership:
            self.check_member(proven.identity.groups, proven.identity.org_id)
        return proven.remember(ids, self._select_for(proven, *session_ids(ids)))

    def _select_for(self, proven: Proven, named: SessionId | None, link: MintedId | None) -> Resolved:
        identity = proven.identity
        if named is None and link is None:
            return proven.derived
        target = self._own(identity, named) if named is not None else None
        if link is not None and not identity.may_hold(link):
            raise ForeignId(identity)
        legacy = None if link is None else self._link(link)
        return replace(proven.derived, target=target, link=legacy)

    def _own(self, identity: Identity, named: SessionId) -> Target:
        """A session of a proved caller; another partition's id is foreign without a lookup, an anonymous one too."""
        if isinstance(named.id, MintedId):
            if not identity.may_hold(named.id):
                raise ForeignId(identity)
            return self._minted(named.id, named.place)
        key = named_key(identity, named.id, addresses=self._addresses)
        return Target(key, identity.tag, named.id.text, Kind.NAMED, named.place)

    def _select_for_nobody(self, named: SessionId | None, link: MintedId | None) -> Resolved:
        if named is not None and isinstance(named.id, SessionName):
            found = self._developers(named.id, named.place)
        else:
            minted = named.id if named is not None and isinstance(named.id, MintedId) else None
            self._check_anonymous(minted or link)
            if named is None and link is None:
                return NOBODY
            found = Resolved(None, self._minted(minted, named.place) if minted and named else None)
        if link is None:
            return found
        if found.target is not None and found.target.tag != link.tag:
            raise SessionNotFound("Session not found")  # a link lies in its session's partition
        return Resolved(found.identity, found.target, self._link(link))

    def _developers(self, name: SessionName, place: Place) -> Resolved:
        """A named session of nobody: only where everybody is the one developer."""
        if self._anonymous != "named":
            raise IdentityRequired("a session name belongs to somebody: send a token, or no name")
        if self._asks_membership:
            raise IdentityRequired("an identity is required")
        developer = self._developer
        key = named_key(developer, name, addresses=self._addresses)
        return Resolved(developer, Target(key, developer.tag, name.text, Kind.NAMED, place))

    def _check_anonymous(self, minted: MintedId | None) -> None:
        """Raise IdentityRequired where strangers may not come. A user's id may be proof enough: its record says so."""
        if minted is not None and minted.tag[0] != ANONYMOUS_CLASS:
            return
        if self._asks_membership:
            raise IdentityRequired("an identity is required")
        if self._anonymous == "off" and (minted is not None or not self._lets_nobody_in):
            raise IdentityRequired("an identity is required")

    def _minted(self, minted: MintedId, place: Place) -> Target:
        return Target(self._addresses.minted_key(minted), minted.tag, minted.text, Kind.MINTED, place)

    def _link(self, link: MintedId) -> Target:
        key = self._addresses.link_key(self._addresses.bucket(link.tag), link.text)
        return Target(key, link.tag, link.text, Kind.MINTED, Place.MCP)
