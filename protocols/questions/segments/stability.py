"""How surely people keep their segment: were the noise drawn again, and other people asked who are like these.

    seg-stability    own block of k: (√.5·q, √.5)       q: the probability that a person's nearest centre stays nearest

Each coordinate of a centre is taken as normal around where it was released, with the deviation that the last state
names: what the step's noise does to it, and what sampling its people does. Then the difference of two squared
distances is normal to first order, and q is that of the rival that is likeliest to win.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from protocols.accuracy import Interval, fieller
from protocols.figures import Figure, figure, too_noisy
from protocols.statistic import Integers, Noise

from .plan import SCALE
from .states import Clusters, Reals

KEEPS, STAYS = math.sqrt(0.5), math.sqrt(0.5)
UNIT = int(STAYS * SCALE)  # what one person adds to a segment's count
GATE = 5.0
WIDEST = 0.25


def keeps(points: Reals, clusters: Clusters) -> Reals:
    """(n, d) people in the box → (n,) q from ½ to 1. Column by column: nobody's q depends on who else is asked."""
    squared = np.zeros((len(points), len(clusters.centres)))
    for c, centre in enumerate(clusters.centres):
        for j, value in enumerate(centre):
            squared[:, c] += (points[:, j] - value) ** 2
    at = np.argmin(squared, axis=1)
    own = squared[np.arange(len(points)), at]
    spread = clusters.deviation**2
    least = np.full(len(points), np.inf)
    for c in range(len(clusters.centres)):
        doubt = 2 * np.sqrt(spread[c] * squared[:, c] + spread[at] * own)
        sure = np.divide(squared[:, c] - own, doubt, out=np.full(len(points), np.inf), where=doubt > 0)
        least = np.where(at == c, least, np.minimum(least, sure))
    return np.fromiter((0.5 + 0.5 * math.erf(t / math.sqrt(2)) for t in least.tolist()), np.float64, len(points))


def stability(noised: Integers, noise: Noise, segments: int) -> dict[str, Any]:
    """Blocks of (q, count) → how surely the average person of each segment, and of all, keeps it."""
    blocks = [(int(noised[2 * i]), int(noised[2 * i + 1])) for i in range(segments)]
    whole = tuple(map(sum, zip(*blocks, strict=True)))
    each = {f"s{i + 1}": {"keeps": _mean(*block, noise.variance)} for i, block in enumerate(blocks)}
    return {"all": {"keeps": _mean(whole[0], whole[1], noise.variance * segments)}, "segments": each}


def _mean(kept: int, people: int, variance: float) -> Figure:
    weight = KEEPS * SCALE
    interval = fieller(kept / weight, people / UNIT, variance / weight**2, variance / UNIT**2, 0.0)
    if interval is None or interval.half_width > WIDEST or people < GATE * math.sqrt(variance):
        return too_noisy()
    cut = 1 / weight  # truncation moved each person's entry by less than one unit, and so the mean
    return figure(kept / weight / (people / UNIT), Interval(interval.low - cut, interval.high + cut), 3)
