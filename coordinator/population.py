"""Everybody, by what was released of them: the shared space, and φ's mean and covariance in it.

Joint histograms make the space; the background's second moments make a Gaussian copula with these margins, from which
people are drawn at an even sequence of points (Sobol 1967), so that the same release gives the same figures. What the
released moments say beyond the copula is added as far as it stands out of the noise.

Source: eigenvalues shrunk as in Donoho, Gavish & Johnstone 2018, of a
symmetric matrix with independent noise (its spectrum: Benaych-Georges & Nadakuditi 2011).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.feature import Feature, Reals
from protocols.questions.lookalike import background
from protocols.questions.lookalike.likeness import Everybody
from protocols.questions.lookalike.space import (
    BINNED,
    BINS,
    CONSTANT,
    FARTHEST,
    MOMENTS,
    ONE,
    SCALE,
    WAVES,
    Space,
    bins_of,
    starts,
)
from protocols.statistic import Integers, Noise

DRAWN = 13  # 2^13 people
TRIED = 11  # 2^11 of them while correlations are fitted
FITS = 3
EDGE = 0.003  # the least share that a normal score stands for
LEAST_SPREAD = 0.02
DIFFERENT = 2.5  # deviations of the noise by which halves differ that are not taken for even
LEAST_PEOPLE = 10.0


def margins(features: Sequence[Feature], noised: Integers, noise: Noise) -> list[Reals]:
    """Of each feature, people in each cell: none negative, and everybody in each feature.

    Everybody is dealt out to the halves of the cells, to the halves of these, and so on, as the counts say; evenly
    where they differ from that by no more than noise. So cells of nobody do not fill with noise.
    """
    ends = np.cumsum([len(starts(feature)) for feature in features])
    each = np.split(np.asarray(noised[: ends[-1]], dtype=np.float64), ends[:-1])
    # Of a feature with many cells the sum is noisier, so it counts for less.
    weight = np.array([1 / len(one) for one in each])
    people = max(float(weight @ [one.sum() for one in each] / weight.sum()), LEAST_PEOPLE)
    return [_dealt(one, people, math.sqrt(noise.variance)) for one in each]


def _dealt(values: Reals, total: float, sigma: float) -> Reals:
    """Source: Donoho & Johnstone 1994 (thresholds for Haar's wavelets), with nothing below zero."""
    if len(values) == 1:
        return np.array([total])
    half = len(values) // 2
    even = total * half / len(values)
    told = (total + float(values[:half].sum() - values[half:].sum())) / 2
    unsure = sigma * math.sqrt(len(values)) / 2
    first = min(max(told if abs(told - even) > DIFFERENT * unsure else even, 0.0), total)
    return np.concatenate([_dealt(values[:half], first, sigma), _dealt(values[half:], total - first, sigma)])


def space(features: Sequence[Feature], people: Sequence[Reals]) -> Space:
    """Normal scores and bins of nearly equal size from people in cells."""
    from scipy.special import ndtri

    scores, bins = [], []
    for feature, many in zip(features, people, strict=True):
        share = many / many.sum()
        score = ndtri(np.clip(np.cumsum(share) - share / 2, EDGE, 1 - EDGE))
        middle = float(share @ score)
        spread = math.sqrt(max(float(share @ (score - middle) ** 2), LEAST_SPREAD))
        whole = np.rint((score - middle) / spread * ONE)
        scores.append(np.clip(whole, -FARTHEST, FARTHEST).astype(np.int64))
        bins.append(_merged(share, bins_of(feature)))
    return Space(tuple(features), tuple(scores), tuple(bins))


def _merged(share: Reals, most: int) -> Integers:
    """The first cells of at most so many bins, each with a share of 1/10 where there are enough."""
    firsts, held = [0], 0.0
    for i, own in enumerate(share):
        if held >= 0.999 / BINS and len(firsts) < most:
            firsts.append(i)
            held = 0.0
        held += float(own)
    return np.array(firsts, dtype=np.int64)


# -- mean and covariance -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """What a background's sum says. mean (2d + 1,), second (2d + 1, 2d + 1) of (u, rest); singles: the mean of φ's bins
    and waves; unit: deviation of noise in one entry of v's mean.
    """

    people: float
    mean: Reals
    second: Reals
    singles: Reals
    unit: float

    @classmethod
    def of(cls, d: int, noised: Integers, noise: Noise) -> Moments:
        values, side = np.asarray(noised[:-1], dtype=np.float64) / SCALE, 2 * d + 2
        both = background.pairs(d)
        triangle = np.zeros((side, side))
        for (i, j), value in zip(both, values, strict=False):
            triangle[i, j] = triangle[j, i] = value / math.sqrt(background.PAIRS) / (1.0 if i == j else math.sqrt(2))
        # |m| = 1, and the constant's square is .3 of it: two estimates, the noise of the first √side times the other's.
        still = background.STILL
        weight = np.array([1 / side, still**2])
        people = float(weight @ [np.trace(triangle), triangle[-1, -1] / still] / weight.sum())
        people = max(people, LEAST_PEOPLE)
        triangle /= people
        singles = values[len(both) :] / people * math.sqrt((BINNED + WAVES) / background.SINGLES)
        return cls(
            people,
            triangle[:-1, -1] / math.sqrt(background.MOVED * still),
            triangle[:-1, :-1] / background.MOVED,
            singles,
            math.sqrt(noise.variance) / SCALE / people,
        )


def everybody(made: Space, people: Sequence[Reals], noised: Integers, noise: Noise) -> tuple[Everybody, Reals]:
    """(mean and covariance of φ, drawn people's φ (2^13, length)). people: in each cell of each feature."""
    found = Moments.of(made.d, noised, noise)
    quantiles = [np.cumsum(many / many.sum()) for many in people]
    correlation = _correlation(made, found, quantiles)
    phi = made.rows_of(_drawn(correlation, quantiles, DRAWN)) / float(SCALE)
    centred = phi - phi.mean(axis=0)
    drawn = centred.T @ centred / len(phi)
    k = 2 * made.d + 1
    released = MOMENTS * (found.second - np.outer(found.mean, found.mean))
    entry = MOMENTS * found.unit / math.sqrt(background.PAIRS * 2) / background.MOVED
    moments = _positive(drawn[:k, :k] + _shrunk(released - drawn[:k, :k], entry))
    covariance = _extended(drawn, moments)
    mean = np.concatenate([math.sqrt(MOMENTS) * found.mean, found.singles, [math.sqrt(CONSTANT)]])
    error = np.empty(len(mean))
    error[:k] = MOMENTS * found.unit**2 / (background.PAIRS * 2 * background.MOVED * background.STILL)
    error[k:-1] = found.unit**2 * (BINNED + WAVES) / background.SINGLES
    error[-1] = 0.0
    return Everybody(mean, covariance, error + np.diag(covariance) / found.people), phi


def _correlation(made: Space, found: Moments, quantiles: Sequence[Reals]) -> Reals:
    """Of the copula: so that scores of drawn people correlate as the released ones do."""
    wanted = _correlations(found.second[: made.d, : made.d] - np.outer(found.mean, found.mean)[: made.d, : made.d])
    latent = _nearest_correlation(wanted)
    for _ in range(FITS):
        moments = np.stack(made.moments(made.z(_drawn(latent, quantiles, TRIED)))[: made.d])
        latent = _nearest_correlation(latent + wanted - _correlations(np.cov(moments).reshape(made.d, made.d)))
    return latent


def _drawn(correlation: Reals, quantiles: Sequence[Reals], log2: int) -> list[Integers]:
    """Of each feature the cells of 2^log2 people."""
    from scipy.special import ndtr, ndtri
    from scipy.stats.qmc import Sobol

    points = ndtri(Sobol(len(quantiles), scramble=False).random_base2(log2) + 0.5 / 2**log2)
    uniform = ndtr(points @ np.linalg.cholesky(correlation).T)
    return [
        np.minimum(np.searchsorted(upto, uniform[:, j], side="right"), len(upto) - 1)
        for j, upto in enumerate(quantiles)
    ]


def _correlations(covariance: Reals) -> Reals:
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-9))
    found: Reals = np.clip(covariance / np.outer(spread, spread), -1, 1)
    return found


def _nearest_correlation(matrix: Reals) -> Reals:
    """Symmetric, with eigenvalues of at least .001, and ones on the diagonal."""
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(np.clip(matrix, -0.999, 0.999) + 0.001 * np.eye(len(matrix)))
    found = (vectors * np.maximum(values, 1e-3)) @ vectors.T
    spread = np.sqrt(np.diag(found))
    held: Reals = found / np.outer(spread, spread)
    return held


def _shrunk(residual: Reals, entry: float) -> Reals:
    """Eigenvalues λ → ±√(λ² − 4·k·entry²), those within the noise's spectrum → 0."""
    values, vectors = np.linalg.eigh((residual + residual.T) / 2)
    kept = np.sqrt(np.maximum(values**2 - 4 * len(values) * entry**2, 0.0))
    found: Reals = (vectors * np.sign(values) * kept) @ vectors.T
    return found


def _positive(matrix: Reals) -> Reals:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    found: Reals = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return found


def _extended(drawn: Reals, moments: Reals) -> Reals:
    """The drawn covariance with another block of moments, all other coordinates by their regression on these."""
    k = len(moments)
    own = drawn[:k, :k]
    ridge = (1e-6 * np.trace(own) / k + 1e-12) * np.eye(k)  # people who are all alike do not vary at all
    slope = np.linalg.solve(own + ridge, drawn[:k, k:]).T
    change = moments - own
    found = drawn.copy()
    found[:k, :k] = moments
    found[k:, :k] = drawn[k:, :k] + slope @ change
    found[:k, k:] = found[k:, :k].T
    found[k:, k:] = drawn[k:, k:] + slope @ change @ slope.T
    return _positive(found)
