"""What `*` and `**` match, against a plain definition, and in time linear in the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.globs import canonical_path, name_fault, name_regex, path_fault, path_regex


def segment_matches(glob, text):
    """The definition: any number of characters for `*`, by trying all of them."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(segment_matches(glob[1:], text[skip:]) for skip in range(len(text) + 1))
    return bool(text) and text[0] == glob[0] and segment_matches(glob[1:], text[1:])


def path_matches(globs, segments):
    if not globs:
        return not segments
    if globs[0] == "**":
        return any(path_matches(globs[1:], segments[skip:]) for skip in range(len(segments) + 1))
    if not segments:
        return False
    lone = globs[0] != "*" or bool(segments[0])
    return lone and segment_matches(globs[0], segments[0]) and path_matches(globs[1:], segments[1:])


def parts(path):
    path = canonical_path(path)
    return path.split("/")[1:]


SEGMENTS = st.sampled_from(["a", "b", "ab", "aab", "*", "**", "a*", "*b", "*a*", "a*b", "*a*b*", ""])
PATHS = st.lists(st.text(alphabet="ab", max_size=5), max_size=6).map(lambda each: "/" + "/".join(each))


@given(st.lists(SEGMENTS, min_size=1, max_size=5).map(lambda each: "/" + "/".join(each)), PATHS)
@settings(max_examples=1000, deadline=None)
def test_a_path_glob_matches_what_the_definition_says(glob, path):
    wanted = parts(glob)
    said = path_matches(wanted, parts(path))
    if path == "/" or canonical_path(path) == "/":
        said = said or path_matches(wanted, [])
    assert bool(path_regex(glob).match(canonical_path(path))) is said


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab/", max_size=10))
@settings(max_examples=500, deadline=None)
def test_a_name_glob_matches_what_the_definition_says(glob, name):
    assert bool(name_regex(glob).match(name)) is segment_matches(glob, name)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/login", "/login", True),
        ("/login", "/login/", True),
        ("/login", "/login2", False),
        ("/static/**", "/static/a/b.css", True),
        ("/static/**", "/static", True),
        ("/static/**", "/statics", False),
        ("/**", "/", True),
        ("/**", "/any/thing", True),
        ("/users/*", "/users/7", True),
        ("/users/*", "/users/", False),
        ("/users/*", "/users/7/x", False),
        ("/a/**/b", "/a/b", True),
        ("/a/**/b", "/a/x/y/b", True),
        ("/a/**/b", "/a/xb", False),
        ("/v*/chat", "/v1/chat", True),
        ("/", "/", True),
        ("/a.b", "/axb", False),
        ("/x\n", "/x", False),
    ],
)  # fmt: skip
def test_a_path_glob_by_example(glob, path, matches):
    assert bool(path_regex(glob).match(canonical_path(path))) is matches


@pytest.mark.parametrize("glob", ["/" + "*a" * 40, "/**/" * 20 + "b", "/" + "**/a*a*a/" * 12 + "b", "/**/a/**/a/**/b"])
def test_no_path_makes_a_glob_slow(glob):
    """A path of 60,000 characters that almost matches; a test that hangs is a test that fails."""
    assert not path_regex(glob).match("/a" * 30_000 + "c")
    assert not path_regex(glob).match("/" + "a" * 60_000 + "c")


def test_no_name_makes_a_glob_slow():
    assert not name_regex("*a" * 40 + "b").match("a" * 60_000)


@pytest.mark.parametrize(("glob", "offset"), [("a", 0), ("/a?b", 2), ("/x/{id}", 3), ("/a/b**", 4), ("/a\0", 2)])
def test_a_path_glob_with_a_fault_says_where(glob, offset):
    found = path_fault(glob)
    assert found is not None
    assert found[0] == offset


def test_a_glob_without_fault_has_none():
    assert path_fault("/a/**/b*/*") is None
    assert name_fault("image_*") is None
    assert name_fault("a{b}") == (1, "'{' means nothing here: `*` is anything")
