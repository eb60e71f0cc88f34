"""Payloads at rest: sealed for one place, by a key of the ring, or not readable at all."""

import secrets
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.core.ids import SessionKey
from sessionware.errors import ConfigError, PayloadUnreadable
from sessionware.stores.sealing import Place, Sealer, new_key, read_keys

PLACE = Place(SessionKey(7, b"h" * 20), b"o" * 16, "data")
KEY, OTHER = read_keys(f"{new_key()},{new_key()}")


@given(st.binary(max_size=300))
def test_what_is_sealed_is_opened_at_the_same_place(plain):
    for sealer in (Sealer(), Sealer([KEY])):
        assert sealer.open(sealer.seal(plain, place=PLACE), place=PLACE) == plain


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place(SessionKey(8, b"h" * 20), b"o" * 16, "data"),
        Place(SessionKey(7, b"i" * 20), b"o" * 16, "data"),
        Place(SessionKey(7, b"h" * 20), b"p" * 16, "data"),
        Place(SessionKey(7, b"h" * 20), b"o" * 16, "metadata"),
    ],
)
def test_a_payload_that_was_moved_is_not_readable(elsewhere):
    """ENC-01: bound to the session, its owner and what it is."""
    sealer = Sealer([KEY])
    with pytest.raises(PayloadUnreadable, match="altered, or moved"):
        sealer.open(sealer.seal(b"secret", place=PLACE), place=elsewhere)


@given(st.integers(5, 50), st.integers(1, 255))
def test_a_payload_of_which_one_bit_changed_is_not_readable(at, change):
    sealer = Sealer([KEY])
    sealed = bytearray(sealer.seal(b"a secret of some length, long", place=PLACE))
    sealed[at % len(sealed) or 5] ^= change
    with pytest.raises(PayloadUnreadable):
        sealer.open(bytes(sealed), place=PLACE)


@pytest.mark.parametrize("cut", range(34))
def test_a_payload_that_was_cut_is_not_readable(cut):
    sealer = Sealer([KEY])
    with pytest.raises(PayloadUnreadable):
        sealer.open(sealer.seal(b"secret", place=PLACE)[:cut], place=PLACE)


def test_the_first_key_seals_and_every_key_opens():
    """ENC-02: rotation."""
    old = Sealer([KEY]).seal(b"secret", place=PLACE)
    rotated = Sealer([OTHER, KEY])
    assert rotated.open(old, place=PLACE) == b"secret"
    new = rotated.seal(b"secret", place=PLACE)
    assert Sealer([OTHER]).open(new, place=PLACE) == b"secret"
    with pytest.raises(PayloadUnreadable, match="not among SECRET_KEYS"):
        Sealer([KEY]).open(new, place=PLACE)
    with pytest.raises(PayloadUnreadable, match="not among SECRET_KEYS"):
        Sealer().open(new, place=PLACE)


@pytest.mark.parametrize("plain", [b"", b"secret"])
def test_turning_encryption_on_accepts_no_plaintext(plain):
    """ENC-02: a row in the clear may have been planted."""
    with pytest.raises(PayloadUnreadable, match="lies in the clear"):
        Sealer([KEY]).open(Sealer().seal(plain, place=PLACE), place=PLACE)


def test_the_length_tells_nothing_but_the_length():
    """ENC-04: nothing is compressed."""
    sealer = Sealer([KEY])
    assert len({len(sealer.seal(text, place=PLACE)) for text in (b"a" * 4096, secrets.token_bytes(4096))}) == 1


def test_nothing_is_sealed_twice_alike():
    sealer = Sealer([KEY])
    assert len({sealer.seal(b"secret", place=PLACE) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("c2hvcnQ=", "is 5 bytes long, wanted 32"),
        ("not base64 !", "is not base64"),
        (b64encode(b"k" * 32).decode(), "is not random"),
        (b64encode(bytes(range(32))).decode(), "is not random"),
        (b64encode(b"change-me-change-me-change-me-00").decode(), "is not random"),
    ],
)
def test_a_weak_key_is_refused_and_never_shown(text, why):
    """ENC-03: the way out is named, the value is not."""
    with pytest.raises(ConfigError, match=why) as caught:
        read_keys(text)
    assert "sessionware keys new" in str(caught.value)
    assert text.rstrip("=") not in str(caught.value)


def test_keys_are_read_in_either_alphabet_and_in_order():
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    text = f" {b64encode(first).decode()} , {urlsafe_b64encode(second).decode()}, "
    assert read_keys(text) == (first, second)
    assert read_keys("") == ()


def test_a_key_that_stands_there_twice_is_refused():
    key = new_key()
    with pytest.raises(ConfigError, match="twice"):
        read_keys(f"{key},{key}")
