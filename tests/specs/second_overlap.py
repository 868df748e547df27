"""A second implementation of the overlap question, from `protocols/specs/overlap-question.md`.

Slow and plain, with nothing of the product; intervals and figures are those of `second.py`. The numbers in comments are
the page's rules.
"""

from __future__ import annotations

import math
from itertools import combinations, pairwise, product
from typing import Any

from tests.specs.second_numbers import NOISY, Z, figure, half_width, normal, ratio

Plan = dict[str, Any]
Numbers = list[int]


# -- lists and slots (4 to 8) ------------------------------------------------------------------------------------------


def base_lists(plan: Plan) -> list[str]:
    lists = plan["questions"][0]["lists"]
    return plan["table"]["columns"][lists["column"]]["values"] if lists["by"] == "column" else ["all"]


def edges(plan: Plan, party: str) -> list[int]:
    """Of one list: those of the value, or one that stands for none."""
    value = plan["questions"][0].get("value")
    if value is None or value["party"] != party:
        return [0]
    low, high, bins = value["low"], value["high"], value["bins"]
    return [math.floor(low + (high - low) * i / (bins - 1)) for i in range(bins)]


def lists(plan: Plan, party: str) -> list[str]:
    many = len(edges(plan, party))
    return [name if many == 1 else f"{name}@{i}" for name in base_lists(plan) for i in range(many)]


def slots(plan: Plan) -> tuple[list[str], list[str]]:
    parties = plan["parties"]
    sizes = [f"{party}/{name}" for party in parties for name in lists(plan, party)]
    cells = [f"{a}--{b}/{s}/{t}" for a, b in combinations(parties, 2) for s in lists(plan, a) for t in lists(plan, b)]
    return [*sizes, "unusable"], cells


def size_row(plan: Plan, person: dict[str, int]) -> Numbers:
    names = slots(plan)[0]
    party = plan["parties"][person["party"]]
    counts = person["usable"] == 1 and person["list"] >= 0
    own = f"{party}/{lists(plan, party)[person['list']]}" if counts else "unusable"
    return [int(name == own) for name in names]


def variances(plan: Plan) -> tuple[float, float]:
    """s² of a slot of both steps (7 and 8)."""
    n, rho = len(plan["parties"]), plan["questions"][0]["rho"]
    h = max(1, plan["quorum"] - plan["collusion"])
    of_sizes, of_pairs = -(-(10**15) // (2 * h * rho["sizes"])), -(-(n - 1) * 10**15 // (2 * rho["pairs"]))
    return n * of_sizes / 10**6, 2 * of_pairs / 10**6


# -- figures (9 to 15) -------------------------------------------------------------------------------------------------


def count(x: int, s2: float, tenths: int | None = None) -> dict[str, str]:
    h = half_width(s2)
    shown = figure(x, x - h, x + h, 0)
    return shown if tenths is None else shown | {"consistent": f"{tenths // 10}.{tenths % 10}"}


def fixed(value: float, digits: int) -> dict[str, str]:
    return figure(value, value, value, digits)


def nearest(values: list[Numbers], rows: Numbers, columns: Numbers) -> list[Numbers]:
    """11, in tenths, caps too: x = max(0, v − λ − μ), with the multipliers of rows and of columns found in turns."""
    m, n = len(rows), len(columns)
    left, above = [0.0] * m, [0.0] * n
    for _ in range(5000):
        before = [*left, *above]
        for i in range(m):
            left[i] = multiplier([values[i][j] - above[j] for j in range(n)], rows[i] / 10)
        for j in range(n):
            above[j] = multiplier([values[i][j] - left[i] for i in range(m)], columns[j] / 10)
        if max(abs(a - b) for a, b in zip(before, [*left, *above], strict=True)) < 1e-9:
            break
    x = [[round(10 * max(0.0, values[i][j] - left[i] - above[j])) for j in range(n)] for i in range(m)]
    for i in range(m):
        while sum(x[i]) > rows[i]:
            x[i][x[i].index(max(x[i]))] -= 1
    for j in range(n):
        while sum(row[j] for row in x) > columns[j]:
            column = [row[j] for row in x]
            x[column.index(max(column))][j] -= 1
    return x


def multiplier(values: list[float], cap: float) -> float:
    """The least λ ≥ 0 with Σ max(0, v − λ) ≤ cap."""
    low, high = 0.0, max(0.0, *values)
    if sum(max(0.0, v) for v in values) <= cap:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(0.0, v - middle) for v in values) > cap else (low, middle)
    return high


def sizes(plan: Plan, noised: Numbers, s2: float) -> dict[str, Any]:
    """9."""
    cap, rest, parties = plan["people_cap"], list(noised), {}
    for party in plan["parties"]:
        names = lists(plan, party)
        own, rest = rest[: len(names)], rest[len(names) :]
        (view,) = nearest([own], [10 * cap], [10 * cap] * len(own))
        filled = [min(cap, max(0, x) + math.ceil(8 * math.sqrt(s2))) for x in own]
        parties[party] = {
            "lists": {
                name: {"size": count(x, s2, tenths), "cap": fixed(most, 0)}
                for name, x, tenths, most in zip(names, own, view, filled, strict=True)
            },
            "size": count(sum(own), len(own) * s2, sum(view)),
        }
    return {"parties": parties, "unusable": count(rest[0], s2), "deviation": fixed(math.sqrt(s2), 9)}


class Side:
    """A party's base lists, of which each may be split (10)."""

    def __init__(self, plan: Plan, party: str, before: dict[str, Any]) -> None:
        self.name, self.names, self.edges = party, base_lists(plan), edges(plan, party)
        each = [before["parties"][party]["lists"][name]["size"] for name in lists(plan, party)]
        k = len(self.edges)
        self.size = [sum(int(one["value"]) for one in each[i : i + k]) for i in range(0, len(each), k)]
        self.view = [sum(round(10 * float(one["consistent"])) for one in each[i : i + k])
                     for i in range(0, len(each), k)]  # fmt: skip
        self.s2 = k * float(before["deviation"]["value"]) ** 2


def overlap(plan: Plan, noised: Numbers, s2: float, before: dict[str, Any]) -> dict[str, Any]:
    by_slot = dict(zip(slots(plan)[1], noised, strict=True))
    sides = {party: Side(plan, party, before) for party in plan["parties"]}
    answers, totals, spreads = {}, {}, {}
    for a, b in combinations(plan["parties"], 2):
        answers[f"{a}--{b}"], totals[a, b], spreads[a, b] = pair(plan, sides[a], sides[b], by_slot, s2)
    whole, of_sizes = sum(sum(side.size) for side in sides.values()), sum(len(s.size) * s.s2 for s in sides.values())
    found = {"duplication": share(sum(totals.values()), whole, sum(spreads.values()), of_sizes)}
    least = count(whole - sum(totals.values()), of_sizes + sum(spreads.values()))
    if len(sides) == 2:
        return {"pairs": answers, "all": {**found, "reach": {"people": least}}}
    n = len(sides)
    tree = max(trees(list(sides)), key=lambda edges: sum(totals[edge] for edge in edges))
    most = whole - sum(totals[edge] for edge in tree)
    half = normal(0.05 / n ** (n - 2)) * math.sqrt(of_sizes + sum(sorted(spreads.values())[-(n - 1) :]))
    reach = {"at_least": least, "at_most": figure(most, most - half, most + half, 0)}
    return {"pairs": answers, "all": {**found, "reach": reach}}


def trees(parties: list[str]) -> list[tuple[tuple[str, str], ...]]:
    """Every spanning tree: n − 1 pairs that reach everybody."""

    def spans(edges: tuple[tuple[str, str], ...]) -> bool:
        reached = {parties[0]}
        for _ in edges:
            reached |= {party for edge in edges if reached & set(edge) for party in edge}
        return len(reached) == len(parties)

    return [edges for edges in combinations(combinations(parties, 2), len(parties) - 1) if spans(edges)]


def pair(plan: Plan, a: Side, b: Side, by_slot: dict[str, int], s2: float) -> tuple[dict[str, Any], int, float]:
    def slot(s: str, e: int, t: str, f: int) -> int:
        left = s if len(a.edges) == 1 else f"{s}@{e}"
        right = t if len(b.edges) == 1 else f"{t}@{f}"
        return by_slot[f"{a.name}--{b.name}/{left}/{right}"]

    split = [(e, f) for e in range(len(a.edges)) for f in range(len(b.edges))]
    parts = {(s, t): [slot(s, e, t, f) for e, f in split] for s, t in product(a.names, b.names)}
    cells = [[sum(parts[s, t]) for t in b.names] for s in a.names]
    v, m, n = len(split) * s2, len(a.names), len(b.names)
    view = nearest(cells, a.view, b.view)
    rows, columns = [sum(row) for row in cells], [sum(column) for column in zip(*cells, strict=True)]
    total = sum(rows)
    answer: dict[str, Any] = {
        "cells": table(a, b, lambda i, j: count(cells[i][j], v, view[i][j])),
        "lists": {
            a.name: margins(a, rows, [sum(row) for row in view], n * v),
            b.name: margins(b, columns, [sum(column) for column in zip(*view, strict=True)], m * v),
        },
        "all": {
            "overlap": count(total, m * n * v, sum(map(sum, view))),
            "share": {s.name: share(total, sum(s.size), m * n * v, len(s.size) * s.s2) for s in (a, b)},
        },
    }
    if m > 1 and n > 1:
        answer["index"] = table(a, b, lambda i, j: index(cells[i][j], rows[i], columns[j], total, (m, n), v))
    if len(split) > 1:
        at = [a.edges[e] if len(a.edges) > 1 else b.edges[f] for e, f in split]
        together = [sum(column) for column in zip(*parts.values(), strict=True)]
        answer["values"] = {
            "cells": table(a, b, lambda i, j: value(at, parts[a.names[i], b.names[j]], s2)),
            "all": value(at, together, m * n * s2),
        }
    return answer, total, m * n * v


def table(a: Side, b: Side, make: Any) -> dict[str, Any]:
    return {s: {t: make(i, j) for j, t in enumerate(b.names)} for i, s in enumerate(a.names)}


def margins(side: Side, sums: Numbers, view: Numbers, s2: float) -> dict[str, Any]:
    return {
        name: {"overlap": count(sums[i], s2, view[i]), "share": share(sums[i], side.size[i], s2, side.s2)}
        for i, name in enumerate(side.names)
    }


def share(part: int, whole: int, v: float, w: float) -> dict[str, str]:
    """12."""
    ends = ratio(part, whole, v, w, 0.0)
    return NOISY if ends is None or (ends[1] - ends[0]) / 2 > 0.5 else figure(part / whole, *ends, 4)


def index(c: int, r: int, k: int, total: int, shape: tuple[int, int], s2: float) -> dict[str, str]:
    """13."""
    m, n = shape
    if any(x < 5 * math.sqrt(many * s2) for x, many in ((c, 1), (r, n), (k, m), (total, m * n))):
        return NOISY
    d = r * k / total
    e = d * (1 / r + 1 / k - 1 / total)
    q = (e**2 + (n - 1) * d**2 * (1 / r - 1 / total) ** 2 + (m - 1) * d**2 * (1 / k - 1 / total) ** 2
         + (m - 1) * (n - 1) * d**2 / total**2)  # fmt: skip
    ends = ratio(c, d, s2, s2 * q, s2 * e)
    return NOISY if ends is None else figure(100 * c / d, 100 * ends[0], 100 * ends[1], 1)


def value(at: Numbers, counts: Numbers, s2: float) -> dict[str, Any]:
    """14."""
    people, total = sum(counts), sum(e * x for e, x in zip(at, counts, strict=True))
    gap, span = max(b - a for a, b in pairwise(at)), at[-1] - at[0]
    w = s2 * sum(e * e for e in at) + gap**2 / 4 * max(0, people)
    ends = ratio(total, people, w, len(at) * s2, s2 * sum(at))
    mean = NOISY
    if ends is not None and (ends[1] - ends[0]) / 2 < span / 4:
        mean = figure(total / people, *ends, 0 if span >= 10_000 else 2)
    half = Z * math.sqrt(w)
    return {"sum": figure(total, total - half, total + half, 0), "mean": mean}
