"""SES-17: what does not fit is refused whole, never cut, and nothing can blow up a decoder."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.payload import DATA_MAX, DEPTH_MAX, METADATA_MAX, pack, unpack
from sessionware.errors import PayloadTooLarge

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
DOCUMENTS = st.dictionaries(
    st.text(), st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
)


@settings(max_examples=40)
@given(DOCUMENTS)
def test_what_is_packed_is_unpacked_unchanged(document):
    assert unpack(pack(document, what="data", at_most=DATA_MAX)) == document


def test_an_empty_mapping_is_no_bytes_at_all():
    assert pack({}, what="data", at_most=10) == b""
    assert unpack(b"") == {}


def test_ses17_ten_megabytes_are_refused_not_truncated():
    """SES-17, C32."""
    with pytest.raises(PayloadTooLarge, match="at most 262144"):
        pack({"x": "y" * 10_000_000}, what="data", at_most=DATA_MAX)


@pytest.mark.parametrize("over", [0, 1])
def test_ses17_the_size_cap_holds_to_the_byte(over):
    frame = len(pack({"x": "y" * 1000}, what="metadata", at_most=METADATA_MAX)) - 1000
    document = {"x": "y" * (4096 - frame + over)}
    if over:
        with pytest.raises(PayloadTooLarge, match="metadata is 4097 bytes"):
            pack(document, what="metadata", at_most=4096)
    else:
        assert len(pack(document, what="metadata", at_most=4096)) == 4096


@pytest.mark.parametrize("kind", [dict, list])
def test_ses17_the_depth_cap_holds_to_the_level(kind):
    def nested(levels):
        value: object = {} if kind is dict else []
        for _ in range(levels - 2):
            value = {"x": value} if kind is dict else [value]
        return {"top": value}

    assert unpack(pack(nested(DEPTH_MAX), what="data", at_most=DATA_MAX)) == nested(DEPTH_MAX)
    with pytest.raises(PayloadTooLarge, match="nests deeper than 32"):
        pack(nested(DEPTH_MAX + 1), what="data", at_most=DATA_MAX)


def test_ses17_a_cycle_is_too_deep_and_not_fatal():
    cycle: dict[str, object] = {}
    cycle["again"] = cycle
    with pytest.raises(PayloadTooLarge):
        pack(cycle, what="data", at_most=DATA_MAX)


def test_ses17_a_container_that_doubles_at_each_level_does_not_explode():
    value: object = "x"
    for _ in range(20):
        value = [value, value]
    with pytest.raises(PayloadTooLarge):
        pack({"bomb": value}, what="data", at_most=1024)


def test_what_messagepack_cannot_hold_is_a_type_error():
    with pytest.raises(TypeError):
        pack({"x": object()}, what="data", at_most=DATA_MAX)
