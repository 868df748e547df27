"""A person's features come from that person's own rows and public constants, and from nothing else."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.features import FEATURES, People, Window, people
from party_node.records import Table, take_snapshot
from protocols.errors import IntegrityError, UsageError
from protocols.schema import Block, Schema

SPRING = Window(
    (Block(first="2017-03-01", last="2017-03-31"), Block(first="2017-05-01", last="2017-05-31")), "2017-05-20", 15
)
LAST = 2**63 - 1


@dataclass(frozen=True)
class Line:
    """One row of a snapshot."""

    customer: str
    basket: str | None
    day: dt.date | None
    paid: int | None
    discount: int | None
    bad: bool = False


def line(customer: str, day: str, paid: int = 100, discount: int = 0, basket: str = "b") -> Line:
    return Line(customer, basket, dt.date.fromisoformat(day), paid, discount)


def ask(lines: Sequence[Line], window: Window = SPRING) -> dict[str, tuple[int, ...]]:
    """The features of everybody in these lines, by customer."""
    with TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute(
            "CREATE TABLE t (customer VARCHAR, basket VARCHAR, bought_on DATE, paid BIGINT, discount BIGINT, bad BOOL)"
        )
        values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(lines))
        if lines:
            con.execute(f"INSERT INTO t VALUES {values}", [value for one in lines for value in astuple(one)])
        con.table("t").write_parquet(f"{folder}/s.parquet")
        return by_customer(people(Path(folder) / "s.parquet", window))


def by_customer(found: People) -> dict[str, tuple[int, ...]]:
    return {
        str(customer): tuple(int(found.columns[name][i]) for name in FEATURES)
        for i, customer in enumerate(found.customers)
    }


def expected(mine: Sequence[Line], window: Window) -> tuple[int, ...] | None:
    """The features of one person, written down a second time from the definition, in Python's own integers."""
    days = [(dt.date.fromisoformat(b.first), dt.date.fromisoformat(b.last)) for b in window.blocks]
    as_of = dt.date.fromisoformat(window.as_of)
    seen = [x for x in mine if (x.bad if x.day is None else any(a <= x.day <= b for a, b in days))]
    if not seen:
        return None
    baskets: dict[str, tuple[int, int]] = {}
    for x in seen:
        if x.bad or x.day is None or x.basket is None or x.paid is None or x.discount is None or x.day > as_of:
            return (0, 0, 0, 0, 0)
        paid, off = baskets.get(x.basket, (0, 0))
        baskets[x.basket] = (paid + x.paid, off + x.discount)
    latest = max(x.day for x in seen if x.day is not None)
    off = sum(p + d > 0 and 100 * d > window.discount_depth_percent * (p + d) for p, d in baskets.values())
    spend = max(-LAST - 1, min(LAST, sum(p for p, _ in baskets.values())))
    return ((as_of - latest).days, len(baskets), spend, off, 1)


MONEY = st.integers(-300, 2000) | st.sampled_from([0, LAST, -LAST - 1])
DAYS = st.dates(dt.date(2017, 2, 25), dt.date(2017, 6, 3))
LINES = st.lists(
    st.builds(
        Line, st.sampled_from(["", "anna", "bob", "Émile", "顧客", "'"]), st.sampled_from("xyz"), DAYS, MONEY, MONEY
    )
    | st.builds(
        Line,
        st.sampled_from(["anna", "bob"]),
        st.none() | st.just("x"),
        st.none() | DAYS,
        st.none(),
        MONEY,
        st.just(True),
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(lines=LINES, depth=st.sampled_from([0, 15, 50, 100]))
def test_everybody_has_the_features_of_their_own_rows(lines: list[Line], depth: int) -> None:
    window = Window(SPRING.blocks, SPRING.as_of, depth)
    alone = {name: expected([x for x in lines if x.customer == name], window) for name in {x.customer for x in lines}}
    assert list(ask(lines, window).items()) == [(name, row) for name, row in sorted(alone.items()) if row is not None]


@settings(max_examples=60, deadline=None)
@given(lines=LINES, gone=st.sampled_from(["anna", "bob", "Émile"]))
def test_removing_a_person_changes_nobody_else(lines: list[Line], gone: str) -> None:
    before = ask(lines)
    before.pop(gone, None)
    assert ask([x for x in lines if x.customer != gone]) == before


TEXT = st.sampled_from(["anna", "bob", "eve", ""])
AMOUNT = st.sampled_from(["1", "2.50", "-3", "0.005", "", "x", "99999"])
ROWS = st.lists(
    st.tuples(
        TEXT, st.sampled_from(["b1", "b2", ""]), st.sampled_from(["2017-03-05", "2017-05-06", "?"]), AMOUNT, AMOUNT
    ),
    min_size=1,
    max_size=12,
).filter(lambda rows: any(row[0] for row in rows))


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, data=st.data())
def test_how_rows_are_ordered_and_split_over_files_changes_nothing(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    turned = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    with TemporaryDirectory() as folder:
        one = snapshot(Path(folder) / "one", rows)
        two = snapshot(Path(folder) / "two", turned[:cut], turned[cut:])
        assert one.read_bytes() == two.read_bytes()
        assert by_customer(people(one, SPRING)) == by_customer(people(two, SPRING))


def snapshot(folder: Path, *parts: Sequence[tuple[str, ...]]) -> Path:
    folder.mkdir()
    names = ("customer", "basket", "bought_on", "paid", "discount")
    money = {"type": "money", "low": -1000, "high": 1000}
    kinds: list[Any] = [{"type": "id"}, {"type": "id"}, {"type": "date"}, money, money]
    schema = Schema.model_validate({"name": "lines", "columns": dict(zip(names, kinds, strict=True))})
    files = tuple(folder / f"{i}.csv" for i in range(len(parts)))
    for file, rows in zip(files, parts, strict=True):
        file.write_text("\n".join(",".join(row) for row in (names, *rows)) + "\n")
    return take_snapshot(Table(files, {name: name for name in names}), schema, folder / "s.parquet").path


def test_rows_outside_the_blocks_do_not_exist() -> None:
    lines = [line("anna", "2017-03-31"), line("anna", "2017-04-01", basket="c"), line("bob", "2017-04-30")]
    assert ask(lines) == {"anna": (50, 1, 100, 0, 1)}


def test_a_row_after_as_of_spoils_its_person_only_inside_a_block() -> None:
    inside = [line("anna", "2017-05-20"), line("anna", "2017-05-21")]
    outside = [line("bob", "2017-05-20"), line("bob", "2017-06-01")]
    assert ask(inside + outside) == {"anna": (0, 0, 0, 0, 0), "bob": (0, 1, 100, 0, 1)}


def test_a_bad_row_without_a_day_counts_in_every_block_and_one_with_a_day_in_its_own() -> None:
    no_day = Line("anna", "b", None, 100, 0, bad=True)
    elsewhere = Line("bob", "b", dt.date(2017, 4, 15), None, 0, bad=True)
    there = Line("eve", "b", dt.date(2017, 3, 15), None, 0, bad=True)
    good = [line(name, "2017-03-02") for name in ("bob", "eve")]
    assert ask([no_day, elsewhere, there, *good]) == {"anna": (0,) * 5, "bob": (79, 1, 100, 0, 1), "eve": (0,) * 5}


def test_a_day_before_1970_is_unusable_even_when_a_block_holds_it() -> None:
    window = Window((Block(first="1969-01-01", last="1971-01-01"),), "1971-01-01", 15)
    assert ask([line("anna", "1969-12-31"), line("bob", "1970-01-01")], window) == {
        "anna": (0,) * 5,
        "bob": (365, 1, 100, 0, 1),
    }


@pytest.mark.parametrize(
    ("paid", "discount", "counts"),
    [(85, 15, 0), (84, 16, 1), (0, 0, 0), (0, 1, 1), (-10, 5, 0), (-5, 5, 0), (100, -20, 0), (850000, 150001, 1)],
)
def test_a_basket_is_discounted_above_the_depth_of_its_price_before_discount(
    paid: int, discount: int, counts: int
) -> None:
    assert ask([line("anna", "2017-05-01", paid, discount)])["anna"][3] == counts


def test_a_discount_is_judged_on_the_basket_and_not_on_the_line() -> None:
    lines = [line("anna", "2017-05-01", 50, 50), line("anna", "2017-05-01", 900, 0), line("bob", "2017-05-01", 50, 50)]
    found = ask(lines)
    assert (found["anna"][3], found["bob"][3]) == (0, 1)


def test_a_basket_whose_rows_bear_two_days_is_one_basket() -> None:
    lines = [line("anna", "2017-03-31", 50, 50), line("anna", "2017-05-01", 900, 0)]
    assert ask(lines) == {"anna": (19, 1, 950, 0, 1)}


def test_baskets_of_one_number_at_two_customers_are_two_baskets() -> None:
    assert [row[1] for row in ask([line("anna", "2017-05-01"), line("bob", "2017-05-01")]).values()] == [1, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_million_rows_at_the_bound_sum_exactly_and_hostile_amounts_are_held(tmp_path: Path, sign: int) -> None:
    amount = sign * 10**11
    with duckdb.connect() as con:
        con.sql(
            "SELECT 'anna' AS customer, 'b' AS basket, DATE '2017-05-01' AS bought_on, "
            f"{amount}::BIGINT AS paid, {amount}::BIGINT AS discount, false AS bad FROM range(1000000)"
        ).write_parquet(str(tmp_path / "s.parquet"))
    assert by_customer(people(tmp_path / "s.parquet", SPRING))["anna"] == (19, 1, amount * 10**6, sign > 0, 1)
    end = LAST if sign > 0 else -LAST - 1
    assert ask([line("anna", "2017-05-01", end)] * 3)["anna"][2] == end


def test_people_come_sorted_as_int64_and_cannot_be_written(tmp_path: Path) -> None:
    found = people(
        snapshot(tmp_path / "s", [("bob", "b", "2017-05-06", "1", "0"), ("anna", "b", "2017-05-06", "1", "0")]), SPRING
    )
    assert found.customers.tolist() == ["anna", "bob"]
    assert tuple(found.columns) == FEATURES
    assert {column.dtype for column in found.columns.values()} == {np.dtype(np.int64)}
    with pytest.raises(ValueError, match="read-only"):
        found.columns["usable"][0] = 0


def test_nobody_in_the_window_is_an_empty_answer_and_not_an_error(tmp_path: Path) -> None:
    found = people(snapshot(tmp_path / "s", [("anna", "b", "2017-04-06", "1", "0")]), SPRING)
    assert found.customers.shape == found.columns["usable"].shape == (0,)


def test_a_file_named_like_a_pattern_is_read_itself(tmp_path: Path) -> None:
    taken = snapshot(tmp_path / "s", [("anna", "b", "2017-05-06", "1", "0")])
    other = snapshot(tmp_path / "t", [("bob", "b", "2017-05-06", "1", "0")])
    taken.rename(tmp_path / "x[1].parquet")
    other.rename(tmp_path / "x1.parquet")
    assert list(by_customer(people(tmp_path / "x[1].parquet", SPRING))) == ["anna"]


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        people(tmp_path / "none.parquet", SPRING)
    (tmp_path / "text.parquet").write_text("customer,paid")
    with pytest.raises(IntegrityError, match="cannot be read"):
        people(tmp_path / "text.parquet", SPRING)
    with duckdb.connect() as con:
        con.sql("SELECT 'anna' AS customer, false AS bad").write_parquet(str(tmp_path / "few.parquet"))
    with pytest.raises(UsageError, match="lacks a column"):
        people(tmp_path / "few.parquet", SPRING)


def test_a_window_of_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="without blocks"):
        Window((), "2017-05-20", 15)
    with pytest.raises(UsageError, match="percent"):
        Window(SPRING.blocks, "2017-05-20", 101)
    with pytest.raises(UsageError, match="not a day"):
        Window(SPRING.blocks, "2017-02-30", 15)


def test_reading_records_does_not_load_pandas() -> None:
    code = "import sys, party_node.records, party_node.features; sys.exit('pandas' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, env={"PYTHONPATH": str(Path(__file__).parents[2])}
        ).returncode
        == 0
    )
