"""Which slot a key lies in, and which node serves it: read from what a cluster says."""

import pytest

from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.cluster.topology import Layout, read_moved, read_slots, slot_of

A, B, C = ("10.0.0.1", 7000), ("10.0.0.2", 7001), ("::1", 7002)


@pytest.mark.parametrize(
    ("key", "slot"),
    [  # as CLUSTER KEYSLOT of a Redis 6.2 answers
        ("123456789", 12739), ("sw:meta", 13227), ("{user1000}.following", 3443), ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", 4015), ("foo{bar}{zap}", 5061), ("", 0),
    ],
)  # fmt: skip
def test_a_slot_is_that_of_the_hash_tag_or_of_the_whole_key(key, slot):
    assert slot_of(key) == slot


def test_all_keys_of_a_bucket_lie_in_one_slot_whatever_the_prefix():
    """Store.md 4."""
    for bucket in range(256):
        slots = {slot_of(f"{Keys(prefix).base(bucket)}{kind}") for prefix in ("sw:", "a/b:") for kind in ("", "s:1")}
        assert len(slots) == 1
    assert len({slot_of(Keys("sw:").base(bucket)) for bucket in range(256)}) > 250, "buckets spread over the nodes"


def test_a_map_says_who_serves_our_slots_and_who_follows_them():
    reply = [
        [0, 100, [b"10.0.0.1", 7000, b"id"], [b"::1", 7002, b"id"]],
        [101, 200, [b"10.0.0.2", 7001, b"id", [b"hostname", b"b"]]],
    ]
    assert read_slots(reply, slots=[100, 101, 300], asked=A) == Layout((A, B, None), frozenset({A, B}), frozenset({C}))


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_that_does_not_know_its_name_is_the_one_that_was_asked(host):
    assert read_slots([[0, 1, [host, 7000, b"id"]]], slots=[1], asked=A).owners == (A,)


@pytest.mark.parametrize("reply", [b"OK", 5, [[1, 2]], [[0, 1, b"x"]], [b"moved"]])
def test_nonsense_is_no_map(reply):
    with pytest.raises(ValueError, match="CLUSTER SLOTS"):
        read_slots(reply, slots=[1], asked=A)


@pytest.mark.parametrize(
    ("error", "place"),
    [("MOVED 3 10.0.0.2:7001", B), ("MOVED 3 [::1]:7002", C), ("MOVED 3 ::1:7002", C), ("MOVED 3 :7000", A)],
)
def test_a_redirection_names_a_node(error, place):
    assert read_moved(error, asked=A) == (3, place)


@pytest.mark.parametrize("error", ["MOVED", "MOVED x y", "MOVED 3 nowhere"])
def test_a_redirection_to_nowhere_is_an_error(error):
    with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong with it
        read_moved(error, asked=A)
