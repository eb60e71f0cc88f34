"""deploy/stores/redis-cluster.yml: its own commands are run, on addresses of this machine, and a master dies."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
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
from tests.selection import is_selected
from tests.servers import end, free_port_with_bus, redis_binary, wait_until_it_listens

PATH = DEPLOY / "stores" / "redis-cluster.yml"
PASSWORD = "pass-of-the-test"
THERE, HERE = "172.28.17.", "127.28.17."  # every address of 127/8 is this machine
FORMED_WITHIN_S = 30.0
BACK_WITHIN_S = 5.0

pytestmark = [
    pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES"),
    pytest.mark.timeout(120),
    pytest.mark.faults,
]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PATH.read_text("utf-8"))
    return found


class Here:
    """The services of the file as processes of this machine: the volumes become folders, the port a free one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = compose()
        self._port = str(free_port_with_bus())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        (named,) = re.findall(r"SESSIONWARE_STORE=(\S+)", PATH.read_text("utf-8"))
        url = self.at_home(named.replace(":...@", f":{PASSWORD}@"), "")
        return url.replace(",", f":{self._port},") + f":{self._port}"

    def start(self, name: str) -> None:
        """Run what the service runs."""
        service = self._file["services"][name]
        data = self._folder / name
        data.mkdir(exist_ok=True)
        address = self.at_home(service["networks"]["default"]["ipv4_address"], "")
        settings = self.at_home(self._file["configs"]["redis"]["content"], str(data))
        (data / "redis.conf").write_text(f"{settings}bind {address}\n")
        assert service["command"] == ["redis-server", "/redis.conf"]
        with (data / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [redis_binary(), str(data / "redis.conf")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until_it_listens(self.processes[name], int(self._port), FORMED_WITHIN_S, host=address)

    def form(self) -> bool:
        """Run the service that makes the cluster, as often as it is restarted."""
        service = self._file["services"]["form"]
        shell, flag, script = service["command"]
        environ = {**os.environ, "REDISCLI_AUTH": PASSWORD}
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        ended = subprocess.run(
            [shell, flag, self.at_home(script, "")], env=environ, check=False, stdout=subprocess.DEVNULL
        )
        return ended.returncode == 0

    def at_home(self, text: str, data: str) -> str:
        text = re.sub(r"\$\{REDIS_PASSWORD[^}]*\}", PASSWORD, text)
        return text.replace(THERE, HERE).replace("6379", self._port).replace("/data", data)


@contextmanager
def running(folder: Path) -> Iterator[Here]:
    """As Compose does: the servers first, then what makes a cluster of them."""
    here = Here(folder)
    with ExitStack() as unwinding:
        for name in compose()["services"]:
            if name != "form":
                here.start(name)
                unwinding.callback(end, here.processes[name])
        until(here.form, FORMED_WITHIN_S, "a cluster that is formed")
        yield here


async def until_all_admit(store: Store) -> None:
    """Wait until every bucket takes writes."""
    make = Maker.of(store)
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            try:
                for number in range(20):
                    user = f"user {number}"
                    ask = make.ask(
                        owner=make.owner(user), bucket=make.bucket(user), spends=(make.spend(over=user, cost=0),)
                    )
                    assert (await store.admit(ask)).outcome is Outcome.ADMITTED
                    await store.create(
                        make.new(make.session(None, user=user)), operation=make.operation(), now=make.now
                    )
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.skipif(shutil.which("redis-cli") is None and not Path(sys.executable).with_name("redis-cli").exists(),
                    reason="needs redis-cli")  # fmt: skip
def test_what_the_file_starts_becomes_a_cluster_that_the_url_it_names_finds_and_survives_a_master(
    tmp_path: Path,
) -> None:
    """C27."""

    async def scenario(here: Here) -> None:
        async with open_store(here.url) as store:
            await until_all_admit(store)
            here.processes["redis-1"].kill()
            here.processes["redis-1"].wait()
            await until_all_admit(store)
            assert await store.reap(now=store.clock.now(), limit=0) == []

    with running(tmp_path) as here:
        assert here.form(), "forming it again changes nothing"
        asyncio.run(scenario(here))


def test_no_server_stores_for_want_of_memory_or_is_open_to_the_world() -> None:
    """ST-03."""
    found = compose()
    settings = found["configs"]["redis"]["content"]
    for line in ("maxmemory-policy noeviction", "appendonly yes", "cluster-require-full-coverage no"):
        assert f"{line}\n" in settings
    assert "requirepass ${REDIS_PASSWORD:?" in settings
    servers = {name: service for name, service in found["services"].items() if name != "form"}
    assert sorted(each["volumes"][0].partition(":")[0] for each in servers.values()) == sorted(found["volumes"])
    assert not any("ports" in service for service in found["services"].values())
