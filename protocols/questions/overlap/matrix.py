"""One pair of parties: how many people each two lists share, and what follows from it.

Every count of the pair is a sum of some of its slots, each with the noise of the two parties; so is its variance. The
lists of one party may be split by value (`Value`): a cell is then the sum of its slots, and the sum of values over the
shared people is each edge times its slot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from protocols.accuracy import Z95, Interval, discrete_gaussian_accuracy, fieller
from protocols.figures import Figure, count, figure, too_noisy

from .consistent import in_tenths
from .plan import Value

GATE = 5.0
WIDEST = 0.5  # half-width of a share
WIDE_RANGE = 10_000  # from here on a mean has no decimals


@dataclass(frozen=True)
class Side:
    """One party of a pair: its base lists with their sizes, the views of these in tenths, and a size's variance."""

    party: str
    names: list[str]
    sizes: list[int]
    tenths: list[int]
    variance: float


@dataclass(frozen=True)
class Matrix:
    """The noised cells of a pair, rows for the lists of `a`, columns for those of `b`; each cell has this variance."""

    a: Side
    b: Side
    cells: list[list[int]]
    variance: float

    @property
    def rows(self) -> list[int]:
        return [sum(row) for row in self.cells]

    @property
    def columns(self) -> list[int]:
        return [sum(column) for column in zip(*self.cells, strict=True)]

    @property
    def total(self) -> int:
        return sum(self.rows)

    @property
    def total_variance(self) -> float:
        return self.variance * len(self.a.names) * len(self.b.names)

    def figures(self) -> dict[str, Any]:
        """cells, the shares of either side's lists that are shared, all together and, among several lists, the index.

        Counts are unbiased and may be negative; none is hidden. `consistent` is the nearest table in which nothing is
        negative and no margin is above the view of its list's size.
        """
        view = in_tenths(self.cells, self.a.tenths, self.b.tenths)
        m, n = len(self.a.names), len(self.b.names)
        turned = list(zip(*view, strict=True))
        found: dict[str, Any] = {
            "cells": self._by_cell(lambda i, j: _count(self.cells[i][j], self.variance, view[i][j])),
            "lists": {
                self.a.party: self._margins(self.a, self.rows, n, [sum(row) for row in view]),
                self.b.party: self._margins(self.b, self.columns, m, [sum(column) for column in turned]),
            },
            "all": {
                "overlap": _count(self.total, self.total_variance, sum(map(sum, view))),
                "share": {side.party: self._share_of_all(side) for side in (self.a, self.b)},
            },
        }
        if m > 1 and n > 1:
            found["index"] = self._by_cell(self._index)
        return found

    def _by_cell(self, make: Any) -> dict[str, dict[str, Figure]]:
        return {s: {t: make(i, j) for j, t in enumerate(self.b.names)} for i, s in enumerate(self.a.names)}

    def _margins(self, side: Side, sums: list[int], cells: int, view: list[int]) -> dict[str, dict[str, Figure]]:
        variance = cells * self.variance
        return {
            name: {
                "overlap": _count(sums[i], variance, view[i]),
                "share": share(sums[i], side.sizes[i], variance, side.variance),
            }
            for i, name in enumerate(side.names)
        }

    def _share_of_all(self, side: Side) -> Figure:
        return share(self.total, sum(side.sizes), self.total_variance, side.variance * len(side.sizes))

    def _index(self, i: int, j: int) -> Figure:
        """100 × the cell over what it would hold if who is in which list of one side said nothing of the other's.

        That is row × column / total = D. Fieller for cell / D, with D's variance, and its covariance with the cell, by
        its derivatives with respect to the noise of the cell, the others of its row and column, and all others.
        """
        c, row, column, total, v = self.cells[i][j], self.rows[i], self.columns[j], self.total, self.variance
        m, n = len(self.a.names), len(self.b.names)
        steady = all(
            value >= GATE * math.sqrt(cells * v) for value, cells in ((c, 1), (row, n), (column, m), (total, m * n))
        )
        if not steady:
            return too_noisy()
        d = row * column / total
        own, in_row, in_column, other = (
            d * (1 / row + 1 / column - 1 / total),
            d * (1 / row - 1 / total),
            d * (1 / column - 1 / total),
            d / total,
        )
        squares = own**2 + (n - 1) * in_row**2 + (m - 1) * in_column**2 + (m - 1) * (n - 1) * other**2
        interval = fieller(c, d, v, v * squares, v * own)
        # Row, column and total have five deviations each, so that D has at least √(25 / 3) = 2.9, and z is 1.96.
        assert interval is not None
        return figure(100 * c / d, Interval(100 * interval.low, 100 * interval.high), 1)


def values(question: Value, a: Side, b: Side, slots: list[list[int]], variance: float) -> dict[str, Any]:
    """Per cell the sum and the mean of the feature over the shared people, and over all cells.

    slots  rows for the lists of a, columns for those of b, those of the value's party split by edge
    """
    by_row, edges = question.party == a.party, question.edges
    bins = len(edges)
    found: dict[str, Any] = {"cells": {}}
    whole = [0] * bins
    for i, s in enumerate(a.names):
        found["cells"][s] = {}
        for j, t in enumerate(b.names):
            counts = [slots[i * bins + e][j] if by_row else slots[i][j * bins + e] for e in range(bins)]
            whole = [x + y for x, y in zip(whole, counts, strict=True)]
            found["cells"][s][t] = _value(edges, counts, variance)
    found["all"] = _value(edges, whole, variance * len(a.names) * len(b.names))
    return found


def _value(edges: list[int], counts: list[int], variance: float) -> dict[str, Figure]:
    """sum: Σ edge × count; mean: that over the count, by Fieller, in the feature's unit.

    In both there is the noise of the counts and that of rounding: for each person at most a quarter of the gap squared
    (Popoviciu 1935). The mean is too noisy where its interval takes up half of the range or more.
    """
    total, people = sum(edge * x for edge, x in zip(edges, counts, strict=True)), sum(counts)
    gap, span = max(high - low for low, high in pairwise(edges)), edges[-1] - edges[0]
    spread = variance * sum(edge**2 for edge in edges) + gap**2 / 4 * max(0, people)
    half = Z95 * math.sqrt(spread)
    interval = fieller(total, people, spread, variance * len(edges), variance * sum(edges))
    found = {"sum": figure(total, Interval(total - half, total + half), 0), "mean": too_noisy()}
    if interval is not None and interval.half_width < span / 4:
        found["mean"] = figure(total / people, interval, 0 if span >= WIDE_RANGE else 2)
    return found


def share(part: int, whole: int, var_part: float, var_whole: float) -> Figure:
    """A share of a released size, by Fieller: the two were noised apart."""
    interval = fieller(part, whole, var_part, var_whole, 0.0)
    if interval is None or interval.half_width > WIDEST:
        return too_noisy()
    return figure(part / whole, interval, 4)


def _count(noised: int, variance: float, tenths: int) -> Figure:
    return count(noised, discrete_gaussian_accuracy(variance), 1, tenths / 10)
