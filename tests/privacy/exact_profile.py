"""The exact privacy profile of the discrete Gaussian, and how far samples surely exceed it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from protocols.statistic import Integers

ALPHA = 1e-6  # the chance of a false alarm


def least(hits: int, draws: int, alpha: float) -> float:
    """Clopper and Pearson's lower limit of a probability."""
    return 0.0 if hits == 0 else float(beta.ppf(alpha, hits, draws - hits + 1))


def most(hits: int, draws: int, alpha: float) -> float:
    return 1.0 if hits == draws else float(beta.ppf(1 - alpha, hits + 1, draws - hits))


def tails(variance: float) -> tuple[Integers, NDArray[np.float64]]:
    reach = math.ceil(14 * math.sqrt(variance))
    support = np.arange(-reach, reach + 1, dtype=np.int64)
    weights = np.exp(-(support.astype(np.float64) ** 2) / (2 * variance))
    return support, weights / weights.sum()


def exact_delta(variance: float, shift: int, epsilon: float) -> tuple[float, int]:
    """δ(ε) of the discrete Gaussian moved by `shift`, and the t of the event x ≥ t that reaches it.

    Source: Canonne, Kamath & Steinke 2020, Theorem 7. Not the continuous profile, which lies below it at small σ.
    """
    support, probability = tails(variance)
    threshold = math.ceil(shift / 2 + variance * epsilon / shift - 1e-12)
    with_person = probability[support >= threshold - shift].sum()
    without = probability[support >= threshold].sum()
    return float(with_person - math.exp(epsilon) * without), threshold


def excess(without: Integers, with_person: Integers, variance: float, shift: int) -> float:
    """How far the profile is surely exceeded; above 0 with probability ≤ ALPHA when the noise is as stated."""
    mu = shift / math.sqrt(variance)
    grid = (0.0, mu * mu / 2, mu, 2 * mu)
    alpha = ALPHA / (2 * len(grid))
    found = []
    for epsilon in grid:
        delta, t = exact_delta(variance, shift, epsilon)
        likelier = least(int((with_person >= t).sum()), len(with_person), alpha)
        likely = most(int((without >= t).sum()), len(without), alpha)
        found.append(likelier - math.exp(epsilon) * likely - delta)
    return max(found)
