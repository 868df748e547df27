"""What a segment is: its size, and its people's features against everybody's, each with its interval."""

from __future__ import annotations

import math
from typing import Any

from protocols.accuracy import Interval, discrete_gaussian_accuracy, fieller
from protocols.feature import Feature
from protocols.figures import Figure, figure, too_noisy
from protocols.statistic import Integers, Noise

from .plan import PROFILE_COUNT, PROFILE_MEANS, SCALE, Plan

GATE = 5.0
WIDEST = 0.5  # half-width, where the whole box runs from −1 to 1
UNIT = int(PROFILE_COUNT * SCALE)  # what one person adds to a segment's count


def profile(plan: Plan, noised: Integers, noise: Noise, segments: int | None = None) -> dict[str, Any]:
    """Blocks of (features, count) → segments with size, share, typical values and index, and the same for all.

    segments: how many there are, if fewer than blocks. Blocks after theirs hold nobody: noise that no figure needs.

    A typical value is the mean on the feature's own scale (of log(1 + x) where it is so transformed), in its unit. The
    index is 100 × a segment's typical value over everybody's; its interval is the widest that both intervals allow.
    """
    d, k = plan.dimensions, segments or plan.clusters
    blocks = [[int(x) for x in noised[i * (d + 1) : (i + 1) * (d + 1)]] for i in range(k)]
    whole = [sum(column) for column in zip(*blocks, strict=True)]
    everybody = _Sums(plan, whole, noise.variance * k)
    each = {f"s{i + 1}": _segment(_Sums(plan, block, noise.variance), everybody) for i, block in enumerate(blocks)}
    return {"all": {"size": everybody.size(), "typical": everybody.typical_figures()}, "segments": each}


class _Sums:
    """One block: noised sums of d features and a count, whose noise has this variance in each slot."""

    def __init__(self, plan: Plan, sums: list[int], variance: float) -> None:
        self.plan, self.variance = plan, variance
        self.sums, self.count = sums[:-1], sums[-1]

    @property
    def steady(self) -> bool:
        return self.count >= GATE * math.sqrt(self.variance)

    def size(self) -> Figure:
        if not self.steady:
            return too_noisy()
        half = discrete_gaussian_accuracy(self.variance)
        return figure(self.count / UNIT, Interval((self.count - half) / UNIT, (self.count + half) / UNIT), 0)

    def share_of(self, other: _Sums) -> Figure:
        """This block's part of the sum of all blocks, of which it is one."""
        interval = fieller(self.count, other.count, self.variance, other.variance, self.variance)
        if interval is None or not (self.steady and other.steady):
            return too_noisy()
        return figure(self.count / other.count, interval, 4)

    def typical(self, j: int) -> tuple[float, Interval] | None:
        """A feature's typical value in its unit, None where it is too noisy."""
        weight = PROFILE_MEANS / math.sqrt(self.plan.dimensions) * SCALE
        a, b = self.sums[j] / weight, self.count / UNIT
        interval = fieller(a, b, self.variance / weight**2, self.variance / UNIT**2, 0.0)
        if interval is None or interval.half_width > WIDEST or not self.steady:
            return None
        unit = self.plan.features[j].unit
        cut = 1 / weight  # truncation moved each person's entry by less than one unit, and so the mean
        return unit(a / b), Interval(unit(interval.low - cut), unit(interval.high + cut))

    def typical_figures(self) -> dict[str, Figure]:
        return {f.name: self._figure(f, self.typical(j)) for j, f in enumerate(self.plan.features)}

    def index_figures(self, other: _Sums) -> dict[str, Figure]:
        return {f.name: _index(self.typical(j), other.typical(j)) for j, f in enumerate(self.plan.features)}

    def _figure(self, feature: Feature, found: tuple[float, Interval] | None) -> Figure:
        if found is None:
            return too_noisy()
        return figure(*found, 0 if feature.high - feature.low >= 10_000 else 2)


def _segment(own: _Sums, everybody: _Sums) -> dict[str, Any]:
    return {
        "size": own.size(),
        "share": own.share_of(everybody),
        "typical": own.typical_figures(),
        "index": own.index_figures(everybody),
    }


def _index(own: tuple[float, Interval] | None, everybody: tuple[float, Interval] | None) -> Figure:
    if own is None or everybody is None or everybody[1].low <= 0:
        return too_noisy()
    low, high = everybody[1].low, everybody[1].high
    ends = [100 * end / other for end in (own[1].low, own[1].high) for other in (low, high)]
    return figure(100 * own[0] / everybody[0], Interval(min(ends), max(ends)), 0)
