"""Cells of the score, and cuts that are edges of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.feature import Feature
from protocols.questions.lookalike import scorer, space
from protocols.questions.lookalike.scorer import CELLS, REACHES, Scorer, bands, cuts, parts
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers

FEATURE = Feature(name="days", transform="identity", low=0, high=255)
MODEST = settings(deadline=None, derandomize=True, max_examples=100)


def by_days() -> Scorer:
    """A score that grows with the days, and edges between every four of them."""
    scores = np.linspace(-1, 1, 256) * space.ONE
    made = Space((FEATURE,), (scores.astype(np.int64),), (np.array([0]),))
    weights = np.zeros(made.places.length, dtype=np.int64)
    weights[0] = scorer.WEIGHT
    plain = Scorer(made, weights, np.zeros(CELLS - 1, dtype=np.int64), (0,) * 5, 0, 0, (0,))
    edges = np.sort(plain.scores({"days": np.arange(4, 256, 4)}))
    return Scorer(made, weights, edges, (0,) * 5, 0, 0, (0,))


def test_the_likest_are_in_cell_0_and_a_score_on_an_edge_is_in_the_likelier_cell() -> None:
    judge = by_days()
    days = np.array([0, 3, 4, 7, 8, 251, 252, 255])
    assert judge.cells({"days": days}).tolist() == [63, 63, 62, 62, 61, 1, 0, 0]


def test_a_persons_row_is_one_in_the_persons_cell() -> None:
    judge = by_days()
    people = {"days": np.array([0, 100, 255])}
    dense = scorer.scores_rows(judge, people).dense(CELLS)
    assert dense.sum(axis=1).tolist() == [1, 1, 1]
    assert dense.argmax(axis=1).tolist() == judge.cells(people).tolist()


def test_more_people_than_are_scored_at_once_are_scored_alike() -> None:
    judge = by_days()
    days = np.random.default_rng(2).integers(0, 256, 40_000)
    by_day = judge.scores({"days": np.arange(256)})
    assert np.array_equal(judge.scores({"days": days}), by_day[days])


# -- cuts --------------------------------------------------------------------------------------------------------------


def counts() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-500, 5_000) | st.just(0), min_size=CELLS, max_size=CELLS)


def test_a_cut_is_the_edge_nearest_to_its_reach() -> None:
    even = [100] * CELLS  # a cell is 1/64: 5 % are 3.2 cells, 10 % are 6.4, 20 % 12.8, 30 % 19.2, 50 % 32
    assert cuts(even) == (3, 6, 13, 19, 32)


@MODEST
@given(noised=counts())
def test_cuts_ascend_and_leave_a_cell_on_either_side_whatever_the_noise(noised: list[int]) -> None:
    found = cuts(noised)
    assert len(found) == len(REACHES)
    assert all(a < b for a, b in pairwise((0, *found, CELLS)))


@MODEST
@given(noised=counts(), at=st.lists(st.integers(0, CELLS - 1), min_size=1, max_size=20))
def test_bands_and_parts_are_what_lies_between_cuts(noised: list[int], at: list[int]) -> None:
    found = cuts(noised)
    own = list(parts(noised, found))
    assert sum(own) == sum(noised)
    assert own[0] == sum(noised[: found[0]])
    inside = bands(found, np.array(at)).tolist()
    assert inside == [sum(cell >= cut for cut in found) for cell in at]


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_reach_of_a_cut_by_little(seed: int) -> None:
    draw = np.random.default_rng(seed)
    exact: Integers = draw.multinomial(20_000, draw.dirichlet(np.full(CELLS, 5.0)))
    noised = exact + np.rint(draw.normal(0, 16, CELLS)).astype(np.int64)
    for reach, cut in zip(REACHES, cuts(noised.tolist()), strict=True):
        assert abs(exact[:cut].sum() / 20_000 - reach / 100) < 0.02
