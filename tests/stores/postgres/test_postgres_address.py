"""A PostgreSQL URL: what is read from it, and what is said when it cannot be read."""

import ssl

import pytest

from sessionware.errors import ConfigError
from sessionware.stores.postgres.address import PostgresAddress, read_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://h/db", PostgresAddress((("h", 5432),), "db")),
        ("postgres:///db", PostgresAddress((("127.0.0.1", 5432),), "db")),
        (
            "postgresql://a%40b:p%2Fw@[::1]:6000/my%20db?schema=two&create=no",
            PostgresAddress((("::1", 6000),), "my db", "a@b", "p/w", schema="two", create=False),
        ),
        (
            "postgresql://u@one,two:6001/db?sslmode=verify-full",
            PostgresAddress((("one", 5432), ("two", 6001)), "db", "u", sslmode="verify-full"),
        ),
        ("postgresql://u@/db?host=/run/postgresql", PostgresAddress((("/run/postgresql", 5432),), "db", "u")),
    ],
)
def test_a_url_says_where_the_store_is(url, address):
    """A34."""
    assert read_address(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "postgresql://h",
            r"names no database: write for example postgresql://user:password@127\.0\.0\.1:5432/database",
        ),
        ("postgresql://h/", "names no database"),
        ("postgresql://h/a%00b", "names no database"),
        ("postgresql://[::1/db", "the host cannot be read"),
        ("postgresql://h:port/db", "each host must be a name or an address"),
        ("postgresql://h:0/db", "each host must be a name or an address"),
        ("postgresql://one,/db", "each host must be a name or an address"),
        ("postgresql://h/db?prefix=sw:", "prefix= is for Redis: in PostgreSQL installations are kept apart by schema="),
        ("postgresql://h/db?schema=", "schema '' must be 1..48 of a-z 0-9 _"),
        ("postgresql://h/db?schema=pg_mine", "schema 'pg_mine' must be"),
        ('postgresql://h/db?schema=a"b', "schema 'a\"b' must be"),
        ("postgresql://h/db?schema=" + "x" * 49, "must be 1..48"),
        ("postgresql://h/db?sslmode=on", "sslmode must be one of disable, allow, prefer, require, verify-ca"),
        ("postgresql://h/db?create=maybe", "create must be one of yes, no, got 'maybe'"),
        ("postgresql://h/db?timeout=3", "unknown option 'timeout', known are create, host, schema"),
        ("postgresql://h/db?host=other", "host= is the folder of a socket"),
        ("postgresql://h/db?host=/run", "host= is the folder of a socket"),
    ],
)
def test_a_url_that_cannot_be_read_says_what_to_write(url, says):
    """A34."""
    with pytest.raises(ConfigError, match=says):
        read_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h:port/db",
        "postgresql://u:hunter2@h/db?nothing=1",
        "postgresql://u:hunter2@h/db?prefix=x",
        "postgresql://u:hunter2@h/db?schema=A",
        "postgresql://u:hunter2/x@h/db",
        "postgresql://u:hunter2#x@h/db",
        "postgresql://u:hunter2?x@h/db",
        "postgresql://u:hunter2[@h/db",
        "postgresql://u:x,hunter2/@h/db",
        "postgresql://h/db?schema=hunter2@h",
    ],
)
def test_a_password_is_never_shown_however_its_url_was_mistyped(url):
    """ST-07."""
    with pytest.raises(ConfigError) as caught:
        read_address(url)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
    assert not caught.value.__context__ or caught.value.__suppress_context__


def test_an_address_is_shown_without_who_we_are():
    """ST-07: in errors, logs and tracebacks."""
    assert repr(read_address("postgresql://alice:hunter2@one,[::1]:6/db")) == (
        "postgresql://one:5432,[::1]:6/db?schema=sessionware"
    )


def test_certificates_are_verified_as_sslmode_asks():
    """ST-07: as libpq does, but verify-full needs no file where the system's authorities do."""

    def context(options):
        found = read_address(f"postgresql://h/db?{options}").tls()
        assert isinstance(found, ssl.SSLContext)
        return found.verify_mode, found.check_hostname

    assert context("sslmode=verify-full") == (ssl.CERT_REQUIRED, True)
    assert context("sslmode=verify-ca") == (ssl.CERT_REQUIRED, False)
    assert context("sslmode=require") == (ssl.CERT_NONE, False)
    assert context("sslmode=require&sslrootcert=system") == (ssl.CERT_REQUIRED, False)
    assert read_address("postgresql://h/db").tls() == "prefer"
    with pytest.raises(ConfigError, match="cannot load the TLS files"):
        read_address("postgresql://h/db?sslmode=verify-full&sslrootcert=/no/such/file.pem").tls()


@pytest.mark.parametrize(
    ("host", "is_near"), [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("db", False)]
)
def test_only_addresses_of_this_host_are_near(host, is_near):
    assert read_address(f"postgresql://{host}/db").is_near == is_near


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/db?password=open&sesame",
        "postgresql://h/db?password=open@sesame",
        "postgresql://[::1/db?sslpassword=open-sesame",
        "postgresql://h/?password=open-sesame",
    ],
)
def test_a_password_among_the_options_is_not_shown(url):
    """ST-07: libpq takes it there, so somebody will write it there."""
    with pytest.raises(ConfigError) as caught:
        read_address(url)
    assert "open" not in str(caught.value)
    assert "sesame" not in str(caught.value)
