"""The fits between the steps of the segments question: a noised sum in, the next step's start out.

Nothing here sees a row. K-means runs on weighted points of the public synopsis (`kmeans.py`, `synopsis.py`). Moves of
over-clusters are shrunk toward zero by what their noise alone would move them (James & Stein 1961); counts of two
steps are combined by their variances. Each of Lloyd's rounds says how far the synopsis's means are off; that is
averaged over all rounds so far, shrunk by as much as noise explains (Efron & Morris 1973), and the synopsis so
corrected says where the steps would lead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.questions.segments import COUNT, MOVE, OVER_COUNT, OVER_MOVE, SPREAD, fine_grid_of, grid_of
from protocols.questions.segments.plan import SCALE, Plan
from protocols.questions.segments.states import Clusters, FineGrid, Grid, Reals, Spread
from protocols.statistic import Integers, Noise

from . import choosing
from .kmeans import kmeans, squares
from .synopsis import Counted, Deviation, Synopsis, counted, fine_grid, grid_along, lifted

REACH = 1.5  # covariance radius, in root total variances
RADIUS = 1.8  # radius of a move, in root mean square distances
TRUST = 0.3  # how far the synopsis's count of a cluster is trusted: its relative error beyond noise
LIFTED_TRUST = 0.2  # the same once over-clusters have corrected it
PRIOR = 3.0  # least variance of what a synopsis's mean is off, in noise variances of its estimate
RESIDUAL = 0.7
STARTS = 20


def next_state(
    plan: Plan, step: str, noised: Integers, noise: Noise, earlier: Mapping[str, Any], deviation: Deviation
) -> dict[str, Any] | None:
    """The state that the step after `step` starts from; None after the last.

    noised   (slots,) the released sum; earlier: what earlier steps released; deviation: a later step's noise
    """
    if step == "seg-moments":
        spread = _spread(plan, noised, noise)
        if plan.rho.covariance is not None:
            return spread.write()
        order = np.argsort(-spread.variance)
        axes, variance = np.eye(plan.dimensions)[order], spread.variance[order]
        return grid_along(plan, spread, axes, variance, deviation).write()
    if step == "seg-covariance":
        spread = Spread.read(earlier["seg-moments"]["state"], plan.dimensions)
        return grid_along(plan, spread, *_axes(plan, spread, noised, noise), deviation).write()
    if step == "seg-coarse":
        return fine_grid(plan, grid_of(plan, earlier), noised, deviation).write()
    if step == "seg-fine":
        fine = fine_grid_of(plan, earlier)
        found = counted(fine, np.asarray(earlier["seg-coarse"]["noised"]), noised, deviation)
        return _over_clusters(plan, fine, found).write()
    if step == "seg-over":
        before, fine, found = _asked_over(plan, earlier, deviation)
        return _merged(plan, before, noised, noise, fine.grid, found).write()
    names = plan.lloyd_names()
    if step in names:
        at = names.index(step)
        states = [earlier[name]["state"] for name in ("seg-over", *names[:at])]
        sums = [*(np.asarray(earlier[name]["noised"]) for name in names[:at]), noised]
        rounds = [
            _Round(Clusters.read(state, plan.clusters, plan.dimensions), found)
            for state, found in zip(states, sums, strict=True)
        ]
        return _moved(plan, rounds, noise, _synopsis_of(plan, earlier, deviation), last=at + 1 == len(names)).write()
    return None


# -- where people are --------------------------------------------------------------------------------------------------


def _spread(plan: Plan, noised: Integers, noise: Noise) -> Spread:
    """Mean, and variances that are at least as large as their own noise: a grid too narrow would hide clusters."""
    d = plan.dimensions
    sums = noised[: 2 * d + 1].astype(np.float64) / SCALE
    people = max(sums[0] / math.sqrt(d), 10.0)
    mean = np.clip(sums[1 : d + 1] / people, -1, 1)
    unsure = math.sqrt(noise.variance) / SCALE / people * np.sqrt(1 + 4 * mean**2)
    variance = np.clip(sums[d + 1 :] / people - mean**2, np.minimum(1e-4 + unsure, 1 / 3), 1)
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


# -- over-clusters -----------------------------------------------------------------------------------------------------


def _over_clusters(plan: Plan, fine: FineGrid, synopsis: Counted) -> Clusters:
    """Weighted k-means on the parts' places, in the axes' space; each cluster with its count and how sure that is."""
    points, width, weight, variance = synopsis
    keep = np.flatnonzero(weight > 0)
    if len(keep) < plan.clusters:
        keep, weight = np.arange(len(weight)), np.maximum(weight, 1e-3)
    points, weight, variance = points[keep], weight[keep], variance[keep]
    clusters, labels = kmeans(points, weight, min(plan.over_clusters, len(keep)), starts=4)
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


def _merged(plan: Plan, before: Clusters, noised: Integers, noise: Noise, grid: Grid, synopsis: Counted) -> Clusters:
    """Over-clusters, moved by what the step found; then k-means on the synopsis that has their means and counts."""
    moved, count, sure, shaken = _moves(before, noised, noise)
    weight, choice = _weight(count, sure), None
    if plan.range is not None:
        good = count > 2 * sure
        surely = choosing.Coreset(moved[good], count[good], sure[good], np.sqrt(shaken[good]))
        choice = choosing.choose(plan.range, surely, grid, len(moved))
    k = min(plan.clusters if choice is None else choice.chosen, len(moved))
    points = lifted(before, moved, weight, sure, grid, synopsis)
    centres, _ = kmeans(points.points, points.weight, k, starts=STARTS, variance=points.variance)
    labels = np.argmin(squares(moved, centres), axis=1)
    squared = ((moved - centres[labels]) ** 2).sum(axis=1) + 0.8 * (before.radius / RADIUS) ** 2
    mean_square = float((weight * squared).sum() / weight.sum())
    sizes = np.asarray(np.bincount(labels, weights=weight, minlength=k), dtype=np.float64)
    return Clusters(np.clip(centres, -1, 1), _radius(plan, mean_square), sizes, np.zeros(k), choice)


def _asked_over(plan: Plan, earlier: Mapping[str, Any], deviation: Deviation) -> tuple[Clusters, FineGrid, Counted]:
    """Over-clusters as people were asked about them, the grid that they were found on, and its counts."""
    before = Clusters.read(earlier["seg-fine"]["state"], plan.over_clusters, plan.dimensions)
    fine = fine_grid_of(plan, earlier)
    coarse, parts = (np.asarray(earlier[step]["noised"]) for step in ("seg-coarse", "seg-fine"))
    return before, fine, counted(fine, coarse, parts, deviation)


def _synopsis_of(plan: Plan, earlier: Mapping[str, Any], deviation: Deviation) -> Synopsis:
    """The points that `_merged` found its centres on, made anew from what was released."""
    before, fine, found = _asked_over(plan, earlier, deviation)
    over = Noise(1, round(deviation("seg-over") ** 2 * 1e6))
    moved, count, sure, _ = _moves(before, np.asarray(earlier["seg-over"]["noised"]), over)
    return lifted(before, moved, _weight(count, sure), sure, fine.grid, found)


def _weight(count: Reals, sure: Reals) -> Reals:
    return np.where(count > 2 * sure, count, np.maximum(count, 0) * 0.2 + 1e-3)


def _moves(before: Clusters, noised: Integers, noise: Noise) -> tuple[Reals, Reals, Reals, Reals]:
    """(over-clusters after their moves, counts, their deviations, noise variance of each move's coordinate)."""
    d = before.centres.shape[1]
    other = before.deviation**2 + (TRUST * before.count) ** 2
    moves, count, sure, noise_variance = _means(before, noised, noise, OVER_MOVE, OVER_COUNT, before.count, other)
    if d >= 3:
        squared = np.maximum((moves**2).sum(axis=1), 1e-12)
        moves = moves * np.maximum(0, 1 - (d - 2) * noise_variance / squared)[:, None]
    moves[count <= 2 * sure] = 0
    return np.clip(before.centres + moves, -1, 1), count, sure, noise_variance


def _means(
    before: Clusters, noised: Integers, noise: Noise, move: float, share: float, people: Reals, variance: Reals
) -> tuple[Reals, Reals, Reals, Reals]:
    """(moves no longer than the radius, counts, their deviations, noise variance of each move's coordinate).

    people, variance (c,): what is known of the counts beside the step's own
    """
    c, d = before.centres.shape
    blocks = noised[: c * (d + 1)].astype(np.float64).reshape(c, d + 1) / SCALE
    sigma = math.sqrt(noise.variance) / SCALE
    sums, count, own = blocks[:, :d] / move * before.radius, blocks[:, d] / share, (sigma / share) ** 2
    precision = 1 / own + 1 / (variance + 1e-12)
    count, sure = (count / own + people / (variance + 1e-12)) / precision, 1 / np.sqrt(precision)
    steady = np.maximum(count, 2 * sure + 1)
    moves = _within(sums / steady[:, None], before.radius)
    return moves, count, sure, (sigma * before.radius / move / steady) ** 2


def _within(moves: Reals, radius: float) -> Reals:
    length = np.sqrt((moves**2).sum(axis=1))
    held: Reals = moves * np.minimum(1, radius / np.maximum(length, 1e-12))[:, None]
    return held


# -- Lloyd's rounds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Round:
    """One of Lloyd's rounds: what people were asked about, and the noised sum of their answers."""

    before: Clusters
    noised: Integers


def _moved(plan: Plan, rounds: Sequence[_Round], noise: Noise, synopsis: Synopsis, *, last: bool) -> Clusters:
    """Centres after the latest of some rounds; after the last, the largest segment comes first."""
    latest, d = rounds[-1].before, plan.dimensions
    summed, precision = np.zeros(latest.centres.shape), np.zeros(len(latest.centres))
    for done in rounds:
        means, people, variance = synopsis.means(done.before.centres)
        variance = variance + (LIFTED_TRUST * people) ** 2
        moves, count, _, shaken = _means(done.before, done.noised, noise, MOVE, COUNT, people, variance)
        summed += (done.before.centres + moves - means) / shaken[:, None]
        precision += 1 / shaken
    bias = _shrunk(summed / precision[:, None], 1 / precision)
    step = _within(synopsis.settled(latest.centres, bias) - latest.centres, latest.radius)
    centres, count = np.clip(latest.centres + step, -1, 1), np.maximum(count, 0.0)
    squared = float(rounds[-1].noised[plan.clusters * (d + 1)]) / SCALE / SPREAD * latest.radius**2
    radius = _radius(plan, squared / max(float(count.sum()), 1.0)) if squared > 0 else latest.radius
    if not last:
        return Clusters(centres, radius, count, np.zeros(len(centres)))
    sampled = (radius / RADIUS) ** 2 / d / np.maximum(count, 1.0)  # of a mean of so many people, in one coordinate
    order = np.argsort(-count)
    return Clusters(centres[order], radius, count[order], np.sqrt(1 / precision + sampled)[order])


def _shrunk(bias: Reals, variance: Reals) -> Reals:
    """(c, d) estimates, each pulled toward zero by its noise (c,) against what all of them show beyond noise.

    One that shows far more by itself than noise can is pulled by that; none by more than 1 / (1 + `PRIOR`).
    """
    d, square = bias.shape[1], (bias**2).mean(axis=1)
    true = 0.0
    for _ in range(6):
        weight = 1 / (variance + true) ** 2
        true = max(float((weight * (square - variance)).sum() / weight.sum()), 0.0)
    own = square - (1 + math.sqrt(8 / d)) * variance
    prior = np.maximum(np.maximum(true, PRIOR * variance), own)
    shrunk: Reals = bias * (prior / (prior + variance))[:, None]
    return shrunk


def _radius(plan: Plan, mean_square: float) -> float:
    return float(np.clip(RADIUS * math.sqrt(max(mean_square, 1e-5)), 0.01, 2 * math.sqrt(plan.dimensions)))
