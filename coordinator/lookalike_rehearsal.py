"""A lookalike in one process, on a table at hand: what it would cost, find and report. Nothing is sent.

Each row is a person at one party. A row of the seed's party is of the seed or not; a row of another party that is of
the seed is somebody whom both know. For every step of the question:

1. **rows**     each party's people, clipped, truncated, checked against their bound and summed (`Step.tally`); in the
                overlap, the seed's people in the bands of each owner, counted
2. **noise**    each party's full share, by OpenDP, in the slots that are its own; in the overlap of both parties of a
                pair, held within eight deviations as their matched dummies are
3. **state**    fitted to the noised sum, and checked as every node checks it
4. **figures**  what would be released

Rows, noise, fits, checks and figures are the code of a real round; keys, masks, points, ledger and network are left
out. How good the released score is, is judged on the rows.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from protocols.accuracy import shift
from protocols.budget import MICRO
from protocols.encoding import canonical, parse
from protocols.errors import UsageError
from protocols.feature import Feature, Reals
from protocols.plan import Mechanism, Plan
from protocols.questions import lookalike
from protocols.questions.lookalike import report, sizes
from protocols.questions.lookalike.scorer import REACHES
from protocols.schema import Schema
from protocols.statistic import Facts, Integers, Noise, People, Step

from .fits import lookalike_state
from .rehearsal import check_noise, drawn

SHARES = {"edges": 8, "background": 12, "seed": 60, "scores": 5, "overlap": 15}  # percent of ρ
LEVELS = 1 << 30  # whole numbers on either side of the middle of a column's bounds
TOP = 20  # percent: of whom recall is told

Said = Callable[[str], None]


@dataclass(frozen=True)
class Column:
    """How a column of rows becomes a feature: public bounds in its own unit, with or without a logarithm."""

    name: str
    low: float
    high: float
    log: bool = False

    def feature(self, name: str) -> Feature:
        if self.log:
            return Feature(name=name, transform="log1p", low=math.floor(self.low), high=math.ceil(self.high))
        return Feature(name=name, transform="identity", low=-LEVELS, high=LEVELS)

    def whole(self, values: Reals) -> Integers:
        """(n,) → (n,) integers in the feature's unit, clipped. Of a logarithm: whole numbers, as a plan's are."""
        if self.log:
            return whole(values, self.low, self.high)
        middle, half = self.low + (self.high - self.low) / 2, (self.high - self.low) / 2
        return np.rint((np.clip(values, self.low, self.high) - middle) / half * LEVELS).astype(np.int64)


def whole(values: Reals, low: float, high: float) -> Integers:
    """(n,) → (n,) whole numbers within bounds."""
    return np.rint(np.clip(values, low, high)).astype(np.int64)


def question_of(features: list[Feature], rho: int, seed: str, owners: list[str], floor: int, reach: int,
                target: str | None) -> lookalike.Plan:  # fmt: skip
    """The question of at most so many nano-ρ, in the proportions of SHARES."""
    return lookalike.Plan.model_validate(
        {
            "rho": {name: max(1, rho * share // 100) for name, share in SHARES.items()},
            "features": [feature.body() for feature in features],
            "seed": {"party": seed, "list": "seed"},
            "ranks": sorted(owners),
            "floor": floor,
            "reach": reach,
            "target": target,
        }
    )


@dataclass(frozen=True)
class Asked:
    """The question, who would be asked, and the noise of each step. An audit's is left out: rows have no groups."""

    question: lookalike.Plan
    parties: list[str]
    steps: list[tuple[Step, Mechanism]]

    @classmethod
    def of(cls, question: lookalike.Plan, people_cap: int) -> Asked:
        """The seed's party and those that rank, with no plan around them, each against all others.

        Raises UsageError where no plan could ask so, or where a share's noise is too small.
        """
        parties = sorted([question.seed.party, *question.ranks])
        names = tuple(feature.name for feature in question.features)
        facts = Facts(tuple(parties), people_cap, Schema(name="rows", columns={}), (*names, "usable"), True, None)
        try:
            asked = lookalike.steps(question, facts)
        except ValueError as exc:
            raise UsageError(str(exc).removeprefix("questions: "), "or ask for a higher ε") from None
        n = len(parties)
        steps = [(step, Mechanism.within(rho, step.statistic, parties, n, n - 1)) for step, rho in asked]
        check_noise(steps)
        return cls(question, parties, steps)

    @classmethod
    def by(cls, plan: Plan) -> Asked:
        """The lookalike of a plan. Raises UsageError where there is none."""
        for question in plan.questions:
            if isinstance(question, lookalike.Plan):
                asked = {step.name for step, _ in lookalike.steps(question, plan.facts(question))} - {lookalike.AUDIT}
                return cls(question, plan.parties, [s for s in plan.steps() if s[0].name in asked])
        raise UsageError("the plan does not ask for a lookalike", "this rehearsal is of the lookalike question")

    @property
    def rho(self) -> int:
        """Nano-ρ for one person's records at one party."""
        return sum(mechanism.charge for _, mechanism in self.steps)

    @property
    def rho_person(self) -> int:
        """Nano-ρ for one person known to every party."""
        return sum(mechanism.charge_person for _, mechanism in self.steps)

    def noise(self, name: str) -> Noise:
        """What is in a step's sum."""
        for step, mechanism in self.steps:
            if step.name == name:
                return step.noise(len(self.parties), mechanism.variance_micro)
        raise UsageError(f"the question has no step {name!r}")

    def needed(self) -> tuple[float, float]:
        """(people, the seed's people among them) that an owner must have, noise included, for anything to be said."""
        return report.needed(self.noise(sizes.NAME).variance, self.noise(lookalike.OVERLAP).variance)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as a question sees them.

    columns   feature → (n,) integers
    owner     (n,) number of each row's party among `parties`
    seed      (n,) 1 for the seed's people; at other parties than the seed's they are people whom both know
    kind      (n,) 1 for whom is looked for, as somebody knows who is not asked; None where nobody does
    clipped   how many rows had a value beyond its bounds
    """

    columns: dict[str, Integers]
    parties: list[str]
    owner: Integers
    seed: Integers
    kind: Integers | None
    clipped: int

    @property
    def people(self) -> int:
        return len(self.owner)

    def of(self, party: str, seeds: str) -> People:
        """A party's people, as its node would have them (`party_node/audience.py`)."""
        own = np.flatnonzero(self.owner == self.parties.index(party))
        found = {name: column[own] for name, column in self.columns.items()}
        one = np.ones(len(own), dtype=np.int64)
        members = self.seed[own] if party == seeds else np.zeros_like(one)
        return found | {"usable": one, "seed": members, "counted": members if party == seeds else one}

    def seed_people(self, seeds: str) -> int:
        return int(self.of(seeds, seeds)["seed"].sum())

    def shared(self, party: str) -> Integers:
        """(n,) 1 for those of a party's people who are of the seed too."""
        found: Integers = self.seed[self.owner == self.parties.index(party)]
        return found

    def ranked(self, seeds: str) -> Integers:
        """The rows of people who are ranked, and of whom something is to be found out.

        With a truth those who are not of the seed; without, all, since the seed's are then whom to find.
        """
        there = self.owner != self.parties.index(seeds)
        return np.flatnonzero(there if self.kind is None else there & (self.seed == 0))

    @property
    def truth(self) -> Integers:
        return self.seed if self.kind is None else self.kind

    @cached_property
    def reals(self) -> Reals:
        """(n, d), standardised: what models without privacy are fitted to."""
        rows = np.stack([np.asarray(column, dtype=np.float64) for column in self.columns.values()], axis=1)
        found: Reals = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-9)
        return found


@dataclass(frozen=True)
class Judged:
    """auc; recall among the likest fifth of those ranked. None where nobody, or everybody, is of the kind."""

    auc: float | None
    recall: float | None


def judged(scores: Any, truth: Integers) -> Judged:
    """scores, truth: (n,). Of people with one score as many count as there is room for, whoever they are."""
    from sklearn.metrics import roc_auc_score

    if not 0 < truth.sum() < len(truth):
        return Judged(None, None)
    scores, top = np.asarray(scores), max(len(scores) * TOP // 100, 1)
    last = np.partition(scores, -top)[-top]
    above, level = scores > last, scores == last
    found = truth[above].sum() + truth[level].sum() * (top - above.sum()) / level.sum()
    return Judged(float(roc_auc_score(truth, scores)), float(found / truth.sum()))


@dataclass(frozen=True)
class Run:
    """judged: the released score on the rows; figures: what `look-overlap` would release of each owner.

    preview   recall that the model itself expects, by reach in percent
    seed      the seed's size, noised
    """

    judged: Judged
    figures: Mapping[str, Any]
    preview: Mapping[str, float]
    seed: int
    cpu_s: float


def run(asked: Asked, table: Table, said: Said = lambda _: None) -> Run:
    """One whole round on the table, every party with its full noise. `said` hears each step's name."""
    busy, question = time.process_time(), asked.question
    parties = {party: table.of(party, question.seed.party) for party in asked.parties}
    earlier = dict[str, Any]()
    for step, mechanism in asked.steps:
        said(step.name)
        # (1) and (2)
        if step.made == "overlap":
            noised = _between(question, step, mechanism, table, parties, earlier)
        else:
            noised = np.zeros(mechanism.slots, dtype=np.int64)
            for party, people in parties.items():
                own = step.statistic.own(party)
                if own.start < own.stop:
                    noised[own] += drawn(step.tally(party, people, earlier).total[own], mechanism)
        # (3)
        noise = asked.noise(step.name)
        state = lookalike_state(question, step.name, noised, noise, earlier, asked.noise)
        if state is not None and step.check_state is not None:
            state = parse(canonical(state), what="state")  # as it would travel
            step.check_state(state, earlier)
        # (4)
        figures = step.answer(noised, noise, earlier)
        earlier[step.name] = figures if state is None else {**figures, "state": state, "noised": noised.tolist()}
    scorer = lookalike.scorer_of(question, earlier)
    ranked = table.ranked(question.seed.party)
    scores = scorer.scores({name: column[ranked] for name, column in table.columns.items()})
    preview = {str(reach): share / MICRO for reach, share in zip(REACHES, scorer.preview, strict=True)}
    size = lookalike.Sizes.read(question, earlier).seed
    found = earlier[lookalike.OVERLAP]["owners"]
    return Run(judged(scores, table.truth[ranked]), found, preview, size, time.process_time() - busy)


def _between(
    question: lookalike.Plan,
    step: Step,
    mechanism: Mechanism,
    table: Table,
    parties: Mapping[str, People],
    earlier: Mapping[str, Any],
) -> Integers:
    """(slots,) the seed's people in the six bands of each owner, pair by pair, each with both parties' noise."""
    found, most = [], shift(mechanism.variance_micro)
    for a, b in lookalike.pairs(question):
        owner = b if a == question.seed.party else a
        bands = lookalike.bands_of(question, earlier, owner, parties[owner])
        exact = np.bincount(bands[table.shared(owner) == 1], minlength=lookalike.BANDS).astype(np.int64)
        noise = [np.clip(drawn(np.zeros_like(exact), mechanism), -most, most) for _ in (a, b)]
        found.append(exact + noise[0] + noise[1])
    noised: Integers = np.concatenate(found)
    if len(noised) != len(step.statistic.slots):
        raise UsageError(f"{step.name}: its pairs are not those of the question")
    return noised


# -- without privacy ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A model of scikit-learn on all rows in one place, without noise: the seed against everybody who is ranked."""

    name: str
    judged: Judged
    cpu_s: float


def references(table: Table, seeds: str) -> list[Reference]:
    """Logistic regression and gradient boosting. Each half of the people is scored by a model of the other half."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    makes: dict[str, Callable[[], Any]] = {
        "logistic regression": lambda: LogisticRegression(max_iter=500),
        "gradient boosting": lambda: HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=20, random_state=0
        ),
    }
    seed = np.flatnonzero((table.owner == table.parties.index(seeds)) & (table.seed == 1))
    ranked, found = table.ranked(seeds), []
    half = np.zeros(len(ranked), dtype=np.int64)
    if len(ranked) > 1:
        half[next(KFold(2, shuffle=True, random_state=0).split(ranked))[1]] = 1
    for name, make in makes.items():
        busy, scores = time.process_time(), np.zeros(len(ranked))
        for side in (0, 1):
            others = ranked[half == side]
            if not (len(seed) and len(others) and np.any(half != side)):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kinds = np.repeat([1, 0], [len(seed), len(others)])
                model = make().fit(table.reals[np.concatenate([seed, others])], kinds)
                scores[half != side] = model.decision_function(table.reals[ranked[half != side]])
        found.append(Reference(name, judged(scores, table.truth[ranked]), time.process_time() - busy))
    return found
