"""What a noised histogram of patterns says about latent classes: sizes, probabilities, and how sure they are.

In a class the items are independent (Lazarsfeld & Henry 1968, "Latent Structure Analysis"), so that pattern c is there
m_kc = λ_k · Π_j θ_kj(c_j) times in class k. Its noised count has mean Σ_k m_kc and variance Σ_k m_kc + s², as if s² had
been counted besides and taken off again: the likelihood is a Poisson's of the count + s², with s² in every pattern who
are in no class (Snyder, Hammoud & White 1993, JOSA A 10(5), of the noise in a camera's cells). No cell is dropped
because it is small: that would move every probability outward.

Nothing but + − × ÷ and square roots, element by element: an auditor on another machine gets the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from protocols.errors import IntegrityError
from protocols.statistic import Integers

from .plan import Plan

Reals = NDArray[np.float64]

ONE = 1 << 24  # a probability of 1
PERSON = 1 << 10
MOST = 2**53 - 1
PRIOR = 1.0  # people by whom each class knows each item beforehand, in equal parts on its levels: no probability is 0


@dataclass(frozen=True, eq=False)
class Classes:
    """sizes: (k,) people, the largest first. chances: of each item (k, levels) probabilities, each above 0."""

    sizes: Reals
    chances: tuple[Reals, ...]

    @classmethod
    def read(cls, state: Mapping[str, Any], plan: Plan) -> Self:
        """From a state. Raises IntegrityError unless it has the plan's shape, and probabilities that add up."""
        if set(state) != {"sizes", "levels"}:
            raise IntegrityError("a state of classes has exactly the fields sizes and levels")
        sizes, levels = state["sizes"], state["levels"]
        if not (_whole(sizes, 1, MOST) and 1 <= len(sizes) <= plan.most):
            raise IntegrityError(f"sizes: not 1 to {plan.most} positive integers")
        if any(a < b for a, b in pairwise(sizes)) or sum(sizes) > MOST:
            raise IntegrityError("sizes: not in descending order, or too many people")
        if not (isinstance(levels, list) and len(levels) == len(sizes)):
            raise IntegrityError("levels: not one entry for each class")
        for one in levels:
            if not (isinstance(one, list) and len(one) == len(plan.levels)):
                raise IntegrityError("levels: not one list for each item")
            for chances, n in zip(one, plan.levels, strict=True):
                if not (_whole(chances, 1, ONE) and len(chances) == n and sum(chances) == ONE):
                    raise IntegrityError(f"levels: not as many probabilities as there are levels, adding up to {ONE}")
        items = range(len(plan.levels))
        return cls(
            np.asarray(sizes, dtype=np.float64) / PERSON,
            tuple(np.asarray([one[j] for one in levels], dtype=np.float64) / ONE for j in items),
        )

    def write(self) -> dict[str, Any]:
        """As a state: the largest class first, probabilities rounded so that they add up."""
        order = np.argsort(-np.rint(self.sizes * PERSON), kind="stable")
        sizes = [max(1, int(x)) for x in np.rint(self.sizes[order] * PERSON)]
        return {"sizes": sizes, "levels": [[_rounded(found[k]) for found in self.chances] for k in order]}

    @cached_property
    def expected(self) -> Reals:
        """(k, patterns) how many people of each class are expected to have a pattern."""
        found = self.sizes[:, None]
        for chances in self.chances:
            found = (found[:, :, None] * chances[:, None, :]).reshape(len(found), -1)
        return found

    @property
    def filled(self) -> Integers:
        """(k,) how many patterns each class fills: those that are likeliest in it, the first of equals."""
        return np.bincount(self.expected.argmax(axis=0), minlength=len(self.sizes))

    def standing(self, variance: float, gate: float) -> bool:
        """Whether every class is above so many standard deviations of the noise in the patterns that it fills."""
        return bool(np.all(self.sizes >= gate * np.sqrt(variance * np.maximum(self.filled, 1))))


@dataclass(frozen=True, eq=False)
class Evidence:
    """At these classes: the slope of the log likelihood, and the covariance of its parameters.

    Parameters are, class by class, ln λ and for each item ln(θ_l / θ_0) of the levels l ≥ 1: (p,) in all.

    score        (p,) slope, of the prior too; 0 at the fit
    inverse      (p, p) inverse of the expected information
    covariance   (p, p) of the fitted parameters, noise and sampling of so many people: I4, the sandwich
    """

    score: Reals
    inverse: Reals
    covariance: Reals

    @property
    def step(self) -> Reals:
        """(p,) where Fisher's scoring goes from here."""
        return np.asarray([float((row * self.score).sum()) for row in self.inverse])

    @property
    def distance(self) -> float:
        """The largest number of standard deviations by which the fit may lie elsewhere, squared."""
        return float((self.score * self.step).sum())


def evidence(classes: Classes, counts: Reals, variance: float) -> Evidence:
    """counts: (patterns,) noised people, noise of this variance in each.

    The covariance is H⁻¹ (J − s sᵀ/n) H⁻¹: J the information, H with the prior's, s = Σ_c μ_c·∇μ_c/(μ_c + s²) because
    the number of people is given and only how they fall is sampled.
    """
    expected, all_levels = classes.expected, [found.shape[1] for found in classes.chances]
    mean = expected.sum(axis=0)
    weight = 1.0 / (mean + variance)
    excess = (np.maximum(counts, -variance) - mean) * weight
    slopes, prior_score, prior = [], [], []
    for k, own in enumerate(expected):
        slopes.append(own)
        prior_score.append(0.0)
        prior.append((len(slopes) - 1, 1, np.zeros((1, 1))))
        for j, found in enumerate(classes.chances):
            theta, at = found[k], _digit(all_levels, j)
            prior.append((len(slopes), len(theta) - 1, PRIOR * (np.diag(theta[1:]) - theta[1:, None] * theta[1:])))
            for level in range(1, len(theta)):
                slopes.append(own * ((at == level) - theta[level]))
                prior_score.append(PRIOR * (1.0 / len(theta) - theta[level]))
    slope = np.stack(slopes)
    information = _gram(slope, weight)
    curved = information.copy()
    for start, width, block in prior:
        curved[start : start + width, start : start + width] += block
    inverse = _inverse(curved)
    whole = float(classes.sizes.sum())
    common = (slope * (weight * mean)).sum(axis=1)
    middle = information - common[:, None] * common / whole
    covariance = _product(_product(inverse, middle), inverse)
    return Evidence((slope * excess).sum(axis=1) + np.asarray(prior_score), inverse, covariance)


def _digit(levels: list[int], j: int) -> Integers:
    """(patterns,) the level of item j in each pattern."""
    after = int(np.prod(levels[j + 1 :], dtype=np.int64))
    found: Integers = np.arange(int(np.prod(levels, dtype=np.int64)), dtype=np.int64) // after % levels[j]
    return found


def _gram(slope: Reals, weight: Reals) -> Reals:
    """Σ_c w_c · slope_ic · slope_jc."""
    found = np.zeros((len(slope), len(slope)))
    weighted = slope * weight
    for i in range(len(slope)):
        found[i, i:] = found[i:, i] = (slope[i:] * weighted[i]).sum(axis=1)
    return found


def _product(a: Reals, b: Reals) -> Reals:
    """a · b, added up in one order: a library's product may add in another on another machine."""
    found = np.zeros((len(a), b.shape[1]))
    for i in range(a.shape[1]):
        found += a[:, i : i + 1] * b[i : i + 1]
    return found


def _inverse(matrix: Reals) -> Reals:
    """Of a symmetric positive definite matrix, by Gauss and Jordan. Raises IntegrityError where it is not one."""
    n = len(matrix)
    work = np.concatenate([matrix, np.eye(n)], axis=1)
    for i in range(n):
        pivot = float(work[i, i])
        if not pivot > 1e-12 * float(matrix[i, i]):
            raise IntegrityError("the state's classes cannot be told apart")
        work[i] /= pivot
        column = work[:, i].copy()
        column[i] = 0.0
        work -= column[:, None] * work[i]
    return work[:, n:]


def _whole(found: Any, least: int, most: int) -> bool:
    return isinstance(found, list) and all(type(x) is int and least <= x <= most for x in found)


def _rounded(chances: Reals) -> list[int]:
    """Integers of 2^−24, each at least 1, that add up to 1: what is over goes to the largest."""
    found = [max(1, int(x)) for x in np.rint(chances * ONE)]
    found[int(np.argmax(chances))] += ONE - sum(found)
    return found
