"""Recency, frequency, monetary: joint quintile cuts, then R × F cells and eight named cohorts.

Step `cuts`      three one-hots over few public bins: where do 20, 40, 60, 80 % of customers lie?
Step `cohorts`   on the released cuts: 25 cells (weight ½) and eight cohorts (weight 1) in one vector

Why few bins: noise adds up with the number of bins below a cut; with 64 bins instead of 16 three to four times as many
customers get a wrong score at the same budget. Why cohorts are asked directly: adding up cells adds up their noise.
Source of the scores: Hughes 1994, "Strategic Database Marketing".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from protocols.accuracy import ALPHA, Interval, discrete_gaussian_accuracy, share_interval, z_for
from protocols.figures import TOO_NOISY, Figure, count, figure, too_noisy
from protocols.schema import Frozen, Positive
from protocols.statistic import UNUSABLE, Integers, Noise, People, Statistic, Step, one_hot

FEATURES = ("recency", "frequency", "monetary")
TARGETS = (20, 40, 60, 80)
COHORTS = (
    "bargain-hunter",
    "loyalist",
    "lapsed-defector",
    "promising-new",
    "at-risk",
    "big-spender",
    "occasional",
    "other",
)
WIDEST_SHARE = 0.05
GATE = 5.0
CELL, COHORT = 1, 2  # integer entries: weights ½ and 1 at scale 2

Boundaries = Annotated[list[Positive], Field(min_length=4, max_length=63)]


class Shares(Frozen):
    """Nano-ρ of each step."""

    cuts: Positive
    cohorts: Positive


class Plan(Frozen):
    """The public constants of the question. Boundaries are the lower ends of all bins but the first, which is open."""

    kind: Literal["rfm"] = "rfm"
    rho: Shares
    recency_days: Boundaries
    frequency_baskets: Boundaries
    monetary_units: Boundaries
    bargain_baskets: Annotated[int, Field(strict=True, ge=1, le=1000)]
    bargain_share_percent: Annotated[int, Field(strict=True, ge=1, le=100)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("recency_days", "frequency_baskets", "monetary_units"):
            bounds = getattr(self, name)
            if any(a >= b for a, b in pairwise(bounds)):
                raise ValueError(f"{name} must ascend")
        if self.frequency_baskets[0] < 2:
            raise ValueError("frequency_baskets starts at 2: the first bin is one basket")
        return self

    def boundaries(self, feature: str) -> list[int]:
        """Lower ends of the second and later bins, in the unit of the feature: days, baskets, whole currency."""
        by_name = {
            "recency": self.recency_days,
            "frequency": self.frequency_baskets,
            "monetary": self.monetary_units,
        }
        return by_name[feature]


def steps(plan: Plan) -> list[tuple[Step, int]]:
    """The two steps with their nano-ρ."""
    first = Step(
        name="rfm-cuts",
        statistic=cuts_statistic(plan),
        contribute=lambda people, _: bin_rows(plan, people),
        answer=lambda noised, noise, _: cuts(plan, noised, noise),
        counted=(("a bin", 1),),
    )
    second = Step(
        name="rfm-cohorts",
        statistic=cohorts_statistic(),
        contribute=lambda people, earlier: cohort_rows(plan, people, scores_at(plan, earlier["rfm-cuts"])),
        answer=lambda noised, noise, _: cohorts(noised, noise),
        counted=(("a cell", CELL), ("a cohort", COHORT)),
    )
    return [(first, plan.rho.cuts), (second, plan.rho.cohorts)]


# -- step 1: cuts ------------------------------------------------------------------------------------------------------


def cuts_statistic(plan: Plan) -> Statistic:
    """Δ² = 3. Why: three disjoint blocks, one 1 in each; squares of disjoint blocks add."""
    names = [f"{f}/{i}" for f in FEATURES for i in range(len(plan.boundaries(f)) + 1)]
    return Statistic((*names, UNUSABLE), scale=1, bound_sq=3)


def bin_rows(plan: Plan, people: People) -> Integers:
    """(n,) features → (n, slots − 1) three one-hots. People without a basket get a zero row, and so are unusable."""
    values = _values(people)
    parts = [one_hot(_bin(plan, f, values[f]), len(plan.boundaries(f)) + 1, 1) for f in FEATURES]
    rows: Integers = np.concatenate(parts, axis=1)
    rows[people["baskets"] < 1] = 0
    return rows


def cuts(plan: Plan, noised: Integers, noise: Noise) -> dict[str, Any]:
    """Per feature and target share: the cut (a bin boundary) and the share below it.

    The cut is the boundary whose share below is nearest the target; bins are never split, so cuts can
    coincide, and score levels with them (`levels`). Where the share below is too noisy, the cut still says which ones
    it could be, and people are scored by it: a guess from the plan alone would be a worse one.
    """
    answer: dict[str, Any] = {}
    at = 0
    for feature in FEATURES:
        width = len(plan.boundaries(feature)) + 1
        counts = [int(x) for x in noised[at : at + width]]
        at += width
        answer[feature] = _feature_cuts(plan.boundaries(feature), counts, noise.variance)
    return answer


def _feature_cuts(bounds: list[int], counts: list[int], variance: float) -> dict[str, Any]:
    cells, total = len(counts), sum(counts)
    shares = [sum(counts[:k]) / total if total > 0 else math.nan for k in range(cells)]
    out: dict[str, Any] = {}
    for target in TARGETS:
        wanted = target / 100
        k = min(range(cells), key=lambda i: abs(shares[i] - wanted)) if total > 0 else 0
        out[f"p{target}"] = _cut(bounds, counts, k, wanted, variance)
    return out


def _cut(bounds: list[int], counts: list[int], k: int, wanted: float, variance: float) -> dict[str, Figure]:
    below, above = sum(counts[:k]), sum(counts[k:])
    exact_zero = Interval(0.0, 0.0)  # nobody lies below the lowest bin, whatever the data
    share = exact_zero if k == 0 else share_interval(below, above, k, len(counts) - k, variance)
    if share is None or below + above < GATE * math.sqrt(len(counts) * variance):
        return {"edge": too_noisy(), "below": too_noisy()}
    low, high = _possible(counts, wanted, variance)
    edges, sure = [0, *bounds], share.half_width <= WIDEST_SHARE
    return {
        "edge": figure(edges[k], Interval(edges[min(low, k)], edges[max(high, k)]), 0),
        "below": figure(below / (below + above) if k else 0.0, share, 4) if sure else too_noisy(),
    }


def _possible(counts: list[int], wanted: float, variance: float) -> tuple[int, int]:
    """The lowest and highest boundary that could be the nearest one in the exact data, at 95 % jointly.

    Why: with Bonferroni intervals for the share below each boundary, one whose share cannot be as near the target as
    the surest other one is surely not the nearest.
    """
    cells = len(counts)
    z = z_for(ALPHA / max(1, cells - 1))
    near, far = [abs(wanted)], [abs(wanted)]
    for k in range(1, cells):
        i = share_interval(sum(counts[:k]), sum(counts[k:]), k, cells - k, variance, z)
        assert i is not None  # the total is at least five deviations (see `_cut`), and z below 3.4 for 64 bins
        near.append(0.0 if i.low <= wanted <= i.high else min(abs(i.low - wanted), abs(i.high - wanted)))
        far.append(max(abs(i.low - wanted), abs(i.high - wanted)))
    possible = [k for k in range(cells) if near[k] <= min(far)]
    return possible[0], possible[-1]


# -- step 2: cells and cohorts -----------------------------------------------------------------------------------------


def cohorts_statistic() -> Statistic:
    """Δ² = 5 at scale 2 (Δ = √1.25 persons). Why: one cell moves by 1, one cohort by 2; the blocks are disjoint."""
    cells = [f"r{r}f{f}" for r in range(1, 6) for f in range(1, 6)]
    return Statistic((*cells, *COHORTS, UNUSABLE), scale=COHORT, bound_sq=CELL**2 + COHORT**2)


def scores_at(plan: Plan, answer: Mapping[str, Any]) -> dict[str, list[int]]:
    """The four boundaries of each feature, as positions in its bins, from a released answer.

    A cut that was too noisy falls back to the public bin at that share of the bins, so that the next step can be asked
    whatever came out: a decision that rests on released numbers and on the plan alone.
    """
    positions: dict[str, list[int]] = {}
    for feature in FEATURES:
        edges = [0, *plan.boundaries(feature)]
        found = []
        for target in TARGETS:
            text = answer[feature][f"p{target}"]["edge"]["value"]
            found.append(len(edges) * target // 100 if text == TOO_NOISY else edges.index(int(text)))
        positions[feature] = sorted(found)  # noise can put two cuts out of order
    return positions


def levels(plan: Plan, answer: Mapping[str, Any]) -> dict[str, int]:
    """How many different scores survive for each feature: ties merge, for example where half bought once."""
    return {f: len({0, *cuts}) for f, cuts in scores_at(plan, answer).items()}


def cohort_rows(plan: Plan, people: People, positions: Mapping[str, list[int]]) -> Integers:
    """(n,) features → (n, 33): one cell and one cohort each. People without a basket get a zero row."""
    values = _values(people)
    score = {f: _score(positions[f], _bin(plan, f, values[f])) for f in FEATURES}
    score["recency"] = 6 - score["recency"]  # few days since the last purchase is the best score
    lowest = 1 + sum(1 for p in positions["frequency"] if p == 0)
    cohort = _cohort(plan, people, score, lowest)
    cell = (score["recency"] - 1) * 5 + score["frequency"] - 1
    rows = np.concatenate([one_hot(cell, 25, CELL), one_hot(cohort, len(COHORTS), COHORT)], axis=1)
    rows[people["baskets"] < 1] = 0
    return rows


def _cohort(plan: Plan, people: People, score: Mapping[str, Integers], lowest: int) -> Integers:
    """First match wins, in the order of COHORTS."""
    r, f, m = score["recency"], score["frequency"], score["monetary"]
    baskets, discounted = people["baskets"], people["discounted_baskets"]
    promo = (baskets >= plan.bargain_baskets) & (
        discounted.astype(np.float64) * 100 >= baskets.astype(np.float64) * plan.bargain_share_percent
    )
    rules = [
        promo,
        (r >= 4) & (f >= 4) & (m >= 4),
        (r <= 2) & (f >= 4),
        (r == 5) & (f == lowest),
        (r >= 2) & (r <= 3) & (f >= 3),
        m == 5,
        f <= 2,
        np.ones(len(r), dtype=np.bool_),
    ]
    first: Integers = np.argmax(np.stack(rules), axis=0)
    return first


def cohorts(noised: Integers, noise: Noise) -> dict[str, Any]:
    """Sizes of cells and cohorts with intervals; `too noisy` below five standard deviations.

    `consistent` is the nearest table without negative cells in which cells and cohorts add up to the same total.
    Where more than half of a table would be too noisy all of it is: the few cells that pass would be the lucky ones.
    The 95 % hold over all cells; of cells whose true size is near the gate, those that are shown are the lucky ones.
    """
    half = discrete_gaussian_accuracy(noise.variance)
    cells = [int(x) for x in noised[:25]]
    named = [int(x) for x in noised[25:33]]
    total = _joint_total(sum(cells) / CELL, 25 / CELL**2, sum(named) / COHORT, len(named) / COHORT**2)
    names = cohorts_statistic().slots
    return {
        "cells": _table(names[:25], cells, CELL, half, total, noise),
        "cohorts": _table(names[25:33], named, COHORT, half, total, noise),
        "unusable": count(int(noised[33]), half, COHORT),
    }


def _table(names: tuple[str, ...], noised: list[int], scale: int, half: int, total: float,
           noise: Noise) -> dict[str, Figure]:  # fmt: skip
    gate = GATE * math.sqrt(noise.variance)
    hidden = [x < gate for x in noised]
    if sum(hidden) * 2 > len(hidden):
        hidden = [True] * len(hidden)
    view = _project([x / scale for x in noised], total)
    return {
        name: too_noisy() if hide else count(x, half, scale, v)
        for name, x, v, hide in zip(names, noised, view, hidden, strict=True)
    }


def _joint_total(a: float, var_a: float, b: float, var_b: float) -> float:
    """Two unbiased totals, weighted by their (relative) precision."""
    return max(0.0, (a / var_a + b / var_b) / (1 / var_a + 1 / var_b))


def _project(values: list[float], total: float) -> list[float]:
    """The nearest point (L2) with no negative entry and the given sum. Source: Duchi et al. 2008, ICML, Figure 1."""
    if total <= 0:
        return [0.0] * len(values)
    ordered = sorted((Fraction(v) for v in values), reverse=True)
    running, shift = Fraction(0), Fraction(0)
    for i, v in enumerate(ordered, 1):
        running += v
        candidate = (running - Fraction(total)) / i
        if v - candidate > 0:
            shift = candidate
    return [max(0.0, float(Fraction(v) - shift)) for v in values]


def _values(people: People) -> dict[str, Integers]:
    return {
        "recency": people["recency_days"],
        "frequency": people["baskets"],
        "monetary": np.floor_divide(people["spend_cents"], 100),
    }


def _bin(plan: Plan, feature: str, values: Integers) -> Integers:
    bins: Integers = np.searchsorted(np.asarray(plan.boundaries(feature), dtype=np.int64), values, side="right")
    return bins


def _score(positions: list[int], bins: Integers) -> Integers:
    """1 + the number of cuts at or below a value's bin."""
    passed: Integers = np.searchsorted(np.asarray(positions, dtype=np.int64), bins, side="right")
    return passed + 1
