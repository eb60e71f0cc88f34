"""What may be written for each kind of setting, what it becomes, and that it can be written again."""

import tomllib
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sessionware.config.kinds import shown_as
from sessionware.config.load import load, survey
from sessionware.config.settings import ClaimNames, IssuerSettings, Settings
from sessionware.config.table import BY_KEY, ROWS, SETTINGS
from sessionware.core.limits import describe
from sessionware.errors import ConfigError

KEY = bytes(range(7, 39))
PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"
TOKENS = ["off", "on", "0", "1", "auto", "30s", "64k", "https://a.example", "10.0.0.0/8", "100/minute per session"]


def read(key, value):
    return BY_KEY[key].read(value, BY_KEY[key].variable)


def refusal(key, value):
    with pytest.raises(ConfigError) as caught:
        read(key, value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("session_ttl", "1800", 1_800_000),
        ("session_ttl", 1800, 1_800_000),
        ("session_ttl", 0.5, 500),
        ("session_ttl", timedelta(minutes=5), 300_000),
        ("store_timeout", "250ms", 250),
        ("session_ttl", "30s", 30_000),
        ("session_ttl", " 15m ", 900_000),
        ("session_ttl", "12h", 43_200_000),
        ("session_ttl", "7d", 604_800_000),
        ("session_ttl", "1.5h", 5_400_000),
        ("session_max_age", "off", 0),
        ("session_max_age", False, 0),
        ("max_sessions_per_user", "off", 0),
        ("max_sessions", "1_000_000", 1_000_000),
        ("max_data", "64k", 65_536),
        ("max_data", "4M", 4_194_304),
        ("max_data", 1000, 1000),
        ("session_token", "yes", True),
        ("session_token", True, True),
        ("csrf", "0", False),
        ("csrf", "No", False),
        ("anonymous", False, "off"),
        ("cookie_secure", "true", "on"),
        ("log_level", "INFO", "info"),
        ("session_cookie", "on", "on"),
        ("session_cookie", True, "on"),
        ("session_cookie", "off", None),
        ("session_cookie", "sid", "sid"),
        ("session_header", "off", None),
        ("jwt_audience", "a, b,,a", ("a", "b")),
        ("jwt_audience", ["a,b", "c"], ("a,b", "c")),
        ("required_groups", {"b", "a"}, ("a", "b")),
        ("exempt_paths", "off", ()),
        ("exempt_paths", [], ()),
        ("jwt_claim_groups", "https://x/roles,realm_access.roles", ("https://x/roles", "realm_access.roles")),
        ("trusted_proxies", "10.0.0.0/8,::1,private", ("10.0.0.0/8", "::1", "private")),
        ("allowed_origins", "HTTPS://App.Example:443,http://a:80,http://a:81", ("https://app.example", "http://a", "http://a:81")),
        ("allowed_origins", ["vscode-webview://abc"], ("vscode-webview://abc",)),
        ("allowed_hosts", "*.example.com,[::1]:80", ("*.example.com", "[::1]:80")),
        ("public_url", "https://a.example/", "https://a.example"),
        ("public_url", "https://a.example/mcp", "https://a.example/mcp"),
        ("jwt_jwks_url", "http://127.0.0.1:8/keys", "http://127.0.0.1:8/keys"),
        ("jwt_jwks_url", "http://localhost/keys", "http://localhost/keys"),
        ("jwt_public_key", PEM.replace("\n", "\\n"), PEM),
        ("jwt_secret", " with blanks ", " with blanks "),
        ("secret_keys", f"{b64encode(KEY).decode()},", (KEY,)),
        ("secret_keys", [KEY], (KEY,)),
        ("cookie_domain", ".Example.com", "example.com"),
        ("api_keys_file", Path("/run/keys"), "/run/keys"),
        ("store", "my.stores:open", "my.stores:open"),
        ("audit", "file:/var/log/a.jsonl", "file:/var/log/a.jsonl"),
        ("create_limit", "off", None),
        ("limits", "off", ()),
        ("limits", [], ()),
    ],
)  # fmt: skip
def test_what_may_be_written_and_what_it_becomes(key, written, value):
    found = read(key, written)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "written", "problem"),
    [
        ("session_ttl", "30 min", "is no duration: write seconds (1800), or 250ms, 30s, 15m, 12h, 7d or off"),
        ("session_ttl", "-5", "is no duration"),
        ("session_ttl", "0", "is out of bounds: write 1ms.."),
        ("session_ttl", True, "is no duration"),
        ("session_ttl", float("inf"), "is no duration"),
        pytest.param("session_ttl", 10**5000, "this number is beyond all bounds", id="endless"),
        ("session_ttl", [1], "must be a text or a number"),
        ("store_timeout", "off", "is no duration"),
        ("jwt_leeway", "61", "is out of bounds: write 0..60"),
        ("max_sessions_per_user", "1001", "write 1..1000, off (more sessions of one user make evicting slow)"),
        ("max_sessions_per_user", "0", "is out of bounds: write 1..1000, off"),
        ("max_sessions_per_user", "5.0", "is no whole number"),
        ("max_data", "4 MiB", "is no size: write bytes (65536), or 64k, 4M"),
        ("max_data", "9G", "is out of bounds: write 1..64M"),
        ("csrf", "maybe", "is neither on nor off"),
        ("on_missing", "lasy", "is not possible: did you mean `lazy`? Write one of auto, create, lazy"),
        ("on_unknown", "x" * 500, "…"),
        ("session_header", "X Session", "is no name of a header"),
        ("session_header", "Authorization", "has another meaning already"),
        ("session_query", "a=b", "is no name"),
        ("session_cookie", "a;b", "is no name of a cookie"),
        ("cookie_path", "app", "is no path for a cookie"),
        ("cookie_domain", "https://a", "is no domain"),
        ("jwt_jwks_url", "http://keys.example/jwks", "must be an https URL"),
        ("jwt_jwks_url", "https://u:pw@keys.example/jwks", "'https://(set)@keys.example/jwks' must be an https URL"),
        ("jwt_jwks_url", "https://a:99999999/", "must be an https URL"),
        ("jwt_algorithms", "nOnE", "would accept tokens that anybody wrote"),
        ("jwt_algorithms", "RS255", "is no algorithm: did you mean `RS256`?"),
        ("public_url", "api.example.com", "is no URL to reach us by"),
        ("public_url", "https://a.example/?x", "has a query or a fragment"),
        ("allowed_origins", "*", "would let every page on the web in"),
        ("allowed_origins", "https://a.example/", "is no origin"),
        ("allowed_origins", "a.example", "is no origin"),
        ("allowed_hosts", "https://a", "is no host"),
        ("trusted_proxies", "10.0.0.1/8", "(its host bits are set: did you mean 10.0.0.0/8?)"),
        ("trusted_proxies", "proxy.local", "is no network: write addresses or networks"),
        ("exempt_paths", "health", "is no path: a path starts with `/`"),
        ("store", "memory", "did you mean memory://?"),
        ("store", "redis//", "is neither a URL nor a module:factory"),
        ("audit", "syslog", "is no place for an audit trail"),
        ("host", "http://0.0.0.0", "is no address to listen on"),
        ("jwt_issuer", "a\0b", "control characters"),
        ("create_limit", "5 concurrent per user", "counts no sessions"),
        ("create_limit", "5 tokens/day per user", "counts no sessions"),
        ("limits", "100/minut per session", "did you mean `minute`? (SESSIONWARE_LIMITS, column 5)"),
        ("limits", 5, "(SESSIONWARE_LIMITS, column 2)"),
        ("limits", [5], "a limit is a text"),
        ("issuers", "https://a", "is no list of tables"),
        ("issuers", ["https://a"], "is no table"),
        ("issuers", [{}], "names no issuer"),
        ("issuers", [{"issuer": "a", "audiance": "x"}], "did you mean `audience`?"),
        ("issuers", [{"issuer": "a", "claims": {"role": "x"}}], "'role' that means nothing"),
        ("issuers", [{"issuer": "a", "jwks_url": "http://a"}], "item 1, jwks_url: 'http://a' must be an https URL"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_variable_the_value_and_the_way_out(key, written, problem):
    message = refusal(key, written)
    assert problem in message
    assert BY_KEY[key].variable in message


def test_a34_an_unknown_store_is_one_clear_line():
    assert refusal("store", "rediss") == (
        "SESSIONWARE_STORE: 'rediss' is neither a URL nor a module:factory: did you mean rediss://? Write for example "
        "memory://, sqlite:///sessions.db, redis://127.0.0.1:6379/0, postgresql://user@127.0.0.1/database or "
        "mypackage.stores:open_mine"
    )


def test_b20_a_quota_per_hour_is_a_limit_like_any_other():
    (limit,) = read("limits", "1000 api_calls/3600s per user")
    assert describe(limit) == "requests-hour-user: 1_000 requests per user; sliding 60 min"


def test_several_limits_are_separated_by_semicolons_or_lines():
    texts = ["5/second per client", "100/minute per session"]
    assert read("limits", "; ".join(texts)) == read("limits", "\n".join(texts)) == read("limits", texts)


def test_an_issuer_stands_on_its_own():
    table = {"issuer": "https://a", "audience": "x,y", "claims": {"groups": ["r", "s.t"], "user": "email"}}
    claims = ClaimNames(groups=("r", "s.t"), user=("email",))
    wanted = IssuerSettings(issuer="https://a", audience=("x", "y"), claims=claims)
    assert read("issuers", [table]) == read("issuers", [wanted]) == (wanted,)
    assert read("issuers", [table | {"claims": claims}]) == (wanted,)


def test_an_issuer_is_shown_as_toml_has_it():
    wanted = read("issuers", [{"issuer": "https://a", "claims": {"groups": "r"}}, {"issuer": "https://b"}])
    shown = shown_as(BY_KEY["issuers"].kind, wanted)
    assert read("issuers", tomllib.loads(f"issuers = [{shown.replace('; ', ', ')}]")["issuers"]) == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jwt_secret", ["hunter2-hunter2"]),
        ("jwt_secret", "-----BEGIN PUBLIC KEY----- hunter2"),
        ("jwt_secret", "hunter2\udc80"),
        ("jwt_public_key", "-----BEGIN PRIVATE KEY----- hunter2"),
        ("secret_keys", "hunter2"),
        ("secret_keys", [b"hunter2"]),
        ("secret_keys", b64encode(b"hunter2" * 3).decode()),
        ("store", "redis:me:hunter2@host"),
        ("store", "redis://me:hunter2@host/\0"),
        ("redis_url", "redis://me:hunter2/@host/\0"),
    ],
)
def test_no_refusal_shows_a_secret(key, value):
    message = refusal(key, value)
    assert "hunter2" not in message
    assert b64encode(b"hunter2" * 3).decode() not in message


def test_a_secret_from_a_file_is_no_more_shown_than_another(tmp_path):
    (tmp_path / "store").write_text("hunter2")
    (message,) = survey(environ={"SESSIONWARE_STORE_FILE": str(tmp_path / "store")}).problems
    assert "hunter2" not in message


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_what_is_shown_can_be_written_again(row):
    if not row.is_secret:
        assert row.read(shown_as(row.kind, row.default), "x") == row.default


@pytest.mark.parametrize(
    ("key", "written"),
    [("session_ttl", "1500ms"), ("max_data", "1000"), ("max_data", "3M"), ("limits", "1/day per user; 2/s per user")],
)
def test_what_was_written_otherwise_can_be_written_again_too(key, written):
    if key == "limits":
        written = "1/day per user; 2/second per user"
    value = read(key, written)
    assert read(key, shown_as(BY_KEY[key].kind, value)) == value


ANY_TEXT = st.one_of(st.text(max_size=60), st.sampled_from(TOKENS), st.lists(st.sampled_from(TOKENS)).map(",".join))
NAMES = st.sampled_from([row.variable for row in ROWS if row.key != "config"])


@given(st.dictionaries(NAMES, ANY_TEXT, max_size=8))
@example({"SESSIONWARE_JWT_SECRET": "\udc80" * 40})
@example({"SESSIONWARE_ALLOWED_HOSTS": "[::1"})
@example({"SESSIONWARE_JWT_ISSUER": "https://[x"})
@examples(max_examples=400, deadline=None)
def test_any_environment_gives_settings_or_a_config_error(environ):
    try:
        loaded = load(environ=environ)
    except ConfigError as error:
        assert str(error)  # noqa: PT017  # either is right
    else:
        assert isinstance(loaded.settings, Settings)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(TOKENS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([row.key for row in ROWS if row.key != "config"]), JSON)
@examples(max_examples=600, deadline=None)
def test_any_keyword_gives_settings_or_a_config_error(key, value):
    try:
        load(keywords={key: value}, environ={})
    except ConfigError as error:
        assert str(error)  # noqa: PT017  # either is right
