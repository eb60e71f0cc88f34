"""What the settings say of issuers, and how times are written."""

import pytest

from sessionware.config.settings import IssuerSettings, Settings
from sessionware.core.times import duration_text, read_rfc3339, rfc3339
from sessionware.core.windows import NEVER
from sessionware.service.terms import issuers_of


@pytest.mark.parametrize(
    ("settings", "issuers"),
    [
        ({}, ()),
        ({"jwt_issuer": "https://a"}, ("https://a",)),
        ({"jwt_secret": "s"}, ("",)),
        ({"jwt_issuer": "https://a", "issuers": (IssuerSettings(issuer="https://b"),)}, ("https://a", "https://b")),
        ({"api_keys_file": "keys", "trusted_proxies": ("private",)}, ("key:", "header:")),
        ({"trusted_proxies": ("private",), "user_header": None}, ()),
    ],
)
def test_the_issuers_are_all_who_can_prove_a_user(settings, issuers):
    assert issuers_of(Settings(**settings)) == issuers


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (999, "0s"),
        (59_999, "59s"),
        (60_000, "1m0s"),
        (1_815_000, "30m15s"),
        (3_723_000, "1h2m3s"),
        (-5, "0s"),
    ],
)
def test_a18_a_duration_reads_as_people_say_it(ms, text):
    """A18."""
    assert duration_text(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00Z"), (1_800_000_000_007, "2027-01-15T08:00:00.007Z"), (NEVER, None)]
)
def test_an_instant_is_written_in_utc(ms, text):
    assert rfc3339(ms) == text
    if text is not None:
        assert read_rfc3339(text) == ms


def test_an_instant_without_its_offset_is_none():
    with pytest.raises(ValueError, match="offset"):
        read_rfc3339("2027-01-15T08:00:00")
