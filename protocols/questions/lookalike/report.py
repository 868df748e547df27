"""How well the seed's likeness finds the seed among an owner's people: from noised counts, each with its interval.

For each cut, from the likest on: its reach, how many of the seed's people at this owner are within it (recall), and by
how many times these are more than the reach says (lift). Counts of people exactly within a cut were noised; nothing is
taken from the model. What is said of an owner's people holds for them; recall, lift and AUC are said of people like
those in the seed, so that their intervals hold noise and sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from protocols.accuracy import Interval, discrete_gaussian_accuracy, fieller
from protocols.figures import Figure, count, figure, too_noisy

from .plan import BANDS
from .scorer import CELLS, REACHES, cuts, parts

GATE = 5.0
WIDEST = 0.25  # half-width of a share, and of the AUC
WIDEST_LIFT = 5.0
SIGNAL, NO_SIGNAL = "usable", "no usable signal"
CHANCE = 0.5


def needed(cells_variance: float, shared_variance: float) -> tuple[float, float]:
    """(people, the seed's people among them) that an owner must have, noise included, for anything to be said."""
    return GATE * math.sqrt(CELLS * cells_variance), GATE * math.sqrt(BANDS * shared_variance)


@dataclass(frozen=True)
class Owner:
    """One owner's noised counts.

    cells     (64,) people in each cell of the score, the likest first; cells_variance: of the noise in each
    shared    (6,) the seed's people among them, between this owner's cuts; shared_variance: of the noise in each
    """

    cells: Sequence[int]
    cells_variance: float
    shared: Sequence[int]
    shared_variance: float

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        return cuts(self.cells)

    @cached_property
    def people(self) -> int:
        return sum(self.cells)

    @cached_property
    def matched(self) -> int:
        """The seed's people at this owner, noised."""
        return sum(self.shared)

    @property
    def steady(self) -> bool:
        """Whether the owner's people, and the seed's among them, stand out of the noise of all their cells."""
        return self._people_steady and self._matched_steady

    @property
    def _people_steady(self) -> bool:
        return self.people >= needed(self.cells_variance, self.shared_variance)[0]

    @property
    def _matched_steady(self) -> bool:
        return self.matched >= needed(self.cells_variance, self.shared_variance)[1]

    def figures(self, target: float | None = None, most: int = REACHES[-1]) -> dict[str, Any]:
        """people, cuts by their reach in percent, seed, AUC, signal; with a target lift, the cut that it leads to.

        most: the largest reach that may be suggested
        """
        cells = count(self.people, discrete_gaussian_accuracy(CELLS * self.cells_variance), 1)
        seed = count(self.matched, discrete_gaussian_accuracy(len(self.shared) * self.shared_variance), 1)
        found: dict[str, Any] = {
            "people": cells,
            "seed": seed,
            "cuts": {str(reach): self._cut(i) for i, reach in enumerate(REACHES)},
            "auc": _shown(self.auc, 3, WIDEST),
            "signal": self._signal(),
        }
        return found if target is None else {**found, "default": self._default(target, most)}

    def _cut(self, i: int) -> dict[str, Figure]:
        return {
            "reach": _shown(self.reach(i), 4, WIDEST),
            "recall": _shown(self.recall(i), 4, WIDEST),
            "lift": _shown(self.lift(i), 2, WIDEST_LIFT),
        }

    # -- estimates: a value with its interval, None where it is too noisy ----------------------------------------------

    def reach(self, i: int) -> tuple[float, Interval] | None:
        """The part of the owner's people within cut i; its interval holds noise only."""
        within, cells = sum(self.cells[: self.cuts[i]]), self.cuts[i]
        if not self._people_steady:
            return None
        own = cells * self.cells_variance
        interval = fieller(within, self.people, own, CELLS * self.cells_variance, own)
        return None if interval is None else (within / self.people, interval)

    def recall(self, i: int) -> tuple[float, Interval] | None:
        """The part of the seed's people at this owner within cut i."""
        if not self._matched_steady:
            return None
        within, own, whole = self._within(i)
        interval = fieller(within, self.matched, own, whole, own)
        return None if interval is None else (within / self.matched, interval)

    def lift(self, i: int) -> tuple[float, Interval] | None:
        """Recall over reach, whose noises are independent."""
        reach, recall = self.reach(i), self.recall(i)
        if reach is None or recall is None or not self.steady:
            return None
        (q, _), (r, _) = reach, recall
        _, own, whole = self._within(i)
        n, m, v = self.people, self.matched, self.cells_variance
        var_recall = max(own - 2 * r * own + r * r * whole, 0.0) / m**2
        cells = self.cuts[i]
        var_reach = (v * (cells * (1 - q) ** 2 + (CELLS - cells) * q**2) + n * max(q * (1 - q), 0.0)) / n**2
        interval = fieller(r, q, var_recall, var_reach, 0.0)
        return None if interval is None else (r / q, interval)

    @cached_property
    def auc(self) -> tuple[float, Interval] | None:
        """How often somebody of the seed is before another of the owner's people, in the order of the six bands; a tie
        counts a half. Where scores order people within bands too, theirs is higher.
        """
        if not self.steady:
            return None
        n, m, v = self.people, self.matched, self.cells_variance
        own = list(parts(self.cells, self.cuts))
        cells = [last - first for first, last in zip((0, *self.cuts), (*self.cuts, CELLS), strict=True)]
        beats = [(sum(own[b + 1 :]) + own[b] / 2) / n for b in range(len(own))]
        before = [(sum(self.shared[:b]) + self.shared[b] / 2) / m for b in range(len(own))]
        a = sum(x * g for x, g in zip(self.shared, beats, strict=True))
        variances = [self.shared_variance + max(x, 0) for x in self.shared]
        var_a = sum(x * g * g for x, g in zip(variances, beats, strict=True))
        cov = sum(x * g for x, g in zip(variances, beats, strict=True))
        noise = [k * v + max(x, 0) for k, x in zip(cells, own, strict=True)]
        by_people = sum(x * (k - a / m) ** 2 for x, k in zip(noise, before, strict=True)) / n**2
        interval = fieller(a, m, var_a + m**2 * by_people, sum(variances), cov)
        return None if interval is None else (a / m, interval)

    def _within(self, i: int) -> tuple[int, float, float]:
        """(the seed's people within cut i, variance of these, variance of all), noise and sampling."""
        within = sum(self.shared[: i + 1])
        own = (i + 1) * self.shared_variance + max(within, 0)
        return within, own, max(own, len(self.shared) * self.shared_variance + max(self.matched, 0))

    def _signal(self) -> Figure:
        """Usable where even the lower end of the AUC is above chance."""
        if self.auc is None:
            return too_noisy()
        value, interval = self.auc
        return {**figure(value, interval, 3), "value": SIGNAL if interval.low > CHANCE else NO_SIGNAL}

    def _default(self, target: float, most: int) -> Figure:
        """The largest reach, up to the most, whose lift is surely the target or more, with that lift's interval."""
        for i in reversed(range(REACHES.index(most) + 1)):
            lift = self.lift(i)
            if lift is not None and lift[1].half_width <= WIDEST_LIFT and lift[1].low >= target:
                return {**figure(*lift, 2), "value": str(REACHES[i])}
        return too_noisy()


def _shown(found: tuple[float, Interval] | None, digits: int, widest: float) -> Figure:
    return too_noisy() if found is None or found[1].half_width > widest else figure(*found, digits)
