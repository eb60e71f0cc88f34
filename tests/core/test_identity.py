"""Who a caller has proved to be, and which session that selects."""

import os

import pytest

from sessionware.core.identity import Claims, derived_name, developer, named_key, prove
from sessionware.core.ids import Addresses, SessionName, check_name, mint
from sessionware.core.ledger import CAP
from sessionware.core.session import Proof

ADDRESSES = Addresses(b"s" * 32, 256)


def alice(**more):
    return prove(Claims(issuer="https://idp", user_id="alice", **more), addresses=ADDRESSES)


def test_an_owner_is_issuer_and_subject_and_nothing_else():
    assert (
        alice().owner == alice(groups=("pro",), org_id="acme", sid="x").owner == ADDRESSES.owner("https://idp", "alice")
    )


def test_different_issuers_are_different_owners():
    assert prove(Claims(issuer="key:", user_id="alice"), addresses=ADDRESSES).owner != alice().owner


def test_an_identity_may_hold_only_ids_of_its_own_partition():
    assert alice().may_hold(mint(alice().tag, os.urandom(32)))
    assert not alice().may_hold(mint(ADDRESSES.tag("u", b"bob"), os.urandom(32)))


def test_with_partition_org_members_share_a_tag_and_count_apart():
    one, two = (
        prove(Claims(issuer="i", user_id=user, org_id="acme"), addresses=ADDRESSES, partition="org") for user in "ab"
    )
    assert one.tag == two.tag == ADDRESSES.tag("o", ADDRESSES.org("i", "acme"))
    assert one.counts_as_user != two.counts_as_user
    assert one.counts_as_org == two.counts_as_org == one.tag.encode()


def test_with_partition_org_a_user_counts_apart_in_each_org():
    one, two = (
        prove(Claims(issuer="i", user_id="a", org_id=org), addresses=ADDRESSES, partition="org") for org in "xy"
    )
    assert one.counts_as_user != two.counts_as_user


def test_a_user_counts_as_the_tag_that_a_login_session_carries():
    assert alice().counts_as_user == alice().tag.encode()


def test_the_developer_has_an_owner_but_no_user():
    dev = developer(ADDRESSES)
    assert (dev.is_anonymous, dev.user_id, dev.counts_as_user, dev.proof) == (True, None, b"", Proof.ID)
    assert not alice().is_anonymous


@pytest.mark.parametrize("sid", [None, ""])
def test_without_a_sid_the_default_session_is_selected(sid):
    assert derived_name(alice(sid=sid)) == SessionName("default")


def test_a_sid_within_the_grammar_is_the_name():
    assert derived_name(alice(sid="08a5019c-17e1-4977")) == SessionName("08a5019c-17e1-4977")


@pytest.mark.parametrize("sid", ["a b", "x" * 129, "start", "s-abc", "ü", "\ud800", "u" + "a" * 11 + ".x", "../x"])
def test_a_sid_outside_the_grammar_is_hashed_into_a_name(sid):
    name = derived_name(alice(sid=sid)).text
    assert check_name(name) == name
    assert name.startswith("sid-")
    assert derived_name(alice(sid=sid)).text == name
    assert derived_name(alice(sid=sid + "!")).text != name


def test_a_derived_session_lies_in_its_owners_namespace():
    key = named_key(alice(), SessionName("default"), addresses=ADDRESSES)
    assert key == ADDRESSES.named_key(alice().tag, alice().owner, "default")


def test_overrides_in_a_token_that_are_no_allowances_are_dropped():
    claimed = {"a": 5, "b": -1, "c": "7", "d": True, "e": 10**12, "f": 1.5, "g": None, "h": 0}
    assert alice(limits=claimed).limits == {"a": 5, "e": CAP, "h": 0}
