"""Which boxes hold people: noise alone is hardly ever taken for them, and a group across a border is not lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.occupied import FALSE, LEAST, limit, nearest_with_sum, occupied

MODEST = settings(deadline=None, derandomize=True, max_examples=80)
SIGMA = 20.0


def _noise(seed: int, cells: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SIGMA, cells)


@pytest.mark.parametrize("cells", [(200,), (16, 12), (6, 6, 6), (3, 3, 3, 3)])
def test_of_a_grid_without_anybody_hardly_one_in_twenty_shows_people(cells: tuple[int, ...]) -> None:
    """Twice the chance of one kind of look, and three deviations of 1,000 grids."""
    variance = np.full(cells, SIGMA**2)
    wrong = sum(bool(occupied(_noise(seed, cells), variance).any()) for seed in range(1000))
    assert wrong <= 2 * FALSE * 1000 + 3 * math.sqrt(2 * FALSE * 1000)


@pytest.mark.parametrize(
    ("people", "spread"), [(130, [(5, 5)]), (170, [(5, 5), (5, 6)]), (240, [(5, 5), (5, 6), (6, 5), (6, 6)])]
)
def test_a_group_is_found_in_one_box_and_across_borders(people: int, spread: list[tuple[int, int]]) -> None:
    """In two and in four boxes no box shows it: 85 and 60 people, where one alone needs more than 75."""
    variance, seen = np.full((12, 12), SIGMA**2), 0.0
    hits = 0
    for seed in range(200):
        count = _noise(seed, (12, 12))
        for at in spread:
            count[at] += people / len(spread)
        found = occupied(count, variance)
        near = found[4:8, 4:8].sum()
        hits, seen = hits + (near > 0), seen + near
    assert hits > 190
    assert seen / hits == pytest.approx(people, rel=0.15)


def test_boxes_alone_would_lose_what_a_window_finds() -> None:
    """The control of the test above: without windows a group across a corner is often missed."""
    alone = sum(bool((_noise(seed, (12, 12))[5:7, 5:7] + 60 > limit(144) * SIGMA).any()) for seed in range(200))
    assert alone < 160


@MODEST
@given(seed=st.integers(0, 10**6), p=st.integers(1, 4), scale=st.floats(1, 300))
def test_nobody_is_fewer_than_none_and_what_a_box_shows_by_itself_stays(seed: int, p: int, scale: float) -> None:
    draw = np.random.default_rng(seed)
    cells = tuple(draw.integers(1, 6, p).tolist())
    count, variance = draw.normal(0, scale, cells), draw.uniform(1, 400, cells)
    found = occupied(count, variance)
    alone = count > limit(count.size) * np.sqrt(variance)
    assert found.shape == cells
    assert found.min() >= 0
    np.testing.assert_array_equal(found[alone], count[alone])


@MODEST
@given(seed=st.integers(0, 10**6), size=st.integers(1, 9))
def test_the_nearest_point_with_a_sum_is_nearer_than_any_other(seed: int, size: int) -> None:
    draw = np.random.default_rng(seed)
    values, total = draw.normal(0, 10, size), float(draw.uniform(0.1, 50))
    point = nearest_with_sum(values, total)
    assert point.min() >= 0
    assert point.sum() == pytest.approx(total)
    others = draw.dirichlet(np.ones(size), 50) * total
    assert ((others - values) ** 2).sum(axis=1).min() >= ((point - values) ** 2).sum() - 1e-9


def test_the_limit_grows_with_how_often_one_looks() -> None:
    assert limit(1) == LEAST
    assert LEAST < limit(100) < limit(10_000) < 5
