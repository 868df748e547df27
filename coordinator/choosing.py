"""How many segments there are, by noised over-clusters and the released grid: no row is seen, and it costs nothing.

Each number of the plan's range is weighed by (1) the gap: how many fewer people lie midway between two segments than
at the lower of their peaks, for the pair with the least; (2) the simplified silhouette of the over-clusters, with a
band over draws of their noise; (3) how like one another the solutions of such draws are; (4) the smallest segment. A
number stands whose segments all have gaps between them, stay what they are under the noise, and hold enough people. Of
those that stand, the best silhouette is taken, or a finer number that wide gaps divide into segments of some size with
one nearly as good. If none stands, the number is not told, and the usual one is used.

Why gaps: where k-means cuts one group in two, people are densest at the cut, however good the silhouette. Why the
silhouette too, and a least size: an over-cluster across two groups looks like a small one with gaps on both sides. Why
finer: of two groups beside each other and a third far off, two segments have the better silhouette.

Source: Rousseeuw 1987 (silhouette), simplified as in Hruschka, de Castro & Campello 2004; Ward 1963; Hubert & Arabie
1985 (adjusted Rand index); stability after Lange, Roth, Braun & Buhmann 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from protocols.questions.segments.choice import USUAL, Choice, Score
from protocols.questions.segments.states import Grid, Reals
from protocols.schema import Range
from protocols.statistic import Integers

DRAWS = 5  # in powers of two
STRUCTURE = 0.6  # the silhouette of over-clusters from which on there are groups
GAP = 0.1
STABLE = 0.8
SURE = 5.0  # standard deviations of noise that the smallest segment holds
SMALLEST = 0.1  # of the average segment: fewer people are the margin of two others
# From where on a finer number is taken: its gap, its smallest segment as a part of the average, its silhouette's lack.
WIDE, SIZED, NEARLY = 0.5, 0.15, 0.15
KERNEL = 0.05  # of all variance along an axis, at least, is within an over-cluster
PLACES = 25  # along the line between two centres
ENDS = 3  # of them, on either side, are not midway


@dataclass(frozen=True)
class Coreset:
    """Over-clusters that surely hold people.

    centres (c, d); people (c,) in each; sure, shaken (c,): the noise's standard deviation in people, and in each
    coordinate of the centre
    """

    centres: Reals
    people: Reals
    sure: Reals
    shaken: Reals


def choose(wanted: Range, coreset: Coreset, grid: Grid, most: int) -> Choice:
    """One number of those wanted, with the score of each that is below the number of over-clusters.

    most: as many as there are centres to be had, if that is fewer
    """
    weighed = [k for k in range(wanted.least, wanted.most + 1) if k < len(coreset.people)]
    if not weighed:
        return _chosen(wanted, [], [], most)
    kernel, found, scores = _kernel(coreset, grid), _solutions(coreset, weighed), []
    draws = [(draw, _solutions(draw, weighed)) for draw in _draws(coreset)]
    for k in weighed:
        labels = [each[k].labels for _, each in draws]
        silhouettes = sorted(each[k].silhouette(draw) for draw, each in draws)
        scores.append(
            Score(
                clusters=k,
                silhouette=found[k].silhouette(coreset),
                low=silhouettes[0],
                high=silhouettes[-1],
                gap=found[k].gap(coreset, kernel),
                within=found[k].cost(coreset) / max(_cost_of_one(coreset), 1e-12),
                stability=float(np.mean([_rand(found[k].labels, other, coreset.people) for other in labels])),
                smallest=found[k].smallest(coreset),
            )
        )
    return _chosen(wanted, scores, [found[k] for k in weighed], most)


def _chosen(wanted: Range, scores: list[Score], found: list[_Solution], most: int) -> Choice:
    even = {score.clusters: solution.evenness for score, solution in zip(scores, found, strict=True)}
    stand = [score for score in scores if stands(score) and even[score.clusters] >= SMALLEST]
    if stand:
        best = max(stand, key=lambda score: score.silhouette)
        wide = [s for s in stand if s.gap >= WIDE and even[s.clusters] >= SIZED]
        finer = [s.clusters for s in wide if s.silhouette >= best.silhouette - NEARLY]
        return Choice(max([best.clusters, *finer]), True, tuple(scores))
    usual = min(max(USUAL, wanted.least), wanted.most)
    large = [score.clusters for score in scores if score.clusters <= usual and score.smallest >= SURE]
    return Choice(min(max(large, default=wanted.least), most), False, tuple(scores))


def stands(score: Score) -> bool:
    shown = score.silhouette >= STRUCTURE and score.gap >= GAP
    return shown and score.stability >= STABLE and score.smallest >= SURE


# -- one number of segments --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Solution:
    """labels (c,) which segment each over-cluster is in; centres (k, d); people (k,); squared distances (c, k)."""

    labels: Integers
    centres: Reals
    people: Reals
    squared: Reals

    @property
    def evenness(self) -> float:
        """The smallest segment as a part of the average one."""
        return float(self.people.min() / self.people.mean())

    def cost(self, coreset: Coreset) -> float:
        return float((coreset.people * np.take_along_axis(self.squared, self.labels[:, None], 1)[:, 0]).sum())

    def silhouette(self, coreset: Coreset) -> float:
        """1 − own distance over that to the next centre, on average over people."""
        next_ = self.squared.copy()
        np.put_along_axis(next_, self.labels[:, None], np.inf, 1)
        own = np.take_along_axis(self.squared, self.labels[:, None], 1)[:, 0]
        ratio = np.sqrt(own / np.maximum(next_.min(axis=1), 1e-12))
        return float((coreset.people * np.clip(1 - ratio, -1, 1)).sum() / coreset.people.sum())

    def smallest(self, coreset: Coreset) -> float:
        """In standard deviations of its noise."""
        spread = np.sqrt(np.bincount(self.labels, weights=coreset.sure**2, minlength=len(self.people)))
        return float((self.people / np.maximum(spread, 1e-9)).min())

    def gap(self, coreset: Coreset, kernel: _Kernel) -> float:
        """1 − people midway over people at the lower of two peaks, the least of all pairs; 0: none are divided.

        Seen on the line between both centres, each over-cluster spread as far as people lie around it.
        """
        least, places = 1.0, np.linspace(0.0, 1.0, PLACES)
        for i in range(len(self.centres)):
            for j in range(i + 1, len(self.centres)):
                line = self.centres[j] - self.centres[i]
                length = math.sqrt(float((line**2).sum()))
                if length == 0:
                    return 0.0
                mine = (self.labels == i) | (self.labels == j)
                at = (coreset.centres[mine] - self.centres[i]) @ line / length
                away = (places[:, None] * length - at) ** 2 / (2 * kernel.variance(line / length))
                people = np.exp(-away) @ coreset.people[mine]
                lowest = ENDS + int(np.argmin(people[ENDS:-ENDS]))
                peak = min(people[: lowest + 1].max(), people[lowest:].max())
                least = min(least, 1 - people[lowest] / max(peak, 1e-12))
        return float(least)


def _solutions(coreset: Coreset, weighed: list[int]) -> dict[int, _Solution]:
    """For each number: over-clusters joined as Ward joins them, then Lloyd's steps on them."""
    labels, centres, people = np.arange(len(coreset.people)), coreset.centres.copy(), coreset.people.copy()
    cost = _squared(centres, centres) * _harmonic(people, people)
    np.fill_diagonal(cost, np.inf)
    found = {}
    for k in range(len(people) - 1, min(weighed) - 1, -1):
        i, j = sorted(divmod(int(np.argmin(cost)), len(people)))
        centres[i] = (people[i] * centres[i] + people[j] * centres[j]) / (people[i] + people[j])
        people[i] += people[j]
        labels[labels == j] = i
        cost[j, :] = cost[:, j] = np.inf
        row = np.where(np.isfinite(cost[i]), _squared(centres[i : i + 1], centres)[0], np.inf)
        cost[i, :] = cost[:, i] = row * _harmonic(people[i : i + 1], people)[0]
        if k in weighed:
            found[k] = _lloyd(coreset, np.unique(labels, return_inverse=True)[1])
    return found


def _lloyd(coreset: Coreset, labels: Integers) -> _Solution:
    """Until no over-cluster is nearer to another segment, or one would hold none."""
    k, x, w = int(labels.max()) + 1, coreset.centres, coreset.people
    while True:
        people = np.bincount(labels, weights=w, minlength=k).astype(np.float64)
        sums = np.stack([np.bincount(labels, weights=w * column, minlength=k) for column in x.T], axis=1)
        solution = _Solution(labels, sums / people[:, None], people, _squared(x, sums / people[:, None]))
        better = replace(solution, labels=np.argmin(solution.squared, axis=1))
        if len(np.unique(better.labels)) < k or better.cost(coreset) >= solution.cost(coreset) * (1 - 1e-9):
            return solution
        labels = better.labels


def _cost_of_one(coreset: Coreset) -> float:
    return _lloyd(coreset, np.zeros(len(coreset.people), dtype=np.int64)).cost(coreset)


# -- how far people lie around an over-cluster -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kernel:
    """axes (p, d) of the grid; along (p,): variance within over-clusters along each; off: along any other direction."""

    axes: Reals
    along: Reals
    off: float

    def variance(self, direction: Reals) -> float:
        parts = (self.axes @ direction) ** 2
        return float(max((parts * self.along).sum() + max(1 - parts.sum(), 0.0) * self.off, 1e-9))


def _kernel(coreset: Coreset, grid: Grid) -> _Kernel:
    """What is left of the released variances when those between the over-clusters are taken off."""
    share = coreset.people / coreset.people.sum()
    moved = coreset.centres - share @ coreset.centres
    between = (share[:, None] * (moved @ grid.axes.T) ** 2).sum(axis=0)
    all_between = float((share[:, None] * moved**2).sum())
    whole, left = grid.deviation**2, moved.shape[1] - len(grid.axes)
    rest = max(grid.residual - (all_between - float(between.sum())), KERNEL * grid.residual)
    return _Kernel(grid.axes, np.maximum(whole - between, KERNEL * whole), rest / max(left, 1))


# -- draws of the noise ------------------------------------------------------------------------------------------------


def _draws(coreset: Coreset) -> list[Coreset]:
    """The over-clusters with their noise once more, at the points of a sequence that fills space evenly (Sobol 1967).

    Why not at random: a round that is asked again must choose the same.
    """
    from scipy.special import ndtri
    from scipy.stats.qmc import Sobol

    c, d = coreset.centres.shape
    points = ndtri(Sobol(c * (d + 1), scramble=False).random_base2(DRAWS) + 0.5 / 2**DRAWS)
    made = []
    for point in points:
        people = np.maximum(coreset.people + point[:c] * coreset.sure, 1e-3)
        moves = point[c:].reshape(c, d) * coreset.shaken[:, None]
        made.append(replace(coreset, centres=coreset.centres + moves, people=people))
    return made


def _rand(one: Integers, other: Integers, weight: Reals) -> float:
    """The adjusted Rand index of two labellings of over-clusters, for the people in them."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), weight)
    both, a, b, whole = (
        float((part**2).sum()) for part in (table, table.sum(axis=1), table.sum(axis=0), np.asarray(table.sum()))
    )
    chance = a * b / whole
    return 1.0 if (a + b) / 2 - chance < 1e-9 * whole else (both - chance) / ((a + b) / 2 - chance)


def _squared(x: Reals, y: Reals) -> Reals:
    squared: Reals = ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)
    return squared


def _harmonic(a: Reals, b: Reals) -> Reals:
    weight: Reals = a[:, None] * b[None, :] / (a[:, None] + b[None, :])
    return weight
