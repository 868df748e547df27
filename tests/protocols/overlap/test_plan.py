"""What an overlap may be asked for, and the names, sizes and noise that follow from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.errors import UsageError
from protocols.questions import overlap, steps_of
from protocols.statistic import Facts, tally
from tests.protocols.overlap.crowd import facts_of, question_of

VALUE = {"party": "beta", "feature": "spend_cents", "low": 0, "high": 100_000, "bins": 4}
TWO, THREE = facts_of("alpha", "beta"), facts_of("alpha", "beta", "gamma")


def slots_of(question: overlap.Plan, facts: Facts) -> list[tuple[str, ...]]:
    return [step.statistic.slots for step, _ in steps_of(question, facts)]


def test_slots_are_parties_and_lists_in_order_then_pairs_and_cells_without_unusable() -> None:
    sizes, cells = slots_of(question_of("segments"), facts_of("alpha", "beta", segments=2))
    assert sizes == ("alpha/s1", "alpha/s2", "beta/s1", "beta/s2", "unusable")
    assert cells == ("alpha--beta/s1/s1", "alpha--beta/s1/s2", "alpha--beta/s2/s1", "alpha--beta/s2/s2")
    sizes, cells = slots_of(question_of("all"), THREE)
    assert sizes == ("alpha/all", "beta/all", "gamma/all", "unusable")
    assert cells == ("alpha--beta/all/all", "alpha--gamma/all/all", "beta--gamma/all/all")
    assert slots_of(question_of("column"), TWO)[0][:4] == tuple(
        f"alpha/{v}" for v in ("gold", "silver", "plain", "other")
    )


def test_a_value_splits_the_lists_of_its_party_and_of_no_other() -> None:
    question = question_of("all", value=VALUE)
    assert overlap.list_names(question, TWO, "alpha") == ["all"]
    assert overlap.list_names(question, TWO, "beta") == ["all@0", "all@1", "all@2", "all@3"]
    assert slots_of(question, TWO)[1] == tuple(f"alpha--beta/all/all@{i}" for i in range(4))


@given(low=st.integers(-(2**40), 2**40 - 16), gap=st.integers(1, 2**41), bins=st.integers(2, 16))
def test_edges_are_whole_ascend_and_end_at_the_bounds(low: int, gap: int, bins: int) -> None:
    high = min(2**40, low + max(gap, bins - 1))
    edges = overlap.Value(party="beta", feature="spend_cents", low=low, high=high, bins=bins).edges
    assert (edges[0], edges[-1], len(edges)) == (low, high, bins)
    gaps = [b - a for a, b in pairwise(edges)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_the_steps_have_the_bounds_and_the_noise_of_their_proofs() -> None:
    (sizes, of_sizes), (cells, of_cells) = steps_of(question_of("all"), THREE)
    assert (sizes.name, sizes.statistic.bound_sq, sizes.statistic.scale, sizes.made, of_sizes) == (
        "overlap-sizes", 1, 1, "sum", 4_000_000,
    )  # fmt: skip
    assert (cells.name, cells.statistic.bound_sq, cells.statistic.scale, cells.made, of_cells) == (
        "overlap", 2, 1, "overlap", 24_000_000,
    )  # fmt: skip
    # ρ of the pairs is a party's over its two pairs: Δ² = 2, so σ² = 2 / (2 · .024)
    assert overlap.variance_micro(question_of("all"), THREE) == 41_666_667


@given(variance=st.integers(9_000_000, 10**13), shares=st.integers(1, 50))
def test_the_shift_is_eight_deviations_rounded_up(variance: int, shares: int) -> None:
    found = overlap.shift(variance, shares)
    assert found**2 * 10**6 >= 64 * variance * shares > (found - 1) ** 2 * 10**6


def test_what_is_counted_between_parties_is_never_tallied_over_one_partys_people() -> None:
    (_, _), (cells, _) = steps_of(question_of("all"), TWO)
    people: dict[str, Any] = {"usable": []}
    with pytest.raises(UsageError, match="counted between parties"):
        tally(cells.statistic, people, lambda batch: cells.contribute(batch, {}))
    with pytest.raises(UsageError, match="counted between parties"):
        cells.contribute({}, {})


@pytest.mark.parametrize(
    ("question", "facts", "said"),
    [
        (question_of("all"), facts_of("alpha"), "two parties"),
        (question_of("all"), facts_of("alpha", "beta", keyed=False), r"\[people\]"),
        (question_of("all"), facts_of("a", "a--b", "b--c", "c"), "one name"),
        (question_of("segments"), facts_of("alpha", "beta", segments=None), "segments question before"),
        (question_of("all", value={**VALUE, "party": "gamma"}), TWO, "value.party"),
        (question_of("all", value={**VALUE, "feature": "visits"}), TWO, "no feature|no party has a feature visits"),
        (question_of("all", value={**VALUE, "feature": "usable"}), TWO, "no party has a feature usable"),
        (question_of("segments"), facts_of("alpha", "beta", people_cap=200), "people_cap"),
        (question_of("segments", pairs=1), facts_of("alpha", "beta", people_cap=10**6), "do not exist"),
    ],
)
def test_an_overlap_that_its_plan_cannot_ask_is_refused(question: overlap.Plan, facts: Facts, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        steps_of(question, facts)


@pytest.mark.parametrize("column", ["customer", "colour"])
def test_lists_are_by_a_category_column_of_the_table_only(column: str) -> None:
    question = overlap.Plan.model_validate(
        {"rho": {"sizes": 10**6, "pairs": 10**7}, "lists": {"by": "column", "column": column}}
    )
    with pytest.raises(ValueError, match="no category column"):
        steps_of(question, TWO)


def test_dummies_are_refused_from_the_first_that_is_too_many() -> None:
    question = question_of("segments")
    most = 2 * overlap.shift(overlap.variance_micro(question, TWO)) * 3
    assert len(steps_of(question, facts_of("alpha", "beta", people_cap=most))) == 2
    with pytest.raises(ValueError, match=f"{most:,} people that do not exist"):
        steps_of(question, facts_of("alpha", "beta", people_cap=most - 1))
    split = question_of("segments", value=VALUE)
    with pytest.raises(ValueError, match=f"{4 * most:,} people that do not exist"):
        steps_of(split, facts_of("alpha", "beta", people_cap=4 * most - 1))


def test_an_overlap_of_more_cells_than_a_release_can_hold_is_refused() -> None:
    facts = facts_of(*sorted(f"p{i}" for i in range(50)), segments=8, people_cap=10**9)
    with pytest.raises(ValueError, match="cells; the most is 65,536"):
        steps_of(question_of("segments", pairs=10**9), facts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lists": {"by": "column"}},
        {"lists": {"by": "all", "column": "tier"}},
        {"lists": {"by": "age"}},
        {"rho": {"sizes": 1}},
        {"rho": {"sizes": 0, "pairs": 1}},
        {"rho": {"sizes": 1, "pairs": 1, "more": 1}},
        {"value": {**VALUE, "bins": 1}},
        {"value": {**VALUE, "bins": 17}},
        {"value": {**VALUE, "high": 0}},
        {"value": {**VALUE, "high": 2}},
        {"value": {**VALUE, "low": -(2**41)}},
    ],
)
def test_a_question_that_says_too_much_too_little_or_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    good = {"rho": {"sizes": 10**6, "pairs": 10**7}, "lists": {"by": "all"}}
    overlap.Plan.model_validate(good)
    with pytest.raises(ValidationError):
        overlap.Plan.model_validate({**good, **wrong})
