"""A published number is a decimal inside its interval, and rounding only widens the interval."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.accuracy import Interval
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY, count, figure, pointers, too_noisy

MODEST = settings(deadline=None, derandomize=True, max_examples=200)
GOOD = {"value": "12", "low": "-3", "high": "27"}


@MODEST
@given(
    ends=st.tuples(*[st.floats(-1e6, 1e6)] * 3).map(sorted),
    digits=st.integers(0, 4),
)
def test_a_figures_ends_are_rounded_outward_around_its_value(ends: list[float], digits: int) -> None:
    low, value, high = ends
    shown = {name: Fraction(text) for name, text in figure(value, Interval(low, high), digits).items()}
    unit = Fraction(1, 10**digits)
    slack = unit / 10**8  # a float's decimal is not exact: 0.3 · 10 must not become 2 or 4
    assert Fraction(low) - unit - slack <= shown["low"] <= Fraction(low) + slack
    assert Fraction(high) - slack <= shown["high"] <= Fraction(high) + unit + slack
    assert abs(shown["value"] - Fraction(value)) <= unit / 2 + slack
    assert shown["low"] <= shown["value"] <= shown["high"]


@pytest.mark.parametrize(
    ("value", "low", "high", "digits", "expected"),
    [
        (0.5, 0.31, 0.69, 1, ("0.5", "0.3", "0.7")),
        (0.3, 0.3, 0.3, 1, ("0.3", "0.3", "0.3")),
        (-0.04, -0.04, 0.04, 1, ("0.0", "-0.1", "0.1")),
        (-12.34, -12.34, -12.31, 1, ("-12.3", "-12.4", "-12.3")),
        (1234.0, 1234.0, 1234.2, 0, ("1234", "1234", "1235")),
        (0.00004, 0.0, 0.00011, 4, ("0.0000", "0.0000", "0.0002")),
    ],
)
def test_a_figure_is_written_as_a_plain_decimal(
    value: float, low: float, high: float, digits: int, expected: tuple[str, str, str]
) -> None:
    assert tuple(figure(value, Interval(low, high), digits).values()) == expected


@MODEST
@given(noised=st.integers(-(2**53), 2**53), half=st.integers(0, 2**40), scale=st.sampled_from([1, 2]))
def test_a_count_of_people_is_exact_however_large(noised: int, half: int, scale: int) -> None:
    shown = {name: Fraction(text) for name, text in count(noised, half, scale).items()}
    ends = {"value": noised, "low": noised - half, "high": noised + half}
    assert shown == {name: Fraction(units, scale) for name, units in ends.items()}


@pytest.mark.parametrize("scale", [0, 3, 65536])
def test_a_unit_that_has_no_short_decimal_is_refused(scale: int) -> None:
    with pytest.raises(IntegrityError, match="one unit or two a person"):
        count(12, 3, scale)


def test_halves_of_a_person_are_shown_and_never_rounded_away() -> None:
    assert count(25, 10, 2) == {"value": "12.5", "low": "7.5", "high": "17.5"}
    assert count(-3, 10, 1) == {"value": "-3", "low": "-13", "high": "7"}


def test_the_consistent_view_stands_beside_the_unbiased_value() -> None:
    assert count(-3, 10, 1, 0.0) == {"value": "-3", "low": "-13", "high": "7", "consistent": "0.0"}


def test_too_noisy_is_a_value_of_its_own() -> None:
    assert too_noisy() == {"value": TOO_NOISY}
    assert list(pointers({"a": too_noisy()})) == ["/a"]


def test_pointers_name_every_figure_in_order_and_escape_as_rfc_6901_says() -> None:
    tree = {"b": GOOD, "a": {"x/y": GOOD, "m~n": too_noisy()}, "c": {"d": {"e": {**GOOD, "consistent": "12.0"}}}}
    assert list(pointers(tree)) == ["/b", "/a/x~1y", "/a/m~0n", "/c/d/e"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"a": {}},
        {"a": 3},
        {"a": "12"},
        {"a": [GOOD]},
        {"a": None},
        "12",
        {"a": {"value": "12"}},
        {"a": {"value": "12", "low": "3"}},
        {"a": {**GOOD, "exact": "11"}},
        {"a": {**GOOD, "value": 12}},
        {"a": {**GOOD, "high": None}},
        {"a": {"value": TOO_NOISY, "low": "1", "high": "2"}},
        {"a": {"value": {"value": "12"}}},
        {"a": {"low": "1", "high": "2"}},
    ],
)
def test_an_answer_with_a_bare_number_is_refused(answer: Any) -> None:
    with pytest.raises(IntegrityError, match=r"is not a figure|without its interval"):
        list(pointers(answer))
