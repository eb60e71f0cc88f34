"""The only place that turns the parts of a session into bytes for a store at rest, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from sessionware.core.session import Birth, Link, Override

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
