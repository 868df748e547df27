"""The nearest table that could be true: nothing negative, and no margin larger than the list it is a part of.

Nearest in L2, by Dykstra's alternating projections on rows and columns, each a projection on a capped simplex. Plain
Python floats in one order: every machine gets the same bits.

Sources: Boyle & Dykstra 1986, "A Method for Finding Projections onto the Intersection of Convex Sets in Hilbert
Spaces"; Duchi, Shalev-Shwartz, Singer & Chandra 2008, ICML, Figure 1 (the simplex).
"""

from __future__ import annotations

from collections.abc import Sequence

ROUNDS = 2000
CLOSE = 1e-5  # people, between the two projections of a round; what is shown is in tenths

Table = list[list[float]]


def capped(values: Sequence[float], cap: float) -> list[float]:
    """The nearest point without a negative entry whose sum is at most `cap`."""
    positive = [max(0.0, v) for v in values]
    if sum(positive) <= cap:
        return positive
    if cap <= 0:
        return [0.0] * len(positive)
    running, shift = 0.0, 0.0
    for i, v in enumerate(sorted(positive, reverse=True), 1):
        running += v
        candidate = (running - cap) / i
        if v - candidate > 0:
            shift = candidate
    return [max(0.0, v - shift) for v in positive]


def table(values: Sequence[Sequence[float]], rows: Sequence[float], columns: Sequence[float]) -> Table:
    """The nearest table without a negative entry whose rows and columns add up to at most these caps."""
    x = [list(row) for row in values]
    p = [[0.0] * len(columns) for _ in rows]
    q = [[0.0] * len(columns) for _ in rows]
    for _ in range(ROUNDS):
        raised = _add(x, p)
        y = [capped(row, cap) for row, cap in zip(raised, rows, strict=True)]
        p = _less(raised, y)
        raised = _add(y, q)
        turned = [capped(list(column), cap) for column, cap in zip(zip(*raised, strict=True), columns, strict=True)]
        new = [list(row) for row in zip(*turned, strict=True)]
        q = _less(raised, new)
        moved = max(abs(a - b) for row, other in zip(new, y, strict=True) for a, b in zip(row, other, strict=True))
        x = new
        if moved < CLOSE:
            break
    return x


def in_tenths(values: Sequence[Sequence[float]], rows: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """`table` in whole tenths, within the caps (in tenths) exactly: where rounding broke one, a large cell yields."""
    found = table(values, [cap / 10 for cap in rows], [cap / 10 for cap in columns])
    x = [[round(10 * v) for v in row] for row in found]
    for i, cap in enumerate(rows):
        for _ in range(sum(x[i]) - cap):
            j = max(range(len(columns)), key=x[i].__getitem__)
            x[i][j] -= 1
    for j, cap in enumerate(columns):
        for _ in range(sum(row[j] for row in x) - cap):
            i = max(range(len(rows)), key=lambda at, j=j: x[at][j])  # type: ignore[misc]
            x[i][j] -= 1
    return x


def _add(a: Table, b: Table) -> Table:
    return [[v + w for v, w in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]


def _less(a: Table, b: Table) -> Table:
    return [[v - w for v, w in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]
