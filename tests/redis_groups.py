"""The only place that makes groups of real redis-servers for the suite: a cluster, and a primary with sentinels."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final, Self

from tests.redis_words import Refused, info, say
from tests.servers import PROBE_EVERY_S, RedisServer

SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 1500
FORMED_WITHIN_S: Final = 20.0  # two seconds by themselves: a cluster's masters refuse writes so long after they start
MOVED_AT_ONCE: Final = 100  # keys in one MIGRATE
MASTER_NAME: Final = "mymaster"
DOWN_AFTER_MS: Final = 1000
FAILOVER_TIMEOUT_MS: Final = 3000
QUICK_SYNC: Final = (
    "--repl-diskless-sync",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
)


def until(happens: Callable[[], bool], within: float, what: str) -> None:
    """Ask again and again, for so many seconds; a server that does not answer (yet) has not done it."""
    deadline = time.monotonic() + within
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if happens():
                return
        except (OSError, Refused) as error:
            problem = error
        time.sleep(PROBE_EVERY_S)
    raise TimeoutError(f"{what}: not within {within:g} s") from problem


def start_together(servers: Iterable[RedisServer]) -> None:
    with ThreadPoolExecutor() as starters:
        list(starters.map(RedisServer.start, servers))


class RedisCluster:
    """Masters that share all slots, and their replicas, dealt out in turn. `nodes` are the masters first.

    Whoever is master later is answered by `master_of` and `masters`, which ask the cluster.
    """

    def __init__(self, *options: str, masters: int = 3, replicas: int = 3) -> None:
        own = (
            "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0",
            "--cluster-allow-replica-migration", "no", *QUICK_SYNC, *options,
        )  # fmt: skip
        self._masters = masters
        self.nodes = [RedisServer(*own, bus=True) for _ in range(masters + replicas)]
        self._ids: dict[int, str] = {}
        self._last_masters: set[int] = set()
        self._elected = 0

    def __enter__(self) -> Self:
        with ExitStack() as unwinding:
            unwinding.callback(self.close)
            start_together(self.nodes)
            self._form()
            unwinding.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def running(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.is_running]

    def masters(self) -> list[RedisServer]:
        """Who serves slots, as the first node that runs sees it."""
        ports = {int(line[1].partition("@")[0].rpartition(":")[2]) for line in self._seen() if _serves(line)}
        return [node for node in self.nodes if node.port in ports]

    def master_of(self, slot: int) -> RedisServer:
        """Who serves the slot, as the first node that runs sees it."""
        return self._node_at(self._range_of(slot)[0])

    def replicas_of(self, slot: int) -> list[RedisServer]:
        return [self._node_at(port) for port in self._range_of(slot)[1:]]

    def _range_of(self, slot: int, seen_by: RedisServer | None = None) -> list[int]:
        for first, last, *members in say((seen_by or self.running[0]).port, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return [int(member[1]) for member in members]
        raise LookupError(f"nobody serves slot {slot}")

    def kill9(self, node: RedisServer) -> None:
        """End a node as a crash would; its replica is elected about two seconds later."""
        node.kill9()

    def restart(self, node: RedisServer) -> None:
        """It comes back with its old id and nothing in it: a replica if another was elected for it."""
        node.restart()

    def wait_for_new_master_of(self, slot: int, old: RedisServer, within: float = FORMED_WITHIN_S) -> RedisServer:
        """Returns when every node that runs knows that another serves the slot and the cluster is well."""
        until(lambda: self.master_of(slot) is not old, within, f"a new master of slot {slot}")
        self.wait_until_ok(within)
        return self.master_of(slot)

    def move_slot(self, slot: int, to: RedisServer) -> None:
        """All three steps of a move: from the master that serves the slot to another."""
        source = self.begin_move(slot, to)
        while self.move_some_keys(slot, source, to):
            pass
        self.finish_move(slot, to)

    def begin_move(self, slot: int, to: RedisServer) -> RedisServer:
        """From here on the old master answers ASK for keys that it has not; returns the old master."""
        source = self.master_of(slot)
        say(to.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[source.port])
        say(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[to.port])
        return source

    def move_some_keys(self, slot: int, source: RedisServer, to: RedisServer, count: int = MOVED_AT_ONCE) -> int:
        """Hand over at most `count` keys, and answer how many: 0 when none is left."""
        keys = say(source.port, "CLUSTER", "GETKEYSINSLOT", slot, count)
        if keys:
            say(source.port, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def finish_move(self, slot: int, to: RedisServer) -> None:
        """From here on the old master answers MOVED. The new one is told first; returns when everybody knows."""
        for node in [to, *[node for node in self.masters() if node is not to]]:
            say(node.port, "CLUSTER", "SETSLOT", slot, "NODE", self._ids[to.port])
        until(
            lambda: all(self._range_of(slot, node)[0] == to.port for node in self.running),
            FORMED_WITHIN_S,
            f"nodes that all know who serves slot {slot}",
        )

    def failovers(self) -> int:
        """How often a node has become a master, as far as somebody has asked in time."""
        masters = {node.port for node in self.masters()}
        self._elected += len(masters - self._last_masters)
        self._last_masters = masters
        return self._elected

    def wait_until_ok(self, within: float = FORMED_WITHIN_S) -> None:
        """Returns when every node that runs says that all slots are served, and every replica follows its master."""
        until(lambda: all(map(self._is_well, self.running)), within, "a cluster that is well")

    def wait_until_in_step(self, within: float = FORMED_WITHIN_S) -> None:
        """The same, and every replica has what its master had written when this was called."""
        self.wait_until_ok(within)
        written = {node.port: int(info(node.port, "replication")["master_repl_offset"]) for node in self.running}
        until(lambda: all(_has(node, written) for node in self.running), within, "replicas in step")

    def _is_well(self, node: RedisServer) -> bool:
        told = info_of_cluster(node.port)
        followed = info(node.port, "replication")
        in_step = followed["role"] == "master" or followed["master_link_status"] == "up"
        return in_step and told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == len(self.nodes)

    def _form(self) -> None:
        for epoch, node in enumerate(self.nodes, start=1):
            self._ids[node.port] = say(node.port, "CLUSTER", "MYID")
            say(node.port, "CLUSTER", "SET-CONFIG-EPOCH", epoch)  # else two may agree on one, and settle it slowly
        for number, master in enumerate(self.nodes[: self._masters]):
            share = range(SLOTS * number // self._masters, SLOTS * (number + 1) // self._masters)
            say(master.port, "CLUSTER", "ADDSLOTS", *share)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[number + 1 :]:
                say(node.port, "CLUSTER", "MEET", "127.0.0.1", other.port)
        everybody = set(self._ids.values())
        until(
            lambda: all({line[0] for line in self._seen(node) if _is_linked(line)} == everybody for node in self.nodes),
            FORMED_WITHIN_S,
            "nodes that all know each other",
        )
        for number, replica in enumerate(self.nodes[self._masters :]):
            say(replica.port, "CLUSTER", "REPLICATE", self._ids[self.nodes[number % self._masters].port])
        self.wait_until_ok()

    def _seen(self, seen_by: RedisServer | None = None) -> list[list[str]]:
        """The words of each line of CLUSTER NODES: id, address, flags, master, ping, pong, epoch, link, slots."""
        nodes = say((seen_by or self.running[0]).port, "CLUSTER", "NODES")
        return [line.split() for line in str(nodes).splitlines()]

    def _node_at(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)


def _has(node: RedisServer, written: Mapping[int, int]) -> bool:
    followed = info(node.port, "replication")
    return followed["role"] == "master" or int(followed["slave_repl_offset"]) >= written[int(followed["master_port"])]


def _serves(line: list[str]) -> bool:
    return "master" in line[2] and "fail" not in line[2].split(",") and len(line) > 8


def _is_linked(line: list[str]) -> bool:
    return line[7] == "connected" and "handshake" not in line[2]


def info_of_cluster(port: int) -> dict[str, str]:
    lines = str(say(port, "CLUSTER", "INFO")).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


class RedisReplicas:
    """One primary with replicas, and sentinels that replace it when it is gone for a second.

    `password` protects the data, `sentinel_password` the sentinels; with `user` the data has an ACL user of that
    name, and the sentinels and replicas use it too.
    """

    def __init__(
        self, *options: str, replicas: int = 2, sentinels: int = 3,
        user: str = "", password: str = "", sentinel_password: str = "",
    ) -> None:  # fmt: skip
        self._user, self._password, self._sentinel_password = user, password, sentinel_password
        self._options = (*QUICK_SYNC, *options, *self._protection())
        self._replicas, self._sentinels = replicas, sentinels
        self.nodes: list[RedisServer] = [RedisServer(*self._options)]
        self.sentinels: list[RedisServer] = []

    def __enter__(self) -> Self:
        with ExitStack() as unwinding:
            unwinding.callback(self.close)
            first = self.nodes[0]
            first.start()
            follow = ("--replicaof", "127.0.0.1", str(first.port))
            self.nodes += [RedisServer(*self._options, *follow) for _ in range(self._replicas)]
            start_together(self.nodes[1:])
            until(lambda: self.in_step() == self._replicas, FORMED_WITHIN_S, "replicas that follow")
            words = self._words_of_sentinels()
            self.sentinels += [RedisServer(sentinel=words) for _ in range(self._sentinels)]
            start_together(self.sentinels)
            self.wait_until_ok()
            unwinding.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for server in [*self.sentinels, *self.nodes]:
            server.close()

    @property
    def url(self) -> str:
        return self.url_for(user=self._user, password=self._password)

    def url_for(self, *, user: str = "", password: str = "") -> str:
        """The address with other credentials of the data than the right ones."""
        who = f"{user}:{password}@" if password else ""
        return f"redis+sentinel://{who}" + ",".join(self.addresses) + f"/{MASTER_NAME}/0"

    @property
    def addresses(self) -> list[str]:
        """Where the sentinels are."""
        return [f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]

    @property
    def primary(self) -> RedisServer:
        """Whom the first sentinel that answers names."""
        sentinel = next(each for each in self.sentinels if each.is_running)
        _, port = self._ask(sentinel, "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return next(node for node in self.nodes if node.port == int(port))

    @property
    def replicas(self) -> list[RedisServer]:
        """Those that run and are not the primary."""
        primary = self.primary
        return [node for node in self.nodes if node.is_running and node is not primary]

    def kill_primary(self) -> RedisServer:
        """End it as a crash would; a replica takes its place two or three seconds later. Returns the one killed."""
        primary = self.primary
        primary.kill9()
        return primary

    def wait_for_new_primary(self, old: RedisServer, within: float = FORMED_WITHIN_S) -> RedisServer:
        """Returns the new one when all sentinels name it and it takes writes."""
        until(lambda: self._agreed() not in {None, old.port}, within, "sentinels that agree on a new primary")
        new = self.primary
        until(lambda: self.replication(new)["role"] == "master", within, "a new primary that takes writes")
        return new

    def failovers(self) -> int:
        """How often the sentinels have replaced the primary."""
        running = [each for each in self.sentinels if each.is_running]
        return max(int(self._known(each)["config-epoch"]) for each in running)

    def wait_until_ok(self, within: float = FORMED_WITHIN_S) -> None:
        """Returns when the sentinels agree and know each other, and all other nodes that run follow the primary."""
        until(self._is_well, within, "a primary with replicas and sentinels")

    def in_step(self) -> int:
        """How many nodes follow their primary closely."""
        told = [self.replication(node) for node in self.nodes if node.is_running]
        return sum(each.get("master_link_status") == "up" for each in told)

    def say(self, node: RedisServer, *words: object) -> object:
        """One command to a server of the data, with the right password."""
        if self._user:
            return say(node.port, *words, user=self._user, password=self._password)
        return say(node.port, *words, password=self._password)

    def replication(self, node: RedisServer) -> dict[str, str]:
        lines = str(self.say(node, "INFO", "replication")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _is_well(self) -> bool:
        running = sum(node.is_running for node in self.nodes)
        return (
            self._agreed() is not None and self.in_step() == running - 1 and all(map(self._knows_all, self.sentinels))
        )

    def _knows_all(self, sentinel: RedisServer) -> bool:
        if not sentinel.is_running:
            return True
        known = self._known(sentinel)
        return (int(known["num-slaves"]), int(known["num-other-sentinels"])) == (self._replicas, self._sentinels - 1)

    def _known(self, sentinel: RedisServer) -> dict[str, str]:
        words = iter(self._ask(sentinel, "MASTER", MASTER_NAME))
        return dict(zip(words, words, strict=True))

    def _agreed(self) -> int | None:
        running = [each for each in self.sentinels if each.is_running]
        named = {int(self._ask(each, "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1]) for each in running}
        return named.pop() if len(named) == 1 else None

    def _ask(self, sentinel: RedisServer, *words: object) -> list[str]:
        answer: list[str] = say(sentinel.port, "SENTINEL", *words, password=self._sentinel_password)
        return answer

    def _protection(self) -> list[str]:
        if self._user:
            user = ["--user", self._user, "on", f">{self._password}", "~*", "&*", "+@all", "--user", "default", "off"]
            return [*user, "--masteruser", self._user, "--masterauth", self._password]
        if self._password:
            return ["--requirepass", self._password, "--masterauth", self._password]
        return []

    def _words_of_sentinels(self) -> str:
        lines = [
            f"monitor {MASTER_NAME} 127.0.0.1 {self.nodes[0].port} {self._sentinels // 2 + 1}",
            f"down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"failover-timeout {MASTER_NAME} {FAILOVER_TIMEOUT_MS}",
            f"parallel-syncs {MASTER_NAME} {self._replicas}",
        ]
        if self._password:
            lines.append(f"auth-pass {MASTER_NAME} {self._password}")
        if self._user:
            lines.append(f"auth-user {MASTER_NAME} {self._user}")
        if self._sentinel_password:
            lines.append(f"sentinel-pass {self._sentinel_password}")
        own = f"requirepass {self._sentinel_password}\n" if self._sentinel_password else ""
        return own + "".join(f"sentinel {line}\n" for line in lines)
