"""The only place that says what an OpenAPI document tells of sessions, for every framework alike."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sessionware.config.settings import Settings

MEDIA_TYPE: Final = "application/problem+json"
SESSION_ID: Final = "SessionID"
SESSION_COOKIE: Final = "SessionCookie"
BEARER: Final = "SessionBearer"
ID_SAID: Final = "The id that the first response has sent."
COOKIE_SAID: Final = "Set by the first response."
BEARER_SAID: Final = "A token or an API key that proves the user."
REFUSED_SAID: Final = "No session, or a credential that is not valid."
LIMITED_SAID: Final = "A limit refused; says which one, and when it fits again."


class IdScheme(Struct, frozen=True):
    """One place where a session id is looked for: a `place` called `field`."""

    name: str
    place: Literal["header", "cookie"]
    field: str
    said: str


def id_schemes(settings: Settings) -> list[IdScheme]:
    """Where session ids are looked for under these settings."""
    header, cookie = settings.session_header, settings.cookie_name(is_secure=True)
    schemes = [IdScheme(SESSION_ID, "header", header, ID_SAID)] if header else []
    return [*schemes, IdScheme(SESSION_COOKIE, "cookie", cookie, COOKIE_SAID)] if cookie else schemes


class SessionProblem(Struct, frozen=True, kw_only=True):
    """RFC 9457, with a text for people and a code for programs."""

    type: str
    title: str
    status: int
    error: Annotated[str, Meta(description="For people.")]
    code: Annotated[str, Meta(description="For programs: it never changes.")]
    reason: Annotated[str, Meta(description="401: how the session ended, told to its owner.")] | UnsetType = UNSET
    limit: Annotated[str, Meta(description="429: the limit that refused.")] | UnsetType = UNSET
    scope: Annotated[str, Meta(description="429: what it counts over.")] | UnsetType = UNSET
    used: int | UnsetType = UNSET
    allowance: int | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    resets_at: Annotated[str, Meta(description="429: when nothing used so far counts any more.")] | UnsetType = UNSET


def problem_schema() -> dict[str, Any]:
    """`SessionProblem` as JSON schema."""
    _, components = msgspec.json.schema_components([SessionProblem])
    schema: dict[str, Any] = components["SessionProblem"]
    return schema
