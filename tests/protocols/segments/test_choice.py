"""How many segments there are: a range in the plan, the number that was chosen in the states, and no figure beyond."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.errors import IntegrityError
from protocols.figures import pointers
from protocols.questions.segments import Plan, steps
from protocols.questions.segments.choice import FIXED, LARGEST, Choice, Score
from protocols.questions.segments.profile import UNIT
from protocols.statistic import Noise, Step

MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]
RANGE = {"least": 2, "most": 4}


def choice(*numbers: int, chosen: int, told: int = 1) -> dict[str, Any]:
    return {"chosen": chosen, "told": told, "scores": [[k, *[FIXED // 2] * 6, 9 * FIXED] for k in numbers]}


def step_of(plan: Plan, name: str) -> Step:
    return next(step for step, _ in steps(plan) if step.name == name)


def refused(plan: Plan, name: str, state: dict[str, Any], earlier: dict[str, Any], words: str) -> None:
    check = step_of(plan, name).check_state
    assert check is not None
    with pytest.raises(IntegrityError, match=words):
        check(state, earlier)


def accepted(plan: Plan, name: str, state: dict[str, Any], earlier: dict[str, Any]) -> None:
    check = step_of(plan, name).check_state
    assert check is not None
    check(state, earlier)


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_range_is_in_the_plans_canonical_form_as_it_was_written_and_slots_are_for_the_most(
    make_plan: MakePlan,
) -> None:
    plan = make_plan(2, clusters=RANGE)
    assert plan.body()["clusters"] == RANGE
    assert make_plan(2, clusters=4).body()["clusters"] == 4
    assert Plan.model_validate(plan.body()) == plan
    slots = [(step.name, step.statistic.slots) for step, _ in steps(plan)]
    assert slots == [(step.name, step.statistic.slots) for step, _ in steps(make_plan(2, clusters=4))]


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        ({"least": 3, "most": 3}, "least below most"),
        ({"least": 5, "most": 3}, "least below most"),
        ({"least": 1, "most": 3}, "greater than or equal to 2"),
        ({"least": 3, "most": 21}, "less than or equal to 20"),
        ({"least": 3}, "Field required"),
        ({"least": 3, "most": 5, "usual": 4}, "Extra inputs"),
        ({"least": 3.0, "most": 5}, "valid integer"),
        ([3, 5], "valid integer"),
    ],
)
def test_a_range_that_is_none_is_refused(make_plan: MakePlan, clusters: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make_plan(2, clusters=clusters)


# -- the state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "chooses how many segments there are and should not, or does not"),
        (choice(2, 3, 4, chosen=2), "of another number of centres than it chooses"),
        (choice(2, 4, chosen=3), "a number that it has not weighed"),
        (choice(2, 3, 5, chosen=3), "other numbers than 2 to 4"),
        (choice(1, 3, chosen=3), "other numbers than 2 to 4"),
        (choice(3, 2, chosen=3), "not in order"),
        (choice(3, 3, chosen=3), "not in order"),
        (choice(3, chosen=3, told=2), "none of 1 to 4 segments"),
        (choice(3, chosen=3, told=True), "none of 1 to 4 segments"),
        (choice(chosen=3, told=False), "none of 1 to 4 segments"),
        (choice(3, chosen=3) | {"told": "1"}, "none of 1 to 4 segments"),
        (choice(3, chosen=5), "none of 1 to 4 segments"),
        (choice(3, chosen=3) | {"scores": "all"}, "none of 1 to 4 segments"),
        (choice(3, chosen=3) | {"why": 1}, "exactly: chosen, told, scores"),
        ({"chosen": 3, "told": 1}, "exactly: chosen, told, scores"),
        (choice(chosen=3) | {"scores": [[3, *[0] * 6]]}, "a score of another shape"),
        (choice(chosen=3) | {"scores": [[3, *[0] * 6, 0.5]]}, "a score of another shape"),
        (choice(chosen=3) | {"scores": [[3, *[0] * 5, FIXED + 1, 0]]}, "a score out of bounds"),
        (choice(chosen=3) | {"scores": [[3, *[0] * 6, LARGEST * FIXED + 1]]}, "a score out of bounds"),
    ],
)
def test_a_state_that_chooses_otherwise_than_its_plan_allows_is_refused(
    make_plan: MakePlan, states_of: StatesOf, given: Any, words: str
) -> None:
    plan = make_plan(2, clusters=RANGE)
    earlier = states_of(plan)
    state = earlier["seg-over"]["state"]  # of three centres
    accepted(plan, "seg-over", state | {"choice": choice(2, 3, 4, chosen=3)}, earlier)
    accepted(plan, "seg-over", state | {"choice": choice(chosen=3, told=0)}, earlier)
    refused(plan, "seg-over", state if given is None else state | {"choice": given}, earlier, words)


def test_a_number_below_the_range_is_not_told_by_scores(make_plan: MakePlan, states_of: StatesOf) -> None:
    plan = make_plan(2, clusters={"least": 4, "most": 5})
    earlier = states_of(plan)
    state = earlier["seg-over"]["state"]
    refused(plan, "seg-over", state | {"choice": choice(3, 4, chosen=3)}, earlier, "or than its plan allows")
    accepted(plan, "seg-over", state | {"choice": choice(chosen=3, told=0)}, earlier)  # too few over-clusters


@pytest.mark.parametrize("name", ["seg-fine", "seg-lloyd-1", "seg-lloyd-2"])
def test_nothing_is_chosen_by_any_other_step(make_plan: MakePlan, states_of: StatesOf, name: str) -> None:
    plan = make_plan(2, clusters=RANGE)
    earlier = states_of(plan)
    accepted(plan, name, earlier[name]["state"], earlier)
    state = earlier["seg-over"]["state"] | {"choice": choice(3, chosen=3)}
    refused(plan, name, state, earlier, "and should not")


def test_a_plan_of_one_number_has_none_chosen(make_plan: MakePlan, states_of: StatesOf) -> None:
    plan = make_plan(2)
    earlier = states_of(plan)
    state = earlier["seg-over"]["state"]
    accepted(plan, "seg-over", state, earlier)
    refused(plan, "seg-over", state | {"choice": choice(3, chosen=3)}, earlier, "and should not")


@pytest.mark.parametrize("centres", [2, 4])
def test_lloyds_steps_keep_the_number_of_centres_that_was_chosen(
    make_plan: MakePlan, states_of: StatesOf, centres: int
) -> None:
    plan = make_plan(2, clusters=RANGE)
    earlier = states_of(plan)
    state = earlier["seg-lloyd-1"]["state"]
    accepted(plan, "seg-lloyd-2", state, earlier)
    other = {name: value if name == "radius" else (value * 2)[:centres] for name, value in state.items()}
    refused(plan, "seg-lloyd-1", other, earlier, f"a state of {centres} centres after one of 3")
    refused(plan, "seg-lloyd-2", other, earlier, f"a state of {centres} centres after one of 3")


SIXTEENTHS = st.integers(-16, 16).map(lambda x: x / 16)


@given(
    rows=st.dictionaries(st.integers(2, 20), st.tuples(*[SIXTEENTHS] * 6, st.integers(-99, 99)), min_size=1),
    told=st.booleans(),
)
def test_a_choice_written_and_read_again_is_the_same(rows: dict[int, tuple[float, ...]], told: bool) -> None:
    scores = tuple(Score(k, *map(float, rows[k])) for k in sorted(rows))
    made = Choice(scores[0].clusters, told, scores)
    assert Choice.read(made.write(), 20) == made


def test_what_is_out_of_bounds_is_written_as_the_bound() -> None:
    score = Score(2, -7.0, 1.0, 1.0, 0.5, 1.5, 1.0, 1e12)
    assert Score.read(score.write()) == Score(2, -1.0, 1.0, 1.0, 0.5, 1.0, 1.0, float(LARGEST))


# -- the figures -------------------------------------------------------------------------------------------------------


def test_a_profile_has_figures_of_the_segments_that_there_are_and_everybody_is_their_sum(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    """Blocks after them are noise alone: they are no segment, and would only make everybody's figures worse."""
    plan = make_plan(2, clusters=RANGE)
    earlier = states_of(plan)
    profile = step_of(plan, "seg-profile")
    blocks = [[0, 0, people * UNIT] for people in (900, 600, 300, 7777)]
    noised = np.array([*itertools.chain(*blocks), 0], dtype=np.int64)
    noise = Noise(3, (10 * UNIT) ** 2 * 10**6 // 3)
    answer = profile.answer(noised, noise, earlier)
    assert list(answer["segments"]) == ["s1", "s2", "s3"]
    assert answer["all"]["size"]["value"] == "1800"
    three = step_of(make_plan(2, clusters=3), "seg-profile")
    assert answer == three.answer(np.array([*itertools.chain(*blocks[:3]), 0], dtype=np.int64), noise, earlier)
    assert len(list(pointers(answer))) == 3 * 6 + 3
