"""JWT-16 and the session token: what is remembered, for how long, and how a secret is compared."""

import pytest

from sessionware.credentials.session_token import is_session_token, new_session_token, session_token_hash
from sessionware.credentials.token_cache import TokenCache


def test_jwt_16_an_entry_lives_until_its_instant():
    cache: TokenCache[str] = TokenCache()
    cache.put("a.b.c", "alice", now=1000, until=2000, generation=0)
    assert [cache.get("a.b.c", now) for now in (999, 1000, 1999, 2000)] == [None, "alice", "alice", None]
    assert cache.get("a.b.d", 1000) is None


def test_jwt_16_the_cache_is_bounded_and_the_oldest_leaves():
    cache: TokenCache[str] = TokenCache(entries_max=3)
    for each in "abcd":
        cache.put(each, each, now=0, until=9, generation=0)
    cache.put("b", "b", now=0, until=9, generation=0)
    cache.put("e", "e", now=0, until=9, generation=0)
    assert len(cache) == 3
    assert [cache.get(each, 1) for each in "abcde"] == [None, "b", None, "d", "e"]


def test_jwt_16_nothing_survives_a_flush_nor_arrives_late():
    cache: TokenCache[str] = TokenCache()
    generation = cache.generation
    cache.put("a", "alice", now=0, until=9, generation=generation)
    cache.flush()
    cache.put("b", "bob", now=0, until=9, generation=generation)
    assert (cache.get("a", 1), cache.get("b", 1), len(cache)) == (None, None, 0)


def test_what_has_no_time_left_is_not_kept():
    cache: TokenCache[str] = TokenCache()
    cache.put("a", "alice", now=5, until=5, generation=0)
    assert len(cache) == 0


def test_a_session_token_is_known_by_its_hash_alone():
    text, kept = new_session_token()
    assert text not in repr(kept)
    assert len(text) == 43
    assert is_session_token(text, kept)
    assert new_session_token()[0] != text


@pytest.mark.parametrize("text", [None, "", "x", "\ud800", "x" * 43, "é" * 43])
def test_another_text_is_not_the_session_token(text):
    _, kept = new_session_token()
    assert not is_session_token(text, kept)
    assert not is_session_token(text, b"")
    if text is not None and len(text) != 43:
        assert not is_session_token(text, session_token_hash(text))
