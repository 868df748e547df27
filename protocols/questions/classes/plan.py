"""The public constants of the question of latent classes."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from protocols.schema import Frozen, HowMany, Name, Positive, Range
from protocols.statistic import Integers

MOST_PATTERNS = 4096
MOST_CLASSES = 8

Cut = Annotated[int, Field(strict=True, ge=-(2**40), le=2**40)]


class Item(Frozen):
    """One trait: a feature, and the lower ends of all its levels but the first, in the feature's own unit."""

    feature: Name
    cuts: Annotated[list[Cut], Field(min_length=1, max_length=15)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(a >= b for a, b in pairwise(self.cuts)):
            raise ValueError("cuts must ascend")
        return self

    @property
    def levels(self) -> int:
        return len(self.cuts) + 1

    def level(self, values: Integers) -> Integers:
        """(n,) values → (n,) numbers of levels: how many cuts are not above the value."""
        found: Integers = np.searchsorted(np.asarray(self.cuts, dtype=np.int64), values, side="right")
        return found


class Shares(Frozen):
    """Nano-ρ of the one step."""

    patterns: Positive


class Plan(Frozen):
    """Which traits, cut where, and how many classes.

    Why 4,096 patterns and no more: the noise of a class is that of all patterns it fills; what was measured ends there.
    """

    kind: Literal["classes"] = "classes"
    rho: Shares
    items: Annotated[list[Item], Field(min_length=3, max_length=12)]
    classes: HowMany | Range

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len({item.feature for item in self.items}) != len(self.items):
            raise ValueError("items: one feature is named twice; two traits made of it would not be independent")
        if self.most > MOST_CLASSES:
            raise ValueError(f"classes: {self.most} of them; the most is {MOST_CLASSES}")
        if self.patterns > MOST_PATTERNS:
            raise ValueError(
                f"items: their levels make {self.patterns:,} patterns, the most is {MOST_PATTERNS:,}: "
                "use fewer items or fewer cuts"
            )
        if not identified(self.levels, self.most):
            raise ValueError(
                f"classes: so few items cannot tell {self.most} classes apart: of two groups of them each must have "
                f"at least {self.most} patterns, and an item be left over"
            )
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """How many levels each item has."""
        return tuple(item.levels for item in self.items)

    @property
    def patterns(self) -> int:
        return math.prod(self.levels)

    @property
    def least(self) -> int:
        return self.classes.least if isinstance(self.classes, Range) else self.classes

    @property
    def most(self) -> int:
        return self.classes.most if isinstance(self.classes, Range) else self.classes

    def names(self) -> list[str]:
        """Of all patterns: the levels of the items, the first item's changing last."""
        return ["-".join(map(str, levels)) for levels in product(*(range(n) for n in self.levels))]


def identified(levels: tuple[int, ...], classes: int) -> bool:
    """Whether a histogram of patterns can tell so many classes apart, for almost all classes that there may be.

    Two groups of items with at least so many patterns each, and an item left over, suffice. Source: Allman, Matias &
    Rhodes 2009, "Identifiability of parameters in latent structure models", Annals of Statistics 37(6), Theorem 4.
    """
    reached = {(1, 1, False)}  # patterns of either group, as far as they count; whether an item is left over
    for n in levels:
        reached |= {
            found
            for one, other, left in reached
            for found in (
                (min(one * n, classes), other, left),
                (one, min(other * n, classes), left),
                (one, other, True),
            )
        }
    return (classes, classes, True) in reached
