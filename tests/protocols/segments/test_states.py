"""A state is read only if everything in it lies where the plan says people lie, and then it is exactly what it says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from math import floor, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import IntegrityError
from protocols.questions.segments import Plan, steps
from protocols.questions.segments.states import FIXED, Clusters, FineGrid, Grid, Reals, Spread

MODEST = settings(deadline=None, derandomize=True, max_examples=150)
D = 3
ONE = FIXED
REACH = int(4 * 3**0.5 * FIXED)  # 4 √d
RADIUS = int(2 * 3**0.5 * FIXED)  # 2 √d, the diagonal of the box

MakePlan = Callable[..., Plan]
StatesOf = Callable[[Plan], dict[str, Any]]


def check(plan: Plan, earlier: dict[str, Any], step: str, state: Any) -> None:
    """As a node does: the state of a step, given what earlier steps released."""
    (found,) = (found for found, _ in steps(plan) if found.name == step)
    assert found.check_state is not None
    found.check_state(state, earlier)


def spoiled(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The state with another value at the path."""
    out = copy.deepcopy(state)
    at: Any = out
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return out


# -- what is refused ---------------------------------------------------------------------------------------------------

STEPS = ("seg-moments", "seg-covariance", "seg-coarse", "seg-fine", "seg-over", "seg-lloyd-1", "seg-lloyd-2")
OUTSIDE: list[tuple[str, tuple[Any, ...], Any]] = [
    ("seg-moments", ("mean", 1), ONE + 1),
    ("seg-moments", ("mean", 1), -ONE - 1),
    ("seg-moments", ("variance", 0), ONE + 1),
    ("seg-moments", ("radius",), 0),
    ("seg-moments", ("radius",), -1),
    ("seg-moments", ("radius",), RADIUS + 100),
    ("seg-moments", ("people",), -1),
    ("seg-moments", ("people",), 2**53),
    ("seg-covariance", ("mean", 2), ONE + 1),
    ("seg-covariance", ("axes", 1, 2), -ONE - 1),
    ("seg-covariance", ("low", 0), -REACH - 1),
    ("seg-covariance", ("low", 0), 10**400),
    ("seg-covariance", ("width", 0), 0),
    ("seg-covariance", ("width", 2), -1),
    ("seg-covariance", ("width", 2), REACH + 1),
    ("seg-covariance", ("deviation", 2), REACH + 1),
    ("seg-covariance", ("residual",), 3 * ONE + 1),
    ("seg-covariance", ("cells",), [4, 4, 2]),
    ("seg-covariance", ("cells",), [2**40, 2**40, 2**40]),
    ("seg-covariance", ("cells", 0), 0),
    ("seg-covariance", ("cells", 0), -2),
    ("seg-covariance", ("people",), -1),
    ("seg-coarse", ("split", 0, 0), -1),
    ("seg-coarse", ("split", 1, 0), 8),
    ("seg-coarse", ("split", 1, 0), 0),
    ("seg-coarse", ("split", 0, 0), 7),
    ("seg-coarse", ("split", 0, 1), 2**53),
    ("seg-coarse", ("split", 0, 2), 0),
    ("seg-coarse", ("split", 0, 2), -2),
    ("seg-coarse", ("split", 0, 2), 7),
    ("seg-coarse", ("split", 0, 2), 2**52),
    *((step, ("centres", 1, 2), far) for step in STEPS[3:] for far in (ONE + 1, -ONE - 1, 2**80)),
    *((step, ("radius",), wrong) for step in STEPS[3:] for wrong in (0, -5, RADIUS + 100, [ONE])),
    *((step, ("count", 0), 2**51 + 1) for step in STEPS[3:]),
    *((step, ("deviation", 0), -(2**51) - 1) for step in STEPS[3:]),
]


@pytest.mark.parametrize(("step", "path", "value"), OUTSIDE)
def test_what_lies_outside_the_public_box_is_refused(
    step: str, path: tuple[Any, ...], value: Any, make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    check(plan, earlier, step, earlier[step]["state"])
    with pytest.raises(IntegrityError, match="a state"):
        check(plan, earlier, step, spoiled(earlier[step]["state"], path, value))


def leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every integer and of every list in a state."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [at] if at else []
    return here + [path for key, one in inner for path in leaves(one, (*at, key))]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("value", [0.5, 1.0, True, "1", None, {}, [], [[]], [0.5], float("nan"), float("inf")])
def test_anything_but_an_integer_and_a_list_of_the_right_length_is_refused_at_every_place(
    step: str, value: Any, make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    state = earlier[step]["state"]
    for path in leaves(state):
        with pytest.raises(IntegrityError, match="a state"):
            check(plan, earlier, step, spoiled(state, path, value))


@pytest.mark.parametrize("step", STEPS)
def test_lists_that_are_longer_or_shorter_are_refused_at_every_place(
    step: str, make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    state = earlier[step]["state"]
    for path in leaves(state):
        if path == ("split",):
            continue  # any number of boxes may be split
        found: Any = state
        for part in path:
            found = found[part]
        for wrong in ([*found, found[-1]], found[:-1]) if isinstance(found, list) else ():
            with pytest.raises(IntegrityError, match="a state"):
                check(plan, earlier, step, spoiled(state, path, wrong))


@pytest.mark.parametrize("step", STEPS)
def test_a_field_too_many_or_too_few_is_refused(step: str, make_plan: MakePlan, states_of: StatesOf) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    state = earlier[step]["state"]
    wrong: list[Any] = [{name: inner for name, inner in state.items() if name != gone} for gone in state]
    for bad in [*wrong, {**state, "rows": [[1, 2, 3]]}, {}, [], None, [state]]:
        with pytest.raises(IntegrityError, match="a state needs exactly"):
            check(plan, earlier, step, bad)


@pytest.mark.parametrize(("step", "most"), [("seg-fine", 12), ("seg-over", 3), ("seg-lloyd-1", 3), ("seg-lloyd-2", 3)])
def test_no_centre_and_more_centres_than_the_plan_has_are_refused(
    step: str, most: int, make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)

    def of(c: int) -> dict[str, Any]:
        return {"centres": [[0, 0, 0]] * c, "radius": ONE, "count": [0] * c, "deviation": [0] * c}

    for allowed in (1, most):
        check(plan, earlier, step, of(allowed))
    for refused in (0, most + 1):
        with pytest.raises(IntegrityError, match="of no centre, or of more than"):
            check(plan, earlier, step, of(refused))


@pytest.mark.parametrize("split", [[], [[i, 1, 1, 1, 1] for i in range(9)]])
def test_splitting_no_box_and_splitting_more_boxes_than_there_are_is_refused(
    split: list[list[int]], make_plan: MakePlan, states_of: StatesOf
) -> None:
    plan = make_plan(D)
    with pytest.raises(IntegrityError, match="splits no box"):
        check(plan, states_of(plan), "seg-coarse", {"split": split})


def test_a_grid_has_no_more_axes_than_there_are_features(make_plan: MakePlan, states_of: StatesOf) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    wide = {name: [ONE] * 4 for name in ("low", "width", "deviation")} | {"axes": [[ONE] * 3] * 4, "cells": [1] * 4}
    with pytest.raises(IntegrityError, match="no cells along an axis"):
        check(plan, earlier, "seg-covariance", {**earlier["seg-covariance"]["state"], **wide})


def test_the_ends_of_the_box_are_inside_it(make_plan: MakePlan, states_of: StatesOf) -> None:
    plan = make_plan(D)
    earlier = states_of(plan)
    for step, path, value in [
        ("seg-moments", ("mean", 0), ONE),
        ("seg-moments", ("radius",), RADIUS),
        ("seg-covariance", ("low", 0), -REACH),
        ("seg-covariance", ("width", 0), 1),
        ("seg-over", ("centres", 0, 0), -ONE),
        ("seg-over", ("radius",), 1),
    ]:
        check(plan, earlier, step, spoiled(earlier[step]["state"], path, value))


# -- what is read is what was written ----------------------------------------------------------------------------------


def within(most: int, least: int | None = None) -> st.SearchStrategy[int]:
    low = -most if least is None else least
    return st.sampled_from([low, most]) | st.integers(low, most)


def reals(count: int, most: int, least: int | None = None) -> st.SearchStrategy[list[int]]:
    return st.lists(within(most, least), min_size=count, max_size=count)


@st.composite
def grids(draw: st.DrawFn, d: int, cells: int = 3) -> dict[str, Any]:
    p = draw(st.integers(1, d))
    return {
        "mean": draw(reals(d, ONE)),
        "axes": [draw(reals(d, ONE)) for _ in range(p)],
        "low": draw(reals(p, 4 * ONE)),
        "width": draw(reals(p, 4 * ONE, 1)),
        "cells": draw(st.lists(st.integers(1, cells), min_size=p, max_size=p)),
        "deviation": draw(reals(p, 4 * ONE)),
        "residual": draw(within(ONE)),
        "people": draw(st.integers(0, 2**53 - 1)),
    }


@st.composite
def fine_grids(draw: st.DrawFn, grid: Grid) -> dict[str, Any]:
    p = len(grid.cells)
    boxes = draw(st.sets(st.integers(0, grid.size - 1), min_size=1, max_size=5))
    parts = st.lists(st.integers(1, 3), min_size=p, max_size=p)
    return {"split": [[box, draw(st.integers(-(2**52), 2**52)), *draw(parts)] for box in sorted(boxes)]}


@MODEST
@given(data=st.data(), d=st.integers(1, 4))
def test_reading_and_writing_again_is_the_same_state_to_the_last_digit(data: st.DataObject, d: int) -> None:
    grid_state = data.draw(grids(d))
    grid = Grid.read(grid_state, d, 3**4)
    assert grid.write() == grid_state
    fine_state = data.draw(fine_grids(grid))
    assert FineGrid.read(fine_state, grid, 10**6).write() == fine_state
    spread = {"mean": data.draw(reals(d, ONE)), "radius": data.draw(within(2 * ONE, 1)), "people": 3}
    spread["variance"] = data.draw(reals(d, ONE))
    assert Spread.read(spread, d).write() == spread
    c = data.draw(st.integers(1, 5))
    clusters = {"centres": [data.draw(reals(d, ONE)) for _ in range(c)], "radius": data.draw(within(2 * ONE, 1))}
    clusters |= {"count": data.draw(reals(c, 2**51)), "deviation": data.draw(reals(c, 2**51))}
    assert Clusters.read(clusters, 5, d).write() == clusters


# -- where a point lies ------------------------------------------------------------------------------------------------


def exact(value: float) -> Fraction:
    return Fraction(value)


def place(grid: Grid, point: list[float]) -> tuple[list[int], list[Fraction]]:
    """By hand and in fractions: the box along each axis, and how far into it the point lies, in widths."""
    digits, within_box = [], []
    for axis, low, width, cells in zip(grid.axes, grid.low, grid.width, grid.cells, strict=True):
        along = sum((exact(x) - exact(m)) * exact(a) for x, m, a in zip(point, grid.mean, axis, strict=True))
        at = (along - exact(low)) / exact(width)
        digits.append(min(max(floor(at), 0), int(cells) - 1))
        within_box.append(at - digits[-1])
    return digits, within_box


def number_of(digits: list[int], radix: list[int]) -> int:
    return int(np.ravel_multi_index(tuple(digits), tuple(radix)))


def fine_place(fine: FineGrid, point: list[float]) -> int:
    digits, inside = place(fine.grid, point)
    box = number_of(digits, fine.grid.cells.tolist())
    first = 0
    for number, parts in zip(fine.box.tolist(), fine.parts.tolist(), strict=True):
        if number == box:
            part = [min(max(floor(x * p), 0), p - 1) for x, p in zip(inside, parts, strict=True)]
            return first + number_of(part, parts)
        first += prod(parts)
    return -1


SIXTEENTHS = st.integers(-16, 16)


@st.composite
def lattice_grids(draw: st.DrawFn) -> Grid:
    """Grids whose every number is a short binary fraction, so that floating point is exact, on borders too."""
    d = draw(st.integers(1, 4))
    p = draw(st.integers(1, d))
    a16 = st.lists(SIXTEENTHS, min_size=d, max_size=d)
    widths = st.lists(st.sampled_from([1, 2, 4, 8, 16, 32]), min_size=p, max_size=p)
    state = draw(grids(d)) | {
        "mean": [x * ONE // 16 for x in draw(a16)],
        "axes": [[x * ONE // 16 for x in draw(a16)] for _ in range(p)],
        "low": [x * ONE // 16 for x in draw(st.lists(st.integers(-32, 16), min_size=p, max_size=p))],
        "width": [x * ONE // 16 for x in draw(widths)],
        "cells": draw(st.lists(st.integers(1, 3), min_size=p, max_size=p)),
    }
    state.update({name: state[name][:1] * p for name in ("deviation",)})
    return Grid.read(state, d, 3**4)


def points_of(draw: Any, d: int) -> Reals:
    rows = draw(st.lists(st.lists(SIXTEENTHS, min_size=d, max_size=d), min_size=1, max_size=12))
    return np.array(rows, dtype=np.float64) / 16


@MODEST
@given(data=st.data(), grid=lattice_grids())
def test_boxes_are_where_fractions_say_on_borders_too(data: st.DataObject, grid: Grid) -> None:
    points = points_of(data.draw, grid.axes.shape[1])
    expected = [number_of(place(grid, point)[0], grid.cells.tolist()) for point in points.tolist()]
    assert grid.locate(points).tolist() == expected


@MODEST
@given(data=st.data(), grid=lattice_grids())
def test_parts_of_boxes_are_where_fractions_say_and_minus_one_where_nothing_is_split(
    data: st.DataObject, grid: Grid
) -> None:
    state = data.draw(fine_grids(grid))
    for row in state["split"]:
        row[2:] = [1 << (n - 1) for n in row[2:]]  # 1, 2 or 4 parts
    fine = FineGrid.read(state, grid, 10**6)
    points = points_of(data.draw, grid.axes.shape[1])
    assert fine.locate(points).tolist() == [fine_place(fine, point) for point in points.tolist()]


@MODEST
@given(data=st.data(), d=st.integers(1, 4))
def test_any_point_of_any_grid_is_in_one_box_and_in_no_part_of_another(data: st.DataObject, d: int) -> None:
    grid = Grid.read(data.draw(grids(d)), d, 3**4)
    fine = FineGrid.read(data.draw(fine_grids(grid)), grid, 10**6)
    unit = st.floats(-1, 1)
    points = np.array(data.draw(st.lists(st.lists(unit, min_size=d, max_size=d), min_size=1, max_size=12)))
    boxes, parts = grid.locate(points), fine.locate(points)
    assert np.all((boxes >= 0) & (boxes < grid.size))
    owner = np.repeat(fine.box, fine.sizes)
    for box, part in zip(boxes.tolist(), parts.tolist(), strict=True):
        assert (part == -1) == (box not in fine.box.tolist())
        assert part == -1 or owner[part] == box


@pytest.mark.parametrize("seed", range(4))
def test_the_middle_of_every_box_and_part_is_in_the_one_whose_corner_it_has(seed: int) -> None:
    d = 3
    draw = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(draw.normal(size=(d, d)))
    few = (draw.uniform(-0.2, 0.2, d), axes, draw.uniform(-1, -0.5, d), draw.uniform(0.1, 0.4, d))
    grid = Grid(*few, np.array([3, 2, 4]), np.full(d, 0.5), 0.0, 10)
    middles = (grid.corners() + grid.width / 2) @ grid.axes + grid.mean
    assert grid.locate(middles).tolist() == list(range(24))
    fine = FineGrid(
        grid, np.array([1, 7, 23]), np.array([[2, 3, 1], [1, 1, 1], [4, 2, 2]]), np.zeros(3, dtype=np.int64)
    )
    low, width = fine.corners()
    assert fine.locate((low + width / 2) @ grid.axes + grid.mean).tolist() == list(range(6 + 1 + 16))
