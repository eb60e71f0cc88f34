"""The only place that asks Sentinels: where the primary is that they watch under a name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

import hiredis
from msgspec import Struct

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import RedisAddress, SentinelAddress
from sessionware.stores.redis.connecting import connect, silent_for
from sessionware.stores.redis.plain import hang_up
from sessionware.stores.redis.wire import Wire

ASK_S: Final = 0.5  # one question to one Sentinel, connecting included; all are asked at once
GRACE_S: Final = 0.05  # when one has answered the others have this long to know better
SENTINELS_MAX: Final = 16  # those of the URL and those that they name
_NOT_WELCOME: Final = ("NOAUTH", "WRONGPASS", "NOPERM")


class Told(Struct, frozen=True):
    """What one Sentinel says: where the primary is, since which election, and which other Sentinels there are."""

    primary: RedisAddress
    epoch: int
    others: tuple[RedisAddress, ...]


class Sentinels:
    """The Sentinels of one URL, and those that they name. They are asked all at once; the latest election counts."""

    def __init__(self, address: SentinelAddress) -> None:
        self.address = address
        tls = address.data.tls_context()  # Sentinels and servers are reached by the same certificates
        self._seeds = {each.place: _Sentinel(each, address, tls) for each in address.sentinels}
        self._learnt: dict[str, _Sentinel] = {}
        self._tls = tls
        self._search: asyncio.Task[Told] | None = None

    def __repr__(self) -> str:
        return repr(self.address)

    async def find(self) -> Told:
        """Where the primary is; many callers share one search.

        Raises ConfigError when the Sentinels that answer do not know the name, or us; StoreUnavailable when none
        answers.
        """
        while True:
            if self._search is None or self._search.done():
                self._search = asyncio.get_running_loop().create_task(self._ask_all())
            search = self._search
            await asyncio.wait([search])  # a caller that is cancelled does not end the search of the others
            if not search.cancelled():
                return search.result()

    async def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        for each in self._all():
            await each.close()

    async def _ask_all(self) -> Told:
        asked = {asyncio.create_task(each.ask()): each for each in self._all()}
        try:
            told, faults = await _heard(asked)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        for task, each in asked.items():
            if not task.cancelled() and task.exception() is not None:
                self._learnt.pop(each.address.place, None)  # it is named again if it still exists
                await each.close()
        if told:
            latest = max(told, key=lambda each: each.epoch)
            self._learn(other for each in told for other in each.others)
            return latest
        raise self._nothing_found(faults)

    def _learn(self, others: Iterable[RedisAddress]) -> None:
        for other in others:
            known = len(self._seeds) + len(self._learnt)
            if other.place not in self._seeds and other.place not in self._learnt and known < SENTINELS_MAX:
                self._learnt[other.place] = _Sentinel(other, self.address, self._tls)

    def _all(self) -> list[_Sentinel]:
        return [*self._seeds.values(), *self._learnt.values()]

    def _nothing_found(self, faults: list[Exception]) -> ConfigError | StoreUnavailable:
        wrong = next((each for each in faults if isinstance(each, ConfigError)), None)
        if wrong is not None:
            return ConfigError(f"store {self!r}: {wrong}")
        why = "; ".join([str(each) for each in faults]) or silent_for(
            f"within {ASK_S * 1000:.0f} ms", tls=self.address.data.tls
        )
        return StoreUnavailable(
            f"no Sentinel of {self!r} says where {self.address.name!r} is ({why}): check the hosts and ports of the "
            "Sentinels in the store's URL"
        )


class _Sentinel:
    """One Sentinel, and the connection on which it is asked."""

    def __init__(self, address: RedisAddress, group: SentinelAddress, tls: Any) -> None:
        self.address = address
        self._group = group
        self._tls = tls
        self._wire: Wire | None = None

    async def ask(self) -> Told:
        """Raises ConfigError when it does not know the name, or us; StoreUnavailable when it does not answer."""
        wire = await self._open()
        name = self._group.name
        place, about, others = await asyncio.gather(
            wire.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name),
            wire.call("SENTINEL", "MASTER", name),
            wire.call("SENTINEL", "SENTINELS", name),
        )
        if isinstance(place, hiredis.ReplyError):
            raise self._refused(place)
        if place is None:
            raise ConfigError(
                f"the Sentinel at {self.address.place} watches nothing under the name {name!r}: check the name in "
                "the store's URL against `sentinel monitor` of its configuration"
            )
        host, port = place[0].decode(), int(place[1])
        fields = _fields(about)
        learnt = [self.address.at(each["ip"], int(each["port"])) for each in _listed(others)]
        return Told(self._group.data.at(host, port), int(fields.get("config-epoch", "0")), tuple(learnt))

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await hang_up(wire)

    async def _open(self) -> Wire:
        if self._wire is None or not self._wire.is_open:
            try:
                self._wire = await connect(self.address, tls=self._tls, each=ASK_S, within=ASK_S)
            except ConfigError as error:
                raise ConfigError(
                    f"the Sentinel at {self.address.place} does not accept us ({error.__cause__ or error}): check "
                    "sentinel_user and sentinel_password in the store's URL"
                ) from None
            except StoreUnavailable as error:
                raise StoreUnavailable(f"{self.address.place}: {error.__cause__ or error}") from None
        return self._wire

    def _refused(self, reply: hiredis.ReplyError) -> ConfigError | StoreUnavailable:
        if str(reply).startswith(_NOT_WELCOME):
            return ConfigError(
                f"the Sentinel at {self.address.place} refuses our questions ({reply}): check sentinel_user and "
                "sentinel_password in the store's URL"
            )
        if "unknown command" in str(reply):
            return ConfigError(
                f"{self.address.place} is no Sentinel ({reply}): write redis:// for a server, redis+cluster:// for a "
                "Redis Cluster"
            )
        return StoreUnavailable(f"{self.address.place} refused: {reply}")


async def _heard(asked: Iterable[asyncio.Task[Told]]) -> tuple[list[Told], list[Exception]]:
    """What was answered in time, and what went wrong until then."""
    loop = asyncio.get_running_loop()
    waiting, until = set(asked), loop.time() + ASK_S
    told: list[Told] = []
    faults: list[Exception] = []
    while waiting and (left := until - loop.time()) > 0:
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is None:
                until = min(until, loop.time() + GRACE_S)
                told.append(task.result())
            elif isinstance(error, ConfigError | StoreUnavailable):
                faults.append(error)
            else:
                raise error
    return told, faults


def _fields(flat: Any) -> dict[str, str]:
    """Names and values in turn, as Sentinel describes a server; nothing when it would not say."""
    if not isinstance(flat, list):
        return {}
    texts = [each.decode(errors="replace") for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _listed(others: Any) -> Iterator[dict[str, str]]:
    for flat in others if isinstance(others, list) else []:
        each = _fields(flat)
        if each.get("ip") and each.get("port", "").isdigit():
            yield each
