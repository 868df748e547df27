"""Latent classes: customers of a few kinds, known by the pattern of their traits.

Step `classes-patterns`  a one-hot of the whole pattern: which level of each item a person is in, all items at once

Classes are fitted to that one noised histogram at no further cost, by the coordinator (`coordinator/classes.py`), and
are released as the step's state. Which figures follow from sum and state is here, and that the state is a fit at all:
nobody can release other classes than those which the noised sum says, or at least which it says as well as any near
them. Why the whole histogram and not rounds of noised steps: it is asked once, and costs nothing again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.accuracy import Z95, Interval, discrete_gaussian_accuracy
from protocols.errors import IntegrityError
from protocols.figures import Figure, count, figure, too_noisy
from protocols.statistic import Facts, Integers, Noise, People, Sparse, Statistic, Step

from .model import Classes, Evidence, Reals, evidence
from .plan import Plan

__all__ = ["CLOSE", "NAME", "Plan", "chances", "patterns", "steps", "told_apart"]

NAME = "classes-patterns"
GATE = 5.0
CLOSE = 1e-3  # squared deviations by which a state may lie beside the fit: no figure moves by a thirtieth of its error
WIDEST_CHANCE = 0.25
WIDEST_SIZE = 1 / 3  # half-width, of the size: beyond it classes can hardly be told apart, and no interval holds


def steps(plan: Plan, facts: Facts) -> list[tuple[Step, int]]:
    """The one step with its nano-ρ. Raises ValueError where an item is of a feature that no party has.

    Δ = 1. Why: a person has one pattern, so one slot moves, by 1.
    """
    for item in plan.items:
        if item.feature not in facts.features or item.feature == "usable":
            there = ", ".join(name for name in facts.features if name != "usable")
            raise ValueError(f"items: no party has a feature {item.feature}; there are {there}")

    def check(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        Classes.read(state, plan)

    step = Step(
        name=NAME,
        statistic=Statistic((*plan.names(), "unusable"), scale=1, bound_sq=1),
        contribute=lambda people, _: rows(plan, people),
        answer=lambda noised, noise, seen: answer(plan, noised, noise, Classes.read(seen[NAME]["state"], plan)),
        counted=(("a pattern", 1),),
        check_state=check,
        summed=(("all people", plan.patterns),),
    )
    return [(step, plan.rho.patterns)]


def patterns(plan: Plan, people: People) -> Integers:
    """(n,) number of each person's pattern: mixed radix, the first item's level first."""
    found = np.zeros(len(people["usable"]), dtype=np.int64)
    for item in plan.items:
        found = found * item.levels + item.level(people[item.feature])
    return found


def rows(plan: Plan, people: People) -> Sparse:
    """One 1 for each person, in the slot of the person's pattern."""
    at = patterns(plan, people)[:, None]
    return Sparse(at, np.ones_like(at))


def chances(classes: Classes) -> Reals:
    """(patterns, k) how likely somebody with a pattern is in each class."""
    found: Reals = (classes.expected / classes.expected.sum(axis=0)).T
    return found


# -- figures -----------------------------------------------------------------------------------------------------------


def answer(plan: Plan, noised: Integers, noise: Noise, classes: Classes) -> dict[str, Any]:
    """Everybody's number, and of each class size, share and how likely each level is, with 95 % intervals.

    Those of `all` and `unusable` hold the exact counts of the people there are. Those of classes hold noise and
    sampling: a class is a model of people like these. Sizes are so many of the people there are. All figures of classes
    are too noisy where one of them cannot be told from the noise or from the others (`told_apart`).
    Raises IntegrityError where the state is not a fit of the noised sum.
    """
    histogram = [int(x) for x in noised[:-1]]
    half = discrete_gaussian_accuracy(noise.variance)
    everybody, whole = sum(histogram), discrete_gaussian_accuracy(noise.variance * len(histogram))
    steady = everybody >= GATE * math.sqrt(noise.variance * len(histogram))
    found = told_apart(classes, np.asarray(histogram, dtype=np.float64), noise.variance) if steady else None
    return {
        "all": {"size": count(everybody, whole, 1) if steady else too_noisy()},
        "classes": {f"c{k + 1}": _one(plan, classes, k, found) for k in range(len(classes.sizes))},
        "unusable": count(int(noised[-1]), half, 1),
    }


def told_apart(classes: Classes, counts: Reals, variance: float) -> Evidence | None:
    """What noised counts say of classes, None where one of them drowns.

    That is where it is below five standard deviations of the noise in the patterns that it fills, or where its size is
    not known to a third of it. Raises IntegrityError where the classes are not a fit of these counts.
    """
    if not classes.standing(variance, GATE):
        return None
    found = evidence(classes, counts, variance)
    if not found.distance <= CLOSE:
        raise IntegrityError("the state's classes are not a fit of the released noised sum")
    width = len(found.score) // len(classes.sizes)
    sure = all(_wide(found, {k * width: 1.0}) <= WIDEST_SIZE for k in range(len(classes.sizes)))
    return found if sure else None


def _one(plan: Plan, classes: Classes, k: int, found: Evidence | None) -> dict[str, Any]:
    """The figures of class k."""
    width = 1 + sum(n - 1 for n in plan.levels)
    items, at = dict[str, dict[str, Figure]](), k * width + 1
    for item, likely in zip(plan.items, classes.chances, strict=True):
        n = item.levels
        items[item.feature] = {
            str(level): too_noisy() if found is None else _chance(likely[k], level, at, found) for level in range(n)
        }
        at += n - 1
    if found is None:
        return {"size": too_noisy(), "share": too_noisy(), "items": items}
    return {"size": _size(classes, k, width, found), "share": _share(classes, k, width, found), "items": items}


def _size(classes: Classes, k: int, width: int, found: Evidence) -> Figure:
    """λ ± z · λ · deviation of ln λ."""
    size, wide = float(classes.sizes[k]), _wide(found, {k * width: 1.0})
    return figure(size, Interval(size - wide * size, size + wide * size), 0)


def _share(classes: Classes, k: int, width: int, found: Evidence) -> Figure:
    """The part of all classes; its interval is that of its log odds."""
    sizes = [float(size) for size in classes.sizes]
    others = sum(sizes) - sizes[k]
    if len(sizes) == 1:
        return figure(1.0, Interval(1.0, 1.0), 4)
    slope = {i * width: 1.0 if i == k else -size / others for i, size in enumerate(sizes)}
    return _odds(sizes[k] / sum(sizes), sizes[k] / others, _wide(found, slope))


def _chance(theta: Reals, level: int, at: int, found: Evidence) -> Figure:
    """How likely a level is; its interval is that of its log odds. at: the parameter of level 1."""
    mine = float(theta[level])
    slope = {at + i - 1: 1.0 if i == level else -float(theta[i]) / (1 - mine) for i in range(1, len(theta))}
    return _odds(mine, mine / (1 - mine), _wide(found, slope))


def _odds(value: float, odds: float, wide: float) -> Figure:
    low, high = odds * math.exp(-wide), odds * math.exp(wide)
    interval = Interval(low / (1 + low), high / (1 + high))
    return figure(value, interval, 4) if interval.half_width <= WIDEST_CHANCE else too_noisy()


def _wide(found: Evidence, slope: Mapping[int, float]) -> float:
    """z times the deviation of Σ slope · parameter."""
    variance = sum(a * b * float(found.covariance[i, j]) for i, a in slope.items() for j, b in slope.items())
    return Z95 * math.sqrt(max(0.0, variance))
