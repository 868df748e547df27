"""A release of segments is accepted with a state that its plan allows, where there must be one, and not otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols import release
from protocols.errors import IntegrityError
from protocols.plan import Plan as WholePlan
from protocols.questions.segments import Plan
from protocols.questions.segments.states import FIXED

MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]
STATED = ("seg-moments", "seg-covariance", "seg-coarse", "seg-fine", "seg-over", "seg-lloyd-1", "seg-lloyd-2")


@pytest.fixture(scope="module")
def plan(make_plan: MakePlan) -> WholePlan:
    names = ("recency_days", "baskets", "spend_cents")
    features = [{"name": name, "transform": "log1p", "low": 0, "high": 10**6} for name in names]
    document = {
        "room": "r", "name": "n", "purpose": "segments for a test", "parties": ["a", "b"], "recipients": ["a", "b"],
        "collusion": 1, "quorum": 2, "deadline_s": 60, "answer_after_s": 1, "valid_until": "2031-01-01",
        "delta": "0.000001", "people_cap": 500, "rho": 10**9,
        "blocks": {"year": {"first": "2017-01-01", "last": "2017-12-31"}},
        "features": {"as_of": "2018-01-02", "discount_depth_percent": 15},
        "table": {"name": "t", "columns": {"c": {"type": "id"}}},
        "questions": [make_plan(3, features=features).body()],
    }  # fmt: skip
    return WholePlan.model_validate(document)


@pytest.fixture(scope="module")
def states(plan: WholePlan, states_of: StatesOf) -> dict[str, Any]:
    (question,) = plan.questions
    assert isinstance(question, Plan)
    return states_of(question)


def body(plan: WholePlan, step: str, state: Any, states: dict[str, Any]) -> dict[str, Any]:
    slots = len(plan.step(step)[0].statistic.slots)
    made = release.compose(
        plan, round_id="1" * 32, step=step, nonce="2" * 32, noised=np.full(slots, 70_000_000, dtype=np.int64),
        survivors=["a", "b"], earlier=states, salt=bytes(32), state=state,
    )  # fmt: skip
    return made.body()


def before(plan: WholePlan, step: str, states: dict[str, Any]) -> dict[str, Any]:
    """The bodies of the steps before this one, each with its state."""
    names = [found.name for found, _ in plan.steps()]
    return {name: body(plan, name, states[name]["state"], states) for name in names[: names.index(step)]}


@pytest.mark.parametrize("step", STATED)
def test_a_state_that_the_plan_allows_is_accepted_and_is_what_the_next_step_sees(
    step: str, plan: WholePlan, states: dict[str, Any]
) -> None:
    document = body(plan, step, states[step]["state"], states)
    release.recompute(document, plan, before(plan, step, states))
    read = release.read_body(document)
    assert read.released == {"state": states[step]["state"], "noised": read.noised}


@pytest.mark.parametrize("step", STATED)
def test_a_state_outside_the_public_box_is_refused_when_composed_and_when_received(
    step: str, plan: WholePlan, states: dict[str, Any]
) -> None:
    document = body(plan, step, states[step]["state"], states)
    bad = copy.deepcopy(states[step]["state"])
    if step == "seg-coarse":
        bad["split"][0][2] = 1000
    elif "mean" in bad:
        bad["mean"][0] = FIXED + 1
    else:
        bad["centres"][0][0] = -FIXED - 1
    with pytest.raises(IntegrityError, match="a state"):
        release.recompute({**document, "state": bad}, plan, before(plan, step, states))
    with pytest.raises(IntegrityError, match="a state"):
        body(plan, step, bad, states)


@pytest.mark.parametrize("step", STATED)
def test_a_step_that_the_next_one_starts_from_is_refused_without_a_state(
    step: str, plan: WholePlan, states: dict[str, Any]
) -> None:
    document = body(plan, step, states[step]["state"], states)
    del document["state"]
    with pytest.raises(IntegrityError, match="a state is there and should not be, or the other way round"):
        release.recompute(document, plan, before(plan, step, states))


@pytest.mark.parametrize("state", [{}, {"centres": [[0, 0, 0]]}])
def test_the_last_step_is_refused_with_any_state(
    state: dict[str, Any], plan: WholePlan, states: dict[str, Any]
) -> None:
    document = body(plan, "seg-profile", None, states)
    release.recompute(document, plan, before(plan, "seg-profile", states))
    with pytest.raises(IntegrityError, match="a state is there and should not be"):
        release.recompute({**document, "state": state}, plan, before(plan, "seg-profile", states))


def test_a_split_is_judged_by_the_grid_that_was_released_before_it(plan: WholePlan, states: dict[str, Any]) -> None:
    """The same split of box 7: fine in a grid of eight boxes, refused in one of four."""
    document = body(plan, "seg-coarse", states["seg-coarse"]["state"], states)
    smaller = copy.deepcopy(states)
    smaller["seg-covariance"]["state"]["cells"] = [1, 2, 2]
    with pytest.raises(IntegrityError, match="not there"):
        release.recompute(document, plan, before(plan, "seg-coarse", smaller))


def test_a_profile_that_does_not_follow_from_its_sum_is_refused(plan: WholePlan, states: dict[str, Any]) -> None:
    document = body(plan, "seg-profile", None, states)
    wrong = copy.deepcopy(document)
    wrong["answer"]["segments"]["s1"]["size"]["value"] = "1"
    with pytest.raises(IntegrityError, match="does not follow"):
        release.recompute(wrong, plan, before(plan, "seg-profile", states))
