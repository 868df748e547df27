"""What one person contributes to each step, against arithmetic by hand: slot by slot, and by the slots' own names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import UsageError
from protocols.plan import Plan as WholePlan
from protocols.questions.segments import Plan, nearest, scaled, steps
from protocols.questions.segments.plan import Feature
from protocols.questions.segments.states import FIXED, FineGrid, Grid
from protocols.statistic import Step, tally

MODEST = settings(deadline=None, derandomize=True, max_examples=150)
HALF = 1 << 20
SCALE = 1 << 16

MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]


def at(*place: float) -> dict[str, np.ndarray[Any, Any]]:
    """One person at a place of the box [−1, 1]^d that is a multiple of 2⁻²⁰."""
    columns = {f"f{j}": np.array([round(x * HALF)], dtype=np.int64) for j, x in enumerate(place)}
    return columns | {"usable": np.ones(1, dtype=np.int64)}


def step_of(plan: Plan, name: str) -> Step:
    (found,) = (step for step, _ in steps(plan) if step.name == name)
    return found


def row(step: Step, earlier: dict[str, Any], *place: float) -> dict[str, int]:
    """Slot name → entry, where it is not zero, of one person at this place."""
    found = tally(step.statistic, at(*place), lambda batch: step.contribute(batch, earlier))
    assert found.over_bound == 0
    return {name: int(x) for name, x in zip(step.statistic.slots, found.total, strict=True) if x}


def units(value: float) -> int:
    return math.trunc(value * SCALE)


# -- the steps in turn -------------------------------------------------------------------------------------------------


def test_the_steps_come_in_order_each_with_its_bound(make_plan: MakePlan) -> None:
    for d in (1, 2, 3):
        found = [(step.name, step.statistic.bound_sq) for step, _ in steps(make_plan(d))]
        unit = SCALE**2
        pairs = [("seg-covariance", unit)] if d > 2 else []
        clustered = [(name, unit) for name in ("seg-over", "seg-lloyd-1", "seg-lloyd-2", "seg-profile")]
        assert found == [("seg-moments", 3 * d * unit), *pairs, ("seg-coarse", 1), ("seg-fine", 1), *clustered]


def test_every_step_is_charged_its_own_share_of_the_plan(make_plan: MakePlan) -> None:
    names = ("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile")
    plan = make_plan(3, rho={name: 1000 + i for i, name in enumerate(names)})
    assert [rho for _, rho in steps(plan)] == [1000, 1001, 1002, 1003, 1004, 1005, 1005, 1006]


def test_moments_are_the_place_its_squares_and_one_person(make_plan: MakePlan) -> None:
    found = row(step_of(make_plan(3), "seg-moments"), {}, 0.5, -0.25, 1.0)
    place = {"x/0": SCALE // 2, "x/1": -SCALE // 4, "x/2": SCALE}
    assert found == {"people": units(3**0.5), "xx/0": SCALE // 4, "xx/1": SCALE // 16, "xx/2": SCALE} | place


def test_covariance_is_of_the_place_from_the_mean_clipped_to_the_radius(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(3)
    step, earlier = step_of(plan, "seg-covariance"), states_of(plan)  # mean (1/4, 1/4, 1/4), radius 1/2
    inside = row(step, earlier, 0.5, 0.25, 0.0)  # y / R = (1/2, 0, −1/2)
    assert inside == {"yy/0-0": SCALE // 4, "yy/2-2": SCALE // 4, "yy/0-2": units(-(2**0.5) / 4)}
    assert row(step, earlier, 1.0, 0.25, 0.25) == {"yy/0-0": SCALE}  # 3/4 from the mean: held at the radius


def test_the_coarse_cell_is_one_of_those_there_are_and_far_people_are_in_the_last(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(2)
    step, earlier = step_of(plan, "seg-coarse"), states_of(plan)
    assert row(step, earlier, -0.5, -0.5) == {"cell/0": 1}
    assert row(step, earlier, -0.5, 0.5) == {"cell/1": 1}
    assert row(step, earlier, 0.0, 0.0) == {"cell/3": 1}  # a border belongs to the upper box
    assert row(step, earlier, 7.0, -7.0) == {"cell/2": 1}


def test_the_fine_cell_is_numbered_on_through_the_boxes_that_are_split_and_elsewhere_is_the_rest(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(2)
    step, earlier = step_of(plan, "seg-fine"), states_of(plan)  # boxes 0 and 3 are cut in two by two
    assert row(step, earlier, -1.0, -0.25) == {"cell/1": 1}
    assert row(step, earlier, 0.75, 0.25) == {"cell/6": 1}
    assert row(step, earlier, 0.75, -0.25) == {"elsewhere": 1}


def test_over_clusters_hold_a_move_and_one_person_in_the_block_of_the_nearest_centre(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(2)
    step, earlier = step_of(plan, "seg-over"), states_of(plan)  # centres (−3/4, −3/4), (0, 0), (3/4, 3/4), radius 1/2
    assert row(step, earlier, 0.25, -0.125) == {
        "1/x0": units(0.5 * 0.8**0.5), "1/x1": units(-0.25 * 0.8**0.5), "1/people": units(0.2**0.5)
    }  # fmt: skip
    assert row(step, earlier, 1.0, -1.0) == {
        "1/x0": units((0.4) ** 0.5), "1/x1": units(-(0.4**0.5)), "1/people": units(0.2**0.5)
    }  # fmt: skip  # √2 from the centre: clipped to the radius


@pytest.mark.parametrize("centres", [3, 2])
@pytest.mark.parametrize("name", ["seg-lloyd-1", "seg-lloyd-2"])
def test_lloyds_step_holds_move_person_and_spread_each_in_the_slot_of_its_name(
    name: str, centres: int, make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(2)
    earlier = states_of(plan)
    for step in ("seg-over", "seg-lloyd-1"):
        state = earlier[step]["state"]
        short = {part: state[part][:centres] for part in ("centres", "count", "deviation")}
        earlier[step] = {"state": state | short}
    assert row(step_of(plan, name), earlier, 0.25, -0.125) == {
        "1/x0": units(0.5 * 0.85**0.5),
        "1/x1": units(-0.25 * 0.85**0.5),
        "1/people": units(0.12**0.5),
        "spread": units((0.25 + 0.0625) * 0.03**0.5),
    }


def test_the_profile_holds_the_place_and_one_person_in_the_block_of_the_nearest_centre(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(2)
    found = row(step_of(plan, "seg-profile"), states_of(plan), 1.0, 0.5)
    assert found == {
        "2/x0": units(0.35**0.5), "2/x1": units(0.5 * 0.35**0.5), "2/people": units(0.3**0.5)
    }  # fmt: skip


def test_each_step_starts_from_the_state_of_the_step_before_it_and_from_no_other(
    make_plan: MakePlan, states_of: StatesOf
) -> None:
    for d in (2, 3):
        plan = make_plan(d)
        earlier = states_of(plan)
        clustered = ("seg-over", "seg-lloyd-1", "seg-lloyd-2", "seg-profile")
        grid = "seg-covariance" if d > 2 else "seg-moments"
        needs = {"seg-moments": [], "seg-covariance": ["seg-moments"], "seg-coarse": [grid]}
        needs |= {"seg-fine": [grid, "seg-coarse"]} | dict(
            zip(clustered, ([before] for before in ("seg-fine", *clustered[:3])), strict=True)
        )
        for step, _ in steps(plan):
            row(step, {name: earlier[name] for name in needs[step.name]}, *[0.125] * d)
            for missing in needs[step.name]:
                rest = {name: state for name, state in earlier.items() if name != missing}
                with pytest.raises(KeyError, match=missing):
                    row(step, rest, *[0.125] * d)


# -- where a person is -------------------------------------------------------------------------------------------------


@MODEST
@given(
    value=st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**4), 10**4),
    transform=st.sampled_from(["identity", "log1p"]),
    low=st.integers(0, 10**6),
    width=st.integers(1, 10**7),
)
def test_a_feature_is_scaled_to_the_box_clipped_at_its_public_ends_and_back(
    value: int, transform: str, low: int, width: int
) -> None:
    feature = Feature.model_validate({"name": "f", "transform": transform, "low": low, "high": low + width})
    (found,) = feature.scaled(np.array([value], dtype=np.int64)).tolist()
    clipped = min(max(value, low), low + width)
    moved, a, b = (math.log1p(x) if transform == "log1p" else x for x in (clipped, low, low + width))
    assert -1 <= found <= 1
    assert found == pytest.approx(2 * (moved - a) / (b - a) - 1, abs=1e-6)
    assert feature.unit(found) == pytest.approx(clipped, rel=1e-6, abs=1e-6)


def test_a_value_beyond_a_public_end_is_the_end_to_the_last_bit() -> None:
    feature = Feature(name="f", transform="log1p", low=100, high=10**6)
    ends = feature.scaled(np.array([-(2**63), -1, 0, 100, 10**6, 10**6 + 1, 2**63 - 1], dtype=np.int64))
    assert ends.tolist() == [-1.0] * 4 + [1.0] * 3


@MODEST
@given(data=st.data(), d=st.integers(1, 3), c=st.integers(1, 6))
def test_the_nearest_centre_is_the_first_of_equals(data: st.DataObject, d: int, c: int) -> None:
    lattice = st.lists(st.integers(-4, 4), min_size=d, max_size=d)
    points = data.draw(st.lists(lattice, min_size=1, max_size=10))
    centres = data.draw(st.lists(lattice, min_size=c, max_size=c))
    index, least = nearest(np.array(points) / 4, np.array(centres) / 4)
    for found, squared, point in zip(index.tolist(), least.tolist(), points, strict=True):
        distances = [sum((x - y) ** 2 for x, y in zip(point, centre, strict=True)) for centre in centres]
        assert found == distances.index(min(distances))
        assert squared == min(distances) / 16


@MODEST
@given(data=st.data(), d=st.integers(1, 3))
def test_a_person_is_in_the_cell_that_the_grid_says(
    data: st.DataObject, d: int, make_plan: MakePlan, states_of: StatesOf
) -> None:
    """The steps and the grids agree, so that the tests of one speak for the other."""
    plan = make_plan(d)
    earlier = states_of(plan)
    coordinate = st.integers(-16, 16).map(lambda i: i / 16)
    place = data.draw(st.lists(coordinate, min_size=d, max_size=d))
    x = scaled(plan, at(*place))
    assert x.tolist() == [place]
    grid = Grid.read(earlier["seg-covariance"]["state"], d, 16)
    fine = FineGrid.read(earlier["seg-coarse"]["state"], grid, 32)
    assert row(step_of(plan, "seg-coarse"), earlier, *place) == {f"cell/{grid.locate(x)[0]}": 1}
    part = int(fine.locate(x)[0])
    assert row(step_of(plan, "seg-fine"), earlier, *place) == {"elsewhere" if part < 0 else f"cell/{part}": 1}


# -- plans -------------------------------------------------------------------------------------------------------------


def feature(name: str = "f0", transform: str = "identity", low: int = 0, high: int = 9) -> dict[str, Any]:
    return {"name": name, "transform": transform, "low": low, "high": high}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"features": [feature(), feature()]}, "named twice"),
        ({"features": [feature("f0"), feature("f1"), feature("f2")]}, "covariance belongs"),
        ({"features": [feature(low=9)]}, "low below high"),
        ({"features": [feature(transform="log1p", low=-1)]}, "low below high"),
        ({"features": []}, "at least 1"),
        ({"clusters": 1}, "greater than or equal to 2"),
        ({"clusters": 21}, "less than or equal to 20"),
        ({"coarse_cells": 2**15 + 1}, "less than or equal to 32768"),
        ({"rho": dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd"), 10)}, "profile"),
        ({"lloyd_rounds": 0}, "greater than or equal to 1"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(changes: dict[str, Any], complaint: str, make_plan: MakePlan) -> None:
    with pytest.raises(ValueError, match=complaint):
        make_plan(2, **changes)


def whole_plan(question: Plan) -> WholePlan:
    document = {
        "room": "r", "name": "n", "purpose": "segments for a test", "parties": ["a"], "recipients": ["a"],
        "collusion": 0, "quorum": 1, "deadline_s": 60, "answer_after_s": 1, "valid_until": "2031-01-01",
        "delta": "0.000001", "people_cap": 500, "rho": 10**9,
        "blocks": {"year": {"first": "2017-01-01", "last": "2017-12-31"}},
        "features": {"as_of": "2018-01-02", "discount_depth_percent": 15},
        "table": {"name": "t", "columns": {"c": {"type": "id"}}},
        "questions": [question.body()],
    }  # fmt: skip
    return WholePlan.model_validate(document)


def test_a_plan_of_features_that_a_party_has_is_accepted(make_plan: MakePlan) -> None:
    features = [feature("recency_days"), feature("spend_cents")]
    assert len(whole_plan(make_plan(2, features=features)).steps()) == 7


def test_a_plan_with_a_feature_that_no_party_has_is_refused(make_plan: MakePlan) -> None:
    with pytest.raises((UsageError, ValueError), match="no_such_feature"):
        whole_plan(make_plan(2, features=[feature("recency_days"), feature("no_such_feature")]))


def test_the_fixed_point_of_states_is_finer_than_what_a_row_can_show() -> None:
    assert FIXED > 100 * SCALE
