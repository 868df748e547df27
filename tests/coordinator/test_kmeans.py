"""K-means on weighted public points: swaps leave a poor basin, and do not follow noise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from coordinator import kmeans as module
from coordinator.kmeans import kmeans, means, squares


def _groups(seed: int, k: int = 12, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3)), axis=-1).reshape(-1, 2)[:k].astype(float)
    return places, (places[:, None, :] + draw.normal(0, 0.08, (k, each, 2))).reshape(-1, 2)


def _cost(points: np.ndarray, weight: np.ndarray, centres: np.ndarray) -> float:
    return float((weight * squares(points, centres).min(axis=1)).sum())


@pytest.mark.parametrize("seed", range(5))
def test_swaps_find_the_planted_groups_that_lloyds_steps_miss(seed: int) -> None:
    """Twelve groups, started with two centres in one of them and none in another."""
    places, points = _groups(seed)
    weight, none = np.ones(len(points)), np.zeros(len(points))
    poor = places.copy()
    poor[0] = poor[5] + 0.05
    stuck = KMeans(12, init=poor, n_init=1).fit(points).cluster_centers_
    found = module._swapped(points, weight, stuck, none)
    assert _cost(points, weight, stuck) > 3 * _cost(points, weight, found)
    assert np.sqrt(squares(places, found).min(axis=1)).max() < 0.1


def test_a_gain_that_noise_explains_is_not_taken() -> None:
    """The same start; but of every weight nobody knows whether there is anybody at all."""
    places, points = _groups(0)
    poor = places.copy()
    poor[0] = poor[5] + 0.05
    stuck = KMeans(12, init=poor, n_init=1).fit(points).cluster_centers_
    unsure = np.full(len(points), 1e4)
    np.testing.assert_array_equal(module._swapped(points, np.ones(len(points)), stuck, unsure), stuck)


def test_the_same_points_give_the_same_centres() -> None:
    _, points = _groups(3)
    weight, sure = np.linspace(0.5, 2, len(points)), np.full(len(points), 0.01)
    first, label = kmeans(points, weight, 9, starts=2, variance=sure)
    second, again = kmeans(points, weight, 9, starts=2, variance=sure)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(label, again)
    assert first.shape == (9, 2)
    assert set(label) == set(range(9))


def test_swaps_never_raise_the_sum_of_squares() -> None:
    for seed in range(4):
        draw = np.random.default_rng(seed)
        points, weight = draw.uniform(-1, 1, (200, 3)), draw.uniform(0, 3, 200)
        start = KMeans(7, n_init=1, random_state=seed).fit(points, sample_weight=weight).cluster_centers_
        found = module._swapped(points, weight, start, np.zeros(200))
        assert _cost(points, weight, found) <= _cost(points, weight, start)


def test_a_centre_without_points_stays_where_it_is() -> None:
    points, weight = np.array([[0.0], [1.0]]), np.ones(2)
    moved, held = means(points, weight, np.array([0, 0]), np.array([[0.2], [9.0]]))
    assert moved.tolist() == [[0.5], [9.0]]
    assert held.tolist() == [[2.0], [0.0]]


@pytest.mark.parametrize("k", [1, 3])
def test_as_many_centres_as_points_or_one_alone(k: int) -> None:
    points = np.array([[0.0, 0], [1, 0], [0, 1]])
    centres, _ = kmeans(points, np.ones(3), k, starts=1, variance=np.ones(3))
    assert centres.shape == (k, 2)
