"""A second implementation of the classes question, from `protocols/specs/classes-question.md` and with nothing of the
product. Slow and plain: one pattern at a time, lists of Python's own numbers. Numbers in comments are the page's rules.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from tests.specs.second_numbers import NOISY, Z, figure, half_width

Matrix = list[list[float]]


def patterns(question: dict[str, Any]) -> list[tuple[int, ...]]:
    """(5) levels of all items, the first item's changing last."""
    return list(product(*(range(len(item["cuts"]) + 1) for item in question["items"])))


def row(question: dict[str, Any], person: dict[str, int]) -> list[int]:
    own = tuple(sum(cut <= person[item["feature"]] for cut in item["cuts"]) for item in question["items"])
    usable = person["usable"] == 1
    return [*(int(usable and at == own) for at in patterns(question)), int(not usable)]


def answer(question: dict[str, Any], noised: list[int], s2: float, state: dict[str, Any]) -> dict[str, Any]:
    y, total = noised[:-1], sum(noised[:-1])
    whole, half = half_width(len(y) * s2), half_width(s2)
    sizes = [size / 2**10 for size in state["sizes"]]
    chances = [[[x / 2**24 for x in item] for item in one] for one in state["levels"]]
    steady = total >= 5 * math.sqrt(len(y) * s2)
    found = evidence(question, y, s2, sizes, chances) if steady else None
    everybody = figure(total, total - whole, total + whole, 0) if steady else NOISY
    one = {f"c{k + 1}": of_class(question, k, sizes, chances, found) for k in range(len(sizes))}
    return {"all": {"size": everybody}, "classes": one,
            "unusable": figure(noised[-1], noised[-1] - half, noised[-1] + half, 0)}  # fmt: skip


def evidence(question: dict[str, Any], y: list[int], s2: float, sizes: list[float], chances: Any) -> Matrix | None:
    """(9 to 11, 13) V, None where not every class stands."""
    cells = patterns(question)
    m = [[size * math.prod(of[j][level] for j, level in enumerate(c)) for c in cells]
         for size, of in zip(sizes, chances, strict=True)]  # fmt: skip
    fills = [0] * len(sizes)
    for column in zip(*m, strict=True):
        fills[column.index(max(column))] += 1
    if any(size < 5 * math.sqrt(s2 * max(1, n)) for size, n in zip(sizes, fills, strict=True)):
        return None
    slopes, extra, blocks = [], [], []
    for k, own in enumerate(m):
        slopes.append(own)
        extra.append(0.0)
        for j, item in enumerate(question["items"]):
            n, theta = len(item["cuts"]) + 1, chances[k][j]
            start = len(slopes)
            for level in range(1, n):
                slopes.append([x * ((c[j] == level) - theta[level]) for x, c in zip(own, cells, strict=True)])
                extra.append(1 / n - theta[level])
                blocks += [(start + level - 1, start + l2 - 1, theta[level] * ((level == l2) - theta[l2]))
                           for l2 in range(1, n)]  # fmt: skip
    mu = [sum(column) for column in zip(*m, strict=True)]
    w = [1 / (x + s2) for x in mu]
    j_matrix = [[math.fsum(a * b * c for a, b, c in zip(one, other, w, strict=True)) for other in slopes]
                for one in slopes]  # fmt: skip
    excess = [(max(count, -s2) - x) * weight for count, x, weight in zip(y, mu, w, strict=True)]
    u = [math.fsum(a * b for a, b in zip(one, excess, strict=True)) + more
         for one, more in zip(slopes, extra, strict=True)]  # fmt: skip
    common = [math.fsum(a * b * c for a, b, c in zip(one, mu, w, strict=True)) for one in slopes]
    h = [list(line) for line in j_matrix]
    for a, b, x in blocks:
        h[a][b] += x
    back = inverted(h)
    distance = math.fsum(u[a] * back[a][b] * u[b] for a in range(len(u)) for b in range(len(u)))
    if distance > 1e-3:
        raise ValueError("not a fit")
    middle = [[x - common[a] * common[b] / sum(sizes) for b, x in enumerate(line)] for a, line in enumerate(j_matrix)]
    v = times(times(back, middle), back)
    width = len(u) // len(sizes)
    return v if all(Z * deviation({k * width: 1.0}, v) <= 1 / 3 for k in range(len(sizes))) else None


def of_class(question: dict[str, Any], k: int, sizes: list[float], chances: Any, v: Matrix | None) -> dict[str, Any]:
    """(14, 15)."""
    width = 1 + sum(len(item["cuts"]) for item in question["items"])
    items, at = dict[str, Any](), k * width + 1
    for j, item in enumerate(question["items"]):
        theta, own = chances[k][j], dict[str, Any]()
        for level, mine in enumerate(theta):
            slope = {at + i - 1: 1.0 if i == level else -theta[i] / (1 - mine) for i in range(1, len(theta))}
            own[str(level)] = odds(mine, slope, v)
        items[item["feature"]] = own
        at += len(item["cuts"])
    if v is None:
        return {"size": NOISY, "share": NOISY, "items": items}
    whole, size = sum(sizes), sizes[k]
    d = Z * deviation({k * width: 1.0}, v)
    slope = {i * width: 1.0 if i == k else -other / (whole - size) for i, other in enumerate(sizes)}
    share = odds(size / whole, slope, v) if len(sizes) > 1 else figure(1, 1, 1, 4)
    return {
        "size": figure(size, size - d * size, size + d * size, 0),
        "share": share,
        "items": items,
    }


def odds(p: float, slope: dict[int, float], v: Matrix | None) -> dict[str, str]:
    if v is None:
        return NOISY
    middle, d = math.log(p / (1 - p)), Z * deviation(slope, v)
    low, high = (1 / (1 + math.exp(-end)) for end in (middle - d, middle + d))
    return figure(p, low, high, 4) if (high - low) / 2 <= 0.25 else NOISY


def deviation(slope: dict[int, float], v: Matrix) -> float:
    return math.sqrt(math.fsum(a * v[i][j] * b for i, a in slope.items() for j, b in slope.items()))


def times(a: Matrix, b: Matrix) -> Matrix:
    return [[math.fsum(x * y for x, y in zip(line, column, strict=True)) for column in zip(*b, strict=True)]
            for line in a]  # fmt: skip


def inverted(matrix: Matrix) -> Matrix:
    """By Gauss's elimination with the largest pivot."""
    n = len(matrix)
    work = [[*line, *(float(i == j) for j in range(n))] for i, line in enumerate(matrix)]
    for i in range(n):
        best = max(range(i, n), key=lambda r: abs(work[r][i]))
        work[i], work[best] = work[best], work[i]
        work[i] = [x / work[i][i] for x in work[i]]
        for r in range(n):
            if r != i:
                work[r] = [x - work[r][i] * y for x, y in zip(work[r], work[i], strict=True)]
    return [line[n:] for line in work]
