"""A plan's segments question in one process, on a table at hand: what it would cost, find and show. Nothing is sent.

The table's rows are dealt out to so many parties of the mind. Then, for every step of the question:

1. **rows**     each party's people, clipped, truncated, checked against their bound and summed (`statistic.tally`)
2. **noise**    each party's full share of it, by OpenDP; a round's masks would vanish in the sum, so there are none
3. **sum**      what the coordinator would see
4. **state**    fitted to the noised sum, and checked as every node checks it
5. **figures**  what would be released

Rows, noise, fits, checks and figures are the code of a real round; keys, masks, ledger and network are left out. It may
be asked for `collusion` 0, by which each party adds a part of the noise only; no plan may.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from protocols.accuracy import epsilon
from protocols.budget import MICRO
from protocols.encoding import canonical, parse
from protocols.errors import UsageError
from protocols.feature import Feature
from protocols.noise import LEAST_VARIANCE_MICRO, add_noise
from protocols.plan import Mechanism, Plan
from protocols.questions import segments
from protocols.questions.segments.states import Clusters, Reals
from protocols.statistic import Integers, People, Step, tally

from .segments import next_state

LEVELS = 1 << 30  # whole numbers on either side of the middle of a column's bounds
SEED = 0

Said = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """The question, who would be asked, and the noise of each step."""

    question: segments.Plan
    parties: list[str]
    collusion: int
    steps: list[tuple[Step, Mechanism]]

    @classmethod
    def of(cls, question: segments.Plan, parties: int, collusion: int) -> Asked:
        """All parties of so many, with no plan around them. Raises UsageError where a share's noise is too small."""
        names = [f"party-{number:02}" for number in range(1, parties + 1)]
        steps = [
            (step, Mechanism.within(rho, step.statistic, names, parties, collusion))
            for step, rho in segments.steps(question)
        ]
        check_noise(steps)
        return cls(question, names, collusion, steps)

    @classmethod
    def by(cls, plan: Plan) -> Asked:
        """The segments question of a plan. Raises UsageError where there is none."""
        for question in plan.questions:
            if isinstance(question, segments.Plan):
                names = {step.name for step, _ in segments.steps(question)}
                return cls(question, plan.parties, plan.collusion, [s for s in plan.steps() if s[0].name in names])
        raise UsageError("the plan does not ask for segments", "a rehearsal is of the segments question")

    @property
    def rho(self) -> int:
        """Nano-ρ for one person's records at one party."""
        return sum(mechanism.charge for _, mechanism in self.steps)

    @property
    def rho_person(self) -> int:
        """Nano-ρ for one person known to every party."""
        return sum(mechanism.charge_person for _, mechanism in self.steps)

    def epsilon(self, delta: float) -> float:
        return epsilon(self.rho, delta)

    @property
    def allowed(self) -> bool:
        """Whether a plan may count on so many honest parties."""
        return self.collusion >= 1 or len(self.parties) == 1

    def deviation(self, name: str) -> float:
        """Standard deviation of a step's noise in the sum of all parties, in its integer units."""
        for step, mechanism in self.steps:
            if step.name == name:
                return math.sqrt(step.noise(len(self.parties), mechanism.variance_micro).variance)
        raise UsageError(f"the question has no step {name!r}")


def check_noise(steps: Sequence[tuple[Step, Mechanism]]) -> None:
    """Raise UsageError where a share's noise is less than a plan may have."""
    for step, mechanism in steps:
        if mechanism.variance_micro < LEAST_VARIANCE_MICRO:
            sigma = math.sqrt(mechanism.variance_micro / MICRO)
            raise UsageError(
                f"step {step.name}: one share would have σ {sigma:.2f}; the least is 3",
                "ask for a lower ε, for fewer parties, or for more collusion",
            )


@dataclass(frozen=True)
class Table:
    """Rows as a question sees them: whole numbers, one a feature.

    columns   feature → (n,) integers
    offset, unit   (d,): a feature's whole number z is offset + unit · z in the units of the rows
    box       what one unit of the box [−1, 1] is in the units of the rows, where all columns have the same bounds
    clipped   how many rows had a value beyond its bounds
    """

    features: list[Feature]
    columns: dict[str, Integers]
    offset: Reals
    unit: Reals
    box: float
    clipped: int

    @classmethod
    def within(cls, values: Reals, low: float, high: float) -> Table:
        """(n, d) rows, each value clipped to [low, high]."""
        middle, half = low + (high - low) / 2, (high - low) / 2
        beyond = np.any((values < low) | (values > high), axis=1)
        names = [f"c{j + 1}" for j in range(values.shape[1])]
        features = [Feature(name=name, transform="identity", low=-LEVELS, high=LEVELS) for name in names]
        columns = {
            name: np.rint((np.clip(values[:, j], low, high) - middle) / half * LEVELS).astype(np.int64)
            for j, name in enumerate(names)
        }
        d = len(names)
        return cls(features, columns, np.full(d, middle), np.full(d, half / LEVELS), half, int(beyond.sum()))

    @classmethod
    def as_planned(cls, values: Reals, features: Sequence[Feature]) -> Table:
        """(n, d) rows in the units of a plan's features, which are whole numbers; distances are in the plan's box."""
        lows, highs = (np.array([getattr(f, end) for f in features], dtype=np.float64) for end in ("low", "high"))
        beyond = np.any((values < lows) | (values > highs), axis=1)
        whole = np.rint(np.clip(values, lows, highs)).astype(np.int64)
        columns = {feature.name: whole[:, j] for j, feature in enumerate(features)}
        d = len(columns)
        return cls(list(features), columns, np.zeros(d), np.ones(d), 1.0, int(beyond.sum()))

    @property
    def people(self) -> int:
        return len(self.columns[self.features[0].name])

    @cached_property
    def scaled(self) -> Reals:
        """(n, d) in the box [−1, 1]^d, as the question sees them."""
        return np.stack([feature.scaled(self.columns[feature.name]) for feature in self.features], axis=1)

    def dealt(self, parties: int) -> list[People]:
        """Each party's rows: the first to the first, the second to the second, and round again."""
        found: list[People] = []
        for at in range(parties):
            own = {name: column[at::parties] for name, column in self.columns.items()}
            found.append(own | {"usable": np.ones(len(own[self.features[0].name]), dtype=np.int64)})
        return found

    def units(self, centres: Reals) -> Reals:
        """Centres (k, d) of the box in the units of the rows."""
        whole = [[f.unit(float(value)) for f, value in zip(self.features, row, strict=True)] for row in centres]
        return self.offset + self.unit * np.asarray(whole, dtype=np.float64)

    def inertia(self, centres: Reals) -> float:
        """Mean squared distance of the rows to the nearest of centres (k, d) of the box, in the units of the rows."""
        return float(segments.nearest(self.scaled, centres)[1].mean()) * self.box**2


@dataclass(frozen=True)
class Run:
    """centres (k, d) in the box, by falling size; figures: what the profile would release; cpu_s of all together."""

    centres: Reals
    figures: Mapping[str, Any]
    cpu_s: float


def run(asked: Asked, table: Table, said: Said = lambda _: None) -> Run:
    """One whole round on the table, every party with its full noise. `said` hears each step's name."""
    busy, question = time.process_time(), asked.question
    parties, earlier = table.dealt(len(asked.parties)), dict[str, Any]()
    for step, mechanism in asked.steps:
        said(step.name)
        noise = step.noise(len(parties), mechanism.variance_micro)
        # (1), (2) and (3)
        noised = np.zeros(mechanism.slots, dtype=np.int64)
        for people in parties:
            noised += _noised(step, mechanism, people, earlier)
        # (4)
        state = next_state(question, step.name, noised, noise, earlier, asked.deviation)
        if state is not None and step.check_state is not None:
            state = parse(canonical(state), what="state")  # as it would travel
            step.check_state(state, earlier)
        # (5)
        figures = step.answer(noised, noise, earlier)
        earlier[step.name] = figures if state is None else {**figures, "state": state, "noised": noised.tolist()}
    last = earlier[question.lloyd_names()[-1]]["state"]
    centres = Clusters.read(last, question.clusters, question.dimensions).centres
    return Run(centres, earlier["seg-profile"], time.process_time() - busy)


def _noised(step: Step, mechanism: Mechanism, people: People, earlier: Mapping[str, Any]) -> Integers:
    exact = tally(step.statistic, people, lambda batch: step.contribute(batch, earlier)).total
    return drawn(exact, mechanism)


def drawn(exact: Integers, mechanism: Mechanism) -> Integers:
    """An exact sum, (slots,) or a part of it, with one party's full share of a step's noise."""
    return add_noise(exact, bound_sq=mechanism.sensitivity_sq, variance_micro=mechanism.variance_micro)


@dataclass(frozen=True)
class Reference:
    """scikit-learn's k-means on all rows at once, without noise: the best of so many starts."""

    inertia: float
    starts: int
    cpu_s: float


def reference(table: Table, clusters: int, starts: int) -> Reference:
    busy = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: then it is exact
        found = KMeans(clusters, n_init=starts, random_state=SEED).fit(table.scaled)
    inertia = float(found.inertia_) / table.people * table.box**2
    return Reference(inertia, starts, time.process_time() - busy)
