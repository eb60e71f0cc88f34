"""The only place that says on which terms the service makes and keeps sessions."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sessionware.config.settings import Settings
from sessionware.core.identity import Partition
from sessionware.core.payload import DATA_MAX, METADATA_MAX
from sessionware.credentials.proving import HEADER_ISSUER, KEY_ISSUER

AnonymousMode = Literal["off", "minted", "named"]


class Terms(Struct, frozen=True, kw_only=True):
    """The settings that a session's life depends on; durations in milliseconds, 0 means: no such bound.

    `issuers` are those whose users paths and calls may mean without naming the issuer: only if there is one.
    """

    idle_ms: int = 1_800_000
    max_age_ms: int = 86_400_000
    max_ttl_ms: int = 86_400_000
    per_user: int = 5
    evicts: bool = True
    max_sessions: int = 0
    per_client: int = 1000
    anonymous: AnonymousMode = "minted"
    partition: Partition = "owner"
    require_org: bool = False
    required_groups: frozenset[str] = frozenset()
    session_token: bool = False
    max_context: int = 1000
    max_metadata: int = METADATA_MAX
    max_data: int = DATA_MAX
    issuers: tuple[str, ...] = ()


def issuers_of(settings: Settings) -> tuple[str, ...]:
    """Whoever can prove a user here: tokens' issuers, our own keys, a trusted proxy."""
    has_own = bool(settings.jwt_secret or settings.jwt_public_key or settings.jwt_jwks_url or settings.jwt_issuer)
    tokens = [settings.jwt_issuer or ""] if has_own else []
    tokens += [issuer.issuer for issuer in settings.issuers]
    keys = [KEY_ISSUER] if settings.api_keys_file else []
    headers = [HEADER_ISSUER] if settings.trusted_proxies and settings.user_header else []
    return tuple(dict.fromkeys([*tokens, *keys, *headers]))
