"""What is said of segments: sizes, shares, typical values and their index, from a sum and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols.figures import TOO_NOISY, pointers
from protocols.questions.segments import Plan, nearest, scaled, steps
from protocols.questions.segments.plan import Feature
from protocols.questions.segments.profile import UNIT, profile
from protocols.statistic import Contribute, Integers, Noise, Step, tally

SCALE = 1 << 16
SILENCE = Noise(1, 1)  # a millionth of a squared unit: nothing is gated that exists
FEATURES = [
    {"name": "spend_cents", "transform": "log1p", "low": 100, "high": 10**6},
    {"name": "recency_days", "transform": "identity", "low": 0, "high": 365},
]

MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(2, features=FEATURES)


def customers(count: int, seed: int) -> dict[str, Integers]:
    draw = np.random.default_rng(seed)
    spend = np.exp(draw.normal(9, 2, count)).astype(np.int64)  # some beyond the public ends
    recency = draw.integers(0, 400, count)
    return {"spend_cents": spend, "recency_days": recency, "usable": np.ones(count, dtype=np.int64)}


def given_to(step: Step, earlier: dict[str, Any]) -> Contribute:
    return lambda batch: step.contribute(batch, earlier)


def summed(plan: Plan, people: dict[str, Integers], earlier: dict[str, Any]) -> Integers:
    step, _ = steps(plan)[-1]
    return tally(step.statistic, people, lambda batch: step.contribute(batch, earlier)).total


def figures_of(answer: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Path → figure."""
    found = {}
    for path in pointers(answer):
        at: Any = answer
        for part in path.split("/")[1:]:
            at = at[part]
        found[path] = at
    return found


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_sizes_are_exact_and_typical_values_are_so_within_truncation(
    seed: int, plan: Plan, states_of: StatesOf
) -> None:
    people, earlier = customers(4000, seed), states_of(plan)
    answer = profile(plan, summed(plan, people, earlier), SILENCE)
    x = scaled(plan, people)
    segment, _ = nearest(x, np.array([[-0.75, -0.75], [0.0, 0.0], [0.75, 0.75]]))
    step = 1 / (math.sqrt(0.7 / 2) * SCALE)  # what an entry is truncated to, on the scale from −1 to 1
    for i in range(3):
        mine = segment == i
        found = answer["segments"][f"s{i + 1}"]
        assert int(found["size"]["value"]) == mine.sum()
        assert float(found["share"]["value"]) == pytest.approx(mine.sum() / 4000, abs=0.51e-4)
        for j, feature in enumerate(plan.features):
            mean = float(x[mine, j].mean())
            ends = feature.unit(mean - step), feature.unit(mean + step)
            shown = float(found["typical"][feature.name]["value"])
            assert ends[0] - 0.51 <= shown <= ends[1] + 0.51
    assert int(answer["all"]["size"]["value"]) == 4000


def test_a_typical_value_of_a_logarithm_is_not_the_mean_of_money(plan: Plan, states_of: StatesOf) -> None:
    """1, 10 and 1000 units of money have a typical value near 21, though their mean is 337."""
    people = {"spend_cents": np.array([100, 1000, 100_000] * 50), "recency_days": np.full(150, 182)}
    total = summed(plan, people | {"usable": np.ones(150, dtype=np.int64)}, states_of(plan))
    typical = float(profile(plan, total, SILENCE)["all"]["typical"]["spend_cents"]["value"])
    logs = [math.log1p(x) for x in (100, 1000, 100_000)]
    assert typical == pytest.approx(math.expm1(sum(logs) / 3), abs=1.5)


def test_an_index_is_a_hundred_times_own_over_everybodys_and_its_interval_narrower_than_what_both_allow(
    plan: Plan, states_of: StatesOf
) -> None:
    """A segment's noise is in everybody's sums too: the quotient of both moves less than either lets it."""
    answer = profile(plan, summed(plan, customers(4000, 1), states_of(plan)), Noise(3, 10**18))
    everybody, widths = answer["all"]["typical"]["recency_days"], []
    for segment in answer["segments"].values():
        own, index = segment["typical"]["recency_days"], segment["index"]["recency_days"]
        value, low, high = (float(own[end]) for end in ("value", "low", "high"))
        assert float(index["value"]) == pytest.approx(100 * value / float(everybody["value"]), abs=0.6)
        widest = 100 * low / float(everybody["high"]), 100 * high / float(everybody["low"])
        assert widest[0] - 1 < float(index["low"]) < float(index["value"]) < float(index["high"]) < widest[1] + 1
        widths.append((float(index["high"]) - float(index["low"]), widest[1] - widest[0]))
    assert sum(mine for mine, _ in widths) < 0.85 * sum(both for _, both in widths)


@pytest.mark.parametrize("transform", ["identity", "log1p"])
def test_a_features_slope_is_how_its_unit_rises(transform: str) -> None:
    feature = Feature(name="f", transform=transform, low=2, high=5000)
    for at in (-0.9, 0.0, 0.7):
        rise = (feature.unit(at + 1e-6) - feature.unit(at - 1e-6)) / 2e-6
        assert feature.slope(at) == pytest.approx(rise, rel=1e-5)


def test_there_is_no_index_where_everybodys_typical_value_may_be_zero(make_plan: MakePlan) -> None:
    plan = make_plan(1, clusters=2)  # a feature from −2^20 to 2^20
    noised = np.array([0, 500 * UNIT, 0, 500 * UNIT, 0], dtype=np.int64)
    answer = profile(plan, noised, Noise(3, 10**12))
    assert {s["index"]["f0"]["value"] for s in answer["segments"].values()} == {TOO_NOISY}
    assert {s["typical"]["f0"]["value"] for s in answer["segments"].values()} == {"0"}


# -- noise -------------------------------------------------------------------------------------------------------------


def block(plan: Plan, *counts: int) -> Integers:
    """So many people in each segment, all of them in the middle of the box."""
    slots = [x for count in counts for x in (*[0] * plan.dimensions, count * UNIT)]
    return np.array([*slots, 0], dtype=np.int64)


def test_a_segment_below_five_standard_deviations_is_too_noisy_in_every_figure(plan: Plan) -> None:
    sigma_people = 20
    noise = Noise(3, (sigma_people * UNIT) ** 2 * 10**6 // 3)
    answer = profile(plan, block(plan, 99, 101, 1000), noise)
    below, above, large = (figures_of(answer["segments"][f"s{i}"]) for i in (1, 2, 3))
    assert {figure["value"] for figure in below.values()} == {TOO_NOISY}
    assert TOO_NOISY not in {figure["value"] for figure in (*above.values(), *large.values())}
    half = float(above["/size"]["high"]) - 101
    assert half == pytest.approx(1.96 * sigma_people, rel=0.03)


def test_everybodys_noise_is_that_of_all_segments_together(plan: Plan) -> None:
    noise = Noise(3, (20 * UNIT) ** 2 * 10**6 // 3)
    size = profile(plan, block(plan, 400, 400, 400), noise)["all"]["size"]
    assert float(size["high"]) - 1200 == pytest.approx(1.96 * 20 * math.sqrt(3), rel=0.03)


@pytest.mark.parametrize("people", [0, 1, 50])
def test_a_starved_round_says_too_noisy_and_never_a_number(people: int, plan: Plan, states_of: StatesOf) -> None:
    draw = np.random.default_rng(people)
    total = summed(plan, customers(people, 2), states_of(plan))
    sigma = 50 * UNIT
    for _ in range(20):
        noised = total + np.rint(draw.normal(0, sigma, len(total))).astype(np.int64)
        figures = figures_of(profile(plan, noised, Noise(3, sigma**2 * 10**6 // 3)))
        assert {figure["value"] for figure in figures.values()} == {TOO_NOISY}


@pytest.mark.parametrize("noised", [-(2**50), -1, 0, 1, 2**50])
def test_any_sum_at_all_has_an_answer_of_figures(noised: int, plan: Plan) -> None:
    for noise in (SILENCE, Noise(3, 10**12)):
        answer = profile(plan, np.full(10, noised, dtype=np.int64), noise)
        assert len(list(pointers(answer))) == 3 * (2 + 4) + 3


def test_the_answer_of_the_last_step_is_the_profile_and_the_others_have_none(plan: Plan, states_of: StatesOf) -> None:
    earlier = states_of(plan)
    noised = block(plan, 100, 200, 300)
    for step, _ in steps(plan)[:-1]:
        assert step.answer(np.ones(len(step.statistic.slots), dtype=np.int64), SILENCE, earlier) == {}
    assert steps(plan)[-1][0].answer(noised, SILENCE, earlier) == profile(plan, noised, SILENCE)


def test_splitting_customers_over_parties_leaves_the_sum_as_it_is(plan: Plan, states_of: StatesOf) -> None:
    people, earlier = customers(600, 4), states_of(plan)
    owner = np.random.default_rng(7).integers(0, 3, 600)
    for step, _ in steps(plan):
        parts = [{name: values[owner == p] for name, values in people.items()} for p in range(3)]
        sums = [tally(step.statistic, part, given_to(step, earlier)).total for part in parts]
        whole = tally(step.statistic, people, given_to(step, earlier)).total
        assert np.sum(sums, axis=0).tolist() == whole.tolist()
