"""What lies in PostgreSQL, and what travels there: no id, no plaintext, nothing that can be moved unnoticed."""

import asyncio
import datetime as dt
import logging
import secrets
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sessionware.core.ids import mint
from sessionware.core.session import Birth, Proof, Session
from sessionware.core.store import Log
from sessionware.errors import ConfigError, PayloadUnreadable
from sessionware.stores.open import open_store
from sessionware.stores.sealing import new_key, read_keys
from sessionware.testing.build import Maker
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.servers import ServerDied

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")

CANARY = b"canary-7f3a-plaintext"
SCHEMA = "sessionware"


async def everything_at_rest(url: str) -> bytes:
    """All rows of all our tables, and all that the write-ahead log would tell."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", SCHEMA)
        rows = [await connection.fetch(f'SELECT * FROM {SCHEMA}."{table[0]}"') for table in tables]
    finally:
        await connection.close()
    return repr(rows).encode()


def minted(make: Maker) -> tuple[str, Session]:
    """A session under a minted id, with a canary wherever text can be kept."""
    owner = make.owner()
    tag = make.addresses.tag("u", owner)
    id_ = mint(tag, secrets.token_bytes(32))
    birth = Birth(make.addresses.minted_key(id_), tag, owner, Proof.TOKEN, make.now, user_id="alice")
    session = Session(birth, 60_000, 0, make.now + 60_000, make.now, metadata=CANARY, data=CANARY)
    return id_.text, session


def test_neither_ids_nor_payloads_are_readable_at_rest() -> None:
    """SES-13, B28, ENC-01."""

    async def scenario(server: PostgresServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key()), timeout_ms=5000) as store:
            make = Maker.of(store)
            text, session = minted(make)
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            await store.append(session.key, Log.CONTEXT, CANARY, keep=10, now=make.now)
            link = make.link(session, "legacy-" + text, handshake=CANARY)
            await store.link(link, operation=make.operation(), now=make.now)
            stored = await store.get(session.key, now=make.now)
            assert stored is not None
            assert (stored.metadata, stored.data, stored.links[0].handshake) == (CANARY, CANARY, CANARY)
            assert await store.tail(session.key, Log.CONTEXT, 1, now=make.now) == [CANARY]
            at_rest = await everything_at_rest(server.url)
            assert b"alice" in at_rest, "the dump does not hold what it must hold"
            for secret in (CANARY, text.encode(), text.partition(".")[2].encode()):
                assert secret not in at_rest

    with PostgresServer() as server:
        asyncio.run(scenario(server))


async def execute(url: str, statement: str, *arguments: Any) -> None:
    connection = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


def test_a_payload_copied_to_another_session_fails_loudly() -> None:
    """ENC-01: rejected, not silently empty; the other session is not harmed."""

    async def scenario(server: PostgresServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key()), timeout_ms=5000) as store:
            make = Maker.of(store)
            one, two = (make.session(name, data=CANARY, metadata=CANARY) for name in ("one", "two"))
            for session in (one, two):
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            await execute(
                server.url,
                "UPDATE payloads SET data = (SELECT data FROM payloads WHERE hash = $2) WHERE hash = $1",
                one.key.hash, two.key.hash,
            )  # fmt: skip
            with pytest.raises(PayloadUnreadable, match="altered, or moved"):
                await store.get(one.key, now=make.now)
            with pytest.raises(PayloadUnreadable):
                await store.admit(make.ask(one))
            assert (await store.admit(make.ask(one, wants_data=False))).session is not None
            assert await store.get(two.key, now=make.now) is not None

    with PostgresServer() as server:
        asyncio.run(scenario(server))


def test_an_end_with_an_unreadable_payload_is_told_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A planted row must not stop the reaper; it is alarmed about."""

    async def scenario(server: PostgresServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key()), timeout_ms=5000) as store:
            make = Maker.of(store)
            work = make.session("work", data=CANARY)
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            await execute(server.url, "UPDATE payloads SET data = 'planted'")
            ended = await store.delete(work.key, now=make.now)
            assert ended is not None
            assert (ended.session.key, ended.session.data) == (work.key, None)

    with PostgresServer() as server:
        asyncio.run(scenario(server))
    assert "without its payload" in caplog.text


def certificate_for(address: str, folder: Path) -> tuple[Path, Path]:
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.crt", folder / "server.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private


async def opened(url: str) -> None:
    async with open_store(url, timeout_ms=5000) as store:
        await store.reap(now=store.clock.now(), limit=0)


def test_tls_is_used_and_verified_as_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ST-07."""
    public, private = certificate_for("127.0.0.1", tmp_path)
    with PostgresServer() as server:
        try:
            server.speak_tls(public, private)
        except ServerDied as error:
            if "SSL is not supported by this build" in str(error):
                pytest.skip("the PostgreSQL of the wheel was built without TLS: put one with TLS on PATH")
            raise
        trusted = f"{server.url}?sslrootcert={public}&sslmode="
        for mode in ("require", "verify-ca", "verify-full"):
            asyncio.run(opened(trusted + mode))
        asyncio.run(opened(server.url + "?sslmode=require"))
        asyncio.run(opened(server.url))
        with pytest.raises(ConfigError, match=r"(?i)certificate.*check the URL, its sslmode= and sslrootcert="):
            asyncio.run(opened(server.url + "?sslmode=verify-full"))
        elsewhere = trusted.replace("127.0.0.1", "0.0.0.0")  # the same server under a name that is not in it
        asyncio.run(opened(elsewhere + "verify-ca"))
        with pytest.raises(ConfigError, match="certificate"):
            asyncio.run(opened(elsewhere + "verify-full"))
        assert "clear text" not in caplog.text


def test_a_password_that_travels_in_clear_text_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """ST-07: not on this host, where nobody listens."""
    with PostgresServer() as server, caplog.at_level(logging.WARNING, "sessionware.store"):
        with_password = server.url.replace("postgres@", "postgres:hunter2@")
        asyncio.run(opened(with_password))
        assert "clear text" not in caplog.text
        asyncio.run(opened(with_password.replace("127.0.0.1", "0.0.0.0")))
        assert "travel in clear text: set sslmode=verify-full" in caplog.text
    assert "hunter2" not in caplog.text
