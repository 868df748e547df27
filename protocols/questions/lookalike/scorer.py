"""How like the seed a person is, by released numbers only: φ · w, in integers, and one of 64 cells of that score.

Everything that leaves an owner is labelled by this score. One made from an owner's exact rows may rank that owner's own
list and nothing else: there one person's absence moves others (`tests/privacy/test_lookalike_sensitivity.py`).

A score is a sum of products of integers, which no order of adding changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np

from protocols.errors import IntegrityError
from protocols.feature import Reals
from protocols.statistic import UNUSABLE, Integers, People, Sparse, Statistic, truncate

from .space import MOMENTS, SCALE, Space, bin_entry, cells, constant_entry, waves, whole

WEIGHT = 1 << 24  # a weight of 1
HEAVIEST = 1 << 34  # 1,024 in each coordinate: a score is then far below 2^63
UNIT = SCALE * WEIGHT  # a score of 1: one standard deviation of everybody's
CELLS = 64
REACHES = (5, 10, 20, 30, 50)  # percent
FARTHEST = 1 << 52
EVIDENT = 6_000  # of evidence: people drawn from everybody at random have as much once in a hundred seeds
_AT_ONCE = 1 << 14
_SHARES = math.lcm(*range(1, CELLS + 1))  # a mean over so many cells or fewer is a whole number of these parts


@dataclass(frozen=True, eq=False)
class Scorer:
    """weights: (length of φ,) in 2⁻²⁴. edges: (63,) scores between the cells, ascending.

    preview   (5,) recall that the model itself expects at each reach, in millionths: no overlap has seen it
    evidence  twice the gain of log likelihood by which the seed is told from everybody, in thousandths
    people    the seed's size, noised
    drivers   (features,) how the score correlates with each feature's normal score among everybody, in millionths
    """

    space: Space
    weights: Integers
    edges: Integers
    preview: tuple[int, ...]
    evidence: int
    people: int
    drivers: tuple[int, ...]

    @classmethod
    def read(cls, state: Mapping[str, Any], space: Space) -> Self:
        """From a state. Raises IntegrityError unless it has the plan's shape, and weights that cannot overflow."""
        wanted = {"weights", "edges", "preview", "evidence", "people", "drivers"}
        if not isinstance(state, Mapping) or set(state) != wanted:
            raise IntegrityError(f"a state of a scorer has exactly the fields {', '.join(sorted(wanted))}")
        weights, edges, preview = state["weights"], state["edges"], state["preview"]
        if not (whole(weights, -HEAVIEST, HEAVIEST) and len(weights) == space.places.length):
            raise IntegrityError("weights: not one for each coordinate, within ±1,024")
        if not (whole(edges, -FARTHEST, FARTHEST) and len(edges) == CELLS - 1):
            raise IntegrityError(f"edges: not {CELLS - 1} whole numbers")
        if any(a > b for a, b in pairwise(edges)):
            raise IntegrityError("edges: not in ascending order")
        if not (whole(preview, 0, 10**6) and len(preview) == len(REACHES)):
            raise IntegrityError(f"preview: not {len(REACHES)} shares in millionths")
        if not (whole(state["drivers"], -(10**6), 10**6) and len(state["drivers"]) == space.d):
            raise IntegrityError("drivers: not one correlation for each feature, in millionths")
        for name in ("evidence", "people"):
            if not whole([state[name]], 0 if name == "evidence" else -(2**53), 2**53):
                raise IntegrityError(f"{name}: not a whole number")
        return cls(
            space,
            np.array(weights, dtype=np.int64),
            np.array(edges, dtype=np.int64),
            tuple(preview),
            state["evidence"],
            state["people"],
            tuple(state["drivers"]),
        )

    def write(self) -> dict[str, Any]:
        return {
            "weights": self.weights.tolist(),
            "edges": self.edges.tolist(),
            "preview": list(self.preview),
            "evidence": self.evidence,
            "people": self.people,
            "drivers": list(self.drivers),
        }

    @property
    def evident(self) -> bool:
        """Whether the seed is told from everybody at all: otherwise there is no usable signal, before any report."""
        return self.evidence >= EVIDENT

    def scores(self, people: People) -> Integers:
        """(n,) φ · w in 2⁻⁴⁰, the higher the likelier; people who are not usable are scored by what stands there."""
        return scores(self.space, self.weights, people)

    def cells(self, people: People) -> Integers:
        """(n,) number of the cell, from 0, the likest, to 63. A score on an edge is in the likelier cell."""
        return self.cells_of(self.scores(people))

    def cells_of(self, scores: Integers) -> Integers:
        return CELLS - 1 - np.searchsorted(self.edges, scores, side="right")


def scores(space: Space, weights: Integers, people: People) -> Integers:
    """(n,) φ · w in 2⁻⁴⁰. weights: (length of φ,) in 2⁻²⁴, none beyond ±`HEAVIEST`."""
    n = len(people[space.features[0].name])
    found = np.empty(n, dtype=np.int64)
    tables = _Tables(space, weights)
    for start in range(0, n, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        own = {feature.name: people[feature.name][part] for feature in space.features}
        found[part] = tables.scores(list(cells(space.features, own)))
    return found


def whole_weights(weights: Reals) -> Integers:
    """In 2⁻²⁴, none beyond ±`HEAVIEST`."""
    return np.clip(np.rint(weights * WEIGHT), -HEAVIEST, HEAVIEST).astype(np.int64)


class _Tables:
    """The products that many people share: of a bin and of an angle with their weights."""

    def __init__(self, space: Space, w: Integers) -> None:
        self.space, places = space, space.places
        self.moments = [int(x) for x in w[: places.bins.start]]
        self.bins = w * bin_entry(space.d)
        cosine, sine = waves()
        self.waves = [
            cosine * int(w[places.cosines + k]) + sine * int(w[places.sines + k])
            for k in range(places.sines - places.cosines)
        ]
        self.constant = constant_entry() * int(w[-1])

    def scores(self, at: Sequence[Integers]) -> Integers:
        z = self.space.z(at)
        found = np.full(len(z[0]), self.constant, dtype=np.int64)
        for column, weight in zip(self.space.moments(z), self.moments, strict=True):
            found += truncate(column * math.sqrt(MOMENTS), SCALE) * weight
        for own in self.space.binned(at):
            found += self.bins[own]
        for table, phase in zip(self.waves, self.space.phases(z), strict=True):
            found += table[phase]
        return found


# -- what leaves an owner ----------------------------------------------------------------------------------------------


def scores_statistic() -> Statistic:
    """Δ = 1. Why: a person is in one cell."""
    return Statistic((*(f"cell/{i}" for i in range(CELLS)), UNUSABLE), scale=1, bound_sq=1)


def scores_rows(scorer: Scorer, people: People) -> Sparse:
    at = scorer.cells(people)[:, None]
    return Sparse(at, np.ones_like(at))


def cuts(noised: Sequence[int]) -> tuple[int, ...]:
    """An owner's 64 noised cells → for each reach how many cells, from the likest on, are within the cut: ascending.

    The edge nearest to the wanted reach: what is within is then a sum of cells, and no model stands between. A cut has
    one cell at least, and more than the cut before it. In whole numbers: between equals no rounding decides.
    """
    within, whole_ = _running(noised), sum(map(int, noised)) * _SHARES
    found: list[int] = []
    for i, reach in enumerate(REACHES):
        least, most = (found[-1] if found else 0) + 1, CELLS - (len(REACHES) - i)
        wanted = whole_ * reach
        found.append(min(range(least, most + 1), key=lambda c: abs(100 * within[c - 1] - wanted)))
    return tuple(found)


def _running(noised: Sequence[int]) -> list[int]:
    """People within the first 1, 2, … cells, never falling, times `_SHARES`: least squares (pool adjacent violators,
    Barlow 1972).
    """
    blocks: list[tuple[int, int]] = []  # sum and size
    for total in accumulate(map(int, noised[:CELLS])):
        size = 1
        while blocks and blocks[-1][0] * size > total * blocks[-1][1]:
            before, many = blocks.pop()
            total, size = before + total, many + size
        blocks.append((total, size))
    return [total * (_SHARES // size) for total, size in blocks for _ in range(size)]


def bands(of: Sequence[int], at: Integers) -> Integers:
    """Cells → (n,) 0 to 5: how many of an owner's cuts a person is outside of."""
    return np.searchsorted(np.asarray(of), at, side="right")


def parts(noised: Sequence[int], of: Sequence[int]) -> Iterator[int]:
    """The noised number of people in each of the six bands between an owner's cuts."""
    for first, last in pairwise((0, *of, CELLS)):
        yield sum(int(x) for x in noised[first:last])
