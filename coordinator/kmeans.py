"""Weighted k-means on public points: good starts, then swaps.

Lloyd's steps never leave the basin they start in, and with many clusters hardly any start is in the best one. A swap
takes a centre away and puts it where people are far from theirs; Lloyd's steps from there are kept where the sum of
squares falls (random swap: Fränti 2018, J. Big Data 5:13). Points are few and public, so that trying costs nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

Reals = NDArray[np.float64]
Labels = NDArray[np.int64]

SWAPS = 16  # of each centre
EVEN = (math.sqrt(5) - 1) / 2  # its multiples, without their whole part, lie evenly: the same places for the same sums
SETTLE = 3  # Lloyd's steps after a swap
SURE = 1.0  # standard deviations of the noise that a gain has to be above


def kmeans(points: Reals, weight: Reals, k: int, *, starts: int, variance: Reals | None = None) -> tuple[Reals, Labels]:
    """(k, d) centres and the (m,) labels of points (m, d) with weights (m,) ≥ 0; the same ones for the same input.

    variance  (m,) of the weights' noise: with it, swaps are tried
    """
    found = KMeans(k, n_init=starts, max_iter=60, random_state=0).fit(points, sample_weight=weight)
    if variance is not None and 1 < k < len(points):
        swapped = _swapped(points, weight, found.cluster_centers_, variance)
        found = KMeans(k, init=swapped, n_init=1, max_iter=60).fit(points, sample_weight=weight)
    return found.cluster_centers_, found.labels_.astype(np.int64)


def squares(points: Reals, centres: Reals) -> Reals:
    """(m, c) squared distances."""
    found = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    clipped: Reals = np.maximum(found, 0.0)
    return clipped


def means(points: Reals, weight: Reals, label: Labels, centres: Reals) -> tuple[Reals, Reals]:
    """The (c, d) means of points by label and the (c, 1) weights held; a centre without any stays where it is."""
    held = total(label, weight, len(centres))[:, None]
    sums = np.stack([total(label, weight * column, len(centres)) for column in points.T], axis=1)
    return np.where(held > 0, sums / np.maximum(held, 1e-9), centres), held


def total(label: Labels, values: Reals, c: int) -> Reals:
    """(c,) sums of values (m,) by label."""
    found: Reals = np.bincount(label, weights=values, minlength=c).astype(np.float64)
    return found


def _swapped(points: Reals, weight: Reals, centres: Reals, variance: Reals) -> Reals:
    """Centres with a sum of squares that is lower beyond what noise in the weights explains, if a swap finds any."""
    k = len(centres)
    _, cost = _nearest(points, centres)
    for swap in range(SWAPS * k):
        far = weight * cost
        if far.sum() <= 0:
            break
        tried = centres.copy()
        spread = np.cumsum(far)
        tried[swap % k] = points[np.searchsorted(spread, EVEN * (swap + 1) % 1 * spread[-1])]
        for _ in range(SETTLE):
            tried, _ = means(points, weight, _nearest(points, tried)[0], tried)
        _, reached = _nearest(points, tried)
        gain = cost - reached
        if (weight * gain).sum() > SURE * math.sqrt(float((variance * gain**2).sum())):
            centres, cost = tried, reached
    return centres


def _nearest(points: Reals, centres: Reals) -> tuple[Labels, Reals]:
    """(m,) labels, (m,) squared distances to the nearest."""
    squared = squares(points, centres)
    label = np.argmin(squared, axis=1)
    return label, squared[np.arange(len(points)), label]
