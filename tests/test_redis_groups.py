"""The suite's own groups of redis-servers: they replace who dies, move slots, and ask for passwords."""

import socket

import pytest

from tests.redis_groups import MASTER_NAME, RedisCluster, RedisReplicas, until
from tests.redis_words import Refused, say
from tests.selection import is_selected
from tests.servers import answers

pytestmark = [pytest.mark.skipif(not is_selected("redis"), reason="not among STORES"), pytest.mark.faults]

KEY, SLOT = "{user}.key", 5474  # the slot of "user"


def test_a_cluster_replaces_a_master_that_dies_and_takes_it_back_as_a_replica():
    with RedisCluster() as cluster:
        assert [len(cluster.replicas_of(slot)) for slot in (0, 8000, 16_383)] == [1, 1, 1]
        old, (replica,) = cluster.master_of(SLOT), cluster.replicas_of(SLOT)
        assert say(old.port, "CLUSTER", "KEYSLOT", KEY) == SLOT
        say(old.port, "SET", KEY, "value")
        until(lambda: say(replica.port, "DBSIZE") == 1, 5, "the key on the replica")
        elected = cluster.failovers()
        cluster.kill9(old)
        assert cluster.wait_for_new_master_of(SLOT, old) is replica
        assert cluster.failovers() == elected + 1
        assert say(replica.port, "GET", KEY) == "value"
        cluster.restart(old)
        until(lambda: cluster.replicas_of(SLOT) == [old], 10, "the old master as a replica")
        cluster.wait_until_ok()
    assert not any(answers(node.port) for node in cluster.nodes)


def test_a_slot_moves_step_by_step():
    with RedisCluster(masters=2, replicas=0) as cluster:
        source = cluster.master_of(SLOT)
        to = next(node for node in cluster.masters() if node is not source)
        for number in range(3):
            say(source.port, "SET", f"{KEY}{number}", number)
        assert cluster.begin_move(SLOT, to) is source
        assert cluster.move_some_keys(SLOT, source, to, 2) == 2
        assert [say(node.port, "CLUSTER", "COUNTKEYSINSLOT", SLOT) for node in (source, to)] == [1, 2]
        with pytest.raises(Refused, match=f"ASK {SLOT} 127.0.0.1:{to.port}"):
            say(source.port, "GET", f"{KEY}-new")
        assert cluster.move_some_keys(SLOT, source, to) == 1
        assert cluster.move_some_keys(SLOT, source, to) == 0
        cluster.finish_move(SLOT, to)
        with pytest.raises(Refused, match=f"MOVED {SLOT} 127.0.0.1:{to.port}"):
            say(source.port, "GET", f"{KEY}0")
        assert [say(to.port, "GET", f"{KEY}{number}") for number in range(3)] == ["0", "1", "2"]
        cluster.move_slot(SLOT, source)
        assert cluster.master_of(SLOT) is source


def test_sentinels_replace_a_primary_that_dies():
    with RedisReplicas() as group:
        group.say(group.primary, "SET", "key", "value")
        group.say(group.primary, "WAIT", 2, 5000)
        replaced = group.failovers()
        old = group.kill_primary()
        new = group.wait_for_new_primary(old)
        assert (new is not old, group.failovers()) == (True, replaced + 1)
        assert group.say(new, "GET", "key") == "value"
        until(lambda: group.in_step() == 1, 10, "the other replica behind the new primary")
        group.replicas[0].pause()
    assert not any(answers(server.port) for server in group.nodes + group.sentinels)


@pytest.mark.parametrize("user", ["", "worker"])
def test_data_and_sentinels_have_passwords_of_their_own(user: str):
    with RedisReplicas(user=user, password="of-data", sentinel_password="of-sentinels") as group:
        sentinel = group.sentinels[0].port
        with pytest.raises(Refused, match="NOAUTH"):
            say(sentinel, "PING")
        with pytest.raises(Refused, match="NOAUTH"):
            say(group.nodes[0].port, "GET", "key")
        place = say(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME, password="of-sentinels")
        assert place == ["127.0.0.1", str(group.nodes[0].port)]
        assert group.say(group.primary, "SET", "key", "value") == "OK"
        assert group.url.startswith(f"redis+sentinel://{user}:of-data@127.0.0.1:")


def test_the_suites_shared_groups_answer(redis_cluster_url: str, redis_sentinel_url: str):
    for url in (redis_cluster_url, redis_sentinel_url):
        host, _, port = url.partition("://")[2].rpartition("@")[2].partition("/")[0].split(",")[0].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
