"""The only place that reads keys and secrets, and that never shows one."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

from sessionware.config.given import OFF, Given, Kind
from sessionware.config.kinds import text
from sessionware.config.settings import SET
from sessionware.core.limit_text import nearest
from sessionware.errors import ConfigError

SECRET_KEY_BYTES: Final = 32
ALGORITHMS: Final = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip


def algorithm(given: Given) -> str:
    found = given.text
    if found.lower() == "none":
        given.fail("would accept tokens that anybody wrote: name the algorithm of your key, for example RS256")
    if found not in ALGORITHMS:
        given.fail(f"is no algorithm{nearest(found, ALGORITHMS)} Known are {', '.join(ALGORITHMS)}")
    return found


def jwt_secret(given: Given) -> str:
    """The text exactly as it is: a blank at its end is part of it."""
    try:
        given.raw.encode()
    except UnicodeEncodeError:
        given.fail("is no UTF-8 text: write base64 or another printable text")
    if "-----BEGIN" in given.raw:
        given.fail("is a PEM key, no shared secret: for a public key set SESSIONWARE_JWT_PUBLIC_KEY")
    return given.raw


def public_key(given: Given) -> str:
    r"""A PEM text; `\n` stands for a line's end, as many secret stores write it."""
    pem = given.text.replace("\\n", "\n")
    if "PRIVATE KEY" in pem:
        Given(given.value, given.source, is_secret=True).fail(
            "is a private key, which verifies nothing and must not lie here: write the public one"
        )
    if not pem.startswith("-----BEGIN "):
        given.fail(
            "is no PEM text: it begins with -----BEGIN PUBLIC KEY-----; for a path set SESSIONWARE_JWT_PUBLIC_KEY_FILE"
        )
    return pem


def secret_keys() -> Kind:
    """Base64 texts, or bytes; that they look random is asked where they are used."""

    def read(given: Given) -> tuple[bytes, ...]:
        return tuple(_secret_key(item, number) for number, item in enumerate(given.items(), 1))

    return Kind(read, lambda value: SET if value else OFF, "list of base64 keys, off")


def _secret_key(item: Given, number: int) -> bytes:
    problem = f"key {number} is not base64 of {SECRET_KEY_BYTES} bytes: make one with `sessionware keys new`"
    if isinstance(item.value, bytes):
        key = item.value
    else:
        altchars = b"-_" if "-" in item.text or "_" in item.text else None
        try:
            key = b64decode(item.text, altchars=altchars, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{item.source}: {problem}") from error
    if len(key) != SECRET_KEY_BYTES:
        item.fail(f"{problem} (it has {len(key)})")
    return key


def secret() -> Kind:
    return Kind(text(jwt_secret, "").read, lambda value: SET if value else OFF, "secret")
