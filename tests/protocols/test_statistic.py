"""A statistic is well formed, a tally adds only what is within the bound, and truncation never raises a norm."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import statistic as module
from protocols.errors import UsageError
from protocols.statistic import Integers, Noise, People, Sparse, Statistic, Step, one_hot, tally, truncate

MODEST = settings(deadline=None, derandomize=True, max_examples=100)
PAIR = Statistic(("a", "b", "unusable"), scale=2, bound_sq=5)


def people_of(*usable: int) -> dict[str, Integers]:
    return {"usable": np.array(usable, dtype=np.int64), "who": np.arange(len(usable), dtype=np.int64)}


def ones(people: People) -> Integers:
    return np.ones((len(people["usable"]), 2), dtype=np.int64)


# -- the statistic itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "slots",
    [(), ("unusable",), ("a", "b"), ("unusable", "a"), ("a", "a", "unusable"), ("unusable", "a", "unusable")],
)
def test_slots_are_distinct_and_end_with_unusable(slots: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="distinct slots"):
        Statistic(slots, 1, 1)


@pytest.mark.parametrize("slots", [(), ("a", "a"), ("unusable",), ("a", "unusable")])
def test_what_nobody_tallies_has_distinct_slots_and_nobody_who_is_unusable(slots: tuple[str, ...]) -> None:
    assert Statistic(("a",), 1, 1, tallied=False).slots == ("a",)
    with pytest.raises(UsageError, match="none of them 'unusable'"):
        Statistic(slots, 1, 1, tallied=False)


PARTS = {"alpha": ("a", "b"), "beta": ("c",)}


def test_slots_with_owners_are_a_part_for_each_with_an_unusable_of_its_own() -> None:
    found = Statistic.owned(PARTS, scale=2, bound_sq=5)
    assert found.slots == ("alpha/a", "alpha/b", "alpha/unusable", "beta/c", "beta/unusable")
    assert (found.own("alpha"), found.own("beta")) == (slice(0, 3), slice(3, 5))
    assert found.part("beta") == Statistic(("c", "unusable"), 2, 5)
    assert found.slots[found.own("gamma")] == ()
    with pytest.raises(UsageError):
        found.part("gamma")


def test_a_slot_without_an_owner_is_everybodys() -> None:
    assert PAIR.slots[PAIR.own("anybody")] == PAIR.slots


@pytest.mark.parametrize(
    ("slots", "owners"),
    [
        (("a/x", "a/unusable"), ("a",)),
        (("a/x", "a/unusable"), ("b", "b")),
        (("a/x", "b/unusable"), ("a", "b")),
        (("a/x", "b/x", "b/unusable", "a/unusable"), ("a", "b", "b", "a")),
        (("a/x", "a/x", "a/unusable"), ("a", "a", "a")),
        (("a/unusable",), ("a",)),
    ],
)
def test_each_owner_has_one_piece_that_is_a_statistic(slots: tuple[str, ...], owners: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Statistic(slots, 1, 1, owners=owners)


def test_what_has_owners_is_tallied_and_is_within_63_bits() -> None:
    for changes in ({"tallied": False}, {"bound_sq": 2**62}):
        with pytest.raises(UsageError):
            Statistic(**{"slots": ("a/x", "a/unusable"), "scale": 1, "bound_sq": 1, "owners": ("a", "a"), **changes})


def test_what_has_owners_is_never_tallied_as_if_it_were_one_partys() -> None:
    with pytest.raises(UsageError, match="by owner"):
        tally(Statistic.owned(PARTS, 2, 5), people_of(1), ones)


def test_in_a_slot_of_one_party_there_is_one_partys_noise() -> None:
    owned = Step("look", Statistic.owned(PARTS, 2, 5), lambda *_: ones({}), lambda *_: {})
    assert owned.relies_on_one
    assert owned.noise(5, 9) == Noise(1, 9)
    plain = Step("sum", PAIR, lambda *_: ones({}), lambda *_: {})
    assert not plain.relies_on_one
    assert plain.noise(5, 9) == Noise(5, 9)


@pytest.mark.parametrize(("scale", "bound_sq"), [(0, 1), (-1, 1), (1, 0), (1, -4), (1, 2**63), (1, 2**62)])
def test_scale_and_bound_are_positive_and_squares_fit_in_63_bits(scale: int, bound_sq: int) -> None:
    with pytest.raises(UsageError, match="63 bits"):
        Statistic(("a", "unusable"), scale, bound_sq)


@MODEST
@given(scale=st.integers(1, 2**30), bound_sq=st.integers(1, 2**60))
def test_an_unusable_person_counts_one_person_or_as_much_as_the_bound_allows(scale: int, bound_sq: int) -> None:
    entry = Statistic(("a", "unusable"), scale, bound_sq).unusable_entry
    assert 1 <= entry <= scale
    assert entry**2 <= bound_sq
    assert entry == scale or (entry + 1) ** 2 > bound_sq


def test_the_noise_of_a_sum_is_that_of_all_its_shares() -> None:
    assert Noise(3, 208_333_334).variance == pytest.approx(625.000002)


# -- the tally ---------------------------------------------------------------------------------------------------------


def test_people_who_are_not_usable_count_in_the_last_slot_and_nowhere_else() -> None:
    assert tally(PAIR, people_of(1, 0, 1, 2, -1), ones).total.tolist() == [2, 2, 3 * PAIR.unusable_entry]


def test_nobody_is_a_sum_of_zeros() -> None:
    assert tally(PAIR, people_of(), ones).total.tolist() == [0, 0, 0]
    assert tally(PAIR, people_of(0), ones).total.tolist() == [0, 0, 2]


def test_a_question_is_never_shown_people_who_are_not_usable() -> None:
    shown: list[int] = []

    def remember(people: People) -> Integers:
        shown.extend(people["who"].tolist())
        return ones(people)

    tally(PAIR, people_of(0, 1, 0, 1), remember)
    assert shown == [1, 3]


def test_a_row_of_zeros_is_unusable_and_no_breach() -> None:
    result = tally(PAIR, people_of(1, 1), lambda people: np.array([[0, 0], [1, 2]], dtype=np.int64))
    assert (result.total.tolist(), result.over_bound) == ([1, 2, 2], 0)


@pytest.mark.parametrize("row", [[2, 2], [3, 0], [0, -3], [2**32, 0], [-(2**63), 0], [2**63 - 1, 2**63 - 1]])
def test_a_row_over_the_bound_is_unusable_and_counted_as_a_breach(row: list[int]) -> None:
    result = tally(PAIR, people_of(1, 1), lambda people: np.array([row, [1, 2]], dtype=np.int64))
    assert (result.total.tolist(), result.over_bound) == ([1, 2, 2], 1)


@pytest.mark.parametrize("row", [[1, 2], [2, 1], [-1, -2], [0, 2], [-2, 0]])
def test_a_row_at_or_below_the_bound_is_added_as_it_is(row: list[int]) -> None:
    result = tally(PAIR, people_of(1), lambda people: np.array([row], dtype=np.int64))
    assert (result.total.tolist(), result.over_bound) == ([*row, 0], 0)


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((2, 2)),
        np.ones((2, 2), dtype=np.int32),
        np.ones((2, 2), dtype=np.bool_),
        np.ones((2, 3), dtype=np.int64),
        np.ones((1, 2), dtype=np.int64),
        np.ones(2, dtype=np.int64),
    ],
)
def test_rows_of_another_shape_or_type_are_refused(rows: Integers) -> None:
    with pytest.raises(UsageError, match="another shape or type"):
        tally(PAIR, people_of(1, 1), lambda people: rows)


@MODEST
@given(entries=st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), max_size=12), cells=st.integers(1, 12))
def test_a_sum_is_the_same_in_any_batches_and_any_order(entries: list[tuple[int, int]], cells: int) -> None:
    rows = np.array(entries, dtype=np.int64).reshape(-1, 2)
    whole = tally(PAIR, people_of(*[1] * len(rows)), lambda people: rows[people["who"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_CELLS", cells)
        patch.setattr(module, "_BATCH_PEOPLE", 1)
        parts = tally(PAIR, people_of(*[1] * len(rows)), lambda people: rows[::-1][people["who"]])
    assert whole.total.tolist() == parts.total.tolist()
    assert whole.over_bound == parts.over_bound


def test_large_tables_do_come_in_batches() -> None:
    sizes: list[int] = []

    def remember(people: People) -> Integers:
        sizes.append(len(people["usable"]))
        return ones(people)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_CELLS", 9)
        patch.setattr(module, "_BATCH_PEOPLE", 1)
        tally(PAIR, people_of(*[1] * 7), remember)
    assert sizes == [3, 3, 1]


# -- rows with few entries ---------------------------------------------------------------------------------------------


def sparse(slots: list[list[int]], values: list[list[int]]) -> Sparse:
    return Sparse(np.array(slots, dtype=np.int64), np.array(values, dtype=np.int64))


@MODEST
@given(
    rows=st.lists(
        st.tuples(st.permutations(range(6)), st.lists(st.integers(-3, 3), min_size=2, max_size=2)), max_size=8
    )
)
def test_rows_with_few_entries_add_up_to_what_the_same_whole_rows_add_up_to(
    rows: list[tuple[list[int], list[int]]],
) -> None:
    statistic = Statistic((*"abcdef", "unusable"), 1, 9)
    few = sparse([sorted(order[:2]) for order, _ in rows] or [[0, 1]], [values for _, values in rows] or [[1, 1]])
    people = people_of(*[1] * len(few.slots))
    assert tally(statistic, people, lambda _: few).total.tolist() == (
        tally(statistic, people, lambda _: few.dense(6)).total.tolist()
    )


@pytest.mark.parametrize("slots", [[0, 0], [1, 0], [-1, 0], [0, 2], [0, 2**62]])
def test_a_row_that_names_a_slot_twice_or_one_that_is_not_its_own_is_a_breach(slots: list[int]) -> None:
    """Twice: 1 + 1 = 2 in one slot, whose square is 4 and not 1 + 1. And `unusable` is no question's own slot."""
    result = tally(PAIR, people_of(1, 1), lambda _: sparse([slots, [0, 1]], [[1, 1], [1, 2]]))
    assert (result.total.tolist(), result.over_bound) == ([1, 2, 2], 1)


@pytest.mark.parametrize(
    "rows",
    [
        sparse([[0]], [[1]]),
        sparse([[0, 1], [0, 1]], [[1], [1]]),
        Sparse(np.zeros((2, 1), dtype=np.int32), np.ones((2, 1), dtype=np.int64)),
        Sparse(np.zeros((2, 1), dtype=np.int64), np.ones((2, 1))),  # type: ignore[arg-type]
        Sparse(np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.int64)),
    ],
)
def test_rows_with_few_entries_of_another_shape_or_type_are_refused(rows: Sparse) -> None:
    with pytest.raises(UsageError, match="another shape or type"):
        tally(PAIR, people_of(1, 1), lambda _: rows)


# -- rows --------------------------------------------------------------------------------------------------------------


@MODEST
@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=50),
    scale=st.sampled_from([1, 2, 2**6, 2**16, 2**24]),
)
def test_truncation_moves_every_entry_toward_zero_by_less_than_one(values: list[float], scale: int) -> None:
    for value, whole in zip(values, truncate(np.array(values), scale).tolist(), strict=True):
        scaled = Fraction(value) * scale
        assert abs(whole) <= abs(scaled)
        assert abs(scaled - whole) < 1


@pytest.mark.parametrize("scale", [0, -2, 3, 12, 2**16 + 1])
def test_only_a_power_of_two_scales_real_entries(scale: int) -> None:
    with pytest.raises(UsageError, match="a power of two"):
        truncate(np.array([1 / 3]), scale)


def test_truncation_keeps_the_bound_where_rounding_breaks_it() -> None:
    unit = np.full(50, 1 / np.sqrt(50))
    scale = 2**6
    bound = scale * scale
    assert sum(x * x for x in truncate(unit, scale).tolist()) <= bound
    up = np.rint(np.full(2, 1 / np.sqrt(2)) * 4).astype(np.int64)
    assert sum(x * x for x in up.tolist()) > 16
    assert sum(x * x for x in truncate(np.full(2, 1 / np.sqrt(2)), 4).tolist()) <= 16


@MODEST
@given(index=st.lists(st.integers(0, 6), max_size=9), entry=st.integers(1, 9))
def test_a_one_hot_row_has_one_entry_where_it_belongs(index: list[int], entry: int) -> None:
    rows = one_hot(np.array(index, dtype=np.int64), 7, entry)
    assert rows.shape == (len(index), 7)
    assert np.argmax(rows, axis=1).tolist() == index if index else True
    assert [isqrt(int(x)) for x in (rows**2).sum(axis=1)] == [entry] * len(index)
