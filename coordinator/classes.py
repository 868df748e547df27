"""The fit of latent classes to a noised histogram: how many there are, how large, and what marks each.

For each number of classes in the plan's range: expectation and maximisation (Dempster, Laird & Rubin 1977) from several
starts, then Fisher's scoring to the end; of those whose classes can all be told from the noise and from one another the
best by BIC (Schwarz 1978). Where there is none, fewer classes are tried. The noise is in the likelihood as people who
belong to no class, s² in each pattern (`protocols/questions/classes/model.py`), so that no weight is negative and no
small cell is cut off; no library of latent classes has such a class of a known size.

Nothing here sees a row, and nothing is drawn: starts are patterns that many people have and that differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from protocols.errors import IntegrityError
from protocols.questions.classes import CLOSE, told_apart
from protocols.questions.classes.model import PRIOR, Classes, Reals, evidence
from protocols.questions.classes.plan import Plan
from protocols.statistic import Integers, Noise

STARTS = 12
# Steps of expectation and maximisation: from each start, from the best of them, and from the best of all. Why the last
# are so many: where a class has next to nobody in some levels, scoring comes to no end from further off.
SHORT, LONG, LAST = 30, 100, 1000
SCORING = 40
LEAST_SIZE = 1.0


def fit(plan: Plan, noised: Integers, noise: Noise) -> dict[str, Any]:
    """The state of step `classes-patterns`. noised: (patterns + 1,) the released sum."""
    counts, variance = noised[:-1].astype(np.float64), noise.variance
    found: dict[int, tuple[float, Classes]] = {}
    for k in range(plan.least, plan.most + 1):
        best = _best(plan, counts, variance, k, [one for _, one in found.values()][-1:])
        if best is not None:
            found[k] = (bic(best, counts, variance), best)
    if found:
        return min(found.values(), key=lambda pair: pair[0])[1].write()
    for k in range(plan.least - 1, 0, -1):
        best = _best(plan, counts, variance, k, [])
        if best is not None:
            return best.write()
    return _everybody(plan, counts).write()


def bic(classes: Classes, counts: Reals, variance: float) -> float:
    """−2 ln L + p·ln n; n: the noised number of people."""
    parameters = len(classes.sizes) * (1 + sum(int(found.shape[1]) - 1 for found in classes.chances))
    return parameters * math.log(max(2.0, float(counts.sum()))) - 2 * _likelihood(classes, counts, variance)


def _likelihood(classes: Classes, counts: Reals, variance: float) -> float:
    mean = classes.expected.sum(axis=0) + variance
    return float((np.maximum(counts + variance, 0.0) * np.log(mean) - mean).sum())


def _penalised(classes: Classes, counts: Reals, variance: float) -> float:
    prior = sum(float(np.log(found).sum() / found.shape[1]) for found in classes.chances)
    return _likelihood(classes, counts, variance) + PRIOR * prior


def _best(plan: Plan, counts: Reals, variance: float, k: int, fewer: list[Classes]) -> Classes | None:
    """The likeliest of the fits from all starts, None unless all its classes can be told apart."""
    tried = [_maximised(start, counts, variance, SHORT) for start in _starts(plan, counts, variance, k, fewer)]
    tried.sort(key=lambda one: -_penalised(one, counts, variance))
    ended = [_maximised(one, counts, variance, LONG) for one in tried[:3]]
    best = max(ended, key=lambda one: _penalised(one, counts, variance))
    scored = _scored(_maximised(best, counts, variance, LAST), counts, variance)
    if scored is None:
        return None
    written = Classes.read(scored.write(), plan)
    try:
        return written if told_apart(written, counts, variance) is not None else None
    except IntegrityError:  # rounding has moved it off the fit: these classes are hardly there
        return None


def _everybody(plan: Plan, counts: Reals) -> Classes:
    """One class of all, each level as likely as another: what is said where the noise drowns everything."""
    size = np.array([max(LEAST_SIZE, float(counts.sum()))])
    return Classes(size, tuple(np.full((1, n), 1.0 / n) for n in plan.levels))


# -- starts ------------------------------------------------------------------------------------------------------------


def _starts(plan: Plan, counts: Reals, variance: float, k: int, fewer: list[Classes]) -> Iterator[Classes]:
    """From patterns far apart that many people have, each time beginning with another one; and from fewer classes."""
    weight = np.maximum(counts - math.sqrt(variance), 0.0)
    if not weight.any():
        weight = np.ones(len(counts))
    digits = np.stack(np.unravel_index(np.arange(len(counts)), plan.levels), axis=1)
    for first in np.argsort(-weight, kind="stable")[:STARTS]:
        chosen = [int(first)]
        apart = (digits != digits[first]).sum(axis=1).astype(np.float64)
        while len(chosen) < k:
            at = int(np.argmax(weight * apart**2))
            chosen.append(at)
            apart = np.minimum(apart, (digits != digits[at]).sum(axis=1))
        yield _around(plan, digits[chosen], counts)
    for one in fewer:
        for at in range(len(one.sizes)):
            yield from _halved(plan, one, at)


def _around(plan: Plan, seeds: Integers, counts: Reals) -> Classes:
    """Classes of one size, each with seven parts in ten on its seed's levels."""
    size = max(LEAST_SIZE, float(counts.sum()) / len(seeds))
    chances = []
    for j, n in enumerate(plan.levels):
        found = np.full((len(seeds), n), 0.3 / (n - 1))
        found[np.arange(len(seeds)), seeds[:, j]] = 0.7
        chances.append(found)
    return Classes(np.full(len(seeds), size), tuple(chances))


def _halved(plan: Plan, classes: Classes, at: int) -> Iterator[Classes]:
    """One of the classes in two, apart along all items: their upper levels likelier in one half, or in turns."""
    for turn in (False, True):
        chances = []
        for j, (n, found) in enumerate(zip(plan.levels, classes.chances, strict=True)):
            tilt = np.linspace(0.5, 1.5, n) if not (turn and j % 2) else np.linspace(1.5, 0.5, n)
            one, other = found[at] * tilt, found[at] * tilt[::-1]
            both = np.stack([one / one.sum(), other / other.sum()])
            chances.append(np.concatenate([np.delete(found, at, axis=0), both]))
        half = np.full(2, classes.sizes[at] / 2)
        yield Classes(np.concatenate([np.delete(classes.sizes, at), half]), tuple(chances))


# -- the fit -----------------------------------------------------------------------------------------------------------


def _maximised(classes: Classes, counts: Reals, variance: float, steps: int) -> Classes:
    """So many steps: each pattern's people among the classes and nobody's s², then sizes and probabilities anew."""
    shape = [found.shape[1] for found in classes.chances]
    ends, which = np.cumsum(shape)[:-1], _levels(shape)
    held = np.maximum(counts + variance, 0.0)
    for _ in range(steps):
        expected = classes.expected
        shared = expected * (held / (expected.sum(axis=0) + variance))
        sizes = np.maximum(shared.sum(axis=1), LEAST_SIZE)
        by_level = np.split(shared @ which, ends, axis=1)
        known = [found + PRIOR / found.shape[1] for found in by_level]
        classes = Classes(sizes, tuple(found / found.sum(axis=1, keepdims=True) for found in known))
    return classes


def _levels(shape: list[int]) -> Reals:
    """(patterns, levels of all items) 1 where a pattern has a level."""
    digits = np.unravel_index(np.arange(math.prod(shape)), shape)
    return np.concatenate([np.eye(n)[at] for n, at in zip(shape, digits, strict=True)], axis=1)


def _scored(classes: Classes, counts: Reals, variance: float) -> Classes | None:
    """Fisher's scoring with halved steps, None where it does not come to an end."""
    now = _penalised(classes, counts, variance)
    for _ in range(SCORING):
        try:
            at = evidence(classes, counts, variance)
        except IntegrityError:
            return None
        if at.distance < CLOSE / 1000:
            return classes
        part = 1.0
        while part > 1e-3:
            moved = _moved(classes, at.step * part)
            then = _penalised(moved, counts, variance)
            if then >= now - 1e-9:
                break
            part /= 2
        else:
            return None
        classes, now = moved, then
    return None


def _moved(classes: Classes, step: Reals) -> Classes:
    step = np.clip(step, -1.0, 1.0)
    width = len(step) // len(classes.sizes)
    by_class = step.reshape(-1, width)
    sizes = np.maximum(classes.sizes * np.exp(by_class[:, 0]), LEAST_SIZE)
    chances, at = [], 1
    for found in classes.chances:
        n = found.shape[1] - 1
        moved = found.copy()
        moved[:, 1:] *= np.exp(by_class[:, at : at + n])
        moved = np.maximum(moved / moved.sum(axis=1, keepdims=True), 1e-6)
        chances.append(moved / moved.sum(axis=1, keepdims=True))
        at += n
    return Classes(sizes, tuple(chances))
