"""A value has one string of bytes, and there is none for what could be read in two ways."""

from __future__ import annotations

import string
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from protocols.encoding import MAX_INT, canonical, digest, parse
from protocols.errors import IntegrityError


@pytest.mark.parametrize(
    "value",
    [0.0, float("nan"), [1.5], (2.0,), {"a": {"b": [0, {"c": 1.0}]}}],
    ids=["0", "nan", "list", "tuple", "deep"],
)
def test_a_float_is_refused_wherever_it_stands(value: Any) -> None:
    with pytest.raises(IntegrityError, match="a float has no place"):
        canonical(value)


@pytest.mark.parametrize(
    "value", [MAX_INT + 1, -MAX_INT - 1, {"a": 2**64}, b"bytes", {1: "a"}, {"a": "\ud800"}, object()]
)
def test_what_rfc_8785_cannot_say_exactly_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(IntegrityError, match="no canonical form"):
        canonical(value)


def test_a_value_nested_too_deep_to_be_walked_is_an_integrity_error_both_ways() -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(IntegrityError, match="no canonical form"):
        canonical(deep)
    with pytest.raises(IntegrityError, match="not canonical JSON"):
        parse(b"[" * 200_000)


def test_members_stand_in_the_order_of_their_utf_16_code_units() -> None:
    """RFC 8785 section 3.2.3: an astral letter begins with a surrogate, and so comes before U+FB33."""
    assert canonical({"\ufb33": 1, "😀": 2, "a": MAX_INT}) == '{"a":9007199254740991,"😀":2,"\ufb33":1}'.encode()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.text(string.printable), inner),
)


@given(VALUES)
def test_every_value_is_written_as_the_library_for_rfc_8785_writes_it(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError):
        with pytest.raises(IntegrityError):
            canonical(value)
    else:
        assert canonical(value) == expected


def test_every_character_is_written_as_the_library_for_rfc_8785_writes_it() -> None:
    for first in range(0, 0x110000, 0x1000):
        letters = "".join(chr(code) for code in range(first, first + 0x1000) if not 0xD800 <= code < 0xE000)
        assert canonical({"a": letters}) == rfc8785.dumps({"a": letters})


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1", b"1.0", b"1e3", b"NaN", b"-Infinity", b'{"a":0.5}'])
def test_bytes_that_are_no_json_of_integers_are_refused_by_what_they_should_be(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="plan is not canonical JSON"):
        parse(data, what="plan")


@pytest.mark.parametrize("data", [b" 1", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'"\\u0061"', b"-0", b"[1,2]\n"])
def test_another_spelling_of_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="plan is not in its canonical form"):
        parse(data, what="plan")


def test_a_digest_is_sha_256_in_lower_case_of_bytes_or_of_a_view_of_them() -> None:
    """FIPS 180-4, the published example for `abc`."""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(b"abc") == digest(memoryview(b"xabc")[1:]) == known
