"""A second implementation of both questions, from `protocols/specs/question.md` and with nothing of the product.

Slow and plain: one person at a time, lists of Python's own numbers. The numbers in comments are the page's rules.
"""

from __future__ import annotations

import math
from typing import Any

from tests.specs import second_segments as segments
from tests.specs.second_numbers import NOISY, decimal, figure, half_width, normal, ratio
from tests.specs.second_segments import SCALE, Person, Row

TARGETS = (20, 40, 60, 80)
COHORTS = ("bargain-hunter", "loyalist", "lapsed-defector", "promising-new", "at-risk", "big-spender", "occasional",
           "other")  # fmt: skip


# -- rfm (8 to 14) -----------------------------------------------------------------------------------------------------


def bins_of(plan: dict[str, Any], person: Person) -> dict[str, tuple[int, list[int]]]:
    """Feature → (its bin, its boundaries)."""
    values = {
        "recency": (person["recency_days"], plan["recency_days"]),
        "frequency": (person["baskets"], plan["frequency_baskets"]),
        "monetary": (person["spend_cents"] // 100, plan["monetary_units"]),
    }
    return {name: (sum(bound <= value for bound in bounds), bounds) for name, (value, bounds) in values.items()}


def cuts_row(plan: dict[str, Any], person: Person, _: Any) -> Row:
    found = bins_of(plan, person).values()
    row = [int(at == k) for at, bounds in found for k in range(len(bounds) + 1)]
    return row if person["baskets"] >= 1 else [0] * len(row)


def cuts_answer(plan: dict[str, Any], noised: Row, variance: float, _: Any) -> dict[str, Any]:
    answer, rest = {}, noised
    for feature, name in (
        ("recency", "recency_days"),
        ("frequency", "frequency_baskets"),
        ("monetary", "monetary_units"),
    ):
        edges = [0, *plan[name]]
        counts, rest = rest[: len(edges)], rest[len(edges) :]
        answer[feature] = {f"p{target}": cut(edges, counts, target / 100, variance) for target in TARGETS}
    return answer


def cut(edges: list[int], counts: Row, t: float, s2: float) -> dict[str, Any]:
    n, total = len(edges), sum(counts)
    below = [sum(counts[:k]) for k in range(n)]
    gaps = [abs(b / total - t) for b in below] if total > 0 else [0.0]
    k = gaps.index(min(gaps))
    ends = ratio(below[k], total, k * s2, n * s2, k * s2) if k else (0.0, 0.0)
    if ends is None or total < 5 * math.sqrt(n * s2):
        return {"edge": NOISY, "below": NOISY}
    near, far, z = [t], [t], normal(0.05 / (n - 1))
    for j in range(1, n):
        low, high = ratio(below[j], total, j * s2, n * s2, j * s2, z) or (-1.0, 2.0)
        near.append(max(0.0, low - t, t - high))
        far.append(max(abs(low - t), abs(high - t)))
    possible = [j for j in range(n) if near[j] <= min(far)]
    return {
        "edge": figure(edges[k], edges[min(*possible, k)], edges[max(*possible, k)], 0),
        "below": NOISY if (ends[1] - ends[0]) / 2 > 0.05 else figure(below[k] / total if k else 0.0, *ends, 4),
    }


def positions(plan: dict[str, Any], earlier: dict[str, Any]) -> dict[str, list[int]]:
    found = {}
    for feature, name in (
        ("recency", "recency_days"),
        ("frequency", "frequency_baskets"),
        ("monetary", "monetary_units"),
    ):
        edges = [0, *plan[name]]
        shown = {target: earlier["rfm-cuts"]["answer"][feature][f"p{target}"]["edge"]["value"] for target in TARGETS}
        found[feature] = sorted(
            len(edges) * target // 100 if text == "too noisy" else edges.index(int(text))
            for target, text in shown.items()
        )
    return found


def cohorts_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    at, bins = positions(plan, earlier), bins_of(plan, person)
    score = {name: 1 + sum(p <= bins[name][0] for p in at[name]) for name in bins}
    r, f, m = 6 - score["recency"], score["frequency"], score["monetary"]
    baskets = person["baskets"]
    rules = (
        baskets >= plan["bargain_baskets"]
        and 100 * person["discounted_baskets"] >= plan["bargain_share_percent"] * baskets,
        min(r, f, m) >= 4,
        r <= 2 and f >= 4,
        r == 5 and f == 1 + at["frequency"].count(0),
        2 <= r <= 3 and f >= 3,
        m == 5,
        f <= 2,
        True,
    )
    cells = [int((r - 1) * 5 + f - 1 == k) for k in range(25)]
    row = cells + [2 * int(rules.index(True) == k) for k in range(8)]
    return row if baskets >= 1 else [0] * 33


def cohorts_answer(_: Any, noised: Row, variance: float, __: Any) -> dict[str, Any]:
    cells, halves, h = noised[:25], noised[25:33], half_width(variance)
    total = max(0.0, (sum(cells) / 25 + sum(halves) / 2 / 2) / (1 / 25 + 1 / 2))
    names = [f"r{r}f{f}" for r in range(1, 6) for f in range(1, 6)]
    return {
        "cells": table(names, cells, 1, h, total, variance),
        "cohorts": table(list(COHORTS), halves, 2, h, total, variance),
        "unusable": people(noised[33], h, 2),
    }


def people(x: int, h: int, units: int) -> dict[str, str]:
    digits, tenths = (0, 1) if units == 1 else (1, 5)
    ends = {"value": x, "low": x - h, "high": x + h}
    return {name: decimal(end * tenths, digits) for name, end in ends.items()}


def table(names: list[str], found: Row, units: int, h: int, total: float, variance: float) -> dict[str, Any]:
    noisy = [x < 5 * math.sqrt(variance) for x in found]
    noisy = [True] * len(noisy) if sum(noisy) > len(noisy) / 2 else noisy
    near = nearest_table([x / units for x in found], total)
    shown = [{**people(x, h, units), "consistent": decimal(round(y * 10), 1)} for x, y in zip(found, near, strict=True)]
    return {name: NOISY if hide else made for name, hide, made in zip(names, noisy, shown, strict=True)}


def nearest_table(values: list[float], total: float) -> list[float]:
    """By bisection on the shift that all entries have in common; the rest is cut off at 0."""
    low, high = min(values) - total - 1, max(values) + 1
    for _ in range(300):
        shift = (low + high) / 2
        low, high = (shift, high) if sum(max(0.0, x - shift) for x in values) > total else (low, shift)
    return [max(0.0, x - high) for x in values]


ROWS: dict[str, Any] = {
    "rfm-cuts": cuts_row,
    "rfm-cohorts": cohorts_row,
    "seg-moments": segments.moments_row,
    "seg-covariance": segments.covariance_row,
    "seg-coarse": segments.coarse_row,
    "seg-fine": segments.fine_row,
    "seg-over": segments.clustered(0.8, 0.2, 0.0, "seg-fine"),
    "seg-lloyd-1": segments.clustered(0.85, 0.12, 0.03, "seg-over"),
    "seg-profile": segments.profile_row,
    "seg-stability": segments.stability_row,
}
ANSWERS: dict[str, Any] = {
    "rfm-cuts": cuts_answer,
    "rfm-cohorts": cohorts_answer,
    "seg-profile": segments.profile_answer,
    "seg-stability": segments.stability_answer,
}
BOUNDS = {"rfm-cuts": (1, 3), "rfm-cohorts": (2, 5), "seg-moments": (SCALE, 9 * SCALE**2), "seg-coarse": (1, 1),
          "seg-fine": (1, 1)}  # fmt: skip


def counted(step: str, plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    """(2): a person's row and its last slot."""
    scale, bound = BOUNDS.get(step, (SCALE, SCALE**2))
    row = ROWS[step](plan, person, earlier)
    if person["usable"] == 1 and 0 < sum(x * x for x in row) <= bound:
        return [*row, 0]
    return [0] * len(row) + [min(scale, math.isqrt(bound))]
