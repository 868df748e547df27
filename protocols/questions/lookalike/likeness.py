"""What tells a seed from everybody: weights of φ, given how much of the difference is noise.

Where the log density ratio of seed and everybody is w · φ and not large, the seed's mean lies Σ w from everybody's, Σ
everybody's covariance. So

    δ = Σ w + error,    w ~ N(0, Σ τᵢ Kᵢ),    error ~ N(0, Σ/n + σ²/n² + that of everybody's mean + κ² μ μᵀ)

with prior covariances K: trends, curvature, effects of bins smooth along the scores, and interactions, which are waves
of three widths. Their sizes τ have the greatest likelihood given the δ that was released (empirical Bayes: Efron &
Morris 1973): where there is little to see but noise they are small, and so are the weights. The last term says that
both people counts are noised: a mean over another count lies in the direction of μ.

Σ is itself estimated. Weights are found with it and with a rounder one, Σ + tr Σ / length · 1, brought to one scale and
averaged. Where the noise is large for so many seeds, the plain difference of moments is added to them: there it finds
features that go together better than either does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.feature import Reals

from .space import BINNED, CONSTANT, FREQUENCIES, MOMENTS, ONE, REACH, WAVES, WIDTHS, Space

LEAST_PEOPLE = 50.0
PLAIN = 70.0  # seeds over the noise's deviation, up to which the plain difference counts as much as the fit
SMOOTH = 0.7  # how far apart bins are still alike, in normal scores
UNSURE = 0.3  # κ
START = 0.05
STEPS = (8.0, 8.0, 3.0, 3.0, 1.7)
SMALLEST, LARGEST = 1e-7, 30.0


@dataclass(frozen=True, eq=False)
class Everybody:
    """mean, covariance of φ; error: (length,) variance of each coordinate of the mean, from noise."""

    mean: Reals
    covariance: Reals
    error: Reals


@dataclass(frozen=True, eq=False)
class Seed:
    """total: the noised Σ φ; sigma: the deviation of its noise; both in units of φ."""

    space: Space
    total: Reals
    sigma: float

    @property
    def people(self) -> float:
        """Their number: the unbiased estimate of least variance from the constant and all bins."""
        places, d = self.space.places, self.space.d
        bins, many = places.bins, places.cosines - places.bins.start
        weights = np.zeros(places.length)
        weights[-1], weights[bins] = math.sqrt(CONSTANT), math.sqrt(BINNED * d) / many
        return float(weights @ self.total) / float(CONSTANT + BINNED * d / many)


@dataclass(frozen=True, eq=False)
class Fit:
    """weights: (length,), of a score whose deviation among everybody is 1; evidence: twice the gain of log likelihood.

    ratio: (length,) weights of the density ratio less 1, as the model has it
    """

    weights: Reals
    ratio: Reals
    evidence: float


def fit(seed: Seed, everybody: Everybody, bin_scores: Sequence[Reals]) -> Fit:
    """bin_scores: of each feature the mean normal score in each bin."""
    space, mean, covariance = seed.space, everybody.mean, everybody.covariance
    n = max(seed.people, LEAST_PEOPLE)
    moved = seed.total / n - mean
    plain = np.zeros(len(mean))
    plain[: 2 * space.d] = moved[: 2 * space.d]
    plain = _standard(plain, covariance)
    blocks = _priors(space, bin_scores)
    error = (seed.sigma / n) ** 2 + everybody.error + 1e-12
    rounder = covariance + np.trace(covariance) / len(mean) * np.eye(len(mean))
    first, evidence = _solved(moved, mean, covariance, n, error, blocks)
    second, _ = _solved(moved, mean, rounder, n, error, blocks)
    both = _standard(_standard(first, covariance) + _standard(second, covariance), covariance)
    weights = both + min((PLAIN * seed.sigma / n) ** 2, 1.0) * plain
    return Fit(_standard(weights, covariance), first, evidence)


def _solved(
    moved: Reals, mean: Reals, covariance: Reals, n: float, error: Reals, blocks: Sequence[Reals]
) -> tuple[Reals, float]:
    """(posterior mean of w, twice the gain of log likelihood over w = 0)."""
    noise = covariance / n + np.diag(error) + UNSURE**2 * np.outer(mean, mean)
    # To the noise's own axes: there each likelihood is that of independent coordinates' sums.
    root = np.linalg.cholesky(noise)
    seen = np.linalg.solve(root, moved)
    spread = np.linalg.solve(root, covariance)
    parts = [spread @ block @ spread.T for block in blocks]
    one = np.eye(len(moved))

    def loss(sizes: Sequence[float]) -> float:
        whole = np.linalg.cholesky(one + sum(size * part for size, part in zip(sizes, parts, strict=True)))
        u = np.linalg.solve(whole, seen)
        return float(u @ u) + 2 * float(np.log(np.diag(whole)).sum())

    sizes = [START] * len(blocks)
    least = loss(sizes)
    for factor in STEPS:
        for i in range(len(sizes)):
            for by in (factor, 1 / factor):
                tried = [*sizes[:i], min(max(sizes[i] * by, SMALLEST), LARGEST), *sizes[i + 1 :]]
                found = loss(tried)
                if found < least:
                    least, sizes = found, tried
    prior = sum(size * block for size, block in zip(sizes, blocks, strict=True))
    middle = one + sum(size * part for size, part in zip(sizes, parts, strict=True))
    weights = prior @ spread.T @ np.linalg.solve(middle, seen)
    return weights, max(0.0, float(seen @ seen) - least)


def _priors(space: Space, bin_scores: Sequence[Reals]) -> list[Reals]:
    """Covariances of w with which one unit of a score, of a bin's effect, of waves of a width has variance 1."""
    d, places = space.d, space.places
    trends, curves, bins = (np.zeros((places.length, places.length)) for _ in range(3))
    own, radius = np.arange(d), REACH**2 * d / MOMENTS
    trends[own, own] = radius
    curves[own + d, own + d] = radius
    curves[2 * d, 2 * d] = 1 / MOMENTS
    for first, scores in zip(places.first_bins, bin_scores, strict=True):
        apart = (scores[:, None] - scores[None, :]) / SMOOTH
        part = slice(first, first + len(scores))
        bins[part, part] = np.exp(-(apart**2) / 2) * d / BINNED
    return [trends, curves, bins, *(_waves(space, width) for width in range(len(WIDTHS)))]


def _waves(space: Space, width: int) -> Reals:
    """Of the frequencies of one of the widths: every third."""
    places = space.places
    found = np.zeros((places.length, places.length))
    own = np.arange(width, FREQUENCIES, len(WIDTHS))
    for first in (places.cosines, places.sines):
        found[first + own, first + own] = len(WIDTHS) / WAVES
    return found


def bin_scores(space: Space, people: Sequence[Reals]) -> list[Reals]:
    """Of each feature the mean normal score of each bin. people: of each feature, how many are in each cell."""
    found = []
    for scores, firsts, many in zip(space.scores, space.bins, people, strict=True):
        weight = np.maximum(many, 0.0) + 1e-9
        sums = np.add.reduceat(weight * scores / ONE, firsts)
        found.append(sums / np.add.reduceat(weight, firsts))
    return found


def _standard(weights: Reals, covariance: Reals) -> Reals:
    """To deviation 1 among everybody; zero where there is none."""
    variance = float(weights @ covariance @ weights)
    return weights / math.sqrt(variance) if variance > 1e-24 else np.zeros_like(weights)
