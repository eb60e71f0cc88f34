"""Settings that are each fine and cannot work together, and those that work though hardly as meant."""

import pytest

from sessionware.config.load import load
from sessionware.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef"
PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"
ISSUER = "https://login.example.com"
KEYED = {"jwt_secret": SECRET, "jwt_audience": "api"}


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"workers": 2}, "workers: 2 processes with memory:// would each have sessions and counters of their own"),
        ({"jwt_secret": SECRET, "jwt_public_key": PEM}, "jwt_secret and jwt_public_key are set together"),
        ({"jwt_secret": SECRET, "jwt_jwks_url": "https://a/k"}, "jwt_secret and jwt_jwks_url are set together"),
        ({"jwt_issuer": "main"}, "jwt_issuer: 'main' is no https URL that keys can be found at"),
        ({"jwt_issuer": "http://login.example.com"}, "is no https URL that keys can be found at"),
        ({"jwt_secret": SECRET[:31]}, "jwt_secret is shorter than 32 bytes"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "HS256,HS512"}, "jwt_secret is shorter than 64 bytes"),
        ({"session_cookie": "__Host-a", "cookie_secure": "off"}, "'__Host-a' needs Secure"),
        ({"session_cookie": "__Secure-a", "cookie_secure": "off"}, "'__Secure-a' needs Secure"),
        ({"session_cookie": "__Host-a", "cookie_path": "/app"}, "'__Host-a' allows no COOKIE_DOMAIN"),
        ({"session_cookie": "__Host-a", "cookie_domain": "a.example"}, "'__Host-a' allows no COOKIE_DOMAIN"),
        ({"session_cookie": "on", "cookie_secure": "off", "cookie_samesite": "none"}, "'none' needs Secure"),
        ({"trusted_proxies": "server,private"}, "`server` leaves the judgement to the ASGI server and stands alone"),
        ({"session_header": "x-user-id"}, "session_header and SESSIONWARE_USER_HEADER are both 'x-user-id'"),
        ({"limits": "create=5/day per user"}, "the limit for making sessions is called 'create' too"),
        ({"limits": "a=5/day per user", "create_limit": "a=1/day per user"}, "is called 'a' too"),
        ({"issuers": [{"issuer": ISSUER}, {"issuer": ISSUER}]}, f"{ISSUER!r} is there twice"),
        ({"issuers": [{"issuer": ISSUER}], "jwt_issuer": ISSUER}, f"{ISSUER!r} is there twice"),
        ({"issuers": [{"issuer": ISSUER}], "jwt_secret": SECRET}, "set JWT_ISSUER"),
        ({"issuers": [{"issuer": "main"}]}, "item 1: 'main' is no https URL"),
        ({"issuers": [{"issuer": ISSUER, "jwks_url": "https://a", "public_key": PEM}]}, "are set together: keep one"),
        ({"issuers": [{"issuer": ISSUER, "algorithms": "HS256"}]}, "an issuer with public keys never signs with HS"),
    ],
)
def test_what_cannot_work_together_is_refused(keywords, problem):
    with pytest.raises(ConfigError) as caught:
        load(keywords=keywords, environ={})
    assert problem in str(caught.value)
    assert SECRET[:31] not in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"jwt_secret": SECRET, "jwt_algorithms": "HS256,RS256"}, "HS256 (a shared secret) and RS256 (a public key)"),
        ({"jwt_jwks_url": "https://a/k", "jwt_algorithms": "HS256"}, "HS256 needs SESSIONWARE_JWT_SECRET"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "ES256"}, "ES256 needs a public key"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "None"}, "would accept tokens that anybody wrote"),
    ],
)
def test_jwt_01_families_of_algorithms_are_never_mixed(keywords, problem):
    with pytest.raises(ConfigError, match="jwt_algorithms: ") as caught:
        load(keywords=keywords, environ={})
    assert problem in str(caught.value)


def test_a_clash_names_each_setting_as_it_was_written():
    with pytest.raises(ConfigError) as caught:
        load(keywords={"jwt_public_key": PEM}, environ={"SESSIONWARE_JWT_SECRET": SECRET})
    assert str(caught.value).startswith("SESSIONWARE_JWT_SECRET and jwt_public_key are set together")


def test_c31_two_workers_with_a_store_that_they_share_are_fine():
    assert load(keywords={"workers": 2, "store": "sqlite:///x.db"}, environ={}).warnings == ()


def test_c31_a_library_that_sees_several_processes_warns():
    environ = {"WEB_CONCURRENCY": "4"}
    (warning,) = load(environ=environ).warnings
    assert warning.startswith("WEB_CONCURRENCY=4 with memory://: each worker process has sessions and counters of its")
    assert load(environ={"WEB_CONCURRENCY": "1"}).warnings == ()
    assert load(environ={"WEB_CONCURRENCY": "many"}).warnings == ()
    assert load(keywords={"store": "sqlite:///x.db"}, environ=environ).warnings == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["uvicorn", "main:app", "--workers", "2"], "--workers 2"),
        (["uvicorn", "--workers=12", "main:app"], "--workers 12"),
        (["gunicorn", "-w", "4", "main:app"], "-w 4"),
    ],
)
def test_c31_several_processes_on_the_servers_command_line_are_seen(arguments, said):
    (warning,) = load(environ={"WEB_CONCURRENCY": "7"}, arguments=arguments).warnings
    assert warning.startswith(f"{said} with memory://: each worker process has sessions and counters of its own")
    assert load(keywords={"store": "sqlite:///x.db"}, environ={}, arguments=arguments).warnings == ()


@pytest.mark.parametrize("arguments", [["--workers", "1"], ["--workers"], ["-w"], ["-w", "all"], ["2"], ["--workers="]])
def test_one_worker_on_the_command_line_is_nothing_to_say(arguments):
    assert load(environ={}, arguments=arguments).warnings == ()


@pytest.mark.parametrize(
    ("resource", "meant"),
    [
        ("token", "tokens"),
        ("tokesn", "tokens"),
        ("request", "requests"),
        ("message", "messages"),
        ("storagemb", "storage_mb"),
        ("compute_second", "compute_seconds"),
    ],
)
def test_a_resource_that_looks_misspelt_is_a_warning(resource, meant):
    (warning,) = load(keywords={"limits": f"x=100 {resource}/day per user"}, environ={}).warnings
    assert warning == (
        f"limit 'x': did you mean {meant}? Nothing that is called `{resource}` is ever taken unless the app spends it "
        "under that name"
    )


@pytest.mark.parametrize("resource", ["tokens", "api_calls", "storage_gb", "compute_hours", "input_tokens", "images"])
def test_a_resource_of_the_apps_own_is_nothing_to_say(resource):
    assert load(keywords={"limits": f"100 {resource}/day per user"}, environ={}).warnings == ()


@pytest.mark.parametrize(
    ("keywords", "warning"),
    [
        ({"session_ttl": "2d"}, "session_ttl 172800 is never reached: sessions end at SESSIONWARE_SESSION_MAX"),
        ({"session_ttl": "off", "session_max_age": "off"}, "no session ever ends by itself"),
        ({"jwt_secret": SECRET}, "tokens that were issued for another service are accepted here"),
        ({"issuers": [{"issuer": ISSUER}]}, "tokens that were issued for another service are accepted here"),
        ({"jwt_audience": "api"}, "jwt_audience does nothing: no token is verified"),
        ({"user_header": "X-Customer-Id"}, "user_header does nothing: nobody is trusted to send it"),
        ({"cookie_domain": "a.example"}, "cookie_domain does nothing: there is no cookie"),
        ({"anonymous": "off"}, "anonymous asks for an identity, and no credential is verified here"),
        ({"required_groups": "a"}, "required_groups asks for an identity"),
        ({"require_org": True}, "require_org asks for an identity"),
        ({"trusted_proxies": "0.0.0.0/0"}, "trusted_proxies: 0.0.0.0/0 is everybody"),
        ({"session_header": "off"}, "only MCP clients can present a session"),
        ({"limits": "5/day per user for group pro"}, "can match nothing: it is for group pro, and no credential"),
        ({"limits": "5/day per org"}, "can match nothing: it counts per org"),
        ({"limits": "5/day per user for GET /docs"}, "/docs is exempt from all limits (EXEMPT_PATHS)"),
        ({**KEYED, "anonymous": "off", "limits": "5/day per client for anonymous"}, "(ANONYMOUS=off)"),
    ],
)  # fmt: skip
def test_what_is_hardly_meant_is_a_warning(keywords, warning):
    (said,) = load(keywords=keywords, environ={}).warnings
    assert warning in said


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        KEYED,
        {"jwt_issuer": ISSUER, "public_url": "https://api.example.com"},
        {"jwt_public_key": PEM, "jwt_audience": "api", "jwt_algorithms": "ES256"},
        {"issuers": [{"issuer": ISSUER, "audience": "api"}]},
        {"issuers": [{"issuer": ISSUER}], "jwt_audience": "api"},
        {"trusted_proxies": "private", "user_header": "X-Customer-Id", "anonymous": "off", "limits": "5/day per org"},
        {"session_cookie": "on", "cookie_secure": "on", "cookie_max_age": "7d"},
        {"session_ttl": "off"},
        {"create_limit": "off", "limits": "create=5/day per user"},
        {**KEYED, "session_header": "off"},
        {"api_keys_file": "/run/keys", "required_groups": "a", "limits": "5/day per user for group a"},
    ],
)
def test_what_goes_well_together_says_nothing(keywords):
    assert load(keywords=keywords, environ={}).warnings == ()
