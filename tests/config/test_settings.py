"""What settings say of themselves."""

import pytest

from sessionware.config.settings import IssuerSettings, Settings, without_password

SECRETIVE = Settings(jwt_secret="hunter2", secret_keys=(b"hunter2",), store="redis://me:hunter2@host:1/0")


def test_no_way_to_print_settings_shows_a_secret():
    assert repr(SECRETIVE) == "Settings(store='redis://(set)@host:1/0', secret_keys='(set)', jwt_secret='(set)')"
    assert "hunter2" not in f"{SECRETIVE} {SECRETIVE.__rich_repr__()} {[SECRETIVE]}"
    assert repr(Settings()) == "Settings()"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:p@/w@host/0", "redis://(set)@host/0"),
        ("redis://host/0", "redis://host/0"),
        ("sqlite:////home/a@b/x.db", "sqlite:////home/a@b/x.db"),
        ("module:factory", "module:factory"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_settings_are_values():
    assert Settings() == Settings()
    assert hash(Settings()) == hash(Settings())
    with pytest.raises(AttributeError):
        setattr(Settings(), "workers", 2)  # noqa: B010  # the type checker knows already


@pytest.mark.parametrize(
    ("settings", "secure", "insecure"),
    [
        (Settings(), None, None),
        (Settings(session_cookie="sid"), "sid", "sid"),
        (Settings(session_cookie="on"), "__Host-session", "session"),
        (Settings(session_cookie="on", cookie_secure="on"), "__Host-session", "__Host-session"),
        (Settings(session_cookie="on", cookie_secure="off"), "session", "session"),
        (Settings(session_cookie="on", cookie_domain="a.example"), "session", "session"),
        (Settings(session_cookie="on", cookie_path="/app"), "session", "session"),
    ],
)
def test_the_default_cookie_has_the_safest_name_that_its_attributes_allow(settings, secure, insecure):
    assert (settings.cookie_name(is_secure=True), settings.cookie_name(is_secure=False)) == (secure, insecure)


def test_the_audience_is_the_public_url_unless_it_is_named():
    assert Settings().audience == ()
    assert Settings(public_url="https://a").audience == ("https://a", "https://a/")
    assert Settings(public_url="https://a/mcp").audience == ("https://a/mcp",)
    assert Settings(public_url="https://a", jwt_audience=("b",)).audience == ("b",)


@pytest.mark.parametrize(
    ("settings", "verifies", "proves"),
    [
        (Settings(), False, False),
        (Settings(jwt_secret="x"), True, True),
        (Settings(issuers=(IssuerSettings(issuer="a"),)), True, True),
        (Settings(api_keys_file="x"), False, True),
        (Settings(trusted_proxies=("private",)), False, True),
        (Settings(trusted_proxies=("private",), user_header=None), False, False),
    ],
)
def test_what_proves_a_user(settings, verifies, proves):
    assert (settings.verifies_tokens, settings.proves_users) == (verifies, proves)


def test_the_claims_of_the_variables_stand_together():
    claims = Settings(jwt_claim_user=("email",), jwt_claim_limits=("quota",)).claims
    assert (claims.user, claims.limits, claims.groups) == (("email",), ("quota",), ("groups",))
