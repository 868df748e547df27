"""What the step `look-scores` releases, and what follows from it: sizes, cuts, and how long the overlap's lists are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from protocols.accuracy import discrete_gaussian_accuracy, shift
from protocols.errors import IntegrityError
from protocols.figures import count
from protocols.statistic import Facts, Integers, Noise

from .plan import Plan, scores_variance_micro
from .scorer import CELLS, cuts, parts, scores_statistic

NAME = "look-scores"
SEED = "seed"


def part_names(question: Plan) -> dict[str, tuple[str, ...]]:
    """Owner → its slots: the seed's party counts the seed, each that ranks its people by the cell of their score."""
    return {question.seed.party: (SEED,)} | dict.fromkeys(question.ranks, scores_statistic().slots[:-1])


def answer(question: Plan, noised: Integers, noise: Noise) -> dict[str, Any]:
    """seed: how many people it has, unusable ones apart. owners: per party its people by cell, the likest first.

    Counts are unbiased and may be negative; none is hidden, so that cuts and caps follow from what is shown.
    """
    half = discrete_gaussian_accuracy(noise.variance)
    numbers = iter(int(x) for x in noised)
    found: dict[str, Any] = {"owners": {}}
    for party, names in part_names(question).items():
        shown = {name: count(next(numbers), half, 1) for name in names}
        unusable = count(next(numbers), half, 1)
        if party == question.seed.party:
            found["seed"] = {"size": shown[SEED], "unusable": unusable}
        else:
            cells = {name.removeprefix("cell/"): one for name, one in shown.items()}
            found["owners"][party] = {"cells": cells, "unusable": unusable}
    return found


@dataclass(frozen=True)
class Sizes:
    """The seed's size, and per owner its people in each of the 64 cells; noised."""

    seed: int
    cells: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls, question: Plan, earlier: Mapping[str, Any]) -> Sizes:
        """Raises IntegrityError where what the step released is not an answer of it."""
        try:
            released = earlier[NAME]
            seed = int(released["seed"]["size"]["value"])
            cells = {}
            for owner in question.ranks:
                own = released["owners"][owner]["cells"]
                cells[owner] = tuple(int(own[str(i)]["value"]) for i in range(CELLS))
                if len(own) != CELLS:
                    raise IntegrityError(f"{NAME}: the cells of {owner} are not those of the plan")
        except (LookupError, TypeError, ValueError):
            raise IntegrityError(f"{NAME}: what was released is not an answer of this step") from None
        return cls(seed, cells)

    def enough(self, question: Plan) -> bool:
        """Whether the seed, noised, reaches the plan's floor: otherwise nothing is said of it."""
        return self.seed >= question.floor

    def cuts(self, owner: str) -> tuple[int, ...]:
        """Of each reach, how many cells of an owner are within the cut."""
        return cuts(self.cells[owner])

    def caps(self, question: Plan, facts: Facts) -> dict[str, tuple[int, ...]]:
        """Party → the most people of each of its lists in the overlap: a size, and eight deviations of its noise."""
        micro = scores_variance_micro(question)

        def cap(size: int, cells: int) -> int:
            return min(facts.people_cap, max(0, size) + shift(micro, cells))

        found: dict[str, tuple[int, ...]] = {question.seed.party: (cap(self.seed, 1),)}
        for owner, own in self.cells.items():
            edges = (0, *self.cuts(owner), CELLS)
            many = [last - first for first, last in pairwise(edges)]
            found[owner] = tuple(cap(size, n) for size, n in zip(parts(own, self.cuts(owner)), many, strict=True))
        return found

    def sums(self, question: Plan) -> dict[str, int]:
        """Slot → its noised sum."""
        found = {f"{question.seed.party}/{SEED}": self.seed}
        return found | {f"{owner}/cell/{i}": x for owner, own in self.cells.items() for i, x in enumerate(own)}
