"""deploy/stores/redis-sentinel.yml: its own commands are run, on free ports of this machine, and its primary dies."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessionware.core.admission import Outcome
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.deploy.reading import DEPLOY
from tests.redis_groups import until
from tests.redis_words import Refused, say
from tests.selection import is_selected
from tests.servers import end, free_port, redis_binary
from tests.stores.deeds import take

PATH = DEPLOY / "stores" / "redis-sentinel.yml"
PASSWORD = "pass-of-the-test"
FORMED_WITHIN_S = 20.0
BACK_WITHIN_S = 5.0
PORT = 6379

pytestmark = [
    pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES"),
    pytest.mark.timeout(120),
    pytest.mark.faults,
]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PATH.read_text("utf-8"))
    return found


def named_store() -> str:
    """The setting that the head of the file names."""
    (found,) = re.findall(r"SESSIONWARE_STORE=(\S+)", PATH.read_text("utf-8"))
    return str(found)


class Here:
    """The services of the file as processes of this machine: names become ports, the volume a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = compose()
        self.ports = {name: free_port() for name in self._file["services"]}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Run what the service runs."""
        service = self._file["services"][name]
        (config,) = service["configs"]
        data = self._folder / name
        data.mkdir(exist_ok=True)
        first = data / "first.conf"
        text = self._file["configs"][config["source"]]["content"]
        first.write_text(f"port {self.ports[name]}\nbind 127.0.0.1\n{self._at_home(text, data)}")
        shell, flag, script = service["command"]
        words = self._at_home(script, data).replace("/first.conf", str(first))
        words = words.replace("exec redis-server", f"exec {redis_binary()}")
        with (data / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [shell, flag, words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ
            )

    def _at_home(self, text: str, data: Path) -> str:
        text = re.sub(r"\$\{REDIS_PASSWORD[^}]*\}", PASSWORD, text)
        for name, port in self.ports.items():
            text = text.replace(f"{name} {PORT}", f"127.0.0.1 {port}").replace(name, "127.0.0.1")
        return text.replace("/data", str(data))

    def named(self, kind: str) -> list[str]:
        return [name for name in self.ports if name.startswith(kind)]

    def replicas_follow(self) -> bool:
        return "connected_slaves:2" in say(self.ports["redis-1"], "INFO", "replication", password=PASSWORD)

    def sentinels_know_each_other(self) -> bool:
        masters = [say(self.ports[name], "SENTINEL", "MASTER", "sessionware") for name in self.named("sentinel")]
        known = [dict(zip(words[::2], words[1::2], strict=True)) for words in masters]
        return all((each["num-slaves"], each["num-other-sentinels"]) == ("2", "2") for each in known)

    @property
    def url(self) -> str:
        url = named_store().replace(":...@", f":{PASSWORD}@")
        for name, port in self.ports.items():
            url = url.replace(name, f"127.0.0.1:{port}")
        return url


@contextmanager
def running(folder: Path) -> Iterator[Here]:
    """As Compose does: the servers first, then the Sentinels; returns when all know each other."""
    here = Here(folder)
    with ExitStack() as unwinding:
        for kind, is_formed in (("redis", here.replicas_follow), ("sentinel", here.sentinels_know_each_other)):
            for name in here.named(kind):
                here.start(name)
                unwinding.callback(end, here.processes[name])
            until(is_formed, FORMED_WITHIN_S, f"a group of {kind}")
        yield here


async def until_it_admits(store: Store) -> None:
    """Wait for a write that is answered: without a replica in step the primary takes none."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            try:
                answer = await take(store, Maker.of(store))
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                assert answer.outcome is Outcome.ADMITTED
                return


def test_what_the_file_starts_is_found_by_the_url_that_it_names_and_survives_its_primary(tmp_path: Path) -> None:
    """C27."""

    async def scenario(here: Here) -> None:
        async with open_store(here.url) as store:
            await until_it_admits(store)
            with pytest.raises(Refused, match="NOAUTH"):
                say(here.ports["redis-1"], "PING")
            here.processes["redis-1"].kill()
            here.processes["redis-1"].wait()
            await until_it_admits(store)

    with running(tmp_path) as here:
        asyncio.run(scenario(here))


def test_no_server_stores_for_want_of_memory_or_is_open_to_the_world() -> None:
    """ST-03: and every service has a volume of its own, for Sentinel rewrites what is in it."""
    found = compose()
    settings = found["configs"]["redis"]["content"]
    for line in ("maxmemory-policy noeviction", "appendonly yes", "min-replicas-to-write 1", "min-replicas-max-lag 1"):
        assert f"{line}\n" in settings
    assert "requirepass ${REDIS_PASSWORD:?" in settings
    volumes = [service["volumes"] for service in found["services"].values()]
    assert (
        sorted(each.partition(":")[0] for (each,) in volumes) == sorted(found["volumes"]) == sorted(found["services"])
    )
    assert not any("ports" in service for service in found["services"].values())
