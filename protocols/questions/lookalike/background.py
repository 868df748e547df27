"""Who everybody is: second moments of people, summed over all parties once for each version of their data.

    v = (√.8 · triangle(m mᵀ), √.2 · f)      off the diagonal × √2, so that the first part has norm √.8 · |m|² = √.8
    m = (√.7 · (u, √(1 − |u|²)), √.3)        of norm 1, `space.py` says what u is
    f = (bins, frequencies), norm 1          as in φ, their shares of φ's squared norm scaled to add up to 1

Δ = 1. Why: .8 + .2, whoever it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from protocols.feature import Feature
from protocols.statistic import UNUSABLE, Integers, People, Statistic, truncate

from .space import BINNED, FREQUENCIES, SCALE, WAVES, Places, Space, cells, names, waves

PAIRS, SINGLES = 0.8, 0.2
MOVED, STILL = 0.7, 0.3
SINGLE_BINS, SINGLE_WAVES = (SINGLES * share / (BINNED + WAVES) for share in (BINNED, WAVES))


def pairs(d: int) -> list[tuple[int, int]]:
    """The upper triangle of m mᵀ, the 2d + 2 coordinates of m in φ's order and the constant last."""
    return [(i, j) for i in range(2 * d + 2) for j in range(i, 2 * d + 2)]


def statistic(features: Sequence[Feature]) -> Statistic:
    """Δ = 1."""
    singles = names(features)[2 * len(features) + 1 : -1]
    return Statistic((*(f"m{i}/m{j}" for i, j in pairs(len(features))), *singles, UNUSABLE), SCALE, SCALE**2)


def rows(space: Space, people: People) -> Integers:
    """(n, slots − 1) v at scale 2^16, truncated."""
    at = list(cells(space.features, people))
    z, n, places = space.z(at), len(at[0]), Places.of(space.features)
    m = [math.sqrt(MOVED) * column for column in space.moments(z)] + [np.full(n, math.sqrt(STILL))]
    both = pairs(space.d)
    found = np.zeros((n, len(both) + places.length - 2 * space.d - 2), dtype=np.int64)
    for k, (i, j) in enumerate(both):
        found[:, k] = truncate(m[i] * m[j] * (math.sqrt(PAIRS) * (1.0 if i == j else math.sqrt(2))), SCALE)
    moved = len(both) - (2 * space.d + 1)  # from φ's slots to these
    entry = int(math.sqrt(SINGLE_BINS / space.d) * SCALE)
    for own in space.binned(at):
        found[np.arange(n), own + moved] = entry
    cosine, sine = waves(SINGLE_WAVES)
    for k, phase in enumerate(space.phases(z)):
        found[:, places.cosines + k + moved] = cosine[phase]
        found[:, places.cosines + FREQUENCIES + k + moved] = sine[phase]
    return found
