"""The fits between the steps of the segments question: a noised sum in, the next step's start out.

Nothing here sees a row. scikit-learn's k-means runs on weighted points of the public synopsis. Moves are shrunk toward
zero by what their noise alone would move them (James & Stein 1961); counts of two steps are combined by their
variances; children of a box are made consistent with it by least squares (Hay et al. 2010, VLDB 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from protocols.questions.segments import COUNT, MOVE, OVER_COUNT, OVER_MOVE, SPREAD, fine_grid_of, grid_of
from protocols.questions.segments.plan import SCALE, Plan
from protocols.questions.segments.states import Clusters, FineGrid, Grid, Reals, Spread
from protocols.statistic import Integers, Noise

from . import choosing

REACH = 1.5  # covariance radius, in root total variances
RADIUS = 1.8  # radius of a move, in root mean square distances
FULL = 2.5  # a box is full above so many standard deviations of its count
SPLIT = 4.0  # and is split above so many of its parts' counts
PER_CELL = 3.0  # people wanted in a cell, in standard deviations of its count
TRUST = 0.3  # how far the synopsis's count of a cluster is trusted: its relative error beyond noise
RESIDUAL = 0.7
STARTS = 20

Deviation = Callable[[str], float]  # standard deviation of a step's noise, in people (grid steps count people)


def next_state(
    plan: Plan, step: str, noised: Integers, noise: Noise, earlier: Mapping[str, Any], deviation: Deviation
) -> dict[str, Any] | None:
    """The state that the step after `step` starts from; None after the last.

    noised   (slots,) the released sum; earlier: what earlier steps released; deviation: a later step's noise
    """
    if step == "seg-moments":
        spread = _spread(plan, noised)
        if plan.rho.covariance is not None:
            return spread.write()
        order = np.argsort(-spread.variance)
        axes, variance = np.eye(plan.dimensions)[order], spread.variance[order]
        return _grid(plan, spread, axes, variance, deviation).write()
    if step == "seg-covariance":
        spread = Spread.read(earlier["seg-moments"]["state"], plan.dimensions)
        return _grid(plan, spread, *_axes(plan, spread, noised, noise), deviation).write()
    if step == "seg-coarse":
        return _fine_grid(plan, grid_of(plan, earlier), noised, noise, deviation).write()
    if step == "seg-fine":
        return _over_clusters(plan, fine_grid_of(plan, earlier), noised, noise, deviation).write()
    if step == "seg-over":
        before = Clusters.read(earlier["seg-fine"]["state"], plan.over_clusters, plan.dimensions)
        fine = fine_grid_of(plan, earlier)
        synopsis = _synopsis(fine, np.asarray(earlier["seg-fine"]["noised"]), deviation)
        return _merged(plan, before, noised, noise, fine.grid, synopsis).write()
    names = plan.lloyd_names()
    if step in names:
        at = names.index(step)
        before = Clusters.read(earlier[names[at - 1] if at else "seg-over"]["state"], plan.clusters, plan.dimensions)
        return _moved(plan, before, noised, noise, last=at + 1 == len(names)).write()
    return None


# -- where people are --------------------------------------------------------------------------------------------------


def _spread(plan: Plan, noised: Integers) -> Spread:
    d = plan.dimensions
    sums = noised[: 2 * d + 1].astype(np.float64) / SCALE
    people = max(sums[0] / math.sqrt(d), 10.0)
    mean = np.clip(sums[1 : d + 1] / people, -1, 1)
    variance = np.clip(sums[d + 1 :] / people - mean**2, 1e-4, 1)
    radius = min(REACH * math.sqrt(float(variance.sum())), 2 * math.sqrt(d))
    return Spread(mean, radius, round(people), variance)


def _axes(plan: Plan, spread: Spread, noised: Integers, noise: Noise) -> tuple[Reals, Reals]:
    """Principal axes (d, d), and the variance along each; directions lost in the noise count for little."""
    d, unit = plan.dimensions, spread.radius**2 / SCALE / spread.people
    matrix = np.zeros((d, d))
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    for (i, j), value in zip(pairs, noised, strict=False):
        matrix[i, j] = matrix[j, i] = float(value) * unit / (1.0 if i == j else math.sqrt(2))
    values, vectors = np.linalg.eigh(matrix)
    values, axes = np.minimum(values[::-1], float(d)), vectors.T[::-1]  # no variance in the box is larger
    lost = 1.5 * math.sqrt(noise.variance) * unit * math.sqrt(2 * d)
    good = values > max(lost, 0.0)
    if not good.any():
        order = np.argsort(-spread.variance)
        return np.eye(d)[order], spread.variance[order]
    return axes, np.where(good, np.maximum(values, 1e-6), np.maximum(values, 1e-6) * 0.25)


def _grid(plan: Plan, spread: Spread, axes: Reals, variance: Reals, deviation: Deviation) -> Grid:
    """As many cells as leave `PER_CELL` deviations of people in each, along the axes worth more than one."""
    k, d, people = plan.clusters, plan.dimensions, spread.people
    width = np.sqrt(variance)
    leaves = int(np.clip(people / (PER_CELL * deviation("seg-fine")), 4 * k, plan.fine_cells))
    use = np.flatnonzero(_bins(width, 2 * leaves) > 1)
    use = use if len(use) else np.array([0])
    axes, width = axes[use], width[use]
    support, centre = np.abs(axes).sum(axis=1), axes @ spread.mean
    reach = (6.0 if d <= 3 else 3.0) * width
    low, high = np.maximum(-support - centre, -reach), np.minimum(support - centre, reach)
    boxes = int(np.clip(people / (PER_CELL * deviation("seg-coarse")), 4 * k, plan.coarse_cells))
    cells = _bins(np.minimum(high - low, 6 * width), boxes)
    residual = max(0.0, float(spread.variance.sum() - (width**2).sum()))
    return Grid(spread.mean, axes, low, (high - low) / cells, cells, width, min(residual, float(d)), people)


def _bins(extent: Reals, most: int) -> Integers:
    """How many cells along each axis, at most `most` in all: the widest cell is cut first."""
    cells = np.ones(len(extent), dtype=np.int64)
    while True:
        j = int(np.argmax(extent / cells))
        if int(np.prod(cells)) // cells[j] * (cells[j] + 1) > most:
            return cells
        cells[j] += 1


# -- the synopsis ------------------------------------------------------------------------------------------------------


def _fine_grid(plan: Plan, grid: Grid, noised: Integers, noise: Noise, deviation: Deviation) -> FineGrid:
    coarse, fine = math.sqrt(noise.variance), deviation("seg-fine")
    count = noised[: grid.size].astype(np.float64)
    full = np.flatnonzero(count > FULL * coarse)
    if len(full) < plan.clusters:
        full = np.sort(np.argsort(-count)[: max(2 * plan.clusters, 2)])
    left = plan.fine_cells - len(full)
    parts = np.ones((len(full), len(grid.cells)), dtype=np.int64)
    for at in np.argsort(-count[full]):
        wanted = count[full[at]] / (PER_CELL * fine)
        if count[full[at]] > max(SPLIT * fine, FULL * coarse) and wanted >= 2 and left > 0:
            parts[at] = _bins(np.minimum(grid.width, 6 * grid.deviation), min(int(wanted), left + 1))
            left -= int(np.prod(parts[at])) - 1
    return FineGrid(grid, full.astype(np.int64), parts, np.rint(count[full]).astype(np.int64))


def _over_clusters(plan: Plan, fine: FineGrid, noised: Integers, noise: Noise, deviation: Deviation) -> Clusters:
    """Weighted k-means on the parts' middles, in the axes' space; each cluster with its count and how sure that is."""
    points, width, weight, variance = _synopsis(fine, noised, deviation)
    keep = np.flatnonzero(weight > 0)
    if len(keep) < plan.clusters:
        keep, weight = np.arange(len(weight)), np.maximum(weight, 1e-3)
    points, weight, variance = points[keep], weight[keep], variance[keep]
    fit = _kmeans(points, weight, min(plan.over_clusters, len(keep)), starts=4)
    clusters, labels = fit.cluster_centers_, fit.labels_
    inside = np.minimum(width[keep] ** 2 / 12, fine.grid.deviation**2).sum(axis=1)
    squared = ((points - clusters[labels]) ** 2).sum(axis=1) + inside
    mean_square = float((weight * squared).sum() / weight.sum()) + RESIDUAL * fine.grid.residual
    c = len(clusters)
    return Clusters(
        np.clip(fine.grid.mean + clusters @ fine.grid.axes, -1, 1),
        _radius(plan, mean_square),
        np.asarray(np.bincount(labels, weights=weight, minlength=c), dtype=np.float64),
        np.sqrt(np.bincount(labels, weights=variance, minlength=c)),
    )


def _synopsis(fine: FineGrid, noised: Integers, deviation: Deviation) -> tuple[Reals, Reals, Reals, Reals]:
    """The middles (m, p) of all parts along the axes, their widths (m, p), weights (m,), and the weights' variances."""
    low, width = fine.corners()
    counts = noised[: len(low)].astype(np.float64)
    weight, variance = _consistent(fine, counts, deviation("seg-fine") ** 2, deviation("seg-coarse"))
    return low + width / 2, width, weight, variance


def _consistent(fine: FineGrid, parts: Reals, variance: float, coarse: float) -> tuple[Reals, Reals]:
    """Non-negative counts of parts that add up to their box's, both counts of which are combined; and variances."""
    weight, spread = np.zeros(len(parts)), np.full(len(parts), variance)
    for at, (start, size) in enumerate(zip(fine.starts, fine.sizes, strict=True)):
        own = parts[start : start + size]
        below = size * variance
        box = (own.sum() / below + fine.count[at] / coarse**2) / (1 / below + 1 / coarse**2)
        sure = math.sqrt(1 / (1 / below + 1 / coarse**2))
        if box > FULL * sure:
            weight[start : start + size] = _project(own + (box - own.sum()) / size, box)
        spread[start : start + size] = variance * (1 - 1 / size) + sure**2 / size**2
    return weight, spread


def _project(values: Reals, total: float) -> Reals:
    """The nearest point with no negative entry and this sum (Duchi et al. 2008, ICML)."""
    ordered = np.sort(values)[::-1]
    shift = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(ordered > shift)[-1])
    projected: Reals = np.maximum(values - shift[last], 0.0)
    return projected


# -- centres -----------------------------------------------------------------------------------------------------------


def _merged(
    plan: Plan, before: Clusters, noised: Integers, noise: Noise, grid: Grid, synopsis: tuple[Reals, ...]
) -> Clusters:
    """Over-clusters, moved by what the step found, then merged to k by weighted k-means.

    Of many starts the one is taken whose centres fit the synopsis best: over-clusters are too few to tell two good
    solutions apart, and the synopsis was noised on its own.
    """
    moved, count, sure, shaken = _moves(plan, before, noised, noise, OVER_MOVE, OVER_COUNT, combine=True)
    good = count > 2 * sure
    weight = np.where(good, count, np.maximum(count, 0) * 0.2 + 1e-3)
    choice = None
    if plan.range is not None:
        surely = choosing.Coreset(moved[good], count[good], sure[good], np.sqrt(shaken[good]))
        choice = choosing.choose(plan.range, surely, grid, len(moved))
    k = min(plan.clusters if choice is None else choice.chosen, len(moved))
    points, _, people, _ = synopsis
    found = [_kmeans(moved, weight, k, starts=1, seed=seed).cluster_centers_ for seed in range(STARTS)]
    found += _by_synopsis(grid, points, people, moved, weight, k)
    centres = min(found, key=lambda centres: _cost(grid, centres, points, people))
    labels = np.argmin(((moved[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2), axis=1)
    squared = ((moved - centres[labels]) ** 2).sum(axis=1) + 0.8 * (before.radius / RADIUS) ** 2
    mean_square = float((weight * squared).sum() / weight.sum())
    sizes = np.asarray(np.bincount(labels, weights=weight, minlength=k), dtype=np.float64)
    return Clusters(np.clip(centres, -1, 1), _radius(plan, mean_square), sizes, np.zeros(k), choice)


def _moved(plan: Plan, before: Clusters, noised: Integers, noise: Noise, *, last: bool) -> Clusters:
    """One of Lloyd's steps; after the last, the largest segment comes first."""
    moved, count, _, shaken = _moves(plan, before, noised, noise, MOVE, COUNT, combine=False)
    c, d = before.centres.shape
    squares = float(noised[plan.clusters * (d + 1)]) / SCALE / SPREAD * before.radius**2
    people = max(float(count.sum()), 1.0)
    radius = _radius(plan, squares / people) if squares > 0 else before.radius
    count = np.maximum(count, 0.0)
    if not last:
        return Clusters(moved, radius, count, np.zeros(c))
    sampled = (radius / RADIUS) ** 2 / d / np.maximum(count, 1.0)  # of a mean of so many people, in one coordinate
    order = np.argsort(-count)
    return Clusters(moved[order], radius, count[order], np.sqrt(shaken + sampled)[order])


def _moves(
    plan: Plan, before: Clusters, noised: Integers, noise: Noise, move: float, share: float, *, combine: bool
) -> tuple[Reals, Reals, Reals, Reals]:
    """(centres after their moves, counts, their deviations, noise variance of each move's coordinate)."""
    c, d = before.centres.shape
    blocks = noised[: c * (d + 1)].astype(np.float64).reshape(c, d + 1) / SCALE
    sigma = math.sqrt(noise.variance) / SCALE
    sums, count, sure = blocks[:, :d] / move * before.radius, blocks[:, d] / share, np.full(c, sigma / share)
    if combine:
        other = before.deviation**2 + (TRUST * before.count) ** 2 + 1e-12
        precision = 1 / sure**2 + 1 / other
        count, sure = (count / sure**2 + before.count / other) / precision, 1 / np.sqrt(precision)
    steady = np.maximum(count, 2 * sure + 1)
    moves = sums / steady[:, None]
    length = np.sqrt((moves**2).sum(axis=1))
    moves = moves * np.minimum(1, before.radius / np.maximum(length, 1e-12))[:, None]
    noise_variance = (sigma * before.radius / move / steady) ** 2
    if d >= 3:
        squared = np.maximum((moves**2).sum(axis=1), 1e-12)
        moves = moves * np.maximum(0, 1 - (d - 2) * noise_variance / squared)[:, None]
    moves[count <= 2 * sure] = 0
    return np.clip(before.centres + moves, -1, 1), count, sure, noise_variance


def _radius(plan: Plan, mean_square: float) -> float:
    return float(np.clip(RADIUS * math.sqrt(max(mean_square, 1e-5)), 0.01, 2 * math.sqrt(plan.dimensions)))


def _by_synopsis(grid: Grid, points: Reals, people: Reals, moved: Reals, weight: Reals, k: int) -> list[Reals]:
    """Centres (k, d) of over-clusters grouped as k-means groups the synopsis, one for each of some starts."""
    full = people > 0
    if np.count_nonzero(full) < k:
        return []
    along, found = grid.project(moved), []
    for seed in range(STARTS):
        centres = _kmeans(points[full], people[full], k, starts=1, seed=seed).cluster_centers_
        label = np.argmin(((along[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2), axis=1)
        held = np.bincount(label, weights=weight, minlength=k)
        if np.all(held > 0):
            sums = np.stack([np.bincount(label, weights=weight * column, minlength=k) for column in moved.T], axis=1)
            found.append(sums / held[:, None])
    return found


def _cost(grid: Grid, centres: Reals, points: Reals, weight: Reals) -> float:
    """Inertia of the synopsis around centres (c, d), seen along the grid's axes."""
    along = grid.project(centres)
    squared = ((points[:, None, :] - along[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    return float((weight * squared).sum())


def _kmeans(points: Reals, weight: Reals, k: int, starts: int, seed: int = 0) -> Any:
    return KMeans(k, n_init=starts, max_iter=60, random_state=seed).fit(points, sample_weight=weight)
