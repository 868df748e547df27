"""From raw rows to the sum, in a plan of segments: one customer moves what leaves a party by no more than the bound,
and hundreds of absurd ones by no more than as many bounds, each in the one row that is theirs.
"""

from __future__ import annotations

import csv
import functools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.fits import state_after
from party_node.contribution import Contribution, contribute
from party_node.records import Table, take_snapshot
from party_node.store import Dataset
from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.questions import segments
from protocols.statistic import Integers, Noise

FEW = settings(deadline=None, derandomize=True, max_examples=8)
COLUMNS = ("customer", "basket", "bought_on", "paid", "discount")
MONEY = {"type": "money", "low": -10_000, "high": 10_000}
KINDS = {"customer": {"type": "id"}, "basket": {"type": "id"}, "bought_on": {"type": "date"}}
FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "baskets", "transform": "log1p", "low": 1, "high": 30},
    {"name": "spend_cents", "transform": "identity", "low": 0, "high": 50_000},
    {"name": "mean_basket_cents", "transform": "log1p", "low": 100, "high": 20_000},
]
RHO = dict.fromkeys(("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile"), 50_000_000)
QUESTION = {"kind": "segments", "rho": RHO, "features": FEATURES, "clusters": 3, "lloyd_rounds": 2}
DOCUMENT = {
    "type": "plan@v1", "room": "r", "name": "n", "purpose": "segments for a test", "parties": ["a", "b", "c"],
    "recipients": ["a", "b", "c"], "collusion": 2, "quorum": 3, "deadline_s": 60, "answer_after_s": 1,
    "valid_until": "2031-01-01", "delta": "0.000001", "people_cap": 5000, "rho": 10**9,
    "blocks": {"year": {"first": "2017-01-01", "last": "2017-12-31"}},
    "features": {"as_of": "2018-01-02", "discount_depth_percent": 15},
    "table": {"name": "t", "columns": {**KINDS, "paid": MONEY, "discount": MONEY}},
    "questions": [{**QUESTION, "coarse_cells": 64, "fine_cells": 256}],
}  # fmt: skip
PLAN = Plan.from_bytes(canonical(DOCUMENT))
NAMES = [step.name for step, _ in PLAN.steps()]
Row = tuple[str, ...]


def question_of(plan: Plan) -> segments.Plan:
    (question,) = plan.questions
    assert isinstance(question, segments.Plan)
    return question


def ordinary(people: int, seed: int) -> list[Row]:
    draw = np.random.default_rng(seed)
    rows: list[Row] = []
    for i in range(people):
        for j in range(int(draw.integers(1, 9))):
            day = np.datetime64("2017-01-01") + int(draw.integers(0, 365))
            rows.append((f"c{i}", f"c{i}-{j}", str(day), f"{draw.integers(100, 9000) / 100:.2f}", "0"))
    return rows


def sums_of(rows: list[Row], earlier: dict[str, Any], folder: Path, only: str = "") -> dict[str, Contribution]:
    """Step → what `share.build` would get: the rows as a file, its snapshot, features, rows, sum."""
    file = folder / "rows.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([COLUMNS, *rows])
    taken = take_snapshot(Table((file,), {name: name for name in COLUMNS}), PLAN.table, folder / "s.parquet")
    dataset = Dataset("0" * 32, "1" * 64, "s.parquet", taken.sha256, "2" * 64, tuple(PLAN.blocks), PLAN.people_cap)
    steps = [step for step, _ in PLAN.steps() if only in ("", step.name)]
    return {step.name: contribute(PLAN, step, earlier, dataset, folder, PLAN.parties[0]) for step in steps}


@functools.cache
def recipe() -> dict[str, Any]:
    """What the steps release when three hundred customers are summed without noise: states that a round would have."""
    earlier: dict[str, Any] = {}
    rows = ordinary(300, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        for step, mechanism in PLAN.steps():
            found = sums_of(rows, earlier, Path(folder), step.name)[step.name]
            assert found.fault is None
            noise = Noise(3, mechanism.variance_micro)
            state = state_after(PLAN, step.name, found.total, noise, earlier)
            fitted = {} if state is None else {"state": state, "noised": found.total.tolist()}
            earlier[step.name] = step.answer(found.total, noise, earlier) | fitted
    return earlier


def squared(difference: Integers) -> int:
    return sum(int(x) * int(x) for x in difference.tolist())


# -- one customer ------------------------------------------------------------------------------------------------------

CUSTOMERS = ("anna", " anna", "Anna", "bob", "ünal", "1e308", "")
DAYS = ("2017-05-06", "2017-12-31T23:59:59", "2018-01-01", "1969-12-31", "2017-02-30", "")
AMOUNTS = ("12.50", "0", "-0.0", "9999.995", "10000", "-10000", "10000.01", "1e308", "NaN", "inf", "", "x")


@st.composite
def party_rows(draw: st.DrawFn) -> list[Row]:
    """Receipt lines, half of the customers' tidy, the others' as untidy as files are; perhaps one with many baskets."""
    rows: list[Row] = [("zoe", "z1", "2017-06-07", "7", "0"), ("carl", "c1", "2017-02-03", "44.10", "0")]
    tidy = ordinary(8, seed=draw(st.integers(0, 99)))
    for customer in draw(st.lists(st.sampled_from(CUSTOMERS), min_size=1, max_size=6)):
        if draw(st.booleans()):
            rows += [(customer, *row[1:]) for row in draw(st.lists(st.sampled_from(tidy), min_size=1, max_size=4))]
        else:
            day, paid = draw(st.sampled_from(DAYS)), draw(st.sampled_from(AMOUNTS))
            rows.append(
                (customer, draw(st.sampled_from(["b1", ""])), day, paid, draw(st.sampled_from(["0", "-1", ""])))
            )
    many = draw(st.sampled_from([0, 0, 60]))
    return rows + [("bob", f"many{i}", "2017-03-04", "10000", "10000") for i in range(many)]


@FEW
@given(rows=party_rows(), who=st.integers(0, 10**6))
def test_a_customers_rows_in_a_raw_file_move_every_step_by_no_more_than_its_bound(rows: list[Row], who: int) -> None:
    known = sorted({row[0].strip() for row in rows} - {"", "zoe"})
    person = known[who % len(known)]
    earlier = recipe()
    with tempfile.TemporaryDirectory() as folder:
        whole = sums_of(rows, earlier, Path(folder))
        rest = sums_of([row for row in rows if row[0].strip() != person], earlier, Path(folder))
    assert {found.fault for found in (*whole.values(), *rest.values())} == {None}  # zeros would keep any bound
    for step, _ in PLAN.steps():
        moved = whole[step.name].total - rest[step.name].total
        # Who has bought nothing inside the plan's days moves nothing; carl has, whatever was drawn.
        assert (person == "carl") <= squared(moved) <= step.statistic.bound_sq, step.name


# -- canaries: two hundred absurd customers, and two hundred whose rows cannot be read ---------------------------------


def far() -> list[Row]:
    """Allowed by the table and far outside the public box of every feature."""
    rows: list[Row] = []
    for i in range(200):
        paid = "10000" if i % 2 else "-10000"
        baskets = 40 if i % 4 < 2 else 1
        rows += [(f"far{i}", f"far{i}-{j}", "2017-01-01", paid, "10000") for j in range(baskets)]
    return rows


def unreadable() -> list[Row]:
    absurd = ("1e308", "NaN", "-inf", "10000.01", "0x7f", "9" * 400, "")
    return [(f"bad{i}", f"bad{i}-0", "2017-05-06", absurd[i % len(absurd)], "0") for i in range(200)]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Contribution]:
    return sums_of(ordinary(300, seed=1), recipe(), tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def with_far(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Contribution]:
    return sums_of(ordinary(300, seed=1) + far(), recipe(), tmp_path_factory.mktemp("far"))


@pytest.mark.parametrize("name", NAMES)
def test_two_hundred_customers_far_outside_the_box_move_a_step_by_their_own_bounded_rows_and_by_nothing_else(
    name: str, without: dict[str, Contribution], with_far: dict[str, Contribution], tmp_path: Path
) -> None:
    statistic = PLAN.step(name)[0].statistic
    moved = with_far[name].total - without[name].total
    assert with_far[name].fault is None
    assert 0 < squared(moved) <= 200**2 * statistic.bound_sq
    kinds = [far()[:40], far()[40:80], far()[80:81], far()[81:82]]  # customers 0 to 3: each way of being far
    alone = [sums_of(rows, recipe(), tmp_path, name)[name].total for rows in kinds]
    assert all(0 < squared(row) <= statistic.bound_sq for row in alone)
    assert moved.tolist() == (50 * np.sum(alone, axis=0)).tolist()


def test_the_far_customers_are_counted_at_the_end_of_the_box_and_not_where_they_say(
    without: dict[str, Contribution], with_far: dict[str, Contribution]
) -> None:
    moved = (with_far["seg-moments"].total - without["seg-moments"].total).tolist()
    scale, d = PLAN.step("seg-moments")[0].statistic.scale, len(FEATURES)
    assert moved[0] == 200 * math.trunc(math.sqrt(d) * scale)
    assert moved[3] == 0  # a hundred at either end of spend
    assert moved[1 + d + 2] == 200 * scale  # and each of them at an end
    assert moved[-1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_two_hundred_customers_with_unreadable_values_count_as_unusable_and_nowhere_else(
    name: str, without: dict[str, Contribution], tmp_path: Path
) -> None:
    statistic = PLAN.step(name)[0].statistic
    found = sums_of(ordinary(300, seed=1) + unreadable(), recipe(), tmp_path, name)[name]
    moved = (found.total - without[name].total).tolist()
    assert found.fault is None
    assert not any(moved[:-1])
    assert moved[-1] == 200 * statistic.unusable_entry


def test_without_them_everybody_is_usable_and_no_sum_is_empty(without: dict[str, Contribution]) -> None:
    """So that what is compared above is a party's sum and not zeros."""
    assert question_of(PLAN).dimensions == 4
    for found in without.values():
        assert found.fault is None
        assert np.count_nonzero(found.total[:-1]) > 3
        assert found.total[-1] == 0
