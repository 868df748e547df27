"""In every step of segments one person moves a party's sum by no more than the bound, whoever it is and wherever the
state puts grids, centres and radii: points on borders, ties between centres, values at the ends of 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.questions import segments
from protocols.questions.segments import Plan
from protocols.questions.segments.states import FIXED, FineGrid, Grid, Reals
from protocols.statistic import Contribute, People, Rows, Sparse, Statistic, Step, tally

LEAST, MOST = -(2**63), 2**63 - 1
HALF = 1 << 20  # a feature from −2^20 to 2^20: a place is an exact binary fraction, and can be exactly on a border
WHOLE = 1 << 18  # the lattice of quarters of the box, on which people, borders and centres lie together
DIMENSIONS = (1, 2, 3, 5)
MODEST = settings(deadline=None, derandomize=True, max_examples=60)


def plan_of(d: int) -> Plan:
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    kinds = ["identity"] * d if d < 5 else ["identity", "log1p", "identity", "log1p", "identity"]
    bounds = {"identity": (-HALF, HALF), "log1p": (0, HALF)}
    features = [
        {"name": f"f{j}", "transform": kind, "low": bounds[kind][0], "high": bounds[kind][1]}
        for j, kind in enumerate(kinds)
    ]
    document: dict[str, Any] = {"rho": rho | ({"covariance": 10**6} if d > 2 else {}), "features": features}
    document |= {"clusters": 3, "lloyd_rounds": 1, "coarse_cells": 64, "fine_cells": 128}
    return Plan.model_validate(document)


PLANS = {d: plan_of(d) for d in DIMENSIONS}


# -- whom, and from which states ---------------------------------------------------------------------------------------


def values() -> st.SearchStrategy[int]:
    """A feature's value: on the lattice, beside it, anywhere in the box, outside it, at the ends of 64 bits."""
    lattice = st.integers(-4, 4).map(lambda i: i * WHOLE)
    beside = st.tuples(lattice, st.sampled_from([-1, 1])).map(sum)
    ends = st.sampled_from([LEAST, LEAST + 1, -HALF - 1, HALF + 1, 2**53 + 1, -(2**53) - 1, MOST - 1, MOST])
    return lattice | beside | ends | st.integers(-HALF, HALF) | st.integers(LEAST, MOST)


@st.composite
def tables(draw: st.DrawFn, d: int, most: int = 7) -> People:
    n = draw(st.integers(1, most))
    columns = {f"f{j}": draw(st.lists(values(), min_size=n, max_size=n)) for j in range(d)}
    usable = draw(st.lists(st.sampled_from([1, 1, 1, 1, 0, 2, LEAST]), min_size=n, max_size=n))
    return {name: np.array(column, dtype=np.int64) for name, column in (columns | {"usable": usable}).items()}


def real(most: float, least: float | None = None) -> st.SearchStrategy[int]:
    """A number of a state in units of 2⁻²⁴: its ends, the smallest that there is, quarters, and any other."""
    high, low = int(most * FIXED), int((-most if least is None else least) * FIXED)
    quarters = [q * FIXED // 4 for q in range(-16, 17) if low <= q * FIXED // 4 <= high]
    return st.sampled_from([low, high, max(low, 1), *quarters]) | st.integers(low, high)


@st.composite
def states(draw: st.DrawFn, plan: Plan) -> dict[str, Any]:
    """What earlier steps released: any states that the steps' own checks accept."""
    d, reach = plan.dimensions, 4 * plan.dimensions**0.5

    def reals(count: int, most: float, least: float | None = None) -> list[int]:
        return draw(st.lists(real(most, least), min_size=count, max_size=count))

    def clusters(most: int) -> dict[str, Any]:
        c = draw(st.integers(1, most))
        places = [reals(d, 1.0) for _ in range(c)]
        if draw(st.booleans()):
            places[-1] = places[0]  # two centres in one place
        counts = {"count": reals(c, 2.0**27), "deviation": reals(c, 2.0**27)}
        return {"centres": places, "radius": draw(real(reach / 2, 1 / FIXED))} | counts

    p = draw(st.integers(1, d))
    cells = draw(st.lists(st.integers(1, 64 if p == 1 else 2), min_size=p, max_size=p))
    grid = {"mean": reals(d, 1.0), "axes": [reals(d, 1.0) for _ in range(p)], "low": reals(p, reach)}
    grid |= {"width": reals(p, reach, 1 / FIXED), "deviation": reals(p, reach), "residual": draw(real(float(d)))}
    grid |= {"cells": cells, "people": draw(st.sampled_from([0, 1, 2**53 - 1]))}
    spread = {"mean": reals(d, 1.0), "radius": draw(real(reach / 2, 1 / FIXED)), "people": 1, "variance": reals(d, 1.0)}
    boxes = sorted(draw(st.sets(st.integers(0, int(np.prod(cells)) - 1), min_size=1, max_size=4)))
    split = [[box, -(2**52), *draw(st.lists(st.integers(1, 2), min_size=p, max_size=p))] for box in boxes]
    found: dict[str, Any] = {"seg-moments": spread if plan.rho.covariance else grid, "seg-covariance": grid}
    found |= {"seg-coarse": {"split": split}, "seg-fine": clusters(plan.over_clusters)}
    found |= {name: clusters(plan.clusters) for name in ("seg-over", *plan.lloyd_names())}
    earlier = {name: {"state": state} for name, state in found.items()}
    for step, _ in segments.steps(plan):
        if step.check_state is not None:
            step.check_state(found[step.name], earlier)
    return earlier


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, People, dict[str, Any]]:
    plan = PLANS[draw(st.sampled_from(DIMENSIONS))]
    return plan, draw(tables(plan.dimensions)), draw(states(plan))


# -- the bound ---------------------------------------------------------------------------------------------------------


def bound_to(step: Step, earlier: dict[str, Any]) -> Contribute:
    return lambda batch: step.contribute(batch, earlier)


def part(people: People, which: Any) -> People:
    return {name: column[which] for name, column in people.items()}


def moved_by(statistic: Statistic, contribute: Contribute, people: People, person: int) -> int:
    """‖f(D) − f(D∖p)‖² in Python's integers, which never wrap."""
    rest = [i for i in range(len(people["usable"])) if i != person]
    with_person = tally(statistic, people, contribute).total.tolist()
    without = tally(statistic, part(people, rest), contribute).total.tolist()
    return sum((a - b) ** 2 for a, b in zip(with_person, without, strict=True))


@MODEST
@given(situation=situations())
def test_one_person_moves_each_step_by_no_more_than_its_bound(
    situation: tuple[Plan, People, dict[str, Any]],
) -> None:
    plan, people, earlier = situation
    for step, _ in segments.steps(plan):
        contribute = bound_to(step, earlier)
        assert tally(step.statistic, people, contribute).over_bound == 0, step.name
        for person in range(len(people["usable"])):
            moved = moved_by(step.statistic, contribute, people, person)
            assert 0 < moved <= step.statistic.bound_sq, step.name


def entries_of(rows: Rows, width: int) -> list[bytes]:
    """Each row in its bytes."""
    dense = rows.dense(width) if isinstance(rows, Sparse) else rows
    return [row.tobytes() for row in dense]


@MODEST
@given(situation=situations(), data=st.data())
def test_a_persons_row_is_the_same_to_the_last_bit_alone_and_in_any_company(
    situation: tuple[Plan, People, dict[str, Any]], data: st.DataObject
) -> None:
    plan, people, earlier = situation
    n = len(people["usable"])
    order = data.draw(st.permutations(range(n)))
    for step, _ in segments.steps(plan):
        width = len(step.statistic.slots) - 1
        whole = entries_of(step.contribute(people, earlier), width)
        for size in range(1, n + 1):
            batches = [order[start : start + size] for start in range(0, n, size)]
            found = [
                row for batch in batches for row in entries_of(step.contribute(part(people, batch), earlier), width)
            ]
            assert found == [whole[i] for i in order], step.name


# -- why there are no matrix products ----------------------------------------------------------------------------------


def crowd(n: int, d: int) -> People:
    draw = np.random.default_rng(11)
    columns = {f"f{j}": draw.integers(-HALF, HALF, n) for j in range(d)}
    return columns | {"usable": np.ones(n, dtype=np.int64)}


def skewed_grid(d: int) -> Grid:
    axes, _ = np.linalg.qr(np.random.default_rng(12).normal(size=(d, d)))
    few = (np.full(d, 0.1), axes, np.full(d, -2.0), np.full(d, 0.7))
    return Grid(*few, np.full(d, 2), np.full(d, 0.5), 0.0, 100)


SIZES = [*range(1, 34), 63, 64, 65, 127, 255, 511, 1023]


@pytest.mark.parametrize("d", [2, 3, 5])
def test_places_projections_and_distances_are_the_same_bits_for_every_size_and_place_of_a_batch(d: int) -> None:
    """Before truncation, where a last bit would show: vector instructions, tails and alignments make no difference."""
    plan, people, grid = PLANS[d], crowd(1030, d), skewed_grid(d)
    centres = np.random.default_rng(13).uniform(-1, 1, (9, d))
    x = segments.scaled(plan, people)
    projected, (at, squared) = grid.project(x), segments.nearest(x, centres)
    for size in SIZES:
        for start in (0, 1, 5):
            rows = slice(start, start + size)
            mine = segments.scaled(plan, part(people, rows))
            assert mine.tobytes() == x[rows].tobytes()
            assert grid.project(mine).tobytes() == projected[rows].tobytes()
            near, distance = segments.nearest(mine, centres)
            assert (near.tobytes(), distance.tobytes()) == (at[rows].tobytes(), squared[rows].tobytes())


def by_product(self: Grid, points: Reals) -> Reals:
    """The projection that must never be written: how it is summed depends on how many rows there are."""
    along: Reals = (points - self.mean) @ self.axes.T
    return along


def test_a_matrix_product_would_let_one_persons_absence_move_another_into_another_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    d = 5
    plan, people, grid = PLANS[d], crowd(64, d), skewed_grid(d)
    x = segments.scaled(plan, people)
    torn = torn_rows(grid, x)
    if not torn:
        pytest.skip("this machine's products give the same bits for two rows and for one")
    other, person, axis, border = torn[0]
    pair = part(people, [person, other])
    low = grid.low.copy()
    low[axis] = border - grid.width[axis]  # the border between two boxes is exactly where the bits differ
    bent = Grid(grid.mean, grid.axes, low, grid.width, grid.cells, grid.deviation, grid.residual, grid.people)
    step, _ = next(found for found in segments.steps(plan) if found[0].name == "seg-coarse")

    def rows(batch: People) -> Rows:
        cell = bent.locate(segments.scaled(plan, batch))
        return Sparse(cell[:, None], np.ones((len(cell), 1), dtype=np.int64))

    assert moved_by(step.statistic, rows, pair, 1) == 1
    monkeypatch.setattr(Grid, "project", by_product)
    assert moved_by(step.statistic, rows, pair, 1) > step.statistic.bound_sq


def torn_rows(grid: Grid, x: Reals) -> list[tuple[int, int, int, float]]:
    """(another, person, axis, border): the person is below the border alone and not below it beside the other, or the
    other way round, when places along the axes are found by a product. Only borders that `low + width` can hit.
    """
    found = []
    for person in range(1, len(x)):
        alone = by_product(grid, x[person : person + 1])[0]
        beside = by_product(grid, x[[person, 0]])[0]
        for axis in np.flatnonzero(alone != beside).tolist():
            border, width = max(alone[axis], beside[axis]), grid.width[axis]
            low = border - width
            sides = [np.floor((place - low) / width) for place in (alone[axis], beside[axis])]
            if sides[0] != sides[1]:
                found.append((0, person, axis, float(border)))
    return found


# -- the fine grid and the coarse one ----------------------------------------------------------------------------------


@MODEST
@given(situation=situations())
def test_a_fine_cell_lies_in_the_coarse_cell_of_the_same_person(
    situation: tuple[Plan, People, dict[str, Any]],
) -> None:
    """So that a person is in one cell of each, and `elsewhere` only when the coarse one was not split."""
    plan, people, earlier = situation
    x = segments.scaled(plan, people)
    grid = segments.grid_of(plan, earlier)
    fine: FineGrid = segments.fine_grid_of(plan, earlier)
    owner = np.repeat(fine.box, fine.sizes)
    for box, cell in zip(grid.locate(x).tolist(), fine.locate(x).tolist(), strict=True):
        assert (cell == -1) == (box not in fine.box)
        assert cell == -1 or owner[cell] == box
