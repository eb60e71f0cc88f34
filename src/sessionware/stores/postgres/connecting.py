"""The only place that opens a connection to PostgreSQL, checks who answers, and says why it cannot serve us."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Final

import asyncpg

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.postgres import faults
from sessionware.stores.postgres.address import Host, PostgresAddress

VERSION_MIN: Final = (
    15  # the oldest line that PostgreSQL itself maintains (14 ended in November 2026), and that we test
)
CONNECT_S: Final = 2.0  # one attempt at one host: TCP, TLS, the password and the checks
IDLE_FACTOR: Final = 2  # calls are one statement each: only making the schema ever holds a transaction open
STATEMENTS: Final = 200  # prepared statements kept per connection: more than we have
STATEMENT_SHARE: Final = 0.9  # of a call's time, then the server gives up: its refusal proves that nothing was written
LOCK_SHARE: Final = 0.8  # the same for waiting for a lock: so that the refusal can say so

log = logging.getLogger("sessionware.store")

# One trip: tell the backend its settings, and ask it who it is.
_INTRODUCE: Final = """
SELECT (SELECT count(set_config(name, value, false)) FROM unnest($1::text[], $2::text[]) AS given (name, value)),
       current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
       pg_backend_pid() AS pid, current_setting('synchronous_commit') AS commits,
       coalesce((SELECT s.ssl FROM pg_stat_ssl AS s WHERE s.pid = pg_backend_pid()), false) AS encrypted
"""
_NOT_WELCOME: Final = ("28", "42501", "3D000", "0A000")  # no such user, wrong password, no right, no such database


async def connect(
    address: PostgresAddress, *, call_ms: float, first: Host | None = None, is_first: bool = False
) -> tuple[Any, Host]:
    """A connection to the host that takes writes, and which that is; `first` is tried first.

    Its statements end on the server within `call_ms`. The first connection of a store warns about what it finds.
    Raises ConfigError when waiting cannot help (who we are, what the server is), StoreUnavailable otherwise.
    """
    hosts = sorted(address.hosts, key=lambda host: host != first)
    reasons: list[ConfigError | StoreUnavailable] = []
    for host in hosts:
        try:
            connection, told = await _connect_to(host, address, call_ms)
        except (ConfigError, StoreUnavailable) as error:
            reasons.append(error)
        except _TakesNoWrites as error:
            kind = ConfigError if len(hosts) == 1 else StoreUnavailable  # of several, another may be promoted soon
            reasons.append(kind(f"store {address!r}: {error}"))
        else:
            if is_first:
                _warn(connection, address, told)
            return connection, host
    raise max(reasons, key=lambda reason: isinstance(reason, StoreUnavailable))  # waiting may help one of them


class _TakesNoWrites(Exception):
    """A standby, or a server that was set to read only."""


async def _connect_to(host: Host, address: PostgresAddress, call_ms: float) -> tuple[Any, Any]:
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = await asyncpg.connect(
                host=host[0], port=host[1], database=address.database, user=address.user or None,
                password=address.password or None, ssl=address.tls(), timeout=CONNECT_S, target_session_attrs="any",
                statement_cache_size=STATEMENTS, max_cached_statement_lifetime=0,
            )  # fmt: skip
            try:
                return connection, await _introduce(connection, address, call_ms)
            except BaseException:
                connection.terminate()
                raise
    except (asyncpg.ClientConfigurationError, ssl.SSLCertVerificationError) as error:
        raise ConfigError(f"store {address!r}: {error}: check the URL, its sslmode= and sslrootcert=") from error
    except ValueError:
        raise _unsendable(address) from None
    except faults.ANY as error:
        if isinstance(error, asyncpg.InternalClientError) and "authentication" in str(error):
            raise _unsendable(address) from None
        raise _unreachable(error, address) from error


async def _introduce(connection: Any, address: PostgresAddress, call_ms: float) -> Any:
    """Tell the server our settings, and check what it tells about itself."""
    settings = _settings(address, call_ms)
    told = await connection.fetchrow(_INTRODUCE, list(settings), list(settings.values()))
    if told["version"] // 10_000 < VERSION_MIN:
        raise ConfigError(f"store {address!r} is version {told['version'] // 10_000}: {VERSION_MIN} or newer is needed")
    if told["encoding"] != "UTF8":
        raise ConfigError(
            f"store {address!r}: the database has encoding {told['encoding']}, UTF8 is needed: "
            f"createdb --encoding=UTF8 --template=template0 NAME"
        )
    if told["standby"] or told["read_only"]:
        what = "is a standby" if told["standby"] else "is set to read only (default_transaction_read_only)"
        raise _TakesNoWrites(f"the server {what}: name the primary, or all servers (host1,host2)")
    return told


def _settings(address: PostgresAddress, call_ms: float) -> dict[str, str]:
    """What every backend of ours is told: a statement ends there a little before its caller gives up."""
    return {
        "application_name": "sessionware",
        "search_path": f'"{address.schema}", pg_temp',  # the schema's own names, and never a stranger's
        "statement_timeout": _ms(call_ms * STATEMENT_SHARE),
        "lock_timeout": _ms(call_ms * LOCK_SHARE),
        "idle_in_transaction_session_timeout": _ms(call_ms * IDLE_FACTOR),
        "default_transaction_isolation": "read committed",  # a new look at the rows behind each lock
        "tcp_keepalives_idle": "30",  # s; an idle connection stays known on the way, and one that is dead is noticed
        "tcp_keepalives_interval": "10",
        "jit": "off",
        "enable_seqscan": "off",  # plans are kept, and the first are made while the tables are empty
        "plan_cache_mode": "force_generic_plan",
    }


def _warn(connection: Any, address: PostgresAddress, told: Any) -> None:
    is_encrypted = told["encrypted"] or address.insists_on_tls
    if address.password and not is_encrypted and not address.is_near:
        log.warning(
            "store %r: the password and all sessions travel in clear text: set sslmode=verify-full "
            "(and sslrootcert= for an authority of your own)", address,
        )  # fmt: skip
    if told["commits"] == "off":
        log.warning(
            "store %r: synchronous_commit is off: a crash of the server forgets the last moments, revocations among "
            "them. Set `synchronous_commit = on`.", address,
        )  # fmt: skip
    if told["pid"] != connection.get_server_pid():
        log.warning(
            "store %r: a pooler stands before PostgreSQL. In session mode it does no harm; in transaction mode it "
            "loses events, deadlines and prepared statements: connect directly, or through a pool in session mode.",
            address,
        )


def _ms(value: float) -> str:
    return str(max(int(value), 1))  # 0 would mean: for ever


def _unsendable(address: PostgresAddress) -> ConfigError:
    """The driver could not put it on the wire. Its own message may quote the password: neither shown nor chained."""
    return ConfigError(
        f"store {address!r}: the user, the password or the database holds characters that cannot be sent"
    )


def _unreachable(error: BaseException, address: PostgresAddress) -> ConfigError | StoreUnavailable:
    """Why no connection came about. The server's words name users, databases and hosts, never a password."""
    state = (error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""
    if state.startswith(_NOT_WELCOME):
        hint = (
            f"make it (createdb {address.database}) or name another"
            if state == "3D000"
            else "check the user, the password and the database in the store's URL, and pg_hba.conf"
        )
        return ConfigError(f"store {address!r}: PostgreSQL refused us: {faults.said(error)}: {hint}")
    if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
        return ConfigError(f"store {address!r}: the server speaks no TLS, which sslmode={address.sslmode} asks for")
    if state == "53300":
        return StoreUnavailable(
            f"PostgreSQL at {address!r} has no free connection slot ({faults.said(error)}): raise max_connections, "
            "each worker keeps up to 5 connections"
        )
    return StoreUnavailable(f"PostgreSQL at {address!r} cannot be reached: {faults.said(error)}")
