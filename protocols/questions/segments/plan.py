"""The public constants of the segments question."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from protocols.schema import Frozen, HowMany, Name, Positive, Range
from protocols.statistic import Integers

from .states import Reals

SCALE = 1 << 16
OVER = 4
PROFILE_COUNT, PROFILE_MEANS = math.sqrt(0.3), math.sqrt(0.7)


class Feature(Frozen):
    """One coordinate: a feature of the party's table, a transform, and public bounds in the feature's own unit."""

    name: Name
    transform: Literal["identity", "log1p"]
    low: Annotated[int, Field(strict=True, ge=-(2**40), le=2**40)]
    high: Annotated[int, Field(strict=True, ge=-(2**40), le=2**40)]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low >= self.high or (self.transform == "log1p" and self.low < 0):
            raise ValueError("a feature needs low below high, and low of at least 0 for log1p")
        return self

    def scaled(self, values: Integers) -> Reals:
        """(n,) integers → (n,) in [−1, 1]: clip to the bounds, transform, scale."""
        clipped = np.clip(values, self.low, self.high).astype(np.float64)
        if self.transform == "log1p":
            clipped = np.fromiter(map(math.log1p, clipped.tolist()), dtype=np.float64, count=len(clipped))
        low, high = self._moved(float(self.low)), self._moved(float(self.high))
        return np.clip(2.0 * (clipped - low) / (high - low) - 1.0, -1.0, 1.0)

    def unit(self, scaled: float) -> float:
        """From [−1, 1] back to the feature's own unit."""
        low, high = self._moved(float(self.low)), self._moved(float(self.high))
        moved = low + (min(1.0, max(-1.0, scaled)) + 1) / 2 * (high - low)
        return math.expm1(moved) if self.transform == "log1p" else moved

    def slope(self, scaled: float) -> float:
        """By how much `unit` rises with `scaled`, there."""
        half = (self._moved(float(self.high)) - self._moved(float(self.low))) / 2
        return half * (1 + self.unit(scaled)) if self.transform == "log1p" else half

    def _moved(self, value: float) -> float:
        return math.log1p(value) if self.transform == "log1p" else value


class Shares(Frozen):
    """Nano-ρ of each step; `lloyd` is for each of its rounds."""

    moments: Positive
    covariance: Positive | None = None
    coarse: Positive
    fine: Positive
    over: Positive
    lloyd: Positive
    profile: Positive
    stability: Positive | None = None


def _form(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "number"


class Plan(Frozen):
    """The public constants of the question."""

    # In a document `clusters` is a number or a range; everything is sized for the largest, which is `clusters` here.
    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["segments"] = "segments"
    rho: Shares
    features: Annotated[list[Feature], Field(min_length=1, max_length=16)]
    wanted: Annotated[
        Annotated[HowMany, Tag("number")] | Annotated[Range, Tag("range")],
        Discriminator(_form),
        Field(alias="clusters"),
    ]
    lloyd_rounds: Annotated[int, Field(strict=True, ge=1, le=5)]
    coarse_cells: Annotated[int, Field(strict=True, ge=8, le=2**15)]
    fine_cells: Annotated[int, Field(strict=True, ge=8, le=2**15)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({f.name for f in self.features}) != len(self.features):
            raise ValueError("features: one is named twice")
        if self.fine_cells < self.coarse_cells:
            raise ValueError("fine_cells must be at least coarse_cells: every full cell needs a part")
        if (len(self.features) > 2) != (self.rho.covariance is not None):
            raise ValueError("rho.covariance belongs to three features or more, and only to them")
        return self

    @property
    def clusters(self) -> int:
        """How many segments there are blocks for: the most there may be."""
        return self.wanted.most if isinstance(self.wanted, Range) else self.wanted

    @property
    def range(self) -> Range | None:
        """None where the plan fixes the number."""
        return self.wanted if isinstance(self.wanted, Range) else None

    @property
    def dimensions(self) -> int:
        return len(self.features)

    @property
    def over_clusters(self) -> int:
        return OVER * self.clusters

    def lloyd_names(self) -> list[str]:
        return [f"seg-lloyd-{t}" for t in range(1, self.lloyd_rounds + 1)]
