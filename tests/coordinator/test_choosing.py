"""The number of segments: told where people are in groups, not told where they are not, whatever the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from coordinator import choosing
from coordinator.choosing import Coreset, choose
from coordinator.segments import next_state
from protocols.budget import variance_for
from protocols.errors import IntegrityError
from protocols.questions import segments
from protocols.questions.segments.choice import Choice, Score
from protocols.questions.segments.states import Clusters, Grid, Reals
from protocols.schema import Range
from protocols.statistic import Noise, tally
from tests.coordinator.test_segments import MILLION, PARTIES, people_at, question

WIDE = {"least": 2, "most": 8}


def released(x: Reals, clusters: Any, *, rho: float, seed: int) -> tuple[segments.Plan, dict[str, Any]]:
    """What a round releases up to its over-clusters, the noise drawn from a seed and not for privacy."""
    plan, draw = question(x.shape[1], rho=rho, clusters=clusters), np.random.default_rng(seed)
    people, earlier = people_at(x), dict[str, Any]()
    variance = {step.name: variance_for(part, step.statistic.bound_sq, 1) for step, part in segments.steps(plan)}
    for step, _ in segments.steps(plan):
        total = tally(step.statistic, people, lambda batch, step=step: step.contribute(batch, earlier)).total
        noise = Noise(PARTIES, variance[step.name])
        noised = total + np.rint(draw.normal(0, math.sqrt(noise.variance), len(total))).astype(np.int64)
        state = next_state(
            plan, step.name, noised, noise, earlier, lambda s: math.sqrt(PARTIES * variance[s] / MILLION)
        )
        assert state is not None
        assert step.check_state is not None
        step.check_state(state, earlier)
        earlier[step.name] = {"state": state, "noised": noised.tolist()}
        if step.name == "seg-over":
            return plan, earlier
    raise AssertionError


def chosen(x: Reals, clusters: Any = WIDE, *, rho: float = 0.1, seed: int = 1) -> Choice:
    plan, earlier = released(x, clusters, rho=rho, seed=seed)
    found = Clusters.read(earlier["seg-over"]["state"], plan.clusters, plan.dimensions)
    assert found.choice is not None
    assert found.choice.chosen == len(found.centres)
    return found.choice


def groups(d: int, k: int, seed: int, count: int = 20_000, width: float = 0.09) -> Reals:
    """k round groups, at least six of their widths from one another; the largest has twice the people of the least."""
    draw, centres = np.random.default_rng(seed), np.zeros((k, d))
    while math.sqrt(_least_square(centres)) < 6 * width:
        centres = draw.uniform(-0.75, 0.75, (k, d))
    weight = np.linspace(1, 2, k)
    which = draw.choice(k, count, p=weight / weight.sum())
    return np.clip(centres[which] + draw.normal(0, width, (count, d)), -1, 1)


def _least_square(centres: Reals) -> float:
    squared = ((centres[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return float(squared[~np.eye(len(centres), dtype=bool)].min())


@pytest.mark.parametrize(("d", "k"), [(1, 3), (2, 2), (2, 5), (3, 4), (4, 7), (6, 3)])
def test_the_number_of_groups_that_are_there_is_told_with_a_gap_and_a_silhouette_above_the_others(
    d: int, k: int
) -> None:
    found = chosen(groups(d, k, 10 * d + k))
    assert (found.chosen, found.told) == (k, True)
    scores = {score.clusters: score for score in found.scores}
    assert list(scores) == list(range(2, 9))
    for other in range(k + 1, 9):
        assert scores[other].gap < scores[k].gap
        assert scores[other].silhouette < scores[k].silhouette
    assert scores[k].low <= scores[k].silhouette <= scores[k].high
    within = [scores[n].within for n in scores]
    assert within == sorted(within, reverse=True)


@pytest.mark.parametrize("d", [2, 4])
def test_where_people_are_one_crowd_no_number_is_told_and_it_is_four(d: int) -> None:
    x = np.clip(np.random.default_rng(d).normal(0, 0.3, (20_000, d)), -1, 1)
    found = chosen(x)
    assert (found.chosen, found.told) == (4, False)


def test_the_usual_number_is_brought_within_the_range() -> None:
    x = np.clip(np.random.default_rng(3).normal(0, 0.3, (20_000, 2)), -1, 1)
    assert chosen(x, {"least": 5, "most": 7}).chosen == 5
    assert chosen(x, {"least": 2, "most": 3}).chosen == 3


def test_of_groups_outside_the_range_the_plan_has_its_way() -> None:
    assert chosen(groups(3, 7, 4), {"least": 3, "most": 5}).chosen <= 5
    assert chosen(groups(3, 2, 4), {"least": 3, "most": 5}).chosen >= 3


@pytest.mark.parametrize("people", [0, 3, 60])
def test_a_starved_round_chooses_some_number_and_tells_none(people: int) -> None:
    x = np.clip(np.random.default_rng(people).normal(0, 0.3, (people, 2)), -1, 1)
    found = chosen(x, {"least": 3, "most": 5}, rho=0.001)
    assert not found.told
    assert 1 <= found.chosen <= 5


def test_a_round_that_is_asked_again_chooses_alike() -> None:
    x = groups(3, 4, 2)
    one, other = (released(x, WIDE, rho=0.1, seed=7)[1]["seg-over"]["state"] for _ in range(2))
    assert one == other


# -- by hand -----------------------------------------------------------------------------------------------------------

LINE = Grid(np.zeros(2), np.eye(2), -np.ones(2), np.ones(2), np.array([2, 2]), np.array([0.5, 0.1]), 0.0, 1000)


def coreset(places: list[float], people: list[float], sure: float = 1.0) -> Coreset:
    centres = np.array([[x, 0.0] for x in places])
    return Coreset(centres, np.array(people), np.full(len(places), sure), np.full(len(places), 1e-3))


PAIRS = [-0.62, -0.6, -0.58, 0.58, 0.6, 0.62]


def test_a_silhouette_is_one_minus_own_distance_over_that_to_the_next_centre() -> None:
    found = choose(Range(least=2, most=3), coreset(PAIRS, [100.0] * 6), LINE, 6)
    assert found.scores[0].silhouette == pytest.approx((2 + 2 * (1 - 0.02 / 1.18) + 2 * (1 - 0.02 / 1.22)) / 6)
    assert found.scores[0].within == pytest.approx(4 * 0.02**2 / (2 * (0.58**2 + 0.6**2 + 0.62**2)))
    assert found.scores[0].smallest == pytest.approx(300 / math.sqrt(3))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"silhouette": choosing.STRUCTURE - 0.01}, False),
        ({"gap": choosing.GAP - 0.01}, False),
        ({"stability": choosing.STABLE - 0.01}, False),
        ({"smallest": choosing.SURE - 0.1}, False),
    ],
)
def test_a_number_stands_by_every_one_of_its_scores(change: dict[str, float], told: bool) -> None:
    good = {"silhouette": 0.8, "low": 0.8, "high": 0.8, "gap": 0.5, "within": 0.1, "stability": 1.0, "smallest": 9.0}
    assert choosing.stands(Score(3, **(good | change))) == told


def test_a_few_people_between_two_groups_are_no_segment_of_their_own() -> None:
    """An over-cluster that lies across two groups: it has gaps on both sides, and a silhouette of 1."""
    places, people = [*PAIRS[:3], 0.0, *PAIRS[3:]], [100.0] * 3 + [15.0] + [100.0] * 3
    assert choose(Range(least=2, most=3), coreset(places, people), LINE, 7).chosen == 2
    people[3] = 100.0
    assert choose(Range(least=2, most=3), coreset(places, people), LINE, 7).chosen == 3


def test_two_groups_beside_each_other_are_two_though_a_third_is_far_off() -> None:
    """With two segments the silhouette is better; wide gaps between three of some size outweigh that."""
    places = [-0.9, -0.88, -0.86, 0.7, 0.72, 0.74, 0.9, 0.92, 0.94]
    narrow = Grid(np.zeros(2), np.eye(2), -np.ones(2), np.ones(2), np.array([2, 2]), np.array([0.18, 0.1]), 0.0, 1000)
    three = choose(Range(least=2, most=4), coreset(places, [100.0] * 9), narrow, 9)
    assert (three.told, three.chosen) == (True, 3)
    assert three.scores[0].silhouette > three.scores[1].silhouette
    small = [100.0] * 6 + [10.0] * 3  # a third group of a seventh of the average's people: the silhouette has its way
    assert choose(Range(least=2, most=4), coreset(places, small), narrow, 9).chosen == 2


def test_segments_too_small_for_their_noise_are_not_chosen_even_where_nothing_is_told() -> None:
    few = coreset(PAIRS, [10.0] * 6, sure=10.0)
    found = choose(Range(least=2, most=5), few, LINE, 6)
    assert (found.told, found.chosen) == (False, 2)


def test_a_false_choice_is_found_out_by_a_node() -> None:
    plan, earlier = released(groups(2, 3, 5), WIDE, rho=0.1, seed=3)
    state = earlier["seg-over"]["state"]
    check = next(step for step, _ in segments.steps(plan) if step.name == "seg-over").check_state
    assert check is not None
    with pytest.raises(IntegrityError, match="of another number of centres than it chooses"):
        check(state | {"choice": state["choice"] | {"chosen": 4}}, earlier)
