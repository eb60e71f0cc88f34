"""What ids promise: they are unguessable, say their partition, and never appear at rest."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.core.ids import (
    Addresses,
    MintedId,
    SessionKey,
    SessionName,
    anonymous_tag,
    check_name,
    handle,
    mint,
    parse_handle,
    parse_presented,
    ref,
)
from sessionware.errors import InvalidSessionId

ADDRESSES = Addresses(b"s" * 32, 256)


def test_ses01_e12_ten_thousand_minted_ids_are_unique_and_in_the_charset():
    """SES-01, E12."""
    tag = anonymous_tag(os.urandom(7))
    minted = {mint(tag, os.urandom(32)).text for _ in range(10_000)}
    assert len(minted) == 10_000
    assert all(re.fullmatch(r"a[a-z2-7]{11}\.[A-Za-z0-9_-]{43}", text) for text in minted)


def test_ten_thousand_anonymous_tags_are_unique():
    assert len({anonymous_tag(os.urandom(7)) for _ in range(10_000)}) == 10_000


def test_every_bit_of_the_secret_is_in_the_id():
    zero = bytes(32)
    ids = {mint("a" * 12, zero).text}
    for bit in range(256):
        flipped = (1 << bit).to_bytes(32, "big")
        ids.add(mint("a" * 12, flipped).text)
    assert len(ids) == 257


def test_a_minted_id_refuses_too_little_entropy():
    with pytest.raises(ValueError, match="32 random bytes, got 31"):
        mint("a" * 12, bytes(31))


def test_a_minted_id_is_read_back_as_one():
    minted = mint(ADDRESSES.tag("u", b"owner"), os.urandom(32))
    assert parse_presented(minted.text) == minted
    assert minted.tag == ADDRESSES.tag("u", b"owner")


def test_the_repr_of_a_minted_id_shows_its_tag_and_length_and_never_its_secret():
    minted = mint("u" + "a" * 11, os.urandom(32))
    assert repr(minted) == "MintedId(uaaaaaaaaaaa., 56 characters)"
    assert minted.text[13:] not in f"{minted!r} {minted} {[minted]}"


@pytest.mark.parametrize("name", ["user-alice-work-1", "a", "x" * 128, "A.b_c:d-e", "u" * 12, "default"])
def test_a28_a_permitted_name_is_a_name(name):
    assert parse_presented(name) == SessionName(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../x",
        "a b",
        "x" * 129,
        "nul\0",
        "ümlaut",
        "x\n",
        ".",
        "..",
        "start",
        "current",
        "ticket",
        "s-x",
        "a" * 12 + ".short",
    ],
)
def test_a28_ses06_other_texts_are_refused_before_any_lookup(text):
    with pytest.raises(InvalidSessionId):
        parse_presented(text)


def test_a_refusal_never_echoes_what_may_be_a_mistyped_secret():
    secret = mint("a" * 12, os.urandom(32)).text[:30]
    with pytest.raises(InvalidSessionId) as refused:
        parse_presented(secret)
    assert secret[13:] not in str(refused.value)


def test_names_that_look_like_ours_are_refused():
    with pytest.raises(InvalidSessionId, match="look like"):
        check_name("u" + "a" * 11 + ".x" * 20)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 255))
def test_a_handle_is_read_back_into_its_key(raw, bucket):
    key = SessionKey(bucket, raw)
    assert parse_handle(handle(key)) == key
    assert handle(key).startswith(ref(key))


@given(st.text(max_size=40))
def test_a_text_is_no_handle_unless_it_is_the_one_spelling(text):
    try:
        key = parse_handle(text)
    except InvalidSessionId:
        return
    assert handle(key) == text


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_two_subjects_share_an_owner_only_when_issuer_and_subject_are_equal(issuer, subject, issuer2, subject2):
    same = (issuer, subject) == (issuer2, subject2)
    assert (ADDRESSES.owner(issuer, subject) == ADDRESSES.owner(issuer2, subject2)) is same


def test_moving_a_character_between_issuer_and_subject_makes_another_owner():
    assert ADDRESSES.owner("ab", "c") != ADDRESSES.owner("a", "bc")


def test_an_owner_and_an_org_of_one_name_have_different_addresses():
    assert ADDRESSES.owner("iss", "acme") != ADDRESSES.org("iss", "acme")


def test_half_a_surrogate_pair_in_a_claim_has_an_address():
    assert ADDRESSES.owner("iss", "\ud800") != ADDRESSES.owner("iss", "?")


def test_another_salt_is_another_world():
    other = Addresses(b"t" * 32, 256)
    minted = MintedId("a" * 12 + "." + "x" * 43)
    assert ADDRESSES.minted_key(minted).hash != other.minted_key(minted).hash
    assert ADDRESSES.owner("i", "s") != other.owner("i", "s")


def test_names_are_scoped_to_their_owner():
    tag = ADDRESSES.tag("u", b"o")
    assert ADDRESSES.named_key(tag, b"alice", "x") != ADDRESSES.named_key(tag, b"bob", "x")


def test_a_key_lies_in_the_bucket_of_its_tag():
    minted = mint(ADDRESSES.tag("u", b"owner"), os.urandom(32))
    assert ADDRESSES.minted_key(minted).bucket == ADDRESSES.bucket(minted.tag)
    assert Addresses(b"s" * 32).bucket(minted.tag) == 0


def test_buckets_are_used_evenly():
    used = {ADDRESSES.bucket(anonymous_tag(os.urandom(7))) for _ in range(5_000)}
    assert len(used) == 256


@given(st.lists(st.text(max_size=8), max_size=4), st.lists(st.text(max_size=8), max_size=3))
def test_a_counter_family_makes_the_same_keys_as_the_whole_address(common, values):
    family = ADDRESSES.counters(*common)
    whole = ADDRESSES.counter(*common, *values)
    assert family.key(*[value.encode() for value in values]) == whole
    assert family.key(*[value.encode() for value in values]) == whole  # a family is not used up
