"""Whether a cut reaches the groups of an attribute alike: four fifths of the reference group's rate, at least.

    one-hot of (group × within the cut: no, yes) of each attribute       Δ² = A attributes

Who is within is decided by the public score. The reference group is named in the plan: else the group with the luckiest
noise would be it. All groups of an attribute are judged at once, so that any wrong verdict among them is as rare as an
interval's miss. `undecided` is not `pass`.

Source: 29 CFR § 1607.4 D (four fifths); Bonferroni 1936.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.accuracy import ALPHA, discrete_gaussian_accuracy, fieller, z_for
from protocols.figures import count, figure, too_noisy
from protocols.statistic import UNUSABLE, Integers, Sparse, Statistic

FAIR = 0.8
GATE = 5.0
PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"


@dataclass(frozen=True)
class Attribute:
    """groups: all that a person can be of, `unknown` among them; reference: one of these."""

    name: str
    groups: tuple[str, ...]
    reference: str


def statistic(attributes: Sequence[Attribute]) -> Statistic:
    """Δ² = A. Why: of each of A attributes a person is in one group, within the cut or not: A slots move, by 1."""
    names = [f"{one.name}/{group}/{within}" for one in attributes for group in one.groups for within in ("no", "yes")]
    return Statistic((*names, UNUSABLE), scale=1, bound_sq=len(attributes))


def rows(attributes: Sequence[Attribute], groups: Sequence[Integers], within: Integers) -> Sparse:
    """groups: of each attribute (n,) the number of each person's group; within: (n,) 1 for people within the cut."""
    first = np.cumsum([0, *(2 * len(one.groups) for one in attributes[:-1])])
    at = np.stack([start + 2 * own + within for start, own in zip(first, groups, strict=True)], axis=1)
    return Sparse(at, np.ones_like(at))


def figures(attributes: Sequence[Attribute], noised: Sequence[int], variance: float) -> dict[str, Any]:
    """Per attribute and group: people, rate within the cut, ratio to the reference's rate, and the verdict."""
    found, at = dict[str, Any](), 0
    for one in attributes:
        counts = [int(x) for x in noised[at : at + 2 * len(one.groups)]]
        at += len(counts)
        own = {
            group: _Group(counts[2 * i + 1], counts[2 * i + 1] + counts[2 * i], variance)
            for i, group in enumerate(one.groups)
        }
        found[one.name] = _attribute(one, own)
    return found


@dataclass(frozen=True)
class _Group:
    """within, people: noised numbers, the first a part of the second; variance: of the noise in either part."""

    within: int
    people: int
    variance: float

    @property
    def steady(self) -> bool:
        return self.people >= GATE * math.sqrt(2 * self.variance)

    @property
    def rate(self) -> float:
        return self.within / self.people

    @property
    def rate_variance(self) -> float:
        """Noise, and the sampling of so many people."""
        r = self.rate
        noise = self.variance * ((1 - r) ** 2 + r**2) / self.people**2
        return noise + min(max(r * (1 - r), 0.0), 0.25) / self.people


def _attribute(one: Attribute, groups: Mapping[str, _Group]) -> dict[str, Any]:
    reference = groups[one.reference]
    z = z_for(ALPHA / max(len(groups) - 1, 1))
    return {name: _figures(own, None if name == one.reference else reference, z) for name, own in groups.items()}


def _figures(own: _Group, reference: _Group | None, z: float) -> dict[str, Any]:
    people = count(own.people, discrete_gaussian_accuracy(2 * own.variance), 1)
    rate = fieller(own.within, own.people, own.variance, 2 * own.variance, own.variance)
    shown = figure(own.rate, rate, 4) if rate is not None and own.steady else too_noisy()
    found: dict[str, Any] = {"people": people, "rate": shown}
    return found if reference is None else {**found, **_judged(own, reference, z)}


def _judged(own: _Group, reference: _Group, z: float) -> dict[str, Any]:
    """Fieller's set of ratios leaves .8 out just where own − .8 · reference is surely not zero."""
    noisy = {"ratio": too_noisy(), "verdict": too_noisy()}
    enough = reference.within >= GATE * math.sqrt(reference.variance)
    if not (own.steady and reference.steady and enough):
        return noisy
    interval = fieller(own.rate, reference.rate, own.rate_variance, reference.rate_variance, 0.0, z)
    if interval is None:
        return noisy
    ratio = figure(own.rate / reference.rate, interval, 3)
    verdict = PASS if interval.low >= FAIR else FAIL if interval.high < FAIR else UNDECIDED
    return {"ratio": ratio, "verdict": {**ratio, "value": verdict}}
