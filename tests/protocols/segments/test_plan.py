"""A question of segments that contradicts itself cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from protocols.questions.segments import Plan

MakePlan = Callable[..., Plan]
FEATURE = {"name": "f0", "transform": "identity", "low": 0, "high": 1}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"features": [FEATURE, FEATURE]}, "features: one is named twice"),
        ({"features": [FEATURE | {"low": 1}]}, "low below high"),
        ({"features": [FEATURE | {"low": -1, "transform": "log1p"}]}, "low of at least 0 for log1p"),
        ({"coarse_cells": 33}, "fine_cells must be at least coarse_cells"),
        ({"clusters": 1}, "clusters"),
        ({"lloyd_rounds": 6}, "lloyd_rounds"),
    ],
)
def test_a_question_that_contradicts_itself_is_refused(make_plan: MakePlan, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        make_plan(2, **changes)


@pytest.mark.parametrize(("d", "covariance"), [(2, 10**6), (3, None)])
def test_covariance_is_asked_of_three_features_or_more_and_only_of_them(
    make_plan: MakePlan, d: int, covariance: int | None
) -> None:
    rho = make_plan(d).rho.model_copy(update={"covariance": covariance}).body()
    with pytest.raises(ValidationError, match=r"rho.covariance belongs to three features or more"):
        make_plan(d, rho=rho)
