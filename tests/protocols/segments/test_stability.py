"""How surely people keep their segment: what it means, what it may depend on, and what one person can move."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.figures import TOO_NOISY
from protocols.questions.segments import Plan, nearest, scaled, steps
from protocols.questions.segments.plan import SCALE
from protocols.questions.segments.stability import UNIT, keeps, stability
from protocols.questions.segments.states import Clusters
from protocols.statistic import Noise, Step, tally

HALF = 1 << 20
MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]
RHO = ("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile", "stability")


def clusters(centres: list[list[float]], deviation: list[float]) -> Clusters:
    some = np.full(len(centres), 100.0)
    return Clusters(np.array(centres), 0.5, some, np.array(deviation))


def asked(make_plan: MakePlan, d: int) -> tuple[Plan, Step]:
    plan = make_plan(d, rho={name: 1000 for name in RHO if d > 2 or name != "covariance"})
    return plan, next(step for step, _ in steps(plan) if step.name == "seg-stability")


def test_only_a_plan_with_a_share_for_it_has_the_step_and_has_it_last(make_plan: MakePlan) -> None:
    assert "seg-stability" not in [step.name for step, _ in steps(make_plan(2))]
    plan, step = asked(make_plan, 2)
    assert [one.name for one, _ in steps(plan)][-2:] == ["seg-profile", "seg-stability"]
    assert step.statistic.bound_sq == SCALE**2
    assert len(step.statistic.slots) == 2 * plan.clusters + 1


def test_it_is_one_far_from_a_border_and_a_half_on_it() -> None:
    two = clusters([[-0.5, 0.0], [0.5, 0.0]], [0.05, 0.05])
    found = keeps(np.array([[-0.9, 0.0], [0.0, 0.3], [-0.01, 0.0]]), two)
    assert found[0] > 0.999
    assert found[1] == 0.5
    assert 0.5 < found[2] < 0.7
    assert keeps(np.array([[0.1, 0.1]]), clusters([[0.0, 0.0]], [0.3])).tolist() == [1.0]
    assert keeps(np.array([[0.1, 0.0]]), clusters([[0.0, 0.0], [0.5, 0.0]], [0.0, 0.0])).tolist() == [1.0]


@pytest.mark.parametrize("place", [(-0.1, 0.2), (0.15, -0.4), (-0.3, 0.0), (0.02, 0.6)])
def test_it_is_how_often_the_nearest_centre_stays_nearest_when_centres_are_drawn_again(
    place: tuple[float, float],
) -> None:
    centres, deviation = np.array([[-0.5, 0.1], [0.5, -0.1]]), np.array([0.12, 0.06])
    point = np.array([place])
    draw = np.random.default_rng(5)
    drawn = centres + deviation[:, None] * draw.normal(size=(20_000, 2, 2))
    squared = ((point[None] - drawn) ** 2).sum(axis=2)
    own = int(nearest(point, centres)[0][0])
    stayed = float((squared.argmin(axis=1) == own).mean())
    assert keeps(point, clusters(centres.tolist(), deviation.tolist()))[0] == pytest.approx(stayed, abs=0.03)


@given(
    places=st.lists(st.tuples(*[st.integers(-HALF, HALF)] * 3), min_size=1, max_size=40),
    deviation=st.lists(st.floats(0, 2.0**27), min_size=4, max_size=4),
)
@settings(deadline=None, max_examples=150)
def test_nobodys_depends_on_who_else_is_asked_and_no_row_is_over_its_bound(
    make_plan: MakePlan, states_of: StatesOf, places: list[tuple[int, ...]], deviation: list[float]
) -> None:
    plan, step = asked(make_plan, 3)
    earlier = states_of(plan)
    last = earlier[plan.lloyd_names()[-1]]["state"]
    doubt = [round(value) for value in deviation[: len(last["centres"])]]
    earlier[plan.lloyd_names()[-1]] = {"state": {**last, "deviation": (doubt * 4)[: len(last["centres"])]}}
    people = {f"f{j}": np.array([place[j] for place in places], dtype=np.int64) for j in range(3)}
    people |= {"usable": np.ones(len(places), dtype=np.int64)}
    whole = tally(step.statistic, people, lambda batch: step.contribute(batch, earlier))
    alone = [
        tally(
            step.statistic,
            {name: x[i : i + 1] for name, x in people.items()},
            lambda one: step.contribute(one, earlier),
        )
        for i in range(len(places))
    ]
    assert whole.over_bound == 0
    assert whole.total.tolist() == np.sum([one.total for one in alone], axis=0).tolist()
    assert all(int((one.total**2).sum()) <= SCALE**2 for one in alone)
    x = scaled(plan, people)
    found = keeps(x, Clusters.read(earlier[plan.lloyd_names()[-1]]["state"], plan.clusters, 3))
    assert np.all((found >= 0.5) & (found <= 1))


def test_the_mean_is_covered_as_often_as_it_says() -> None:
    draw, missed, runs = np.random.default_rng(9), 0, 400
    noise = Noise(3, int(1.0e6 * SCALE**2 * 30))
    kept, people = 0.83, 600
    for _ in range(runs):
        exact = np.array([kept * people * math.sqrt(0.5) * SCALE, people * UNIT])
        noised = np.rint(exact + draw.normal(0, math.sqrt(noise.variance), 2)).astype(np.int64)
        figure = stability(noised, noise, 1)["segments"]["s1"]["keeps"]
        missed += not float(figure["low"]) <= kept <= float(figure["high"])
    assert 0.02 * runs <= missed <= 0.085 * runs


def test_a_segment_of_few_people_is_too_noisy_and_a_block_of_nobody_has_no_figure() -> None:
    noise = Noise(3, int(1.0e6 * SCALE**2 * 30))
    found = stability(np.array([600 * UNIT, 600 * UNIT, 5 * UNIT, 6 * UNIT, 10**9, 10**9]), noise, 2)
    assert list(found["segments"]) == ["s1", "s2"]
    assert found["segments"]["s2"]["keeps"] == {"value": TOO_NOISY}
    assert found["segments"]["s1"]["keeps"]["value"] == "1.000"
