"""A plan of the segments question for these tests, and states that it allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols.questions.segments import Plan
from protocols.questions.segments.states import FIXED

HALF = 1 << 20  # features are whole numbers from −2^20 to 2^20, so that a person's place is an exact binary fraction


def question(d: int, **changes: Any) -> Plan:
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    features = [{"name": f"f{j}", "transform": "identity", "low": -HALF, "high": HALF} for j in range(d)]
    document = {
        "rho": rho | ({"covariance": 10**6} if d > 2 else {}),
        "features": features,
        "clusters": 3,
        "lloyd_rounds": 2,
        "coarse_cells": 16,
        "fine_cells": 32,
    }
    return Plan.model_validate(document | changes)


def fixed(value: float) -> int:
    return round(value * FIXED)


def spread_state(d: int) -> dict[str, Any]:
    return {"mean": [fixed(0.25)] * d, "radius": fixed(0.5), "people": 900, "variance": [fixed(0.125)] * d}


def grid_state(d: int) -> dict[str, Any]:
    """Two boxes along each feature, from −1 to 1."""
    axes = [[fixed(1.0) if i == j else 0 for j in range(d)] for i in range(d)]
    ends = {"low": [fixed(-1.0)] * d, "width": [fixed(1.0)] * d, "cells": [2] * d, "deviation": [fixed(0.5)] * d}
    return {"mean": [0] * d, "axes": axes, "residual": fixed(0.01), "people": 900} | ends


def fine_state(d: int) -> dict[str, Any]:
    """The first and the last box are cut in two along each feature."""
    return {"split": [[0, 300, *[2] * d], [2**d - 1, 200, *[2] * d]]}


def clusters_state(centres: list[list[float]], radius: float = 0.5) -> dict[str, Any]:
    places = [[fixed(x) for x in centre] for centre in centres]
    counts = {"count": [fixed(100.0)] * len(centres), "deviation": [fixed(3.0)] * len(centres)}
    return {"centres": places, "radius": fixed(radius)} | counts


def released(plan: Plan) -> dict[str, Any]:
    """What every step of the plan may have released: states that pass its checks."""
    d = plan.dimensions
    diagonal = [[x] * d for x in (-0.75, 0.0, 0.75)]
    states = {"seg-moments": spread_state(d) if plan.rho.covariance else grid_state(d), "seg-covariance": grid_state(d)}
    states |= {"seg-coarse": fine_state(d), "seg-fine": clusters_state(diagonal * 2)}
    states |= dict.fromkeys(("seg-over", *plan.lloyd_names()), clusters_state(diagonal))
    return {step: {"state": state} for step, state in states.items()}


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    return question


@pytest.fixture(scope="session")
def states_of() -> Callable[[Plan], dict[str, Any]]:
    return released
