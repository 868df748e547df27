"""The arithmetic of the overlap question: two plans, made-up people, matches and noise, figures, and what is misread.

The first step is a sum as any other. Of the second there are made-up matches and each party's own made-up noise in the
cells of its pairs; what is released is their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np

from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.questions import overlap
from protocols.questions.overlap import matrix, reach, sizes
from protocols.statistic import Integers, Noise, Step, tally
from tests.ledger import builder as b
from tests.vectors.spoiled import Files, as_json

TABLE = {
    "name": "sales",
    "columns": {
        "customer": {"type": "id"},
        "basket": {"type": "id"},
        "bought_on": {"type": "date"},
        "paid": {"type": "money", "low": -10_000, "high": 10_000},
        "discount": {"type": "money", "low": -10_000, "high": 10_000},
        "mail": {"type": "email"},
        "basket": {"type": "id"},
        "bought_on": {"type": "date"},
        "paid": {"type": "money", "low": -10_000, "high": 10_000},
        "discount": {"type": "money", "low": -10_000, "high": 10_000},
        "tier": {"type": "category", "values": ["gold", "plain", "other"]},
    },
}
VALUE = {"party": "beta", "feature": "spend_cents", "low": 0, "high": 25_000, "bins": 3}
THREE: dict[str, Any] = {
    **b.PLAN,
    "name": "shared-by-three",
    "purpose": "know whom we share",
    "rho": 70_000_000,
    "people": {"column": "mail", "key": "email"},
    "table": TABLE,
    "questions": [
        {
            "kind": "overlap",
            "rho": {"sizes": 4_000_000, "pairs": 40_000_000},
            "lists": {"by": "column", "column": "tier"},
            "value": VALUE,
        }
    ],
}
TWO: dict[str, Any] = {
    **THREE,
    "name": "shared-by-two",
    "parties": ["alpha", "beta"],
    "recipients": ["alpha", "beta"],
    "collusion": 1,
    "quorum": 2,
    "questions": [{"kind": "overlap", "rho": {"sizes": 4_000_000, "pairs": 24_000_000}, "lists": {"by": "all"}}],
}
PLANS = {"three": THREE, "two": TWO}


def overlap_vectors() -> Files:
    good = {f"good-{name}": document(name) for name in PLANS}
    return as_json({**good, **{f"bad-{name}": made for name, made in _misread().items()}})


def plan_of(name: str) -> Plan:
    return Plan.from_bytes(canonical(PLANS[name]))


def document(name: str, *, sizes_from: int = 3, cells_from: int = 2) -> dict[str, Any]:
    """Both steps. `…_from`: with how many parties' noise in a slot the figures reckon, of three parties."""
    plan = plan_of(name)
    (first, of_first), (second, of_second) = plan.steps()
    n = min(sizes_from, len(plan.parties))
    made = _sizes(plan, first, of_first.variance_micro, n)
    found = _cells(plan, second, of_second.variance_micro, cells_from, {first.name: made["answer"]})
    return {"plan": plan.digest, "people": _people(plan), "steps": [made, found]}


def _people(plan: Plan) -> dict[str, list[dict[str, int]]]:
    """Of each party, so many in each list, some in none and some who are not usable."""
    (question,) = plan.questions
    found = {}
    for at, party in enumerate(plan.parties):
        lists = len(overlap.list_names(question, plan.facts(question), party))
        each = [(130 + (at * 5 + number * 3) % 7 * 45, number, 1) for number in range(lists)]
        # The first list of the first party is small: less than what the noised matrix has in its row.
        each[0] = (40 if at == 0 else each[0][0], 0, 1)
        rows = [*each, (25 + at, -1, 1), (10, 0, 0)]
        found[party] = [{"times": t, "list": number, "party": at, "usable": usable} for t, number, usable in rows]
    return found


def _sizes(plan: Plan, step: Step, variance_micro: int, shares: int) -> dict[str, Any]:
    people = _people(plan)
    rows = {party: [_row(step, person) for person in persons] for party, persons in people.items()}
    exact = {
        party: np.stack([row * person["times"] for row, person in zip(rows[party], persons, strict=True)]).sum(axis=0)
        for party, persons in people.items()
    }
    width = len(step.statistic.slots)
    noise = {party: _made_up(width, at, variance_micro) for at, party in enumerate(plan.parties)}
    noised = sum([*exact.values(), *noise.values()], np.zeros(width, dtype=np.int64))
    return {
        "step": step.name,
        "slots": list(step.statistic.slots),
        "rows": {
            party: [[[int(i), int(row[i])] for i in np.flatnonzero(row)] for row in rows[party]] for party in rows
        },
        "exact": {party: total.tolist() for party, total in exact.items()},
        "noise": {party: drawn.tolist() for party, drawn in noise.items()},
        "noised": noised.tolist(),
        "answer": step.answer(noised, Noise(shares, variance_micro), {}),
    }


def _row(step: Step, person: Mapping[str, int]) -> Integers:
    alone = {name: np.array([value], dtype=np.int64) for name, value in person.items()}
    return tally(step.statistic, alone, lambda batch: step.contribute(batch, {})).total


def _cells(plan: Plan, step: Step, variance_micro: int, shares: int, earlier: Mapping[str, Any]) -> dict[str, Any]:
    slots = step.statistic.slots
    matched = np.array([(at * 29 + 11) % 83 for at in range(len(slots))], dtype=np.int64)
    matched[::7] = 0
    if len(slots) == 1:
        matched[0] = 131
    noise = {}
    for at, party in enumerate(plan.parties):
        own = np.array([party in slot.split("/")[0].split("--") for slot in slots])
        noise[party] = np.where(own, _made_up(len(slots), at + 3, variance_micro), 0)
    noised = sum([matched, *noise.values()], np.zeros(len(slots), dtype=np.int64))
    return {
        "step": step.name,
        "slots": list(slots),
        "matched": matched.tolist(),
        "noise": {party: drawn.tolist() for party, drawn in noise.items()},
        "noised": noised.tolist(),
        "answer": step.answer(noised, Noise(shares, variance_micro), earlier),
    }


def _made_up(width: int, party: int, variance_micro: int) -> Integers:
    """(width,) numbers that look like noise of this variance, and are the same each time."""
    pattern = (np.arange(width, dtype=np.int64) * 7 + party * 11 + 5) * 37 % 61 - 30
    numbers: Integers = pattern * math.isqrt(variance_micro // 10**6) // 16
    return numbers


# -- what comes out where one rule is misread --------------------------------------------------------------------------


def _with(where: Any, name: str, other: Any, of: str = "three") -> dict[str, Any]:
    with mock.patch.object(where, name, other):
        return document(of)


def _misread() -> dict[str, Any]:
    def cut_off(values: Any, _: Any, __: Any) -> list[list[int]]:
        return [[10 * max(0, x) for x in row] for row in values]

    def lightest(parties: list[str], weight: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
        return tree(parties, {pair: -x for pair, x in weight.items()})

    def independent(a: float, b: float, v: float, w: float, c: float) -> Any:
        return fieller(a, b, v, w, 0.0)

    def exact(edges: list[int], counts: list[int], variance: float) -> Any:
        with mock.patch.object(matrix, "pairwise", return_value=[(0, 0)]):
            return value(edges, counts, variance)

    def seven(variance_micro: int, shares: int = 1) -> int:
        return -(-shift(variance_micro, shares) * 7 // 8)

    tree, fieller, value, shift = reach.heaviest_tree, matrix.fieller, matrix._value, sizes.shift
    return {
        "noise-of-three-in-a-cell": document("three", cells_from=3),
        "noise-of-one-in-a-size": document("three", sizes_from=1),
        "cap-of-seven-deviations": _with(sizes, "shift", seven),
        "consistent-by-cutting-off": _with(matrix, "in_tenths", cut_off),
        "index-as-if-independent": _with(matrix, "fieller", independent),
        "index-shown-above-one-deviation": _with(matrix, "GATE", 1.0),
        "share-hidden-above-a-tenth": _with(matrix, "WIDEST", 0.1),
        "value-without-rounding": _with(matrix, "_value", exact),
        "reach-by-the-lightest-tree": _with(reach, "heaviest_tree", lightest),
        "reach-for-one-tree": _with(reach, "z_for", lambda alpha: 1.959963984540054),
    }
