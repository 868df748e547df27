"""Categories and counts: what is in a file of a company's own becomes one of the public values, or a whole number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from party_node.features import Window, people, window_of
from party_node.records import Snapshot, Table, take_snapshot
from protocols.plan import Plan
from protocols.schema import Block, Schema

VALUES = ["fresh", "frozen-drinks", "other"]
KINDS: dict[str, Any] = {
    "customer": {"type": "id"},
    "kind": {"type": "category", "values": VALUES},
    "opened": {"type": "count", "high": 100},
}


def take(file: Path, mapping: dict[str, str] | None = None, columns: dict[str, Any] = KINDS) -> Snapshot:
    schema = Schema.model_validate({"name": "mails", "columns": columns})
    return take_snapshot(Table((file,), {name: name for name in columns} | (mapping or {})), schema, file.parent / "s")


def csv(file: Path, *rows: str, header: str = "customer,kind,opened") -> Path:
    file.write_text("\n".join([header, *rows, ""]), "utf-8")
    return file


def rows(taken: Snapshot, columns: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as con:
        return con.execute(f"SELECT {columns} FROM read_parquet(?)", [str(taken.path)]).fetchall()


def test_a_category_is_stored_as_text_and_a_count_as_a_whole_number(tmp_path: Path) -> None:
    taken = take(csv(tmp_path / "a.csv", "anna, frozen-drinks ,7"))
    assert rows(taken, "kind, opened, typeof(kind), typeof(opened)") == [("frozen-drinks", 7, "VARCHAR", "BIGINT")]


@pytest.mark.parametrize("text", ["", "  ", "FRESH", "fresh fish", "'; DROP TABLE rows --", "鮮", "1"])
def test_a_category_outside_the_public_list_is_other_and_its_row_is_good(tmp_path: Path, text: str) -> None:
    taken = take(csv(tmp_path / "a.csv", f"anna,{text},7"))
    assert rows(taken, "kind, bad") == [("other", False)]
    assert (taken.bad_rows, taken.bad_sample) == (0, ())


def test_a_category_can_be_an_expression_and_what_that_leaves_out_is_other(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", "anna,F,1", "bob,X,1")
    taken = take(file, {"kind": "CASE kind WHEN 'F' THEN 'fresh' WHEN 'D' THEN 'frozen-drinks' END"})
    assert rows(taken, "customer, kind, bad") == [("anna", "fresh", False), ("bob", "other", False)]
    assert rows(take(file, {"kind": "lower('FRESH')"}), "kind") == [("fresh",), ("fresh",)]


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("-0", 0), ("100", 100), ("7.0", 7), ("1e1", 10)])
def test_a_whole_number_within_the_bounds_is_a_count(tmp_path: Path, text: str, count: int) -> None:
    assert rows(take(csv(tmp_path / "a.csv", f"anna,fresh,{text}")), "opened, bad") == [(count, False)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("many", "not a number"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("1.5", "not a whole number"),
        ("2.0000001", "not a whole number"),
        ("-1", "out of bounds"),
        ("101", "out of bounds"),
        ("1e308", "out of bounds"),
    ],
)
def test_what_is_no_count_makes_its_row_bad_and_says_why(tmp_path: Path, text: str, reason: str) -> None:
    taken = take(csv(tmp_path / "a.csv", f"anna,fresh,{text}"))
    assert rows(taken, "opened, bad") == [(None, True)]
    assert [(bad.column, bad.reason) for bad in taken.bad_sample] == [("opened", reason)]


def test_a_count_computes_with_the_numbers_in_a_csv_file(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", "anna,fresh,3,4", header="customer,kind,mails,calls")
    assert rows(take(file, {"opened": "mails + calls"}), "opened") == [(7,)]


def test_whole_floats_in_a_parquet_file_are_counts(tmp_path: Path) -> None:
    with duckdb.connect() as con:
        query = "SELECT unnest(['anna', 'bob']) AS customer, 'fresh' AS kind, unnest([3.0::DOUBLE, NULL]) AS opened"
        con.sql(query).write_parquet(str(tmp_path / "a.parquet"))
    assert rows(take(tmp_path / "a.parquet"), "opened, bad") == [(3, False), (None, True)]


def test_two_categories_and_two_counts_become_features_each(tmp_path: Path) -> None:
    money = {"type": "money", "low": 0, "high": 100}
    columns = KINDS | {
        "basket": {"type": "id"},
        "bought_on": {"type": "date"},
        "paid": money,
        "discount": money,
        "channel": {"type": "category", "values": ["shop", "other"]},
        "first": {"type": "count", "high": 5},
    }
    header = "customer,basket,bought_on,paid,discount,kind,opened,channel,first"
    file = csv(tmp_path / "a.csv", "a,x,2017-01-01,30,0,fresh,7,shop,1", "a,x,2017-01-01,10,0,?,0,?,1", header=header)
    taken = take(file, columns=columns)
    schema = Schema.model_validate({"name": "mails", "columns": columns})
    window = Window((Block(first="2017-01-01", last="2017-12-31"),), "2017-12-31", 15, schema.shares(), schema.sums())
    found = people(taken.path, window).columns
    assert {name: int(found[name][0]) for name in (*schema.shares(), *schema.sums())} == {
        "share_shop_ppm": 750_000,
        "share_channel_other_ppm": 250_000,
        "share_fresh_ppm": 750_000,
        "share_frozen-drinks_ppm": 0,
        "share_kind_other_ppm": 250_000,
        "sum_first": 2,
        "sum_opened": 7,
    }


def test_a_party_has_the_features_that_the_plan_names(tmp_path: Path) -> None:
    """Under the demo's plan, with a count column besides."""
    demo = Plan.from_toml((Path(__file__).parents[2] / "examples" / "complete_journey" / "plan.toml").read_bytes())
    columns = demo.table.body()["columns"] | {"opened": KINDS["opened"]}
    plan = demo.model_copy(update={"table": Schema.model_validate({"name": "sales", "columns": columns})})
    row = {"customer": "a", "basket": "x", "bought_on": "2017-02-03", "paid": "9", "discount": "1", "category": "fresh"}
    file = csv(tmp_path / "a.csv", ",".join((*row.values(), "4")), header=",".join((*row, "opened")))
    found = people(take(file, columns=columns).path, window_of(plan)).columns
    assert tuple(found) == plan.features.names(plan.table)
    assert {"share_fresh_ppm", "sum_opened", "alive_ppm", "value_12m_cents"} <= set(found)
    assert (found["share_fresh_ppm"][0], found["sum_opened"][0], found["usable"][0]) == (1_000_000, 4, 1)


def test_a_schema_of_people_alone_is_enough(tmp_path: Path) -> None:
    taken = take(csv(tmp_path / "a.csv", "anna", "anna", header="customer"), columns={"customer": {"type": "id"}})
    assert (taken.rows, taken.people, taken.first_day) == (2, 1, "")
