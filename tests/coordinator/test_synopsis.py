"""The synopsis: counts of cells that become points where people are, in agreement with what was summed later."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from coordinator.occupied import LEAST
from coordinator.synopsis import Synopsis, counted, fine_grid, lifted
from protocols.questions.segments import Plan
from protocols.questions.segments.states import Clusters, FineGrid, Grid, Reals

MODEST = settings(deadline=None, derandomize=True, max_examples=60)


def grid_of(cells: list[int], deviation: float, *, d: int = 2, reach: float = 1.0) -> Grid:
    """A grid from −reach to reach along the first features, through the middle of the box."""
    p = len(cells)
    low = np.full(p, -reach)
    return Grid(
        np.zeros(d), np.eye(d)[:p], low, -2 * low / np.array(cells), np.array(cells), np.full(p, deviation), 0.1, 900
    )


def plan_of(d: int) -> Plan:
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    features = [{"name": f"f{j}", "transform": "identity", "low": -1000, "high": 1000} for j in range(d)]
    document = {"rho": rho, "features": features, "clusters": 2, "lloyd_rounds": 1}
    return Plan.model_validate(document | {"coarse_cells": 16, "fine_cells": 64})


def whole(grid: Grid, count: list[int]) -> FineGrid:
    """Every box of a grid, none of them cut."""
    return FineGrid(grid, np.arange(grid.size), np.ones((grid.size, len(grid.cells)), dtype=np.int64), np.array(count))


# -- counts ------------------------------------------------------------------------------------------------------------


def test_every_box_with_a_count_above_zero_is_counted_again_and_only_those_with_many_people_are_cut() -> None:
    grid = grid_of([4, 2], 0.5)
    noised = np.array([900, 3, -3, 0, 1, 40, -80, 60, 7])
    fine = fine_grid(plan_of(2), grid, noised, lambda _: 20.0)
    assert fine.box.tolist() == [0, 1, 4, 5, 7]
    assert fine.count.tolist() == [900, 3, 1, 40, 60]
    assert (fine.sizes > 1).tolist() == [True, False, False, False, False]
    assert fine.sizes.sum() <= 64


@pytest.mark.parametrize(("first", "second", "full"), [(60, 70, True), (110, 0, True), (60, 20, False), (0, 60, False)])
def test_whether_a_box_is_empty_is_told_by_both_of_its_counts(first: int, second: int, full: bool) -> None:
    """Deviation 30 of each, so 21 of their mean: 53 is the limit."""
    fine = whole(grid_of([2], 0.5), [first, 0])
    _, _, weight, _ = counted(fine, fine.count, np.array([second, 0, 0]), lambda _: 30.0)
    assert (weight[0] > 0) == full == ((first + second) / 2 > LEAST * 30 / math.sqrt(2))
    assert weight[0] == pytest.approx((first + second) / 2 if full else 0.0)


@pytest.mark.parametrize("boxes", [4, 100, 1000])
def test_of_as_many_empty_boxes_as_there_are_hardly_one_is_taken_for_full(boxes: int) -> None:
    draw, grid = np.random.default_rng(boxes), grid_of([boxes], 0.5)
    found = []
    for _ in range(40):
        noise = np.rint(draw.normal(0, 30, (2, boxes + 1))).astype(np.int64)
        _, _, weight, _ = counted(whole(grid, noise[0, :-1].tolist()), noise[0], noise[1], lambda _: 30.0)
        found.append(np.count_nonzero(weight))
    assert np.mean(found) < 0.2


def test_parts_stand_where_normal_people_would_be_and_narrow_ones_at_their_middle() -> None:
    halves = whole(grid_of([2], 0.1), [500, 500])  # two cells, each ten deviations wide
    places, *_ = counted(halves, halves.count, np.array([500, 500, 0]), lambda _: 5.0)
    assert places[:, 0].tolist() == pytest.approx([-0.1 * math.sqrt(2 / math.pi), 0.1 * math.sqrt(2 / math.pi)])
    narrow = whole(grid_of([64], 1.0), [500] * 64)
    places, *_ = counted(narrow, narrow.count, np.full(65, 500), lambda _: 5.0)
    middles = -1 + (np.arange(64) + 0.5) / 32
    assert np.abs(places[:, 0] - middles).max() < 1e-4


def test_a_place_lies_in_its_part_however_far_from_where_people_are() -> None:
    fine = whole(grid_of([40], 0.01), [500] * 40)
    places, width, *_ = counted(fine, fine.count, np.full(41, 500), lambda _: 5.0)
    low, _ = fine.corners()
    assert np.all((places >= low) & (places <= low + width))


# -- points in all dimensions ------------------------------------------------------------------------------------------


@MODEST
@given(seed=st.integers(0, 10**6), d=st.integers(2, 4), c=st.integers(1, 6))
def test_the_points_of_an_over_cluster_have_its_mean_and_its_count(seed: int, d: int, c: int) -> None:
    draw = np.random.default_rng(seed)
    grid = grid_of([4, 3], 0.5, d=d)
    fine = whole(grid, draw.integers(0, 300, grid.size).tolist())
    found = counted(fine, fine.count, draw.integers(0, 300, grid.size + 1), lambda _: 15.0)
    before = Clusters(draw.uniform(-0.4, 0.4, (c, d)), 0.5, np.ones(c), np.ones(c))
    moved, count, sure = draw.uniform(-0.2, 0.2, (c, d)), draw.uniform(1, 500, c), draw.uniform(1, 9, c)
    points = lifted(before, moved, count, sure, grid, found)
    along = found[0][found[2] > 0]
    label = np.argmin(((along[:, None, :] - grid.project(before.centres)[None]) ** 2).sum(axis=2), axis=1)
    label = np.concatenate([label, np.setdiff1d(np.arange(c), label)])  # those without a part come last
    inside = np.all(np.abs(points.points) < 1, axis=1)  # what the box cut off is not where it was put
    for i in range(c):
        own = label == i
        assert points.weight[own].sum() == pytest.approx(count[i])
        if inside[own].all():
            mean = (points.weight[own][:, None] * points.points[own]).sum(axis=0) / points.weight[own].sum()
            assert mean == pytest.approx(moved[i])


def crowd(seed: int, m: int = 200) -> Synopsis:
    draw = np.random.default_rng(seed)
    centres = np.array([[-0.6, 0.4], [0.5, 0.5], [0.1, -0.6]])
    points = np.clip(centres[draw.integers(0, 3, m)] + draw.normal(0, 0.1, (m, 2)), -1, 1)
    return Synopsis(points, draw.uniform(1, 20, m), draw.uniform(1, 4, m))


START: Reals = np.array([[-0.3, 0.3], [0.4, 0.3], [0.2, -0.3]])


@pytest.mark.parametrize("seed", range(5))
def test_steps_settle_where_k_means_does(seed: int) -> None:
    points = crowd(seed)
    fit = KMeans(3, init=START, n_init=1, tol=0).fit(points.points, sample_weight=points.weight)
    assert np.abs(points.settled(START, np.zeros((3, 2))) - fit.cluster_centers_).max() < 1e-6
    means, weight, variance = points.means(fit.cluster_centers_)
    assert np.abs(means - fit.cluster_centers_).max() < 1e-6
    for i in range(3):
        assert weight[i] == pytest.approx(points.weight[fit.labels_ == i].sum())
        assert variance[i] == pytest.approx(points.variance[fit.labels_ == i].sum())


def test_a_bias_is_added_where_steps_settle_and_no_centre_leaves_the_box() -> None:
    points, bias = crowd(1), np.array([[0.02, -0.01], [0.0, 0.03], [0.0, -3.0]])
    settled = points.settled(START, bias)
    assert np.abs(settled[:2] - (points.settled(START, 0 * bias) + bias)[:2]).max() < 1e-3
    assert settled[2].min() == -1.0


def test_a_centre_without_points_stays_where_it_is() -> None:
    points = crowd(2)
    centres = np.concatenate([START, [[0.99, -0.99]]])
    means, weight, variance = points.means(centres)
    assert means[3].tolist() == [0.99, -0.99]
    assert (weight[3], variance[3]) == (0.0, 0.0)
