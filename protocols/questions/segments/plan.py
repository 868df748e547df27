"""The public constants of the segments question."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from protocols.feature import Feature
from protocols.schema import Frozen, HowMany, Positive, Range

SCALE = 1 << 16
OVER = 4
PROFILE_COUNT, PROFILE_MEANS = math.sqrt(0.3), math.sqrt(0.7)


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
