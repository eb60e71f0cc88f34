"""URLs of Redis groups: what they mean, and what is said when they mean nothing."""

import pytest

from sessionware.config.settings import without_password
from sessionware.errors import ConfigError
from sessionware.stores.redaction import redacted
from sessionware.stores.redis.address import RedisAddress, read_address, read_cluster, read_sentinels


def test_a_url_of_sentinels_names_them_the_primary_and_who_we_are_to_both() -> None:
    """A34."""
    url = (
        "rediss+sentinel://app:p%40w@s1:1,s2,[::1]:3,[::2]/mymaster/4"
        "?prefix=x:&ca=a.pem&sentinel_user=eye&sentinel_password=s%26w&wait_replicas=2"
    )
    address = read_sentinels(url)
    places = [("s1", 1), ("s2", 26379), ("::1", 3), ("::2", 26379)]
    assert [(each.host, each.port) for each in address.sentinels] == places
    assert {(each.username, each.password, each.db) for each in address.sentinels} == {("eye", "s&w", 0)}
    assert all(each.tls and each.ca == "a.pem" for each in address.sentinels)
    assert address.data.at("::5", 6) == RedisAddress("::5", 6, 4, "app", "p@w", tls=True, ca="a.pem", prefix="x:")
    assert (address.name, address.prefix, address.wait_replicas) == ("mymaster", "x:", 2)


def test_what_a_url_of_sentinels_leaves_out_has_a_default() -> None:
    address = read_sentinels("valkey+sentinel://h/my.master-1")
    assert address.sentinels == (RedisAddress("h", 26379),)
    assert (address.name, address.data.db, address.prefix, address.wait_replicas) == ("my.master-1", 0, "sw:", 1)
    assert not address.data.tls


def test_a_url_of_a_cluster_names_some_of_its_nodes() -> None:
    """A34."""
    address = read_cluster("valkeys+cluster://app:pw@n1:7000,n2,[::1]:7002?prefix=x:")
    assert [(each.host, each.port) for each in address.seeds] == [("n1", 7000), ("n2", 6379), ("::1", 7002)]
    assert {(each.username, each.password, each.tls, each.prefix) for each in address.seeds} == {
        ("app", "pw", True, "x:")
    }
    assert repr(address) == "rediss+cluster://n1:7000,n2:6379,[::1]:7002?prefix=x:"
    assert read_cluster("redis+cluster://h/0").seeds == (RedisAddress("h", 6379),)


def test_no_address_shows_a_password() -> None:
    """ST-07."""
    url = "redis+sentinel://app:hunter2@[::1]:1,s2/m/3?sentinel_password=hunter2"
    assert repr(read_sentinels(url)) == "redis+sentinel://[::1]:1,s2:26379/m/3?prefix=sw:"
    assert "hunter2" not in repr(read_sentinels(url).data) + redacted(url) + without_password(url)
    assert "hunter2" not in repr(read_cluster("redis+cluster://:hunter2@a,b"))
    assert without_password("redis+sentinel://h/m?sentinel_password=hunter2&x") == (
        "redis+sentinel://h/m?sentinel_password=(set)"
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://s1,s2", "s1,s2: behind the Sentinels stands the name .* there is none: .*s1,s2/mymaster/0"),
        ("redis+sentinel://s1/my master", "got 'my master'"),
        ("redis+sentinel://s1,,s2/m", "an empty host"),
        ("redis+sentinel://s1,s2:port/m", "port must be a number"),
        ("redis+sentinel://s1,[::1/m", r"write an IPv6 address as \[::1\]"),
        ("redis+sentinel://s1/m/first", r"database must be a number, for example redis\+sentinel://s1/m/0"),
        ("redis+sentinel://alice@s1/m", "user name without a password"),
        ("redis+sentinel://s1/m?sentinel_user=eye", "sentinel_user without sentinel_password"),
        ("redis+sentinel://s1/m?wait_replicas=many", r"wait_replicas must be a number 0\.\.16, got 'many'"),
        ("redis+sentinel://s1/m?wait_replicas=17", r"wait_replicas must be a number 0\.\.16"),
        ("redis+sentinel://s1/m?quorum=2", "unknown option 'quorum'"),
    ],
)
def test_a_url_of_sentinels_that_means_nothing_says_what_to_write(url: str, says: str) -> None:
    """A34."""
    with pytest.raises(ConfigError, match=says):
        read_sentinels(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://a,b/1", "only the database 0"),
        ("redis+cluster://a,", "an empty host"),
        ("redis+cluster://a:99999,b", "port must be a number"),
        ("redis+cluster://a?wait_replicas=1", "unknown option 'wait_replicas'"),
    ],
)
def test_a_url_of_a_cluster_that_means_nothing_says_what_to_write(url: str, says: str) -> None:
    """A34."""
    with pytest.raises(ConfigError, match=says):
        read_cluster(url)


def test_several_hosts_in_a_url_of_one_server_are_told_how_groups_are_written() -> None:
    with pytest.raises(ConfigError, match=r"several servers: write rediss\+cluster:// .* rediss\+sentinel://"):
        read_address("rediss://:pw@a,b/0")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:hunter2/x@s1,s2/m",
        "redis+sentinel://:p,,hunter2/x@s1,s2/m",
        "redis+sentinel://:x?hunter2@s1/m",
        "redis+sentinel://:hunter2[@s1,s2/m",
        "redis+sentinel://s1/m?sentinel_password=hunter2@s2",
        "redis+sentinel://s1/m?sentinel_password=x&hunter2",
        "redis+sentinel://s1/m?sentinel_password=x&hunter2=1&wait_replicas=x",
        "redis+sentinel://s1?sentinel_password=hunter2",
        "redis+cluster://:hunter2/x@a,b",
        "redis+cluster://:hunter2@a,b:port",
        "redis://:hunter2,x/y@a",
    ],
)
def test_a_password_is_not_shown_however_the_url_of_a_group_was_mistyped(url: str) -> None:
    """ST-07."""
    kind = url.partition("://")[0]
    read = {"redis": read_address, "redis+cluster": read_cluster, "redis+sentinel": read_sentinels}[kind]
    with pytest.raises(ConfigError) as caught:
        read(url)
    assert "hunter2" not in str(caught.value)
    assert not caught.value.__context__ or caught.value.__suppress_context__
