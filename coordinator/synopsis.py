"""The synopsis: where people are, by noised counts of cells, and what later sums say of it.

Counts of a box and of its parts are made consistent by least squares (Hay et al. 2010, VLDB 3), and what is not told
from empty is taken for empty (`occupied.py`). A part stands for its
people at the place where they would be on average were they spread normally along each axis: its middle where parts
are narrow, well inside it where they are as wide as people are spread. Once over-clusters have been summed, the parts
of each are moved together so that they have its mean, and weighted so that they have its count: points in all
dimensions, on which k-means can run at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from protocols.questions.segments.plan import Plan
from protocols.questions.segments.states import Clusters, FineGrid, Grid, Reals, Spread
from protocols.statistic import Integers

from .kmeans import means, squares, total
from .occupied import nearest_with_sum, occupied

FULL = 2.5  # a box counts as full above so many standard deviations of its count, at least
SPLIT = 4.0  # and is split above so many of its parts' counts
PER_CELL = 2.0  # people wanted in a cell, in standard deviations of its count
PER_BOX = {True: 5.0, False: 2.0}  # the same of a box, of up to three features and of more: docs/benchmarks.md

Deviation = Callable[[str], float]  # standard deviation of a step's noise, in people (grid steps count people)
Counted = tuple[Reals, Reals, Reals, Reals]


def grid_along(plan: Plan, spread: Spread, axes: Reals, variance: Reals, deviation: Deviation) -> Grid:
    """As many boxes as leave `PER_BOX` deviations of people in each, along the axes worth more than one cell.

    axes (d, d) unit vectors, variance (d,) of people along each, the largest first
    """
    k, d, mean, people = plan.clusters, plan.dimensions, spread.mean, spread.people
    width = np.sqrt(variance)
    leaves = int(np.clip(people / (PER_CELL * deviation("seg-fine")), 4 * k, plan.fine_cells))
    use = np.flatnonzero(_bins(width, 2 * leaves) > 1)
    use = use if len(use) else np.array([0])
    axes, width = axes[use], width[use]
    support, centre = np.abs(axes).sum(axis=1), axes @ mean
    reach = (6.0 if d <= 3 else 3.0) * width
    low, high = np.maximum(-support - centre, -reach), np.minimum(support - centre, reach)
    boxes = int(np.clip(people / (PER_BOX[d <= 3] * deviation("seg-coarse")), 4 * k, plan.coarse_cells))
    cells = _bins(np.minimum(high - low, 6 * width), boxes)
    residual = max(0.0, float(spread.variance.sum() - (width**2).sum()))
    return Grid(mean, axes, low, (high - low) / cells, cells, width, min(residual, float(d)), people)


def fine_grid(plan: Plan, grid: Grid, noised: Integers, deviation: Deviation) -> FineGrid:
    """Every box whose count is above zero, counted once more; those with people enough in several parts.

    Why so many: counting a box again costs nothing, and only both counts together tell whether it is empty.
    """
    fine = deviation("seg-fine")
    count = noised[: grid.size].astype(np.float64)
    full = np.flatnonzero(count > 0)
    if len(full) < plan.clusters:
        full = np.sort(np.argsort(-count)[: max(2 * plan.clusters, 2)])
    left = plan.fine_cells - len(full)
    parts = np.ones((len(full), len(grid.cells)), dtype=np.int64)
    for at in np.argsort(-count[full]):
        wanted = count[full[at]] / (PER_CELL * fine)
        if count[full[at]] > max(SPLIT * fine, FULL * deviation("seg-coarse")) and wanted >= 2 and left > 0:
            parts[at] = _bins(np.minimum(grid.width, 6 * grid.deviation), min(int(wanted), left + 1))
            left -= int(np.prod(parts[at])) - 1
    return FineGrid(grid, full.astype(np.int64), parts, np.rint(count[full]).astype(np.int64))


def counted(fine: FineGrid, coarse: Integers, noised: Integers, deviation: Deviation) -> Counted:
    """Of all parts the places (m, p) along the axes, widths (m, p), weights (m,), and the weights' variances.

    coarse, noised  the sums that both steps released
    """
    low, width = fine.corners()
    first, second = coarse[: fine.grid.size].astype(np.float64), noised[: len(low)].astype(np.float64)
    weight, variance = _consistent(fine, first, second, deviation("seg-fine") ** 2, deviation("seg-coarse") ** 2)
    return _places(low, width, fine.grid.deviation), width, weight, variance


def _bins(extent: Reals, most: int) -> Integers:
    """How many cells along each axis, at most `most` in all: the widest cell is cut first."""
    cells = np.ones(len(extent), dtype=np.int64)
    while True:
        j = int(np.argmax(extent / cells))
        if int(np.prod(cells)) // cells[j] * (cells[j] + 1) > most:
            return cells
        cells[j] += 1


def _places(low: Reals, width: Reals, deviation: Reals) -> Reals:
    """Means of a normal variable around zero, given that it is in a cell: (m, p)."""
    a, b = low / deviation, (low + width) / deviation
    mass = (erf(b / math.sqrt(2)) - erf(a / math.sqrt(2))) / 2
    slope = (np.exp(-(a**2) / 2) - np.exp(-(b**2) / 2)) / math.sqrt(2 * math.pi)
    mean = np.where(mass > 1e-6, slope / np.maximum(mass, 1e-6), (a + b) / 2)
    places: Reals = np.clip(mean, a, b) * deviation
    return places


def _consistent(fine: FineGrid, coarse: Reals, parts: Reals, variance: float, box: float) -> tuple[Reals, Reals]:
    """Non-negative counts of parts that add up to their box's, both counts of which are combined; and variances.

    coarse  (size,) first counts of all boxes, with variance `box`. One that was not counted again is what the second
            count, were it zero, would make of it: unbiased where nobody is
    """
    below = np.full(fine.grid.size, variance)
    again = np.zeros(fine.grid.size)
    below[fine.box] = fine.sizes * variance
    again[fine.box] = np.add.reduceat(parts[: fine.sizes.sum()], fine.starts)
    sure = 1 / (1 / below + 1 / box)
    count = sure * (again / below + coarse / box)
    counted_once = np.ones(fine.grid.size, dtype=bool)
    counted_once[fine.box] = False
    unsure = np.where(counted_once, sure**2 / box, sure)
    cells = tuple(fine.grid.cells)
    people = occupied(count.reshape(cells), unsure.reshape(cells)).reshape(-1)
    weight, spread = np.zeros(len(parts)), np.full(len(parts), variance)
    for at, start, size in zip(fine.box, fine.starts, fine.sizes, strict=True):
        own = parts[start : start + size]
        if people[at] > 0:
            weight[start : start + size] = nearest_with_sum(own + (people[at] - own.sum()) / size, people[at])
        spread[start : start + size] = variance * (1 - 1 / size) + sure[at] / size**2
    return weight, spread


# -- in all dimensions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Synopsis:
    """points (m, d) in the box, and at each a weight (m,) of people with its noise's variance (m,)."""

    points: Reals
    weight: Reals
    variance: Reals

    def means(self, centres: Reals) -> tuple[Reals, Reals, Reals]:
        """One step of Lloyd's: means (c, d) of the points nearest to each centre, their weights, and variances."""
        label = np.argmin(squares(self.points, centres), axis=1)
        moved, held = means(self.points, self.weight, label, centres)
        return moved, held[:, 0], total(label, self.variance, len(centres))

    def settled(self, centres: Reals, bias: Reals, rounds: int = 20) -> Reals:
        """Where Lloyd's steps lead from `centres`, were every mean off by `bias` (c, d)."""
        for _ in range(rounds):
            moved = np.clip(self.means(centres)[0] + bias, -1, 1)
            still = bool(np.abs(moved - centres).max() < 1e-5)
            centres = moved
            if still:
                break
        return centres


def lifted(before: Clusters, moved: Reals, count: Reals, sure: Reals, grid: Grid, found: Counted) -> Synopsis:
    """Parts of the grid as points, those of each over-cluster with its mean and its count.

    before  over-clusters as people were asked about them; moved (c, d), count (c,), sure (c,): what was found, with
            the deviation of each count. One without a part is a point of its own
    """
    points, _, weight, variance = (values[found[2] > 0] for values in found)
    centres = grid.project(before.centres)
    label = np.argmin(squares(points, centres), axis=1)
    middle, held = means(points, weight, label, centres)
    ratio, bare = (count / np.maximum(held[:, 0], 1e-9))[label], held[:, 0] <= 0
    within = points - middle[label]
    return Synopsis(
        np.clip(np.concatenate([moved[label] + within @ grid.axes, moved[bare]]), -1, 1),
        np.concatenate([weight * ratio, count[bare]]),
        np.concatenate([variance * ratio**2, sure[bare] ** 2]),
    )
