"""What a segment is: its size, and its people's features against everybody's, each with its interval."""

from __future__ import annotations

import math
from typing import Any

from protocols.accuracy import Z95, Interval, discrete_gaussian_accuracy, fieller
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
    index is 100 × a segment's typical value over everybody's, of whom the segment is a part: the noise of both is
    largely the same, and the interval of their quotient much narrower than quotients of their intervals.
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
    def weight(self) -> float:
        """What a feature at the end of the box adds to its sum."""
        return PROFILE_MEANS / math.sqrt(self.plan.dimensions) * SCALE

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
        weight = self.weight
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
        return {f.name: self._index(j, other) for j, f in enumerate(self.plan.features)}

    def _index(self, j: int, other: _Sums) -> Figure:
        """By the slopes of the quotient in both blocks' sums, of which `other` holds this one's."""
        everybody = other.typical(j)
        if self.typical(j) is None or everybody is None or everybody[1].low <= 0:
            return too_noisy()
        feature, (m, b), (all_m, all_b) = self.plan.features[j], self._mean(j), other._mean(j)
        index = feature.unit(m) / feature.unit(all_m)
        slope, all_slope = (feature.slope(at) / feature.unit(all_m) for at in (m, all_m))
        all_slope *= index
        noise = (
            self._noise(slope / b, m, slope / b, m)
            + other._noise(all_slope / all_b, all_m, all_slope / all_b, all_m)
            - 2 * self._noise(slope / b, m, all_slope / all_b, all_m)
        )
        half = Z95 * math.sqrt(max(0.0, noise)) + (slope + abs(all_slope)) / self.weight  # truncation, as of `typical`
        return figure(100 * index, Interval(100 * (index - half), 100 * (index + half)), 0)

    def _mean(self, j: int) -> tuple[float, float]:
        """A feature's mean in the box, and of how many people."""
        people = self.count / UNIT
        return self.sums[j] / self.weight / people, people

    def _noise(self, p: float, m: float, q: float, n: float) -> float:
        """Covariance of p · (sum − m · people) and q · (sum − n · people) by this block's noise."""
        return p * q * self.variance * (1 / self.weight**2 + m * n / UNIT**2)

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
