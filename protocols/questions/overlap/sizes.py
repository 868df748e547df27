"""The first step: how many people each list has, and the public size that the list is filled up to in the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.accuracy import Interval, discrete_gaussian_accuracy, shift
from protocols.errors import IntegrityError
from protocols.figures import count, figure
from protocols.statistic import UNUSABLE, Facts, Integers, Noise, People, Sparse, Statistic

from .consistent import in_tenths
from .plan import Plan, list_names

NAME = "overlap-sizes"
DIGITS = 9  # of the deviation


def statistic(question: Plan, facts: Facts) -> Statistic:
    """Δ² = 1. Why: a person is in one list of one party."""
    names = [f"{party}/{name}" for party in facts.parties for name in list_names(question, facts, party)]
    return Statistic((*names, UNUSABLE), scale=1, bound_sq=1)


def rows(question: Plan, facts: Facts, people: People) -> Sparse:
    """`list` (the number of a person's list at its party, −1 for none) and `party` (its number) → a 1 in one slot.

    Who is in no list, and so who has no key, has a row of zero and counts as unusable.
    """
    many = np.array([len(list_names(question, facts, party)) for party in facts.parties], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(many)[:-1]])
    at, party = people["list"], people["party"]
    known = (party >= 0) & (party < len(many))
    here = np.where(known, party, 0)
    listed = known & (at >= 0) & (at < many[here])
    slots = np.where(listed, first[here] + at, 0)
    return Sparse(slots[:, None], listed.astype(np.int64)[:, None])


def answer(question: Plan, facts: Facts, noised: Integers, noise: Noise) -> dict[str, Any]:
    """Per party and list its size, and its cap: a size that is exceeded with probability 1e-15, public from here on.

    Sizes are unbiased and may be negative; none is hidden, so that none of those that are shown is a lucky one.
    `consistent` is the nearest view in which no list is negative and no party has more people than the plan allows.
    `deviation` is that of the noise in each size.
    """
    half, slack = discrete_gaussian_accuracy(noise.variance), shift(noise.variance_micro, noise.shares)
    counts = iter(int(x) for x in noised)
    found: dict[str, Any] = {"parties": {}}
    for party in facts.parties:
        names = list_names(question, facts, party)
        own = [next(counts) for _ in names]
        most = 10 * facts.people_cap
        view = in_tenths([own], [most], [most] * len(own))[0]
        caps = [min(facts.people_cap, max(0, x) + slack) for x in own]
        found["parties"][party] = {
            "lists": {
                name: {"size": count(x, half, 1, v / 10), "cap": figure(cap, Interval(cap, cap), 0)}
                for name, x, v, cap in zip(names, own, view, caps, strict=True)
            },
            "size": count(sum(own), discrete_gaussian_accuracy(len(own) * noise.variance), 1, sum(view) / 10),
        }
    deviation = noise.variance**0.5
    found["unusable"] = count(next(counts), half, 1)
    found["deviation"] = figure(deviation, Interval(deviation, deviation), DIGITS)
    return found


@dataclass(frozen=True)
class Sizes:
    """What the first step released, as numbers: per party and list its size, its view in tenths, its cap."""

    size: Mapping[str, Mapping[str, int]]
    tenths: Mapping[str, Mapping[str, int]]
    cap: Mapping[str, Mapping[str, int]]
    variance: float


def read(question: Plan, facts: Facts, released: Mapping[str, Any]) -> Sizes:
    """Raises IntegrityError where the release is not one of this question in such a plan."""
    try:
        found: dict[str, dict[str, tuple[int, int, int]]] = {}
        for party in facts.parties:
            lists, names = released["parties"][party]["lists"], list_names(question, facts, party)
            if set(lists) != set(names):  # in canonical form they are in another order than in the plan
                raise IntegrityError(f"{NAME}: the lists of {party} are not those of the plan")
            found[party] = {name: _numbers(lists[name]) for name in names}
            if not all(0 <= cap <= facts.people_cap for _, _, cap in found[party].values()):
                raise IntegrityError(f"{NAME}: a list of {party} has a cap that is not within the plan's people_cap")
        deviation = float(released["deviation"]["value"])
        if not 0 < deviation < 2**53:
            raise IntegrityError(f"{NAME}: a deviation that is none")
    except (LookupError, TypeError, ValueError, AttributeError):
        raise IntegrityError(f"{NAME}: what was released is not an answer of this step") from None
    size, tenths, cap = (
        {party: {name: one[i] for name, one in lists.items()} for party, lists in found.items()} for i in range(3)
    )
    return Sizes(size, tenths, cap, deviation**2)


def _numbers(one: Mapping[str, Any]) -> tuple[int, int, int]:
    """The size of a list, its view in tenths, its cap."""
    size = one["size"]
    return int(size["value"]), int(size["consistent"].replace(".", "")), int(one["cap"]["value"])


def caps(question: Plan, facts: Facts, released: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    """Party → list → how many people it may hold, and is filled up to, in the second step. Raises IntegrityError.

    released  what `overlap-sizes` released
    """
    return read(question, facts, released).cap
