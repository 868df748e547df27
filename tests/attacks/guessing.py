"""A guessing game: is a certain person among a party's rows or not? Played many times with a lookalike's real draws.

The attacker knows the party's every other row, the person's own, the plan and its noise, and the noise of all others:
it misses one bit. What leaves the party is computed and drawn by the product (`Step.tally`, `share.draw`, the meeting's
`_draw`), as many times as there are plays. The attacker guesses by the likelihood ratio of all steps together, which no
test beats (Neyman & Pearson 1933). Its advantage is hits less false alarms.

What DP promises: at ρ-zCDP by Gaussian noise no more than erf(√ρ/2) (Dong, Roth & Su 2022); at (ε, δ) no more than
(e^ε − 1 + 2δ) / (e^ε + 1) (Kairouz, Oh & Viswanath 2015). The first is the tighter one: noise that is too small by a
half goes beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from party_node import share
from party_node.overlap import Meeting
from protocols.accuracy import epsilon, shift
from protocols.budget import NANO
from protocols.plan import Mechanism, Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.scorer import CELLS, REACHES, UNIT, WEIGHT, Scorer
from protocols.questions.lookalike.space import FARTHEST, ONE, Space, bins_of, starts
from protocols.statistic import Integers, People, Step
from tests.rounds import audience, lab

PLAYS, MOST_SLOTS = 1_500, 60  # plays of each kind; slots of a step that the attacker looks at
TOLERANCE = 4 * math.sqrt(0.5 / PLAYS)
SEEDS, OWNER = audience.SEED_PARTY, "alpha"


def plan(**changes: Any) -> Plan:
    return lab.plan(**audience.CHANGES, **changes)


def question(of: Plan) -> lookalike.Plan:
    (found,) = of.questions
    assert isinstance(found, lookalike.Plan)
    return found


def customers(n: int = 900, *, seed: Any = 1, number: int = 7) -> People:
    """Of one party; `seed`: 1 for all, or a part of them. The last one is whom the attacker looks for."""
    draw = np.random.default_rng(number)
    columns = {
        "recency_days": draw.integers(0, 400, n),
        "baskets": draw.integers(1, 30, n),
        "spend_cents": draw.integers(0, 200_000, n),
        "group/region": draw.integers(0, 3, n),
    }
    one = np.ones(n, dtype=np.int64)
    return {**columns, "usable": one, "seed": seed * one, "counted": one}


def without_last(people: People) -> People:
    return {name: values[:-1] for name, values in people.items()}


# -- states, as an honest coordinator would fit them, or as it likes ---------------------------------------------------


def usual(of: Plan) -> dict[str, Any]:
    """What earlier steps released: a space, a scorer, and sizes from which cuts follow."""
    features = question(of).features
    scores = [np.linspace(-2, 2, len(starts(f))) * ONE for f in features]
    firsts = [np.arange(bins_of(f)) * (len(starts(f)) // bins_of(f)) for f in features]
    made = Space(tuple(features), tuple(s.astype(np.int64) for s in scores), tuple(firsts))
    weights = np.zeros(made.places.length, dtype=np.int64)
    weights[: len(features)] = WEIGHT
    return released(of, made.write(), weights, np.linspace(-0.4, 0.4, CELLS - 1) * UNIT)


def released(of: Plan, space: dict[str, Any], weights: Integers, edges: Any) -> dict[str, Any]:
    made = Space.read(space, question(of).features)
    state = Scorer(
        made, weights, np.asarray(edges).astype(np.int64), (0,) * len(REACHES), 0, 600, (0,) * made.d
    ).write()
    asked = question(of)
    each = {str(i): {"value": str(20)} for i in range(CELLS)}
    sizes = {"seed": {"size": {"value": "600"}}, "owners": {owner: {"cells": each} for owner in asked.ranks}}
    return {"look-edges": {"state": space}, "look-seed": {"state": state}, "look-scores": sizes}


def for_one(of: Plan, people: People) -> dict[str, Any]:
    """A hostile coordinator's: nobody but the last of these people gets a score above nothing."""
    features = question(of).features
    space: dict[str, Any] = {"scores": [], "bins": []}
    for feature in features:
        cell = int(np.searchsorted(starts(feature)[1:], people[feature.name][-1], side="right"))
        own = [0] * len(starts(feature))
        own[cell] = FARTHEST
        space["scores"].append(own)
        space["bins"].append([0])
    made = Space.read(space, features)
    weights = np.zeros(made.places.length, dtype=np.int64)
    weights[: len(features)] = 1 << 30
    probe = released(of, space, weights, np.zeros(CELLS - 1))
    scores = np.sort(lookalike.scorer_of(question(of), probe).scores(people))
    return released(of, space, weights, np.full(CELLS - 1, scores[-1]))


# -- what leaves -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One step's plays: `draws` (plays, slots), less what the attacker knows of all others; `own` (slots,) what the
    person adds; `variance` of the noise in each slot."""

    draws: Integers
    own: Integers
    variance: float

    @property
    def ratio(self) -> Any:
        """(plays,) log likelihood that the person is there, over that it is not."""
        own = self.own.astype(np.float64)
        return (self.draws.astype(np.float64) @ own - own @ own / 2) / self.variance


def exact(of: Plan, step: Step, party: str, people: People, earlier: Mapping[str, Any]) -> Integers:
    """A party's exact numbers in a step; of an overlap its people in the bands of the other side's seed."""
    if step.made == "overlap":
        if party == SEEDS:  # everybody of the seed is known to the owner: in the band that this person's score is in
            people = {**people, "usable": people["seed"]}
        bands = lookalike.bands_of(question(of), earlier, OWNER, people)
        return np.bincount(bands[people["seed"] == 1], minlength=lookalike.BANDS).astype(np.int64)
    return step.tally(party, people, earlier).total[step.statistic.own(party)]


def drawn(total: Integers, step: Step, mechanism: Mechanism, party: str) -> Integers:
    """(plays, slots) of the product's draws, in the step's own way."""
    many = np.tile(total, PLAYS)
    if step.made != "overlap":
        return share.draw(many, mechanism).reshape(PLAYS, -1)
    most = shift(mechanism.variance_micro)
    layout = SimpleNamespace(peers=lambda _: ["peer"], lists=lambda who: len(many) if who == party else 1, shift=most)
    own: Any = SimpleNamespace(party=party)
    return (many + Meeting._draw(own, mechanism, layout) - most).reshape(PLAYS, -1)


def played(of: Plan, party: str, people: People, earlier: Mapping[str, Any], there: bool, *,
           also: int = 0) -> list[Seen]:  # fmt: skip
    """All steps of a plan in which the party has a part. also: how many others' noise the attacker does not know."""
    seen = []
    for step, mechanism in of.steps():
        own_slots = step.statistic.own(party)
        if own_slots.start == own_slots.stop:
            continue
        with_, less = (exact(of, step, party, who, earlier) for who in (people, without_last(people)))
        moved = with_ - less
        # Noise is independent: where the person adds nothing there is nothing to be learnt, and where little, little.
        slots = np.argsort(-np.abs(moved), kind="stable")[: min(MOST_SLOTS, np.count_nonzero(moved))]
        draws = drawn((with_ if there else less)[slots], step, mechanism, party) - less[slots]
        shares = 1
        if not step.statistic.owners:  # else in a slot there is its owner's noise alone
            for _ in range(min(also, 1) if step.made == "overlap" else also):
                draws, shares = draws + drawn(np.zeros_like(slots), step, mechanism, party), shares + 1
        seen.append(Seen(draws, moved[slots], shares * mechanism.variance_micro / 1e6))
    return seen


def advantage(inside: list[Seen], outside: list[Seen]) -> float:
    """Hits less false alarms of whoever says `there` where that is the likelier."""
    guesses = [sum(one.ratio for one in seen) > 0 for seen in (inside, outside)]
    return float(guesses[0].mean() - guesses[1].mean())


def spent(seen: list[Seen]) -> float:
    """ρ of what the person really adds: at most what was charged."""
    return float(sum((one.own.astype(np.float64) ** 2).sum() / (2 * one.variance) for one in seen))


# -- what is promised --------------------------------------------------------------------------------------------------


def by_rho(rho: float) -> float:
    return math.erf(math.sqrt(rho) / 2)


def by_epsilon(nano: int, delta: float = 1e-6) -> float:
    e = math.exp(epsilon(nano, delta))
    return (e - 1 + 2 * delta) / (e + 1)


def check(found: float, nano: int, what: str) -> None:
    """The advantage beside its bounds; printed, so that `-s` shows what was measured."""
    tight, loose = by_rho(nano / NANO), by_epsilon(nano)
    print(
        f"{what}: advantage {found:.3f} ± {TOLERANCE:.3f}; ρ {nano / NANO:.3f} allows {tight:.3f}, (ε, δ) {loose:.3f}"
    )
    assert tight <= loose
    assert found <= tight + TOLERANCE, what
