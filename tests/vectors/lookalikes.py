"""The arithmetic of the lookalike question: people of three parties, a seed at one, made-up states, noise and matches.

The states are made up, and no fit of anything: what follows from a state follows from any. Of the step that is counted
between parties there are made-up matches and each party's own made-up noise in the cells of its pairs. The releases and
the bundles are of a round that releases these very sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np

from protocols import budget, bundle, release
from protocols.accuracy import Z95
from protocols.encoding import canonical, parse
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike import Scorer, Space, report, scorer, space
from protocols.statistic import Integers, Noise, Step
from tests.ledger import builder as b
from tests.vectors import rooms
from tests.vectors.overlaps import TABLE
from tests.vectors.releases import signed
from tests.vectors.spoiled import Files, as_json, changed

FEATURES = [
    {"name": "recency_days", "transform": "identity", "low": 0, "high": 12},
    {"name": "spend_cents", "transform": "log1p", "low": 0, "high": 9},
]
QUESTION: dict[str, Any] = {
    "kind": "lookalike",
    "rho": {
        "edges": 2_000_000,
        "background": 1_000_000,
        "seed": 20_000_000,
        "scores": 8_000_000,
        "overlap": 24_000_000,
        "audit": 8_000_000,
    },
    "features": FEATURES,
    "seed": {"party": "beta", "where": [{"feature": "baskets", "low": 6}]},
    "ranks": ["alpha", "gamma"],
    "floor": 500,
    "reach": 20,
    "target": "1.2",
    "attributes": [{"column": "tier", "reference": "plain"}],
}
LOOKALIKE: dict[str, Any] = {
    **b.PLAN,
    "name": "like-the-loyal",
    "purpose": "find people like the loyal ones",
    "rho": 70_000_000,
    "people": {"column": "mail", "key": "email"},
    "table": TABLE,
    "questions": [QUESTION],
}
COLUMNS = ("times", "recency_days", "spend_cents", "group/tier", "seed", "counted", "usable")
PEOPLE: dict[str, list[tuple[int, ...]]] = {
    "alpha": [
        (700, 1, 9, 0, 0, 1, 1),
        (500, 2, 8, 0, 0, 1, 1),
        (240, 2, 8, 1, 0, 1, 1),
        (20, 2, 8, 2, 0, 1, 1),
        (1900, 4, 6, 1, 0, 1, 1),
        (2600, 8, 3, 1, 0, 1, 1),
        (1700, 12, 0, 2, 0, 1, 1),
        (40, 0, 0, 0, 0, 1, 0),
    ],
    "beta": [(650, 0, 9, 0, 1, 1, 1), (120, 2, 7, 1, 1, 1, 1), (900, 11, 1, 1, 0, 0, 1), (15, 0, 0, 0, 1, 1, 0)],
    "gamma": [
        (500, 2, 8, 0, 0, 1, 1),
        (500, 2, 8, 1, 0, 1, 1),
        (100, 2, 8, 2, 0, 1, 1),
        (2100, 6, 6, 1, 0, 1, 1),
        (480, 6, 6, 2, 0, 1, 1),
        (1820, 400, -7, 0, 0, 1, 1),
    ],
}
MATCHED = [420, 160, 90, 60, 50, 20, 310, 120, 70, 30, 20, 10]


def plan_of() -> Plan:
    return Plan.from_bytes(canonical(LOOKALIKE))


def question_of(plan: Plan) -> lookalike.Plan:
    (question,) = plan.questions
    assert isinstance(question, lookalike.Plan)
    return question


def states() -> dict[str, dict[str, Any]]:
    """Scores that rise evenly with the cells, bins of one cell or two, weights of the first few coordinates.

    Of the score's cells those in the middle hold one kind of alpha's people each: each cut is just beside some of them.
    """
    features = question_of(plan_of()).features
    many = [len(space.starts(feature)) for feature in features]
    scores = [[(2 * i + 1 - n) * 2 * space.ONE // n for i in range(n)] for n in many]
    bins = [sorted({i * n // 10 for i in range(min(10, n))}) for n in many]
    made = Space.read({"scores": scores, "bins": bins}, features)
    weights = [0] * made.places.length
    weights[:4] = [-3 << 24, 2 << 24, 1 << 23, -1 << 22]
    weights[made.places.cosines] = 1 << 23
    usable = np.array([row[1:3] for row in PEOPLE["alpha"] if row[-1] == 1], dtype=np.int64)
    judge = Scorer(made, np.array(weights), np.zeros(63, dtype=np.int64), (0,) * 5, 0, 0, (0, 0))
    found = np.unique(judge.scores({"recency_days": usable[:, 0], "spend_cents": usable[:, 1]})).tolist()
    between = [(a + b) // 2 for a, b in pairwise(found)]
    spare = scorer.CELLS - 1 - len(between)
    below, above = spare // 2, spare - spare // 2
    edges = [found[0] - ((below - i) << 37) for i in range(below)] + between
    edges += [found[-1] + ((i + 1) << 37) for i in range(above)]
    state = {"weights": weights, "edges": edges, "preview": [210_000, 330_000, 520_000, 640_000, 810_000],
             "evidence": 91_250, "people": 771, "drivers": [-812_000, 644_000]}  # fmt: skip
    return {"look-edges": made.write(), "look-background": {"people": 14_700}, "look-seed": state}


def lookalike_vectors() -> Files:
    return as_json({"good-lookalike": document(), **{f"bad-{name}": made for name, made in _misread().items()}})


def document() -> dict[str, Any]:
    """All steps. `exact` of a step whose slots have owners is zero at all others."""
    plan, earlier, steps = plan_of(), dict[str, Any](), list[dict[str, Any]]()
    people = {party: [dict(zip(COLUMNS, row, strict=True)) for row in rows] for party, rows in PEOPLE.items()}
    for step, mechanism in plan.steps():
        noise = step.noise(3, mechanism.variance_micro)
        counted = step.made == "overlap"
        made = _counted(step, mechanism.variance_micro, earlier) if counted else _summed(step, people, earlier)
        noised = np.array(made.pop("sum"), dtype=np.int64)
        made |= {"noised": noised.tolist()} | ({"state": states()[step.name]} if step.name in states() else {})
        made["answer"] = step.answer(noised, noise, earlier)
        steps.append(made)
        kept = {field: made[field] for field in ("state", "noised")} if "state" in made else {}
        earlier[step.name] = {**made["answer"], **kept}
    return {"plan": plan.digest, "people": people, "steps": steps}


def _summed(step: Step, people: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    rows = {party: [_sum(step, party, [one], earlier) for one in persons] for party, persons in people.items()}
    exact = {
        party: sum(row * one["times"] for row, one in zip(rows[party], persons, strict=True))
        for party, persons in people.items()
    }
    _, mechanism = plan_of().step(step.name)
    noise = {party: _noise_of(step, party, at, mechanism.variance_micro) for at, party in enumerate(people)}
    return {
        "step": step.name,
        "slots": list(step.statistic.slots),
        "rows": {party: [[[int(i), int(row[i])] for i in np.flatnonzero(row)] for row in own]
                 for party, own in rows.items()},
        "exact": {party: total.tolist() for party, total in exact.items()},
        "noise": {party: drawn.tolist() for party, drawn in noise.items()},
        "sum": sum([*exact.values(), *noise.values()]).tolist(),
    }  # fmt: skip


def _sum(step: Step, party: str, persons: list[Mapping[str, int]], earlier: Mapping[str, Any]) -> Integers:
    columns = {name: np.array([one[name] for one in persons], dtype=np.int64) for name in persons[0]}
    return step.tally(party, columns, earlier).total


def _noise_of(step: Step, party: str, at: int, variance_micro: int) -> Integers:
    """Zero where the slot is another party's."""
    drawn = _made_up(len(step.statistic.slots), at, variance_micro)
    own = np.zeros_like(drawn)
    own[step.statistic.own(party)] = 1
    return drawn * own


def _counted(step: Step, variance_micro: int, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Matches and, of each party, its noise in the cells of its pairs, and to what its lists are filled up."""
    assert step.between is not None
    noise = {}
    for at, party in enumerate(PEOPLE):
        in_pair = np.array([party in slot.split("/")[0].split("--") for slot in step.statistic.slots], dtype=np.int64)
        noise[party] = (_made_up(len(MATCHED), at, variance_micro) * in_pair).tolist()
    total = np.array(MATCHED, dtype=np.int64) + sum(np.array(one, dtype=np.int64) for one in noise.values())
    slots = list(step.statistic.slots)
    caps = {party: list(most) for party, most in step.between.caps(earlier).items()}
    return {"step": step.name, "slots": slots, "caps": caps, "matched": MATCHED, "noise": noise, "sum": total.tolist()}


def _made_up(width: int, party: int, variance_micro: int) -> Integers:
    """(width,) numbers that look like noise of this variance, and are the same each time."""
    pattern = (np.arange(width, dtype=np.int64) * 7 + party * 11 + 5) * 37 % 61 - 30
    numbers: Integers = pattern * math.isqrt(variance_micro // 10**6) // 16
    return numbers


# -- what comes out where one rule is misread --------------------------------------------------------------------------


def _with(where: Any, name: str, other: Any) -> dict[str, Any]:
    with mock.patch.object(where, name, other):
        return document()


def _misread() -> dict[str, Any]:
    bands, cells_of, everybody, noise = lookalike.bands, scorer.Scorer.cells_of, Step.tally, Step.noise

    def counted_all(step: Step, party: str, people: Mapping[str, Integers], earlier: Mapping[str, Any]) -> Any:
        ones = np.ones_like(people["usable"])
        return everybody(step, party, {**people, "seed": ones, "counted": ones}, earlier)

    def seven(variance_micro: int, shares: int = 1) -> int:
        return math.isqrt(-(-49 * shares * variance_micro // 10**6) - 1) + 1

    def of_three(step: Step, arrived: int, variance_micro: int) -> Noise:
        return noise(step, arrived, variance_micro) if step.made == "overlap" else Noise(arrived, variance_micro)

    return {
        "strangers-in-the-seed": _with(Step, "tally", counted_all),
        "likest-last": _with(scorer.Scorer, "cells_of", lambda judge, s: scorer.CELLS - 1 - cells_of(judge, s)),
        "cut-without-its-last-cell": _with(lookalike, "bands", lambda of, at: bands([c - 1 for c in of], at)),
        "cap-of-seven-deviations": _with(lookalike.sizes, "shift", seven),
        "audit-of-one-group": _with(lookalike.audit, "z_for", lambda _: Z95),
        "noise-of-three-in-an-owners-slot": _with(Step, "noise", of_three),
        "gate-of-fifty-deviations": _with(report, "GATE", 50.0),
        "signal-without-evidence": _with(Scorer, "evident", False),
        "floor-of-a-thousand": _with(lookalike.Sizes, "enough", lambda *_: False),
    }


# -- releases and bundles ----------------------------------------------------------------------------------------------


def whole() -> Files:
    """The members of the bundle of one round of it."""
    return rooms.whole(_Asked())


def release_vectors_of_lookalikes(members: Files) -> Files:
    """Every step's, and releases whose state is none, whose figures are of other sums, or which count on others."""
    found = {parse(data)["body"]["step"]: data for data in _releases(members).values()}
    edges, background, seed, scores, overlap, _ = (parse(found[step.name]) for step, _ in plan_of().steps())
    alpha, far = ("body", "answer", "owners", "alpha"), seed["body"]["state"]["edges"][0]
    bad = {
        "bins-from-one": changed(edges, "body", "state", "bins", 0, 0, to=1),
        "score-beyond-three": changed(edges, "body", "state", "scores", 1, 9, to=3 * space.ONE + 1),
        "people-below-none": changed(background, "body", "state", "people", to=-1),
        "background-with-another-field": changed(background, "body", "state", "note", to=1),
        "edges-that-fall": changed(seed, "body", "state", "edges", 1, to=far - 1),
        "weight-above-a-thousand": changed(seed, "body", "state", "weights", 7, to=scorer.HEAVIEST + 1),
        "preview-of-four": changed(seed, "body", "state", "preview", to=seed["body"]["state"]["preview"][1:]),
        "scores-counting-on-others": changed(scores, "body", "mechanism", "collusion", to=1),
        "overlap-of-other-matches": changed(overlap, *alpha, "cuts", "20", "lift", "value", to="9.99"),
    }
    files = {f"bad-lookalike-{name}": signed(made, made["body"]) for name, made in bad.items()}
    return as_json({**{f"good-{step}": data for step, data in found.items()}, **files})


def bundle_vectors_of_lookalikes(members: Files) -> Files:
    """That of the round, and such that hold another release than was committed, or rest on a reserve that lies."""
    other = {
        "figure-changed": _other(members, "look-overlap", "answer", "owners", "gamma", "cuts", "20", "lift", "value"),
        "evidence-changed": _other(members, "look-seed", "state", "evidence"),
        "sum-changed": _other(members, "look-scores", "noised", 2),
    }
    lying = {
        "scores-counting-on-another": rooms.whole(_Lying("look-scores")),
        "overlap-counting-on-another": rooms.whole(_Lying("look-overlap")),
    }
    files = {**other, **lying}
    packed = {f"bad-lookalike-{name}.tar": bundle.pack(made) for name, made in files.items()}
    return {"good-lookalike.tar": bundle.pack(members), **packed}


def _releases(members: Files) -> Files:
    return {at: data for at, data in members.items() if at.startswith(bundle.RELEASES) and at.endswith(".json")}


def _other(members: Files, step: str, *at: Any) -> Files:
    """One number of a step's release is another; the coordinator has signed that, too."""
    (name,) = (name for name in _releases(members) if name.endswith(f"-{step}.json"))
    document = parse(members[name])
    value = document["body"]
    for part in at:
        value = value[part]
    body = changed(document["body"], *at, to="1.00" if isinstance(value, str) else value + 1)
    return {**members, name: canonical(signed(document, body))}


class _Asked(rooms.Asked):
    """A room whose caps one round of it fits into, even one that costs a person at all parties twice as much."""

    def __init__(self) -> None:
        super().__init__(plan_of(), canonical(document()))
        self.caps = {
            "record": {party: dict.fromkeys(b.BLOCKS, 70_000_000) for party in self.parties},
            "person": dict.fromkeys(b.BLOCKS, 400_000_000),
            "lifetime_person": 800_000_000,
        }


class _Lying(_Asked):
    """Of one step, one fewer is said to collude: each adds half of the noise that the plan wants, for the same ρ."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step

    def steps(self, round_label: str) -> list[dict[str, Any]]:
        return [
            {**one, "mechanism": _halved(one["mechanism"])} if one["step"] == self.step else one
            for one in super().steps(round_label)
        ]

    def bodies(self, label: str = "one") -> list[release.Body]:
        return [self._said(made) if made.step == self.step else made for made in super().bodies(label)]

    def _said(self, made: release.Body) -> release.Body:
        noise = _halved(made.body()["mechanism"])
        cost = budget.person_charge(noise["sensitivity_sq"], budget.micro(noise["variance"]), len(noise["adders"]))
        return release.Body.model_validate({**made.body(), "mechanism": noise, "charge_person": cost})


def _halved(mechanism: dict[str, Any]) -> dict[str, Any]:
    half = -(-budget.micro(mechanism["variance"]) // 2)
    return {**mechanism, "collusion": 1, "variance": budget.decimal(half, budget.MICRO)}
