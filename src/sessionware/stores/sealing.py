"""The only place that encrypts and decrypts what lies at rest.

AES-256-GCM under a key derived per session from a master key. The associated data is where the payload lies
(session key, owner, schema version, what it is) and which master key was used: bytes that were copied to another
row, altered, or sealed by a key that we do not have fail loudly. There is no fallback to plaintext, and nothing
is compressed (RFC 8725 3.6: the length would tell about the content).
"""

from __future__ import annotations

import binascii
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from sessionware.core.ids import OWNER_BYTES, SessionKey, ref
from sessionware.errors import ConfigError, PayloadUnreadable

SCHEMA_VERSION: Final = 1
KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_PLAIN: Final = b"\x00"
_SEALED: Final = b"\x01"
NO_OWNER: Final = bytes(OWNER_BYTES)  # a log is bound to its session's key alone: adding to it must not need a read
_DISTINCT_BYTES_MIN: Final = 12  # 32 random bytes hold fewer distinct ones about once in 10**20 keys


class Place(Struct, frozen=True):
    """Where a payload lies; `kind` is data, metadata, a log's name or handshake."""

    key: SessionKey
    owner: bytes
    kind: str

    def packed(self) -> bytes:
        """An unambiguous text: every part but the last has a fixed length."""
        bucket = self.key.bucket.to_bytes(1, "big")
        return bytes([SCHEMA_VERSION]) + bucket + self.key.hash + self.owner + self.kind.encode()


class Sealer:
    """Seals with the first key, opens with any. Without keys payloads lie in the clear, and say so."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        for key in keys:
            check_key(key)
        self._masters = {_key_id(key): key for key in keys}
        self._first = _key_id(keys[0]) if keys else None

    @property
    def is_on(self) -> bool:
        return self._first is not None

    def seal(self, plain: bytes, *, place: Place) -> bytes:
        """Encrypt for one place. Without keys an empty payload stays empty."""
        if self._first is None:
            return _PLAIN + plain if plain else b""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        where = place.packed()
        cipher = AESGCM(_session_key(self._masters[self._first], where))
        return _SEALED + self._first + nonce + cipher.encrypt(nonce, plain, where + self._first)

    def open(self, stored: bytes, *, place: Place) -> bytes:
        """Decrypt what `seal` made for the same place. Raises PayloadUnreadable for anything else."""
        if stored[:1] != _SEALED:
            if self.is_on:
                raise _unreadable(place, "lies in the clear although SECRET_KEYS are set")
            if stored and stored[:1] != _PLAIN:
                raise _unreadable(place, "has an unknown format")
            return stored[1:]
        key_id, nonce, sealed = stored[1:5], stored[5:17], stored[17:]
        master = self._masters.get(key_id)
        if master is None:
            raise _unreadable(place, f"was sealed with key {key_id.hex()}, which is not among SECRET_KEYS")
        where = place.packed()
        try:
            return AESGCM(_session_key(master, where)).decrypt(nonce, sealed, where + key_id)
        except (InvalidTag, ValueError) as error:
            raise _unreadable(place, "was altered, or moved here from another session") from error


def new_key() -> str:
    """A fresh master key, as SECRET_KEYS wants it."""
    return b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def read_keys(text: str, *, source: str = "SESSIONWARE_SECRET_KEYS") -> tuple[bytes, ...]:
    """Read a comma list of base64 keys. Raises ConfigError, which never shows a key."""
    keys = []
    for number, part in enumerate((part.strip() for part in text.split(",")), start=1):
        if not part:
            continue
        try:
            key = b64decode(part, altchars=b"-_" if "-" in part or "_" in part else None, validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{source}: key {number} is not base64: make one with `sessionware keys new`") from error
        check_key(key, source=f"{source}: key {number}")
        keys.append(key)
    if len(set(keys)) != len(keys):
        raise ConfigError(f"{source}: one key stands there twice: keep each once, the newest first")
    return tuple(keys)


def check_key(key: bytes, *, source: str = "SESSIONWARE_SECRET_KEYS") -> None:
    """Refuse a key that is short or was obviously typed by hand. Raises ConfigError."""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{source} is {len(key)} bytes long, wanted {KEY_BYTES}: make one with `sessionware keys new`"
        )
    if len(set(key)) < _DISTINCT_BYTES_MIN or key.isascii() or key == bytes(range(KEY_BYTES)):
        raise ConfigError(f"{source} is not random (an example value?): make one with `sessionware keys new`")


def _key_id(key: bytes) -> bytes:
    return blake2b(key, person=b"sw-key-id", digest_size=_KEY_ID_BYTES).digest()


def _session_key(master: bytes, where: bytes) -> bytes:
    return blake2b(where, key=master, person=b"sw-seal", digest_size=KEY_BYTES).digest()


def _unreadable(place: Place, why: str) -> PayloadUnreadable:
    return PayloadUnreadable(f"{place.kind} of session {ref(place.key)} {why}")
