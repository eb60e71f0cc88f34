"""The only place that makes and compares the secret beside a session id (`X-Session-Token`); only its hash is kept."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Final

TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_session_token() -> tuple[str, bytes]:
    """A fresh secret for the client, and the hash of it to keep."""
    text = secrets.token_urlsafe(TOKEN_BYTES)
    return text, session_token_hash(text)


def session_token_hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()  # 256 random bits need no slow hash


def is_session_token(text: str | None, kept: bytes) -> bool:
    """Whether `text` is the secret whose hash was kept; compared in constant time. No hash: nothing can be it."""
    is_whole = text is not None and _TOKEN.fullmatch(text) is not None
    return hmac.compare_digest(session_token_hash(text or ""), kept) and is_whole
