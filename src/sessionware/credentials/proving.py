"""The only place that turns the credentials of a request into the one identity that they prove."""

from __future__ import annotations

from enum import Enum
from typing import Final

from sessionware.core.admission import Token
from sessionware.core.identity import Claims, Partition, derived_name, named_key, prove
from sessionware.core.ids import Addresses
from sessionware.credentials.api_keys import PREFIX, ApiKey, ApiKeys
from sessionware.credentials.jwt import JwtVerifier, Verified
from sessionware.credentials.presented import Place, Presented, bearer, only, user_name
from sessionware.credentials.refusals import Refused
from sessionware.credentials.resolved import Kind, Proven, Target
from sessionware.credentials.token_cache import TokenCache
from sessionware.credentials.trusted_headers import TrustedProxies
from sessionware.errors import AmbiguousCredentials

KEY_ISSUER: Final = "key:"
HEADER_ISSUER: Final = "header:"
PLAIN_MAX: Final = 10_000  # identities of keys and headers that are kept ready


class Pending(Enum):
    """A credential cannot be judged without I/O."""

    WANTS_IO = "wants I/O"


class Prover:
    """Proves identities, and keeps the ones proved lately ready."""

    def __init__(  # noqa: PLR0913  # the parts of the assembly, each once
        self,
        *,
        addresses: Addresses,
        partition: Partition,
        jwt: JwtVerifier | None,
        api_keys: ApiKeys | None,
        proxies: TrustedProxies,
        user_header: str | None,
    ) -> None:
        self._addresses = addresses
        self._partition = partition
        self._jwt = jwt
        self._api_keys = api_keys
        self._proxies = proxies
        self._user_header = user_header
        self._tokens: TokenCache[Proven] = TokenCache()
        self._plain: dict[tuple[str, str, int], Proven] = {}

    def at_once(self, presented: Presented, now: int) -> Proven | Pending | None:
        """Whom the credentials prove, None when there are none, without I/O.

        Raises InvalidToken, KeysUnavailable or AmbiguousCredentials.
        """
        token, key = self._credentials(presented, now)
        if token is not None:
            proven = self._token_at_once(token, now)
        elif key is not None:
            if self._api_keys is None or not self._api_keys.is_current(now):
                return Pending.WANTS_IO
            proven = self._key(self._api_keys, key, now)
        else:
            return self._header(presented)
        return proven if proven is Pending.WANTS_IO else self._agreed(proven, presented)

    async def wait(self, presented: Presented, now: int) -> Proven | None:
        """Whom the credentials prove, None when there are none. Raises as `at_once`."""
        token, key = self._credentials(presented, now)
        if token is not None and self._jwt is not None:
            generation = self._tokens.generation
            proven = self._believe(token, await self._jwt.verify(token, now), now, generation)
        elif key is not None and self._api_keys is not None:
            await self._api_keys.refresh(now)
            proven = self._key(self._api_keys, key, now)
        else:
            return self._header(presented)
        return self._agreed(proven, presented)

    def flush(self) -> None:
        """Forget all verified tokens: one may have been revoked."""
        self._tokens.flush()

    def ready(self, claims: Claims, *, until: int = 0, key_id: str | None = None) -> Proven:
        """The identity that claims make, with its addresses."""
        identity = prove(claims, addresses=self._addresses, partition=self._partition)
        name = derived_name(identity)
        key = named_key(identity, name, addresses=self._addresses)
        derived = Target(key, identity.tag, name.text, Kind.DERIVED, Place.DERIVED)
        return Proven(identity, derived, until=until, key_id=key_id)

    def _credentials(self, presented: Presented, now: int) -> tuple[str | None, str | None]:
        """The JWT or the API key that is presented, among those that are configured to be looked at at all."""
        jwt, api_keys = self._jwt, self._api_keys
        if jwt is None and api_keys is None:
            return None, None
        try:
            text = bearer(presented)
        except Refused as refused:
            raise (jwt or api_keys).refusals.refuse(refused, now) from None  # type: ignore[union-attr]  # one is there
        key = only(presented.api_key, "X-API-Key") if api_keys is not None else None
        if text is None:
            return None, key
        if key is not None:
            raise AmbiguousCredentials("both Authorization and X-API-Key: send one of them")
        if api_keys is not None and (jwt is None or text.startswith(PREFIX)):
            return None, text
        return text, None

    def _token_at_once(self, token: str, now: int) -> Proven | Pending:
        proven = self._tokens.get(token, now)
        if proven is not None:
            return proven
        verified = self._jwt.verify_at_once(token, now) if self._jwt is not None else None
        if verified is None:
            return Pending.WANTS_IO
        return self._believe(token, verified, now, self._tokens.generation)

    def _believe(self, token: str, verified: Verified, now: int, generation: int) -> Proven:
        proven = self.ready(verified.claims, until=verified.until)
        self._tokens.put(token, proven, now=now, until=verified.until, generation=generation)
        return proven

    def _key(self, api_keys: ApiKeys, text: str, now: int) -> Proven:
        try:
            key = api_keys.find(text)
        except Refused as refused:
            raise api_keys.refusals.refuse(refused, now) from None
        place = (KEY_ISSUER, key.id, api_keys.generation)
        return self._plain.get(place) or self._keep(place, self.ready(key_claims(key, self._addresses), key_id=key.id))

    def _header(self, presented: Presented) -> Proven | None:
        user = self._trusted_user(presented)
        if user is None:
            return None
        place = (HEADER_ISSUER, user, 0)
        claims = Claims(issuer=HEADER_ISSUER, user_id=user)
        return self._plain.get(place) or self._keep(place, self.ready(claims))

    def _trusted_user(self, presented: Presented) -> str | None:
        """Who a trusted peer says is asking; from any other peer the header is as good as absent."""
        if not presented.user or not self._user_header or not self._proxies.trusts(presented.peer):
            return None
        return user_name(presented.user, self._user_header)

    def _agreed(self, proven: Proven, presented: Presented) -> Proven:
        """The same identity, unless a trusted proxy names somebody else: neither is believed over the other."""
        if presented.user:
            user = self._trusted_user(presented)
            if user is not None and user != proven.identity.user_id:
                raise AmbiguousCredentials(f"the token and {self._user_header} name different users")
        return proven

    def _keep(self, place: tuple[str, str, int], proven: Proven) -> Proven:
        if len(self._plain) >= PLAIN_MAX:
            del self._plain[next(iter(self._plain))]
        self._plain[place] = proven
        return proven


def key_claims(key: ApiKey, addresses: Addresses) -> Claims:
    """What a static key says; revoking it by its id is like revoking a token by its `jti`."""
    return Claims(
        issuer=KEY_ISSUER,
        user_id=key.user,
        org_id=key.org,
        groups=key.groups,
        scopes=key.scopes,
        token=Token(addresses.token(KEY_ISSUER, key.id), key.created_at),
    )
