"""The shared space: φ(x), the same public map at every party, with |φ(x)| = 1 for everybody.

    φ = (√.45 · (u, √(1 − |u|²)), √(.2/d) · one-hot bins, √(.25/80) · (cos, sin) of 80 frequencies, √.1)
    u = (z, (z² − 1)/2) / R, no longer than 1; R = 1.3 √d; z the normal scores of the joint histograms

The squares of the four blocks add up to 1, whoever it is: that is the bound of everything summed here. Scores and bins
come from a state; cells and frequencies follow from the plan. A person's row is a function of that person's own
features and of these, element by element or in integers: in any company it is the same to the last bit.

Cells are stretches of whole numbers, so that no logarithm is taken of a person's value. Angles are whole parts of 2^32
to a turn, and sines are looked up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from protocols.errors import IntegrityError
from protocols.feature import Feature, Reals
from protocols.statistic import UNUSABLE, Integers, People, Sparse, Statistic, truncate

SCALE = 1 << 16
CELLS, BINS, FREQUENCIES = 256, 10, 80
ONE = 1 << 12  # a normal score of 1
FARTHEST = 3 * ONE
MOMENTS, BINNED, WAVES, CONSTANT = 0.45, 0.2, 0.25, 0.1  # what each block has of the squared norm
REACH = 1.3  # of the radius of u, in √d
_TURN_BITS, _TABLE_BITS = 32, 12
WIDTHS = (0.5, 1.0, 2.0)  # of the kernels that the frequencies stand for, in √d

Phases = NDArray[np.uint32]


# -- cells -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def starts(feature: Feature) -> Integers:
    """(cells,) the least whole number in each of at most 256 cells, ascending; cells without a whole number are left
    out. The first also holds all below, the last all above.
    """
    wanted = np.arange(CELLS)
    low = np.full(CELLS, feature.low, dtype=np.int64)
    high = np.full(CELLS, feature.high, dtype=np.int64)  # the largest number is in the last cell
    while np.any(low < high):
        middle = low + (high - low) // 2
        reached = np.floor((feature.scaled(middle) + 1) / 2 * CELLS) >= np.minimum(wanted, CELLS - 1)
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    found = np.unique(low)
    found.setflags(write=False)
    return found


def cells(features: Sequence[Feature], people: People) -> Iterator[Integers]:
    """Of each feature, (n,) the number of each person's cell."""
    for feature in features:
        yield np.searchsorted(starts(feature)[1:], people[feature.name], side="right")


def bins_of(feature: Feature) -> int:
    """The most bins that a feature can have."""
    return min(BINS, len(starts(feature)))


def edges_statistic(features: Sequence[Feature]) -> Statistic:
    """Δ² = d. Why: a person is in one cell of each of d features, so d slots move, by 1."""
    names = [f"{feature.name}/{i}" for feature in features for i in range(len(starts(feature)))]
    return Statistic((*names, UNUSABLE), scale=1, bound_sq=len(features))


def edges_rows(features: Sequence[Feature], people: People) -> Sparse:
    first = np.cumsum([0, *(len(starts(feature)) for feature in features[:-1])])
    at = np.stack(list(cells(features, people)), axis=1) + first
    return Sparse(at, np.ones_like(at))


# -- the state ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Space:
    """scores: of each feature (cells,) normal scores as integers of 2⁻¹²; bins: of each the first cells of its bins."""

    features: tuple[Feature, ...]
    scores: tuple[Integers, ...]
    bins: tuple[Integers, ...]

    @classmethod
    def read(cls, state: Mapping[str, Any], features: Sequence[Feature]) -> Self:
        """From a state. Raises IntegrityError unless it has the plan's shape, and scores within ±3."""
        if not isinstance(state, Mapping) or set(state) != {"scores", "bins"}:
            raise IntegrityError("a state of the shared space has exactly the fields scores and bins")
        scores, bins = state["scores"], state["bins"]
        if not all(isinstance(one, list) and len(one) == len(features) for one in (scores, bins)):
            raise IntegrityError("a state of the shared space has not one entry for each feature")
        for feature, own, firsts in zip(features, scores, bins, strict=True):
            if not (whole(own, -FARTHEST, FARTHEST) and len(own) == len(starts(feature))):
                raise IntegrityError(f"scores of {feature.name}: not one for each cell, within ±3")
            last = len(starts(feature)) - 1
            if not (whole(firsts, 0, last) and 1 <= len(firsts) <= bins_of(feature) and firsts[0] == 0):
                raise IntegrityError(f"bins of {feature.name}: not the first cells of 1 to {bins_of(feature)} bins")
            if any(a >= b for a, b in pairwise(firsts)):
                raise IntegrityError(f"bins of {feature.name}: not in ascending order")
        return cls(tuple(features), *(tuple(np.array(x, dtype=np.int64) for x in one) for one in (scores, bins)))

    def write(self) -> dict[str, Any]:
        return {"scores": [one.tolist() for one in self.scores], "bins": [one.tolist() for one in self.bins]}

    @property
    def d(self) -> int:
        return len(self.features)

    @property
    def places(self) -> Places:
        return Places.of(self.features)

    def binned(self, at: Sequence[Integers]) -> Iterator[Integers]:
        """Cells → of each feature, (n,) the slot of φ that a person's bin has."""
        for first, firsts, own in zip(self.places.first_bins, self.bins, at, strict=True):
            yield first + np.searchsorted(firsts[1:], own, side="right")

    def rows(self, people: People) -> Integers:
        """(n, length of φ) integers: φ at scale 2^16, truncated."""
        return self.rows_of(list(cells(self.features, people)))

    def rows_of(self, at: Sequence[Integers]) -> Integers:
        """The same from cells."""
        n, places, z = len(at[0]), self.places, self.z(at)
        rows = np.zeros((n, places.length), dtype=np.int64)
        for j, column in enumerate(self.moments(z)):
            rows[:, j] = truncate(column * math.sqrt(MOMENTS), SCALE)
        for own in self.binned(at):
            rows[np.arange(n), own] = bin_entry(self.d)
        cosine, sine = waves()
        for k, phase in enumerate(self.phases(z)):
            rows[:, places.cosines + k], rows[:, places.sines + k] = cosine[phase], sine[phase]
        rows[:, -1] = constant_entry()
        return rows

    def z(self, at: Sequence[Integers]) -> list[Integers]:
        """Cells → of each feature, (n,) normal scores in 2⁻¹²."""
        return [scores[own] for scores, own in zip(self.scores, at, strict=True)]

    def moments(self, z: Sequence[Integers]) -> list[Reals]:
        """Normal scores → the 2d + 1 columns (u, √(1 − |u|²)), whose squares add up to 1 for everybody."""
        radius = REACH * math.sqrt(self.d)
        first = [one / float(ONE) for one in z]
        u = [one / radius for one in (*first, *((x * x - 1.0) / 2.0 for x in first))]
        long = np.sqrt(np.maximum(1.0, _squares(u)))
        u = [one / long for one in u]
        return [*u, np.sqrt(np.maximum(0.0, 1.0 - _squares(u)))]

    def phases(self, z: Sequence[Integers]) -> Iterator[Integers]:
        """Of each frequency, (n,) where in the table of sines a person's angle is. Why unsigned: overflow is a turn."""
        turned = [one.astype(np.uint32) for one in z]
        angle, term = np.empty_like(turned[0]), np.empty_like(turned[0])
        for frequency in frequencies(self.d):
            angle.fill(0)
            for own, turns in zip(turned, frequency, strict=True):
                np.multiply(own, turns, out=term)
                np.add(angle, term, out=angle)
            yield (angle >> np.uint32(_TURN_BITS - _TABLE_BITS)).astype(np.int64)


@dataclass(frozen=True)
class Places:
    """Where each block of φ begins."""

    d: int
    first_bins: tuple[int, ...]
    cosines: int
    sines: int
    length: int

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Places:
        return _places(tuple(features))

    @property
    def bins(self) -> slice:
        return slice(2 * self.d + 1, self.cosines)


@lru_cache(maxsize=64)
def _places(features: tuple[Feature, ...]) -> Places:
    ends = np.cumsum([2 * len(features) + 1, *(bins_of(feature) for feature in features)]).tolist()
    cosines = ends[-1]
    return Places(len(features), tuple(ends[:-1]), cosines, cosines + FREQUENCIES, cosines + 2 * FREQUENCIES + 1)


def names(features: Sequence[Feature]) -> list[str]:
    """The slots of φ, in order."""
    d = len(features)
    moments = [f"z/{i}" for i in range(d)] + [f"zz/{i}" for i in range(d)] + ["rest"]
    bins = [f"{feature.name}/bin{i}" for feature in features for i in range(bins_of(feature))]
    return [*moments, *bins, *(f"{what}/{k}" for what in ("cos", "sin") for k in range(FREQUENCIES)), "one"]


def seed_statistic(features: Sequence[Feature]) -> Statistic:
    """Σ φ(x) over a seed. Δ = 1. Why: |φ(x)| = 1, and truncation makes no entry larger."""
    return Statistic((*names(features), UNUSABLE), SCALE, SCALE**2)


# -- constants ---------------------------------------------------------------------------------------------------------


def bin_entry(d: int) -> int:
    return int(math.sqrt(BINNED / d) * SCALE)


def constant_entry() -> int:
    return int(math.sqrt(CONSTANT) * SCALE)


@lru_cache(maxsize=16)
def waves(share: float = WAVES) -> tuple[Integers, Integers]:
    """Tables of √(share/80) · (cos, sin) at scale 2^16, by the angle's upper twelve bits."""
    turn, radius = 1 << _TABLE_BITS, math.sqrt(share / FREQUENCIES)
    angles = [2 * math.pi * (i + 0.5) / turn for i in range(turn)]
    found = tuple(truncate(np.array([radius * f(a) for a in angles]), SCALE) for f in (math.cos, math.sin))
    return found[0], found[1]


@lru_cache(maxsize=16)
def frequencies(d: int) -> Phases:
    """(80, d) by how much of a turn, in 2⁻³², a score's 2⁻¹² moves an angle: normal draws of three widths.

    From SHA-256 of a counter, so that no version of a library changes them.
    Source: Rahimi & Recht 2007, "Random Features for Large-Scale Kernel Machines".
    """
    unit = (1 << _TURN_BITS) / (2 * math.pi * ONE)
    draw = NormalDist()
    found = np.empty((FREQUENCIES, d), dtype=np.uint32)
    for k in range(FREQUENCIES):
        width = WIDTHS[k % len(WIDTHS)] * math.sqrt(d)
        for j in range(d):
            digest = hashlib.sha256(b"sumroom lookalike frequency %d %d %d" % (d, k, j)).digest()
            uniform = (int.from_bytes(digest[:6], "big") + 0.5) / (1 << 48)
            found[k, j] = round(draw.inv_cdf(uniform) / width * unit) % (1 << _TURN_BITS)
    found.setflags(write=False)
    return found


def _squares(columns: Sequence[Reals]) -> Reals:
    total = np.zeros(len(columns[0]))
    for column in columns:
        total += column * column
    return total


def whole(found: Any, least: int, most: int) -> bool:
    """Whether it is a list of integers within these."""
    return isinstance(found, list) and all(type(x) is int and least <= x <= most for x in found)
