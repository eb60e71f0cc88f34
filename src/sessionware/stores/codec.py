"""The only place that turns the parts of a session into bytes for a store at rest, and back."""

from __future__ import annotations

from struct import Struct as Layout
from typing import Any, Final

import msgspec

from sessionware.core.ids import HASH_BYTES, SessionKey
from sessionware.core.ledger import Counter
from sessionware.core.session import Birth, Link, Override

_COUNTER: Final = Layout(">QQQ")
_encoder = msgspec.msgpack.Encoder()
_birth = msgspec.msgpack.Decoder(Birth)
_link = msgspec.msgpack.Decoder(Link)
_overrides = msgspec.msgpack.Decoder(dict[str, Override])
_bindings = msgspec.msgpack.Decoder(dict[str, str])


def pack(value: Any) -> bytes:
    """Encode any of our values as MessagePack."""
    return _encoder.encode(value)


def unpack_birth(packed: bytes) -> Birth:
    return _birth.decode(packed)


def unpack_link(packed: bytes) -> Link:
    return _link.decode(packed)


def unpack_overrides(packed: bytes | None) -> dict[str, Override]:
    return _overrides.decode(packed) if packed else {}


def unpack_bindings(packed: bytes | None) -> dict[str, str]:
    return _bindings.decode(packed) if packed else {}


def pack_counter(counter: Counter) -> bytes:
    """24 bytes: window, used, before, big-endian, as `struct.pack('>LLL')` writes them in Lua."""
    return _COUNTER.pack(counter.window, counter.used, counter.before)


def unpack_counter(packed: bytes) -> Counter:
    return Counter(*_COUNTER.unpack(packed))


def pack_key(key: SessionKey) -> bytes:
    """21 bytes: the bucket, then the hash."""
    return key.bucket.to_bytes(1, "big") + key.hash


def unpack_key(packed: bytes) -> SessionKey:
    if len(packed) != HASH_BYTES + 1:
        raise ValueError(f"a packed session key has {HASH_BYTES + 1} bytes, got {len(packed)}")
    return SessionKey(packed[0], packed[1:])
