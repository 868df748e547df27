"""A released 95 % interval holds the number that there would be without noise 95 times in 100: figure by figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from protocols.noise import add_noise
from protocols.plan import Mechanism, Plan
from protocols.questions import rfm
from protocols.statistic import Integers, Noise, Step, tally

ROUNDS = 3_000  # one figure a round then covers .950 ± .004: the band is five standard deviations wide to each side
THROUGH_MASKS = 100
PEOPLE = 4_000  # at each of three parties; below the demo's people_cap
BAND = (0.93, 0.97)

Customers = dict[str, Integers]
Hits = dict[str, list[bool]]


def generated(seed: int) -> Customers:
    """Customers of one party as shops know them: many who buy seldom, few who buy often, some after discounts only."""
    draw = np.random.default_rng(seed)
    baskets = np.minimum(np.ceil(draw.lognormal(2.6, 1.3, PEOPLE)), 300).astype(np.int64)
    recency = np.minimum(draw.exponential(400 / (1 + baskets)) + draw.exponential(25, PEOPLE), 365).astype(np.int64)
    spend = (baskets * draw.lognormal(3.2, 0.8, PEOPLE) * 100).astype(np.int64)
    discounted = draw.binomial(baskets, draw.beta(1.2, 1.6, PEOPLE)).astype(np.int64)
    usable = (draw.random(PEOPLE) > 0.03).astype(np.int64)
    columns = {"recency_days": recency, "baskets": baskets, "spend_cents": spend, "discounted_baskets": discounted}
    return {name: column * usable for name, column in columns.items()} | {"usable": usable}


@dataclass(frozen=True)
class Room:
    """Three parties' customers, and the exact sum of each step at each party."""

    plan: Plan
    parties: dict[str, Customers]

    def totals(self, step: Step, earlier: Mapping[str, Any]) -> dict[str, Integers]:
        return {
            p: tally(step.statistic, c, lambda b: step.contribute(b, earlier)).total for p, c in self.parties.items()
        }


@pytest.fixture(scope="module")
def room(demo_plan: Plan) -> Room:
    return Room(demo_plan, {party: generated(seed) for seed, party in enumerate(demo_plan.parties)})


def each_with_its_noise(totals: Mapping[str, Integers], mechanism: Mechanism) -> Integers:
    """The sum of what the parties send: every one adds the full noise."""
    noised = [
        add_noise(total, bound_sq=mechanism.sensitivity_sq, variance_micro=mechanism.variance_micro)
        for total in totals.values()
    ]
    result: Integers = np.stack(noised).sum(axis=0, dtype=np.int64)
    return result


@dataclass(frozen=True)
class Played:
    """One simulated round: per step the exact and the noised sum over parties."""

    exact: dict[str, Integers]
    noised: dict[str, Integers]


AddUp = Callable[[Mapping[str, Integers], Mechanism], Integers]


def play(room: Room, rounds: int, add_up: AddUp) -> list[Played]:
    """Whole rounds, the second step on the cuts that the first one released in the same round.

    The rounds' vectors lie one behind the other while noise is added: slots are independent, and it is faster.
    """
    (cuts, cuts_noise), (cohorts, cohorts_noise) = room.plan.steps()
    exact = [room.totals(cuts, {})] * rounds
    first = _in_rows(exact, cuts_noise, add_up)
    answers = [cuts.answer(row, Noise(3, cuts_noise.variance_micro), {}) for row in first]
    by_positions: dict[str, dict[str, Integers]] = {}
    second_exact = []
    for answer in answers:
        key = str(rfm.scores_at(question_of(room.plan), answer))
        if key not in by_positions:
            by_positions[key] = room.totals(cohorts, {cuts.name: answer})
        second_exact.append(by_positions[key])
    second = _in_rows(second_exact, cohorts_noise, add_up)
    return [
        Played(
            {cuts.name: sum_of(exact[i]), cohorts.name: sum_of(second_exact[i])},
            {cuts.name: first[i], cohorts.name: second[i]},
        )
        for i in range(rounds)
    ]


def _in_rows(totals: list[dict[str, Integers]], mechanism: Mechanism, add_up: AddUp) -> Integers:
    side_by_side = {party: np.concatenate([total[party] for total in totals]) for party in totals[0]}
    return add_up(side_by_side, mechanism).reshape(len(totals), -1)


def question_of(plan: Plan) -> rfm.Plan:
    (question,) = plan.questions
    assert isinstance(question, rfm.Plan)
    return question


def sum_of(totals: Mapping[str, Integers]) -> Integers:
    result: Integers = np.stack(list(totals.values())).sum(axis=0, dtype=np.int64)
    return result


@pytest.fixture(scope="module")
def simulated(room: Room) -> list[Played]:
    return play(room, ROUNDS, each_with_its_noise)


# -- what an interval must hold ----------------------------------------------------------------------------------------


def hits(room: Room, played: list[Played], shares: int = 3) -> Hits:
    """Family of figures → for each one released, does its interval hold the truth? `shares`: taken as noisy."""
    (cuts, cuts_noise), (cohorts, cohorts_noise) = room.plan.steps()
    found: Hits = defaultdict(list)
    for one in played:
        answer = cuts.answer(one.noised[cuts.name], Noise(shares, cuts_noise.variance_micro), {})
        _judge_cuts(question_of(room.plan), answer, one.exact[cuts.name], found)
        answer = cohorts.answer(one.noised[cohorts.name], Noise(shares, cohorts_noise.variance_micro), {})
        _judge_cohorts(answer, one.exact[cohorts.name], found)
    return found


def _judge_cuts(question: rfm.Plan, answer: dict[str, Any], exact: Integers, found: Hits) -> None:
    at = 0
    for feature in rfm.FEATURES:
        edges = [0, *question.boundaries(feature)]
        counts = exact[at : at + len(edges)]
        at += len(edges)
        below = [counts[:k].sum() / counts.sum() for k in range(len(edges))]
        for target in rfm.TARGETS:
            cut = answer[feature][f"p{target}"]
            if cut["edge"]["value"] == "too noisy":
                found["gated cuts"].append(True)
                continue
            nearest = min(range(len(edges)), key=lambda k: abs(below[k] - target / 100))
            found["edge"].append(_holds(cut["edge"], edges[nearest]))
            if (
                cut["edge"]["value"] != "0" and cut["below"]["value"] != "too noisy"
            ):  # nobody lies below the lowest bin: that share is exact
                found["below"].append(_holds(cut["below"], below[edges.index(int(cut["edge"]["value"]))]))


def _judge_cohorts(answer: dict[str, Any], exact: Integers, found: Hits) -> None:
    truth = [*(exact[:25] / rfm.CELL), *(exact[25:33] / rfm.COHORT)]
    for (family, figure), true in zip(_figures(answer), truth, strict=True):
        gated = figure["value"] == "too noisy"
        found[f"gated {family}" if gated else family].append(gated or _holds(figure, true))
    found["unusable"].append(_holds(answer["unusable"], exact[33] / rfm.COHORT))


def _figures(answer: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    slots = rfm.cohorts_statistic().slots
    parts = (("cells", slots[:25]), ("cohorts", slots[25:33]))
    return [(family, answer[family][name]) for family, names in parts for name in names]


def _holds(figure: dict[str, str], truth: float) -> bool:
    return float(figure["low"]) - 1e-9 <= truth <= float(figure["high"]) + 1e-9


def coverage(found: Hits, family: str) -> float:
    return sum(found[family]) / len(found[family])


# -- and does ----------------------------------------------------------------------------------------------------------

FAMILIES = ("cells", "cohorts", "unusable", "below")


@pytest.fixture(scope="module")
def judged(room: Room, simulated: list[Played]) -> Hits:
    return hits(room, simulated)


@pytest.mark.parametrize("family", FAMILIES)
def test_released_intervals_hold_the_truth_as_often_as_they_say(family: str, judged: Hits) -> None:
    assert BAND[0] <= coverage(judged, family) <= BAND[1]


def test_edges_name_the_exact_cut_in_their_set(judged: Hits) -> None:
    assert coverage(judged, "edge") >= BAND[0]


def halfway(question: rfm.Plan) -> Integers:
    """Exact counts in which every target lies between two boundaries, one of them nearer by a few people."""
    blocks = []
    for feature in rfm.FEATURES:
        tenths = [600 + 5, *[1200] * 8, 1800 - 5]
        blocks += tenths + [0] * (len(question.boundaries(feature)) + 1 - len(tenths))
    return np.array([*blocks, 0], dtype=np.int64)


def test_edges_name_the_exact_cut_where_two_boundaries_are_almost_as_near(room: Room) -> None:
    cuts, mechanism = room.plan.steps()[0]
    exact = halfway(question_of(room.plan))
    nobody = np.zeros_like(exact)
    noised = _in_rows([{"a": exact, "b": nobody, "c": nobody}] * 400, mechanism, each_with_its_noise)
    found: Hits = defaultdict(list)
    picked: Hits = defaultdict(list)
    for row in noised:
        answer = cuts.answer(row, Noise(3, mechanism.variance_micro), {})
        _judge_cuts(question_of(room.plan), answer, exact, found)
        for one in answer.values():
            for cut in one.values():
                cut["edge"].update(low=cut["edge"]["value"], high=cut["edge"]["value"])
        _judge_cuts(question_of(room.plan), answer, exact, picked)
    assert len(found["edge"]) > 4_000
    assert coverage(found, "edge") >= BAND[0]
    assert coverage(picked, "edge") < 0.8  # the picked cut alone is often the other one


def test_some_cells_and_cohorts_are_gated_and_most_are_not(judged: Hits) -> None:
    """So that coverage is that of figures which a gate has let pass, and of enough of them."""
    for family in ("cells", "cohorts"):
        gated, shown = len(judged[f"gated {family}"]), len(judged[family])
        assert 0.02 < gated / (gated + shown) < 0.4


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_that_forget_two_of_three_shares_of_noise_fall_out_of_the_band(
    family: str, room: Room, simulated: list[Played]
) -> None:
    assert coverage(hits(room, simulated[:500], shares=1), family) < 0.85


def test_intervals_hold_the_truth_when_shares_travel_under_masks(room: Room, through_masks: AddUp) -> None:
    played = [one for _ in range(THROUGH_MASKS) for one in play(room, 1, through_masks)]
    found = hits(room, played)
    counts = {"counts": [*found["cells"], *found["cohorts"]]}
    assert len(counts["counts"]) > 2_000
    assert BAND[0] <= coverage(counts, "counts") <= BAND[1]
