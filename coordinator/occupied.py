"""Which boxes of a grid hold people, told from noised counts.

A box is full if its count says so, and so is a window of adjacent boxes, two along one axis or along each of two: a
small group that lies across a border leaves too few in any one box to be told from noise (a scan statistic: Glaz, Naus
& Wallenstein 2001). A false alarm costs a centre and a missed group does too, so both kinds of look share out few false
ones for a whole grid (Bonferroni).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Window = tuple[slice, ...]

FALSE = 0.02  # false alarms in a grid without anybody: of boxes by themselves, and again of windows
LEAST = 2.5  # standard deviations, however few boxes there are


def occupied(count: Reals, variance: Reals) -> Reals:
    """People in each box, 0 in one that is not told from empty; what lies in a window adds up to the window's count.

    count, variance  arrays of the grid's own shape: noised people, and the variance of that
    """
    people = np.where(count > limit(count.size) * np.sqrt(variance), count, 0.0)
    free, found = people <= 0, list(_windows(count, variance, people <= 0))
    for window in found:
        inside = free[window]
        held, unsure = count[window][inside], float(variance[window][inside].sum())
        if inside.sum() > 1 and held.sum() > limit(_looks(count.shape)) * math.sqrt(unsure):
            people[window][inside] = nearest_with_sum(held, float(held.sum()))
            free[window] = False
    return people


def limit(looks: int) -> float:
    """In standard deviations of a count: what noise alone exceeds in one of so many with probability `FALSE`."""
    return max(LEAST, NormalDist().inv_cdf(1 - FALSE / looks))


def nearest_with_sum(values: Reals, total: float) -> Reals:
    """The nearest point with no negative entry and this sum (Duchi et al. 2008, ICML)."""
    ordered = np.sort(values)[::-1]
    shift = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(ordered > shift)[-1])
    projected: Reals = np.maximum(values - shift[last], 0.0)
    return projected


def _windows(count: Reals, variance: Reals, free: NDArray[np.bool_]) -> Iterator[Window]:
    """Windows whose free boxes, two or more, are above the limit together; the surest first."""
    least, found = limit(_looks(count.shape)), []
    for shape in _shapes(count.shape):
        held, unsure, many = (
            _sums(np.where(free, values, 0.0), shape) for values in (count, variance, np.ones(count.shape))
        )
        sure = np.where(many > 1, held / np.sqrt(np.maximum(unsure, 1e-12)), 0.0)
        found += [(-float(sure[tuple(at)]), tuple(at.tolist()), shape) for at in np.argwhere(sure > least)]
    for _, at, shape in sorted(found):
        yield tuple(slice(a, a + size) for a, size in zip(at, shape, strict=True))


def _shapes(cells: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Two along one axis or along each of two, where an axis has so many."""
    wide = [axis for axis, count in enumerate(cells) if count > 1]
    chosen = itertools.chain(itertools.combinations(wide, 1), itertools.combinations(wide, 2))
    return [tuple(2 if axis in axes else 1 for axis in range(len(cells))) for axes in chosen]


def _looks(cells: tuple[int, ...]) -> int:
    """How many windows there are; 1 where there is none."""
    each = [math.prod(c - s + 1 for c, s in zip(cells, shape, strict=True)) for shape in _shapes(cells)]
    return max(1, sum(each))


def _sums(values: Reals, shape: tuple[int, ...]) -> Reals:
    """Sums over every window of a shape, by the window's first box."""
    axes = tuple(range(values.ndim, 2 * values.ndim))
    sums: Reals = np.lib.stride_tricks.sliding_window_view(values, shape).sum(axis=axes)
    return sums
