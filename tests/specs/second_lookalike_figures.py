"""The figures of a lookalike once more, from the page (15 to 18), with nothing of the product."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from tests.specs.second_lookalike import CUTS, Numbers, Plan, cell_counts, cuts, pairs, values, variance
from tests.specs.second_numbers import NOISY, Z, figure, half_width, normal, ratio

Found = tuple[float, tuple[float, float]] | None


def count(x: int, s2: float) -> dict[str, str]:
    h = half_width(s2)
    return figure(x, x - h, x + h, 0)


def scores(plan: Plan, noised: Numbers) -> dict[str, Any]:
    question, s2 = plan["questions"][0], variance(plan, "look-scores")
    owners = {}
    for i, owner in enumerate(question["ranks"]):
        counts = cell_counts(plan, owner, noised)
        cells = {str(c): count(x, s2) for c, x in enumerate(counts)}
        owners[owner] = {"cells": cells, "unusable": count(noised[2 + 65 * i + 64], s2)}
    return {"owners": owners, "seed": {"size": count(noised[0], s2), "unusable": count(noised[1], s2)}}


def bands(plan: Plan, owner: str, noised: Numbers) -> Numbers:
    """Of the sum of look-overlap."""
    at = 6 * next(i for i, pair in enumerate(pairs(plan["questions"][0])) if owner in pair)
    return noised[at : at + 6]


def overlap(plan: Plan, noised: Numbers, earlier: dict[str, Any]) -> dict[str, Any]:
    question, before = plan["questions"][0], earlier["look-scores"]["noised"]
    v, w = variance(plan, "look-scores"), 2 * variance(plan, "look-overlap")
    evident, owners = earlier["look-seed"]["state"]["evidence"] >= 6000, {}
    target = float(question["target"]) if "target" in question else None
    for owner in question["ranks"]:
        of = Of(cell_counts(plan, owner, before), bands(plan, owner, noised), v, w)
        owners[owner] = of.figures(target, question["reach"], evident)
    return told(question, before, {"owners": owners})


def told(question: Plan, before: Numbers, found: dict[str, Any]) -> dict[str, Any]:
    """(15) or none of it."""
    return found if before[0] >= question["floor"] else hidden(found)


def hidden(found: dict[str, Any]) -> dict[str, Any]:
    return {name: NOISY if "value" in one else hidden(one) for name, one in found.items()}


class Of:
    """One owner (16, 17): y its people in 64 cells, x the seed's among them in six bands, v and w their variances."""

    def __init__(self, y: Numbers, x: Numbers, v: float, w: float) -> None:
        self.y, self.x, self.v, self.w, self.n, self.m, self.cuts = y, x, v, w, sum(y), sum(x), cuts(y)
        self.people = self.n >= 5 * math.sqrt(64 * v)
        self.seed = self.m >= 5 * math.sqrt(6 * w)

    def figures(self, target: float | None, reach: int, evident: bool) -> dict[str, Any]:
        made = [self.of_cut(i) for i in range(5)]
        found: dict[str, Any] = {
            "people": count(self.n, 64 * self.v),
            "seed": count(self.m, 6 * self.w),
            "cuts": {
                str(r): {"reach": shown(q, 4, 0.25), "recall": shown(p, 4, 0.25), "lift": shown(lift, 2, 5)}
                for r, (q, p, lift) in zip(CUTS, made, strict=True)
            },
        }
        auc = self.auc()
        found |= {"auc": shown(auc, 3, 0.25), "signal": NOISY}
        if auc is not None:
            usable = auc[1][0] > 0.5 and evident
            found["signal"] = figure(auc[0], *auc[1], 3) | {"value": "usable" if usable else "no usable signal"}
        if target is None:
            return found
        sure = [(r, lift) for r, (_, _, lift) in zip(CUTS, made, strict=True)
                if r <= reach and shown(lift, 2, 5) != NOISY and lift is not None and lift[1][0] >= target]  # fmt: skip
        if not (evident and sure):
            return {**found, "default": NOISY}
        r, lift = sure[-1]
        return {**found, "default": figure(lift[0], *lift[1], 2) | {"value": str(r)}}

    def of_cut(self, i: int) -> tuple[Found, Found, Found]:
        """Reach, recall, lift."""
        n, m, v, w, c = self.n, self.m, self.v, self.w, self.cuts[i]
        part, own = sum(self.y[:c]), sum(self.x[: i + 1])
        mine = (i + 1) * w + max(0, own)
        everyone = max(mine, 6 * w + max(0, m))
        reach = quotient(part, n, c * v, 64 * v, c * v) if self.people else None
        recall = quotient(own, m, mine, everyone, mine) if self.seed else None
        if reach is None or recall is None:
            return reach, recall, None
        q, r = reach[0], recall[0]
        of_reach = (v * (c * (1 - q) ** 2 + (64 - c) * q * q) + n * max(0.0, q * (1 - q))) / n**2
        return reach, recall, quotient(r, q, (mine - 2 * r * mine + r * r * everyone) / m**2, of_reach, 0)

    def auc(self) -> Found:
        if not (self.people and self.seed):
            return None
        ends = [0, *self.cuts, 64]
        many = [b - a for a, b in pairwise(ends)]
        y = [sum(self.y[a:b]) for a, b in pairwise(ends)]
        x, n, m = self.x, self.n, self.m
        g = [(sum(y[b + 1 :]) + y[b] / 2) / n for b in range(6)]
        d = [(sum(x[:b]) + x[b] / 2) / m for b in range(6)]
        big_x = [self.w + max(0, one) for one in x]
        big_y = [k * self.v + max(0, one) for k, one in zip(many, y, strict=True)]
        s = sum(a * b for a, b in zip(x, g, strict=True))
        spread = sum(a * b * b for a, b in zip(big_x, g, strict=True))
        spread += m**2 * sum(a * (b - s / m) ** 2 for a, b in zip(big_y, d, strict=True)) / n**2
        return quotient(s, m, spread, sum(big_x), sum(a * b for a, b in zip(big_x, g, strict=True)))


def quotient(a: float, b: float, v: float, w: float, c: float, z: float = Z) -> Found:
    ends = ratio(a, b, v, w, c, z)
    return None if ends is None else (a / b, ends)


def shown(found: Found, digits: int, most: float) -> dict[str, str]:
    wide = found is None or (found[1][1] - found[1][0]) / 2 > most
    return NOISY if found is None or wide else figure(found[0], *found[1], digits)


# -- audit (18) --------------------------------------------------------------------------------------------------------


def audit(plan: Plan, noised: Numbers, earlier: dict[str, Any]) -> dict[str, Any]:
    question, s2, rest, owners = plan["questions"][0], variance(plan, "look-audit"), list(noised), dict[str, Any]()
    for owner in question["ranks"]:
        owners[owner] = {}
        for one in question["attributes"]:
            names = values(plan, one)
            groups = {name: (rest[2 * i] + rest[2 * i + 1], rest[2 * i + 1]) for i, name in enumerate(names)}
            owners[owner][one["column"]] = audited(groups, one["reference"], s2)
            rest = rest[2 * len(names) :]
        rest = rest[1:]
    return told(question, earlier["look-scores"]["noised"], {"owners": owners})


def audited(groups: dict[str, tuple[int, int]], reference: str, s2: float) -> dict[str, Any]:
    """Of one attribute; groups: name → (its people, those within)."""
    z, found = normal(0.05 / max(1, len(groups) - 1)), dict[str, Any]()
    for name, (n, y) in groups.items():
        steady = n >= 5 * math.sqrt(2 * s2)
        rate = quotient(y, n, s2, 2 * s2, s2) if steady else None
        found[name] = {"people": count(n, 2 * s2), "rate": shown(rate, 4, math.inf)}
        if name != reference:
            n0, y0 = groups[reference]
            enough = steady and n0 >= 5 * math.sqrt(2 * s2) and y0 >= 5 * math.sqrt(s2)
            one = quotient(y / n, y0 / n0, error(y, n, s2), error(y0, n0, s2), 0, z) if enough else None
            verdict = "too noisy" if one is None else "pass" if one[1][0] >= 0.8 else "undecided"
            verdict = "fail" if one is not None and one[1][1] < 0.8 else verdict
            ratio_ = shown(one, 3, math.inf)
            found[name] |= {"ratio": ratio_, "verdict": {**ratio_, "value": verdict}}
    return found


def error(y: int, n: int, s2: float) -> float:
    p = y / n
    return s2 * ((1 - p) ** 2 + p * p) / n**2 + min(0.25, max(0.0, p * (1 - p))) / n
