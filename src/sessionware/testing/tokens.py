"""A token issuer for tests: its keys, its tokens, and a server of its keys that misbehaves on command.

    issuer = FakeIssuer("https://idp.example")
    token = issuer.token("alice", groups=["pro"], audience="api")

    async with KeyServer(issuer) as server:          # on a free port of 127.0.0.1
        ...                                          # JWT_JWKS_URL=server.keys_url
        server.answer = Answer.ERROR                 # from now on every request is a 500
        server.gate.clear()                          # and waits, until server.gate.set()
        assert server.hits == 3

Tokens are good from `START` of `ManualClock` on unless told otherwise, so that nothing here reads a clock.
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWS

from sessionware.testing.clock import START

LIFE_S: Final = 600
BIG_BODY: Final = 60 * 1024 * 1024
_CHUNK: Final = b" " * 65_536

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class SigningKey:
    """One private key with its `kid`. Makes the key when none is given."""

    def __init__(self, alg: str = "ES256", *, kid: str = "key-1", key: PrivateKey | bytes | None = None) -> None:
        self.alg = alg
        self.kid = kid
        self.key = key if key is not None else _new_key(alg)

    @property
    def public(self) -> PublicKey:
        """The public half. Raises TypeError for a shared secret, which has none."""
        if isinstance(self.key, bytes):
            raise TypeError("a shared secret is never published")
        return self.key.public_key()

    @property
    def secret(self) -> str:
        """The shared secret of an HS256 key, as JWT_SECRET wants it. Raises TypeError for a key pair."""
        if not isinstance(self.key, bytes):
            raise TypeError("a private key is nobody else's")
        return self.key.decode()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half as a JWK."""
        jwk = PyJWS().get_algorithm_by_name(self.alg).to_jwk(self.public, as_dict=True)
        return {**jwk, "kid": self.kid, "alg": self.alg, "use": "sig"}

    @property
    def pem(self) -> str:
        """The public half as PEM."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, claims: Mapping[str, Any] | bytes, header: Mapping[str, Any] | None = None) -> str:
        """A token over any claims (or any bytes), with header fields added, replaced, or left out where None."""
        fields = {"typ": "at+jwt", "alg": self.alg, "kid": self.kid, **(header or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return self.sign_parts(json.dumps(fields).encode(), payload)

    def sign_parts(self, header: bytes, payload: bytes) -> str:
        """A token over exactly these bytes of a header and a payload."""
        signing_input = base64url(header) + b"." + base64url(payload)
        algorithm = PyJWS().get_algorithm_by_name(self.alg)
        return (signing_input + b"." + base64url(algorithm.sign(signing_input, self.key))).decode()


class FakeIssuer:
    """An issuer with keys, which can be rotated: the first signs, all are published."""

    def __init__(self, name: str = "https://idp.example", *, keys: Sequence[SigningKey] = ()) -> None:
        self.name = name
        self.keys = list(keys) or [SigningKey()]

    @property
    def key_set(self) -> dict[str, Any]:
        return {"keys": [key.jwk for key in self.keys]}

    def claims(self, subject: Any = "alice", *, now: int = START, life: int = LIFE_S, **more: Any) -> dict[str, Any]:
        """The claims of a good token; `more` adds or replaces, and leaves out where None. `life` is seconds."""
        issued = now // 1000
        claims = {"iss": self.name, "sub": subject, "aud": "api", "iat": issued, "exp": issued + life, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, subject: Any = "alice", *, now: int = START, life: int = LIFE_S,
        header: Mapping[str, Any] | None = None, **more: Any,
    ) -> str:  # fmt: skip
        """A good token of this issuer, or whatever `more` and `header` make of it."""
        return self.keys[0].sign(self.claims(subject, now=now, life=life, **more), header)

    def rotate(self, kid: str) -> SigningKey:
        """A new key in place of all others; tokens are signed with it from now on."""
        self.keys[:] = [SigningKey(self.keys[0].alg, kid=kid)]
        return self.keys[0]


class Answer(StrEnum):
    """How a `KeyServer` answers."""

    KEYS = "keys"
    ERROR = "500"
    REDIRECT = "302"
    HUGE = "60 MB"
    GARBAGE = "not JSON"
    EMPTY = "no keys"
    HANG_UP = "no answer"


class KeyServer:
    """Serves an issuer's keys and metadata on a free port of 127.0.0.1, well or badly."""

    def __init__(self, issuer: FakeIssuer) -> None:
        self.issuer = issuer
        self.answer = Answer.KEYS
        self.gate = asyncio.Event()
        self.gate.set()
        self.hits = 0
        self.paths: Counter[str] = Counter()
        self.sent = 0
        self.documents: dict[str, Any] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None, "async with KeyServer(...)"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def keys_url(self) -> str:
        return f"{self.url}/keys"

    def describe(self, path: str = "/.well-known/openid-configuration", **more: Any) -> None:
        """Serve the issuer's metadata at `path`; `more` adds or replaces."""
        self.documents[path] = {"issuer": self.issuer.name, "jwks_uri": self.keys_url, **more}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            self.hits += 1
            self.paths[path] += 1
            await self.gate.wait()
            await self._respond(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _respond(self, path: str, writer: asyncio.StreamWriter) -> None:
        match self.answer:
            case Answer.HANG_UP:
                return
            case Answer.ERROR:
                await self._send(writer, "500 Internal Server Error", b"{}")
            case Answer.REDIRECT:
                await self._send(writer, "302 Found", b"", f"location: {self.url}/elsewhere\r\n")
            case Answer.GARBAGE:
                await self._send(writer, "200 OK", b"<html>")
            case Answer.EMPTY:
                await self._send(writer, "200 OK", b'{"keys":[]}')
            case Answer.HUGE:
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {BIG_BODY}\r\n\r\n".encode())
                for _ in range(BIG_BODY // len(_CHUNK)):
                    writer.write(_CHUNK)
                    await writer.drain()
                    self.sent += len(_CHUNK)
            case Answer.KEYS:
                known = path == "/keys" or path in self.documents
                body = json.dumps(self.documents.get(path, self.issuer.key_set)).encode()
                await self._send(writer, "200 OK" if known else "404 Not Found", body if known else b"{}")

    async def _send(self, writer: asyncio.StreamWriter, status: str, body: bytes, more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()


def base64url(raw: bytes) -> bytes:
    """Base64url without padding, as a token wants it."""
    return urlsafe_b64encode(raw).rstrip(b"=")


def _new_key(alg: str) -> PrivateKey | bytes:
    match alg:
        case "HS256" | "HS384" | "HS512":
            return b"a shared secret that only tests may use, long enough for each of them" * 2
        case "ES256" | "ES384" | "ES512":
            curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}
            return ec.generate_private_key(curves.get(alg) or ec.SECP521R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
