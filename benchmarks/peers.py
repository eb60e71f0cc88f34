"""What the stores are compared with: redis-py with the same script and arguments, and a plain dict."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from msgspec.structs import replace
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from benchmarks.engines import Engine
from benchmarks.measure import measure
from benchmarks.workload import admission, new_session
from sessionware.core.ids import Addresses
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.asking import admission as as_arguments
from sessionware.stores.redis.scripts import load_scripts
from sessionware.stores.sealing import Sealer

Call = Callable[[int], Awaitable[object]]
PEER_SESSIONS = 1_000  # as many as the stores are asked about


async def start(server: Engine | None, stack: AsyncExitStack) -> dict[str, Call]:
    """The peers of this run."""
    plain: dict[int, list[int]] = {number: [0, 0] for number in range(PEER_SESSIONS)}

    async def in_a_dict(number: int) -> object:
        record = plain[number % PEER_SESSIONS]
        record[0] += 1
        return record

    peers: dict[str, Call] = {"plain dict": in_a_dict}
    if server is not None:
        peers["redis-py, same EVALSHA"] = await _redis_py(server, stack)
    return peers


async def _redis_py(server: Engine, stack: AsyncExitStack) -> Call:
    """redis-py awaiting the very script and arguments that our store sends."""
    client = Redis(port=server.port, max_connections=64, retry=Retry(NoBackoff(), 0))
    stack.push_async_callback(client.aclose)
    addresses, keys, sealer = Addresses(secrets.token_bytes(32)), Keys("sw:"), Sealer()
    seconds, micros = await client.time()
    now = int(seconds) * 1000 + int(micros) // 1000
    scripts = load_scripts()
    shas = {name: await client.script_load(scripts[name].text) for name in ("admit",)}
    asked = []
    for number in range(PEER_SESSIONS):
        new = new_session(addresses, number, now)
        ask = admission(addresses, new, now)
        first = as_arguments(replace(ask, new=new), sealer)
        await client.evalsha(shas["admit"], 1, keys.base(0), now, 0, *first)
        asked.append(as_arguments(ask, sealer))

    async def call(number: int) -> object:
        return await client.evalsha(shas["admit"], 1, keys.base(0), now, 0, *asked[number % PEER_SESSIONS])

    return call


async def key_count(server: Engine) -> int:
    """How many keys the server held by then: its time for a call grows with what its caches miss."""
    async with Redis(port=server.port) as client:
        return int(await client.dbsize())


async def server_side(server: Engine, admit: Call) -> dict[str, float]:
    """What the server says of 5,000 admissions: its time for each, and how many commands came."""
    async with Redis(port=server.port) as client:
        await client.config_resetstat()
        await measure(admit, calls=5_000, tasks=32)
        stats = await client.info("commandstats")
    counted = {name: stat for name, stat in stats.items() if name in {"cmdstat_evalsha", "cmdstat_eval"}}
    commands = sum(stat["calls"] for stat in counted.values())
    return {
        "server_us_per_admit": counted["cmdstat_evalsha"]["usec_per_call"],
        "commands_per_admission": commands / 5_000,
    }
