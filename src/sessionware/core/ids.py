"""The only place that turns ids, names, owners and limits into addresses inside a store.

Every address is BLAKE2b keyed with the installation salt and personalised by purpose, so that what lies
at rest tells nothing about the id that its holder presents.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Literal

from msgspec import Struct

from sessionware.errors import InvalidSessionId

SALT_BYTES: Final = 32
OWNER_BYTES: Final = 16
HASH_BYTES: Final = 20
TAG_ENTROPY_BYTES: Final = 7  # 56 bits, of which 11 base32 characters keep 55
SECRET_ENTROPY_BYTES: Final = 32  # 256 bits: twice what ASVS 7.2.3 asks
REF_LENGTH: Final = 10
REF_BYTES: Final = 4  # of the hash, behind the bucket: eight characters

_MINTED = re.compile(r"[auo][a-z2-7]{11}\.[A-Za-z0-9_-]{27,64}", re.ASCII)
_MINTED_HEAD = re.compile(r"[auo][a-z2-7]{11}\.", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_HANDLE = re.compile(r"s-[a-z2-7]{34}", re.ASCII)
RESERVED_NAMES: Final = frozenset({".", "..", "start", "current", "ticket"})
HANDLE_PREFIX: Final = "s-"


class SessionKey(Struct, frozen=True, gc=False, array_like=True):
    """Where a session lies: its bucket and the keyed hash of its full id."""

    bucket: int
    hash: bytes


class MintedId(Struct, frozen=True):
    """An id that we made: a tag that names the partition, a dot, a secret. Its repr never shows the secret."""

    text: str

    def __repr__(self) -> str:
        return f"MintedId({self.tag}., {len(self.text)} characters)"  # never the secret

    @property
    def tag(self) -> str:
        return self.text[:12]


class SessionName(Struct, frozen=True):
    """An id that the caller chose; it means something only beside an owner."""

    text: str


class CounterFamily(Struct, frozen=True, gc=False):
    """The counters of one limit: what they have in common is hashed already, what they differ in is not."""

    common: blake2b

    def key(self, *values: bytes) -> bytes:
        """The same key as `Addresses.counter` makes of the common parts followed by `values`."""
        digest = self.common.copy()
        for value in values:
            digest.update(len(value).to_bytes(4, "big") + value)
        return digest.digest()


class Addresses(Struct, frozen=True):
    """All addresses of one installation: a salt that is never rotated, and how many buckets there are."""

    salt: bytes
    buckets: int = 1

    def owner(self, issuer: str, subject: str) -> bytes:
        """The stable owner that a verified subject is; length-prefixed, so that no two pairs meet."""
        return self._hash("owner", OWNER_BYTES, _bytes(issuer), _bytes(subject))

    def org(self, issuer: str, org_id: str) -> bytes:
        """The stable organisation that an issuer speaks of; two issuers never share one."""
        return self._hash("org", OWNER_BYTES, _bytes(issuer), _bytes(org_id))

    def anonymous_owner(self, session_id: str) -> bytes:
        """Every anonymous session is its own owner."""
        return self._hash("anon", OWNER_BYTES, session_id.encode())

    def tag(self, kind: Literal["u", "o"], owner: bytes) -> str:
        """The partition tag of a known owner or organisation."""
        return kind + _base32(self._hash("tag-" + kind, TAG_ENTROPY_BYTES, owner))[:11]

    def bucket(self, tag: str) -> int:
        return self._hash("bucket", 1, tag.encode())[0] % self.buckets

    def minted_key(self, minted: MintedId) -> SessionKey:
        return SessionKey(self.bucket(minted.tag), self._hash("id", HASH_BYTES, minted.text.encode()))

    def named_key(self, tag: str, owner: bytes, name: str) -> SessionKey:
        """The key of a named or derived session inside its owner's namespace."""
        return SessionKey(self.bucket(tag), self._hash("name", HASH_BYTES, owner, name.encode()))

    def link_key(self, bucket: int, legacy_id: str) -> SessionKey:
        """The key of one legacy MCP session; it lies in its session's bucket."""
        return SessionKey(bucket, self._hash("link", HASH_BYTES, legacy_id.encode()))

    def token(self, issuer: str, jti: str) -> bytes:
        """What a revocation names: never the token's text, which has several valid spellings."""
        return self._hash("jti", OWNER_BYTES, issuer.encode(), jti.encode())

    def token_without_jti(self, signing_input: bytes) -> bytes:
        return self._hash("token", OWNER_BYTES, signing_input)

    def counter(self, *parts: str) -> bytes:
        """The key of one counter; `parts` name the limit, its window and what it is counted over."""
        return self.counters(*parts).key()

    def counters(self, *parts: str) -> CounterFamily:
        """All counters whose addresses begin with `parts`, for a limit that counts over many values."""
        return CounterFamily(self._digest("counter", OWNER_BYTES, [_bytes(part) for part in parts]))

    def secret(self, purpose: str) -> bytes:
        """A 32-byte key derived from the salt, for signing tickets and the like."""
        return self._hash("secret", 32, purpose.encode())

    def _hash(self, purpose: str, size: int, *parts: bytes) -> bytes:
        return self._digest(purpose, size, parts).digest()

    def _digest(self, purpose: str, size: int, parts: Iterable[bytes]) -> blake2b:
        digest = blake2b(key=self.salt, person=b"sw-" + purpose.encode(), digest_size=size)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big"))
            digest.update(part)
        return digest


def anonymous_tag(entropy: bytes) -> str:
    """A random partition for a session that has no owner but itself; wants 7 random bytes."""
    return "a" + _base32(entropy[:TAG_ENTROPY_BYTES])[:11]


def mint(tag: str, entropy: bytes) -> MintedId:
    """Make an id inside the partition `tag` from 32 bytes of the system's randomness.

    Raises ValueError if there is less entropy than that: a short secret must never leave.
    """
    if len(entropy) < SECRET_ENTROPY_BYTES:
        message = f"a minted id needs {SECRET_ENTROPY_BYTES} random bytes, got {len(entropy)}"
        raise ValueError(message)
    return MintedId(f"{tag}.{_urlsafe(entropy)}")


def is_minted(text: str) -> bool:
    """Whether the text has the form of an id that we made."""
    return _MINTED.fullmatch(text) is not None


def parse_presented(text: str) -> MintedId | SessionName:
    """Read what a caller presented as a session id, before any lookup.

    Raises InvalidSessionId when it is neither a minted id nor a permitted name; the value is never echoed
    beyond its length, because it may be a mistyped secret.
    """
    if _MINTED.fullmatch(text):
        return MintedId(text)
    if _MINTED_HEAD.match(text):
        raise InvalidSessionId(
            f"session id ({len(text)} characters) starts like one of ours but is cut or altered: "
            "send the whole id as it was received"
        )
    return SessionName(check_name(text))


def check_name(text: str) -> str:
    """Return `text` if a caller may choose it as a session name. Raises InvalidSessionId if not."""
    if not _NAME.fullmatch(text):
        raise InvalidSessionId(
            f"session id ({len(text)} characters) must be 1..128 of the characters A-Z a-z 0-9 . _ : -"
        )
    if _MINTED_HEAD.match(text):
        raise InvalidSessionId("a session name must not look like an id that the server made")
    if text.startswith(HANDLE_PREFIX):
        raise InvalidSessionId("a session name must not begin as a handle does (s-): choose another")
    if text in RESERVED_NAMES:
        raise InvalidSessionId(f"session name '{text}' is reserved: choose another, for example 'my-{text}'")
    return text


def handle(key: SessionKey) -> str:
    """The public name of a session: safe to list and to store elsewhere, worthless as a credential."""
    return HANDLE_PREFIX + _base32(key.bucket.to_bytes(1, "big") + key.hash)


def ref(key: SessionKey) -> str:
    """The short form for logs; two sessions may share one: the first characters of the handle."""
    return HANDLE_PREFIX + _base32(key.bucket.to_bytes(1, "big") + key.hash[:REF_BYTES])


def parse_handle(text: str) -> SessionKey:
    """Read a handle back into a key. Raises InvalidSessionId when it is not one."""
    if not _HANDLE.fullmatch(text):
        raise InvalidSessionId("a session handle is `s-` and 34 characters a-z 2-7, as the listing shows it")
    raw = b32decode(text[len(HANDLE_PREFIX) :].upper() + "======")
    key = SessionKey(raw[0], raw[1:])
    if handle(key) != text:  # two spare bits: only one spelling is ours
        raise InvalidSessionId("a session handle was altered in its last character")
    return key


def _bytes(text: str) -> bytes:
    """JSON can carry half a surrogate pair; an address must never fail on what a token says."""
    return text.encode("utf-8", "surrogatepass")


def _base32(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()


def _urlsafe(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
