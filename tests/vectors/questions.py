"""The arithmetic of both questions on a small table of people: rows, sums, made-up noise, figures.

Every number follows from the table, the plan and the numbers called noise and state, which are made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.questions.segments.states import FIXED
from protocols.statistic import Integers, Noise, Step, tally
from tests.ledger import builder as b
from tests.vectors.spoiled import Files, as_json

COLUMNS = ("times", "recency_days", "baskets", "discounted_baskets", "spend_cents", "usable")
PEOPLE: dict[str, list[tuple[int, ...]]] = {
    "alpha": [
        (400, 3, 25, 2, 123456, 1),
        (210, 10, 2, 0, 1999, 1),
        (160, 9, 5, 3, 4000, 1),
        (170, 15, 16, 0, 9000, 1),
        (30, 0, 0, 0, 0, 1),
        (25, 0, 0, 0, 0, 0),
    ],
    "beta": [
        (300, 39, 4, 0, 3999, 1),
        (180, 365, 1, 1, -500, 1),
        (190, 79, 17, 1, 2500, 1),
        (150, 5, 1, 0, 1200, 1),
        (140, 400, 60, 59, 2000000, 1),
    ],
    "gamma": [
        (260, 20, 9, 1, 8000, 1),
        (145, 81, 8, 0, 700, 1),
        (95, 79, 1, 0, 99, 1),
        (150, 45, 3, 0, 9999, 1),
        (155, 12, 7, 1, 2200, 1),
        (165, 90, 2, 0, 950, 1),
    ],
}
FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "baskets", "transform": "identity", "low": 0, "high": 50},
    {"name": "spend_cents", "transform": "log1p", "low": 0, "high": 1_000_000},
]
RHO = {"moments": 1_500_000, "covariance": 1_000_000, "coarse": 3_000_000, "fine": 5_500_000, "over": 4_500_000,
       "lloyd": 2_500_000, "profile": 12_000_000}  # fmt: skip
SEGMENTS = {"kind": "segments", "rho": RHO, "features": FEATURES, "clusters": 2, "lloyd_rounds": 1, "coarse_cells": 8,
            "fine_cells": 16}  # fmt: skip
SEGMENTS_PLAN: dict[str, Any] = {**b.PLAN, "name": "groups-of-three", "rho": 40_000_000, "questions": [SEGMENTS]}
RANGE_PLAN = {
    **SEGMENTS_PLAN,
    "questions": [{**SEGMENTS, "clusters": {"least": 2, "most": 3}, "rho": RHO | {"stability": 8_000_000}}],
}


def _fixed(*values: float) -> list[int]:
    return [round(value * FIXED) for value in values]


def _centres(*centres: tuple[float, ...]) -> dict[str, Any]:
    count, sure = _fixed(*[400.0] * len(centres)), _fixed(*[12.5] * len(centres))
    (radius,) = _fixed(0.75)
    return {"centres": [_fixed(*centre) for centre in centres], "radius": radius, "count": count, "deviation": sure}


# The last two centres lie equally far from a person with 25 baskets: the first of equals is the nearest.
STATES: dict[str, dict[str, Any]] = {
    "seg-moments": {"mean": _fixed(0.25, -0.5, 0.375), "radius": _fixed(1.0)[0], "people": 1800,
                    "variance": _fixed(0.25, 0.125, 0.0625)},
    "seg-covariance": {"mean": _fixed(0.25, -0.5, 0.375), "axes": [_fixed(0.6, 0.8, 0), _fixed(-0.8, 0.6, 0),
                       _fixed(0, 0, 1)], "low": _fixed(-1, -1, -0.5), "width": _fixed(1, 1, 0.5), "cells": [2, 2, 2],
                       "deviation": _fixed(0.5, 0.375, 0.25), "residual": 0, "people": 1800},
    "seg-coarse": {"split": [[0, 300, 2, 1, 2], [3, 550, 1, 3, 1], [6, 400, 2, 2, 2]]},
    "seg-fine": _centres((-0.25, 0, 0.5), (0.5, -0.75, 0.125), (0.25, -0.5, 0.25), (1, 1, 1)),
    "seg-over": _centres((0, -0.5, 0.25), (0, 0.5, 0.25)),
    "seg-lloyd-1": _centres((0.125, -0.75, 0.125), (0.125, 0.75, 0.5)) | {"deviation": _fixed(0.375, 0.25)},
}  # fmt: skip
# Of two and three segments two were chosen: there are slots for three.
CHOICE = {"chosen": 2, "told": 1, "scores": [[2, *_fixed(0.75, 0.625, 0.875, 0.5, 0.25, 1.0, 40.0)],
          [3, *_fixed(0.5, 0.375, 0.5, 0.0, 0.1875, 0.5, 12.5)]]}  # fmt: skip
ASKED: dict[str, dict[str, Any]] = {"rfm": b.PLAN, "segments": SEGMENTS_PLAN, "range": RANGE_PLAN}


def plan_of(question: str) -> Plan:
    return Plan.from_bytes(canonical(ASKED[question]))


def question_vectors() -> Files:
    good = {f"good-{kind}": document(kind) for kind in ASKED}
    return as_json(good)


# -- a document --------------------------------------------------------------------------------------------------------


def document(kind: str, *, adders: int = 3, shares: int = 3) -> dict[str, Any]:
    """All steps of a question. `adders`: parties whose noise is added; `shares`: as the figures reckon with it."""
    plan, earlier, steps = plan_of(kind), dict[str, Any](), list[dict[str, Any]]()
    for step, mechanism in plan.steps():
        noise = Noise(shares, mechanism.variance_micro)
        steps.append(_step(step, noise, earlier, adders))
        made, state = steps[-1], {"state": STATES[step.name]} if step.name in STATES else {}
        if (kind, step.name) == ("range", "seg-over"):
            state = {"state": STATES[step.name] | {"choice": CHOICE}}
        steps[-1] |= state
        earlier[step.name] = {**made["answer"], **state, "noised": made["noised"]} if state else made["answer"]
    people = {party: [dict(zip(COLUMNS, row, strict=True)) for row in rows] for party, rows in PEOPLE.items()}
    return {"plan": plan.digest, "people": people, "steps": steps}


def _step(step: Step, noise: Noise, earlier: Mapping[str, Any], adders: int) -> dict[str, Any]:
    width = len(step.statistic.slots)
    rows = {party: [_row(step, person, earlier) for person in people] for party, people in PEOPLE.items()}
    exact = {party: _exact(rows[party], people) for party, people in PEOPLE.items()}
    drawn = {party: _made_up(width, at, noise.variance_micro) for at, party in enumerate(PEOPLE)}
    noised: Integers = np.stack(list(exact.values())).sum(axis=0, dtype=np.int64)
    for party in list(PEOPLE)[:adders]:
        noised = noised + drawn[party]
    return {
        "step": step.name,
        "slots": list(step.statistic.slots),
        "rows": {party: [_sparse(row) for row in rows[party]] for party in rows},
        "exact": {party: total.tolist() for party, total in exact.items()},
        "noise": {party: numbers.tolist() for party, numbers in drawn.items()},
        "noised": noised.tolist(),
        "answer": step.answer(noised, noise, earlier),
    }


def _row(step: Step, person: tuple[int, ...], earlier: Mapping[str, Any]) -> Integers:
    """(slots,) what one such person adds."""
    people = {name: np.array([value], dtype=np.int64) for name, value in zip(COLUMNS, person, strict=True)}
    return tally(step.statistic, people, lambda batch: step.contribute(batch, earlier)).total


def _exact(rows: list[Integers], people: list[tuple[int, ...]]) -> Integers:
    each = [row * person[0] for row, person in zip(rows, people, strict=True)]
    total: Integers = np.stack(each).sum(axis=0, dtype=np.int64)
    return total


def _sparse(row: Integers) -> list[list[int]]:
    return [[int(slot), int(row[slot])] for slot in np.flatnonzero(row)]


def _made_up(width: int, party: int, variance_micro: int) -> Integers:
    """(width,) numbers that look like noise of this variance, and are the same each time."""
    pattern = (np.arange(width, dtype=np.int64) * 7 + party * 11 + 5) * 37 % 61 - 30
    numbers: Integers = pattern * math.isqrt(variance_micro // 10**6) // 16
    return numbers
