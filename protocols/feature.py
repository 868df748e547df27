"""A feature of people as a number in [−1, 1], by public constants: what questions about how people lie are asked of."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from .schema import Frozen, Name
from .statistic import Integers

Reals = NDArray[np.float64]


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
