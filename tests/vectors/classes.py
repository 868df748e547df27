"""The arithmetic of the question of latent classes: people of every pattern, made-up noise, a state, figures.

The people are as two classes would have them, to the nearest whole person. The state is a fit of their noised sum, as
the coordinator made it once; it is written here, because another machine may fit another last digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any
from unittest import mock

import numpy as np

from protocols.accuracy import Interval
from protocols.encoding import canonical
from protocols.figures import Figure, figure
from protocols.plan import Plan
from protocols.questions import classes
from protocols.questions.classes.plan import Item
from protocols.statistic import Integers, Noise, Step, tally
from tests.ledger import builder as b
from tests.vectors.spoiled import Files, as_json

ITEMS = [
    {"feature": "recency_days", "cuts": [30]},
    {"feature": "baskets", "cuts": [4, 16]},
    {"feature": "spend_cents", "cuts": [5000]},
    {"feature": "discounted_baskets", "cuts": [2]},
]
QUESTION = {"kind": "classes", "rho": {"patterns": 16_000_000}, "items": ITEMS, "classes": {"least": 2, "most": 3}}
CLASSES: dict[str, Any] = {**b.PLAN, "name": "kinds-of-customers", "questions": [QUESTION]}
PEOPLE = {"alpha": 1500, "beta": 900, "gamma": 600}
SHARES = (0.62, 0.38)
CHANCES = (
    ((0.85, 0.15), (0.1, 0.3, 0.6), (0.2, 0.8), (0.65, 0.35)),
    ((0.25, 0.75), (0.75, 0.2, 0.05), (0.9, 0.1), (0.12, 0.88)),
)
STATE: dict[str, Any] = {
    "sizes": [1836421, 1202662],
    "levels": [
        [[14392516, 2384700], [1649975, 5010822, 10116419], [3171614, 13605602], [10984289, 5792927]],
        [[4303792, 12473424], [12357915, 3431403, 987898], [15289462, 1487754], [2208013, 14569203]],
    ],
}


def plan_of() -> Plan:
    return Plan.from_bytes(canonical(CLASSES))


def classes_vectors() -> Files:
    return as_json({"good-classes": document(), **{f"bad-{name}": made for name, made in _misread().items()}})


def document(*, adders: int = 3) -> dict[str, Any]:
    """The step. `adders`: parties whose noise is added."""
    plan = plan_of()
    ((step, mechanism),) = plan.steps()
    people = {party: _people(party, size) for party, size in PEOPLE.items()}
    rows = {party: [_row(step, person) for person in persons] for party, persons in people.items()}
    exact = {
        party: np.stack([row * person["times"] for row, person in zip(rows[party], persons, strict=True)]).sum(axis=0)
        for party, persons in people.items()
    }
    width = len(step.statistic.slots)
    noise = {party: _made_up(width, at, mechanism.variance_micro) for at, party in enumerate(people)}
    noised = sum([*exact.values(), *list(noise.values())[:adders]], np.zeros(width, dtype=np.int64))
    seen, of_three = {step.name: {"state": STATE}}, Noise(3, mechanism.variance_micro)
    with mock.patch.object(classes, "CLOSE", math.inf if adders < 3 else classes.CLOSE):
        answer = step.answer(noised, of_three, seen)
    made = {
        "step": step.name,
        "slots": list(step.statistic.slots),
        "rows": {
            party: [[[int(i), int(row[i])] for i in np.flatnonzero(row)] for row in rows[party]] for party in rows
        },
        "exact": {party: total.tolist() for party, total in exact.items()},
        "noise": {party: drawn.tolist() for party, drawn in noise.items()},
        "noised": noised.tolist(),
        "state": STATE,
        "answer": answer,
    }
    return {"plan": plan.digest, "people": people, "steps": [made]}


def _people(party: str, size: int) -> list[dict[str, int]]:
    """So many of each pattern as the classes have; a value is a level's lowest, or one below the first cut."""
    found = []
    for levels in product(*(range(len(item["cuts"]) + 1) for item in ITEMS)):
        expected = sum(
            share * math.prod(chances[j][level] for j, level in enumerate(levels))
            for share, chances in zip(SHARES, CHANCES, strict=True)
        )
        values = {
            str(item["feature"]): item["cuts"][level - 1] if level else item["cuts"][0] - 1
            for item, level in zip(ITEMS, levels, strict=True)
        }
        found.append({"times": round(size * expected), **values, "usable": 1})
    nobody = {str(item["feature"]): 0 for item in ITEMS}
    return [*found, {"times": 20 + len(party), **nobody, "usable": 0}]


def _row(step: Step, person: Mapping[str, int]) -> Integers:
    alone = {name: np.array([value], dtype=np.int64) for name, value in person.items()}
    return tally(step.statistic, alone, lambda batch: step.contribute(batch, {})).total


def _made_up(width: int, party: int, variance_micro: int) -> Integers:
    """(width,) numbers that look like noise of this variance, and are the same each time."""
    pattern = (np.arange(width, dtype=np.int64) * 7 + party * 11 + 5) * 37 % 61 - 30
    numbers: Integers = pattern * math.isqrt(variance_micro // 10**6) // 16
    return numbers


# -- what comes out where one rule is misread --------------------------------------------------------------------------


def _with(where: Any, name: str, other: Any) -> dict[str, Any]:
    with mock.patch.object(where, name, other), mock.patch.object(classes, "CLOSE", math.inf):
        return document()


def _misread() -> dict[str, Any]:
    def lower(item: Item, values: Integers) -> Integers:
        return np.searchsorted(np.asarray(item.cuts), values, side="left")

    def last_item_first(plan: classes.Plan, people: Mapping[str, Integers]) -> Integers:
        found = np.zeros(len(people["usable"]), dtype=np.int64)
        for item in reversed(plan.items):
            found = found * item.levels + item.level(people[item.feature])
        return found

    def straight(value: float, odds: float, wide: float) -> Figure:
        half = wide * value * (1 - value)
        return figure(value, Interval(value - half, value + half), 4)

    def of_noise_alone(found: Any, slope: Mapping[int, float]) -> float:
        return wide(found, slope) / 2

    wide = classes._wide
    return {
        "noise-of-two": document(adders=2),
        "boundary-in-the-lower-level": _with(Item, "level", lower),
        "last-item-first": _with(classes, "patterns", last_item_first),
        "interval-without-odds": _with(classes, "_odds", straight),
        "half-the-deviation": _with(classes, "_wide", of_noise_alone),
        "gate-of-fifty-deviations": _with(classes, "GATE", 50.0),
    }
