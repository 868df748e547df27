"""One customer's rows, in files as untidy as files are, move what leaves a party by no more than the bound.

From raw rows to the sum that `share.py` adds noise to: `records`, `features`, `contribution`.
"""

from __future__ import annotations

import csv
import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.contribution import Contribution, contribute
from party_node.records import Table, take_snapshot
from party_node.store import Dataset
from protocols.plan import Plan
from protocols.questions import rfm
from protocols.statistic import Noise

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"
MONEY = {"type": "money", "low": -10_000, "high": 10_000}
TABLE = {"customer": {"type": "id"}, "basket": {"type": "id"}, "bought_on": {"type": "date"}, "paid": MONEY}


def plan_of_five_columns(**changes: Any) -> Plan:
    """The demo's question about cohorts, on rows that have these columns and no others."""
    body = Plan.from_toml(DEMO.read_bytes()).body()
    questions = [question for question in body["questions"] if question["kind"] == "rfm"]
    table = {"name": "sales", "columns": {**TABLE, "discount": MONEY}}
    return Plan.model_validate({**body, "questions": questions, "table": table, **changes})


PLAN = plan_of_five_columns()
FEW = settings(deadline=None, derandomize=True, max_examples=15)

CUSTOMERS = ("anna", " anna", "anna\t", "Anna", "bob", "ünal", "1e308", "")
DAYS = ("2017-05-06", "2017-12-31T23:59:59", "2018-01-01", "2016-12-31", "1969-12-31", "2019-01-01", "2017-02-30", "")
AMOUNTS = ("12.50", "0", "-0.0", "-3.5", "9999.995", "10000", "-10000", "10000.01", "1e308", "NaN", "inf", "", "x")
DISCOUNTS = ("0", "2.5", "-1", "10000", "nan", "")
COLUMNS = ("customer", "basket", "bought_on", "paid", "discount")
Row = tuple[str, ...]
ANCHOR: Row = ("zoe", "z1", "2017-06-07", "7", "0")  # so that a file without the person is not empty


@st.composite
def party_rows(draw: st.DrawFn) -> list[Row]:
    """Receipt lines of some customers: most of them tidy, one perhaps with many baskets, the others not tidy at all."""
    rows: list[Row] = []
    for customer in draw(st.lists(st.sampled_from(CUSTOMERS), min_size=1, max_size=8)):
        pools = (("b1", "b2", ""), DAYS, AMOUNTS, DISCOUNTS)
        unclean = st.tuples(st.just(customer), *(st.sampled_from(pool) for pool in pools))
        tidy = draw(st.sampled_from([True, True, True, False]))
        rows += draw(st.lists(clean(customer) if tidy else unclean, min_size=1, max_size=3))
    many = draw(st.sampled_from([0, 0, 60]))
    return rows + [("anna", f"many{i}", "2017-03-04", "10000", "10000") for i in range(many)]


def clean(customer: str) -> st.SearchStrategy[Row]:
    return st.tuples(
        st.just(customer),
        st.sampled_from(("b1", "b2", "b3", "b4")),
        st.dates(min_value=dt.date(2017, 1, 1), max_value=dt.date(2018, 1, 1)).map(str),
        st.integers(-(10**6), 10**6).map(lambda cents: f"{cents / 100:.2f}"),
        st.sampled_from(("0", "1.00", "30.25")),
    )


@st.composite
def earlier_answers(draw: st.DrawFn) -> dict[str, Any]:
    """An answer to the step `rfm-cuts`, as some noised sum would give it."""
    (step, _), _ = PLAN.steps()
    top = draw(st.sampled_from([0, 10, 5000, 2**40]))
    noised = draw(st.lists(st.integers(-top // 20, top), min_size=43, max_size=43))
    return {step.name: step.answer(np.array(noised, dtype=np.int64), Noise(1, 9_000_000), {})}


def a_clear_answer() -> dict[str, Any]:
    """Earlier answers in which every cut fell back to its public bin."""
    cuts = {f: {f"p{t}": {"edge": {"value": "too noisy"}} for t in rfm.TARGETS} for f in rfm.FEATURES}
    return {"rfm-cuts": cuts}


def squared(difference: list[int]) -> int:
    return sum(entry * entry for entry in difference)


def exact_sums(rows: list[Row], earlier: dict[str, Any], folder: Path, plan: Plan = PLAN) -> list[Contribution]:
    """What `share.build` would get in each step: the rows as a file, its snapshot, features, rows, sum."""
    file = folder / "rows.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([COLUMNS, *rows])
    taken = take_snapshot(Table((file,), {name: name for name in COLUMNS}), plan.table, folder / "s.parquet")
    dataset = Dataset("0" * 32, "1" * 64, "s.parquet", taken.sha256, "2" * 64, tuple(plan.blocks), plan.people_cap)
    return [contribute(plan, step, earlier, dataset, folder, plan.parties[0]) for step, _ in plan.steps()]


def removal(rows: list[Row], person: str, earlier: dict[str, Any], plan: Plan = PLAN) -> list[list[int]]:
    """For each step f(D) − f(D∖p), all rows of one customer taken out of the party's file."""
    with tempfile.TemporaryDirectory() as folder:
        whole = exact_sums(rows, earlier, Path(folder), plan)
        rest = exact_sums([row for row in rows if row[0].strip() != person], earlier, Path(folder), plan)
    assert {sums.fault for sums in whole + rest} == {None}  # zeros would keep any bound
    pairs = zip(whole, rest, strict=True)
    return [[int(a) - int(b) for a, b in zip(w.total, r.total, strict=True)] for w, r in pairs]


@FEW
@given(parties=st.lists(party_rows(), min_size=1, max_size=2), who=st.integers(0, 10**6), earlier=earlier_answers())
def test_a_customers_rows_in_raw_files_move_what_leaves_by_no_more_than_the_bound(
    parties: list[list[Row]], who: int, earlier: dict[str, Any]
) -> None:
    known = sorted({row[0].strip() for rows in parties for row in rows} - {""}) or ["nobody"]
    person = known[who % len(known)]
    holders = [[*rows, ANCHOR] for rows in parties if any(row[0].strip() == person for row in rows)]
    moved = [removal(rows, person, earlier) for rows in holders]
    for number, (step, _) in enumerate(PLAN.steps()):
        at_each = [differences[number] for differences in moved]
        assert all(squared(alone) <= step.statistic.bound_sq for alone in at_each)
        together = squared([sum(entries) for entries in zip(*at_each, strict=True)])
        assert together <= len(holders) ** 2 * step.statistic.bound_sq


def test_removing_any_of_some_very_unlike_customers_from_a_raw_file_moves_the_sum_by_one_row() -> None:
    """The first and the last to buy, the one who spent most, the one who bought most: nobody else's row may follow."""
    rows: list[Row] = [("bob", f"b{i}", "2017-05-06", "3", "9") for i in range(200)]
    rows += [("anna", "b1", "2018-01-01", "10000", "0"), ("anna", "b2", "2018-01-01", "10000", "0")]
    rows += [("Anna", "b1", "2017-01-01", "-10000", "0"), ("ünal", "b1", "2017-12-24", "0", "0")]
    rows += [("carl", f"b{i}", "2017-12-31", "40", "1") for i in range(3)] + [ANCHOR]
    for person in ("anna", "Anna", "bob", "carl", "ünal"):
        cuts, cohorts = removal(rows, person, a_clear_answer())
        assert (squared(cuts), squared(cohorts)) == (3, 5)
        assert min(cuts + cohorts) == 0


def test_the_order_of_rows_in_a_file_does_not_change_the_sum(tmp_path: Path) -> None:
    rows: list[Row] = [
        (name, f"b{i}", "2017-05-06", f"{i}.50", "0") for i, name in enumerate(("anna", "bob", "zoe", "bob"))
    ]
    forth = exact_sums(rows, a_clear_answer(), tmp_path)
    back = exact_sums(rows[::-1], a_clear_answer(), tmp_path)
    assert [sums.total.tolist() for sums in forth] == [sums.total.tolist() for sums in back]


def test_the_person_who_exceeds_people_cap_moves_the_sum_by_no_more_than_the_bound() -> None:
    plan = plan_of_five_columns(people_cap=3)
    rows: list[Row] = [(name, "b1", "2017-05-06", "12.50", "0") for name in ("anna", "bob", "carl", "zoe")]
    cuts, _ = removal(rows, "anna", a_clear_answer(), plan)
    assert squared(cuts) == 3
