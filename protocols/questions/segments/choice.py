"""Why a round has as many segments as it has: what is released of each number that was weighed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import IntegrityError

FIXED = 1 << 24
USUAL = 4  # the number of segments where the synopsis does not tell one, brought within the plan's range
LARGEST = 1 << 27  # of how many standard deviations the smallest segment is


@dataclass(frozen=True)
class Score:
    """One number of segments, by the noised over-clusters.

    silhouette   simplified: 1 − distance to the own centre over that to the next, of the average person
    low, high    band of it: the least and the greatest over draws of the over-clusters with their noise once more
    gap          how many fewer people are midway between two segments than at the lower of both peaks, as a part, for
                 the pair with the least
    within       the part of the over-clusters' variance that is left within segments
    stability    adjusted Rand index of such draws with the solution itself, on average
    smallest     people of the smallest segment, in standard deviations of its noise
    """

    clusters: int
    silhouette: float
    low: float
    high: float
    gap: float
    within: float
    stability: float
    smallest: float

    @classmethod
    def read(cls, row: Any) -> Score:
        if not isinstance(row, list) or len(row) != 8 or not all(type(x) is int for x in row):
            raise IntegrityError("a state whose choice has a score of another shape")
        if any(abs(x) > FIXED for x in row[1:7]) or abs(row[7]) > LARGEST * FIXED:
            raise IntegrityError("a state whose choice has a score out of bounds")
        return cls(row[0], *(x / FIXED for x in row[1:]))

    def write(self) -> list[int]:
        parts = (self.silhouette, self.low, self.high, self.gap, self.within, self.stability)
        limited = (*(min(1.0, max(-1.0, x)) for x in parts), min(LARGEST, max(-LARGEST, self.smallest)))
        return [self.clusters, *(round(x * FIXED) for x in limited)]


@dataclass(frozen=True)
class Choice:
    """The number of segments that a round goes on with, and what spoke for it.

    told    whether the scores told it; if not, it is the usual number
    scores  of each number that was weighed, ascending
    """

    chosen: int
    told: bool
    scores: tuple[Score, ...]

    @classmethod
    def read(cls, value: Any, most: int) -> Choice:
        """Raises IntegrityError unless it weighs ascending numbers up to `most`, and tells one of them or none."""
        if not isinstance(value, Mapping) or set(value) != {"chosen", "told", "scores"}:
            raise IntegrityError("a state whose choice needs exactly: chosen, told, scores")
        chosen, told, rows = value["chosen"], value["told"], value["scores"]
        numbers = type(chosen) is int and type(told) is int  # `True` is an int too, and no other reader's 1
        if not numbers or not 1 <= chosen <= most or told not in (0, 1) or not isinstance(rows, list):
            raise IntegrityError(f"a state whose choice is none of 1 to {most} segments")
        scores = tuple(map(Score.read, rows))
        weighed = [score.clusters for score in scores]
        if any(not 2 <= k <= most for k in weighed) or weighed != sorted(set(weighed)):
            raise IntegrityError(f"a state whose choice weighs other numbers than 2 to {most}, or not in order")
        if told and chosen not in weighed:
            raise IntegrityError("a state whose choice is a number that it has not weighed")
        return cls(chosen, bool(told), scores)

    def write(self) -> dict[str, Any]:
        rows = [score.write() for score in self.scores]
        return {"chosen": self.chosen, "told": int(self.told), "scores": rows}
