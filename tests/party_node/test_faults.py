"""What cannot be used is found where a person with a text editor finds it, column by column, and never shown."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from party_node.faults import BadRow, Fault
from party_node.records import Snapshot, Table, take_snapshot
from party_node.registration import check_columns
from protocols.errors import Refused, UsageError
from protocols.schema import Schema

COLUMNS: dict[str, Any] = {
    "customer": {"type": "id"},
    "card": {"type": "id"},
    "mails": {"type": "count", "high": 100},
    "seen": {"type": "date"},
}
TABLE = Schema.model_validate({"name": "mails", "columns": COLUMNS})
HEADER = "customer,card,mails,seen"
BAD = "eve,c,secret,2017-01-01"


def take(*files: Path, schema: Schema = TABLE, mapping: dict[str, str] | None = None) -> Snapshot:
    table = Table(files, {name: name for name in schema.columns} | (mapping or {}))
    return take_snapshot(table, schema, files[0].parent / "out" / "snapshot.parquet")


def csv(file: Path, *rows: str, end: str = "\n", start: str = "", header: str = HEADER) -> Path:
    text = (start + end.join([header, *rows, ""])).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def parquet(file: Path, values: Sequence[str]) -> Path:
    with duckdb.connect() as con:
        con.sql(f"FROM (VALUES {', '.join(values)}) t(customer, card, mails, seen)").write_parquet(str(file))
    return file


def places(taken: Snapshot) -> list[tuple[int, int | None]]:
    return [(bad.row, bad.line) for bad in taken.bad_sample]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "marked"])
def test_a_bad_row_is_named_by_the_line_of_the_file_where_it_begins(
    tmp_path: Path, name: str, end: str, start: str
) -> None:
    two, three = f'eve,"c{end}d",1,2017-01-01', f'eve,"c{end}d{end}e",secret,2017-01-01'
    taken = take(csv(tmp_path / name, BAD, two, "", "", BAD, three, BAD, end=end, start=start))
    assert places(taken) == [(1, 2), (3, 7), (4, 8), (5, 11)]
    assert str(taken.bad_sample[1]) == f"{tmp_path / name} line 7, column mails: not a number"


def test_a_header_of_two_lines_counts_as_two(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", BAD, header='customer,card,mails,"last\nseen"')
    assert places(take(file, mapping={"seen": "last\nseen"})) == [(1, 3)]


def test_a_row_of_a_file_without_lines_is_named_by_its_number(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", ["('anna', 'c', '1', '2017-01-01')", "('eve', 'c', 'secret', '2017-01-01')"])
    taken = take(file)
    assert places(taken) == [(2, None)]
    assert str(taken.bad_sample[0]) == f"{file} data row 2, column mails: not a number"


def test_faults_are_counted_by_column_and_reason_with_the_first_rows_of_each(tmp_path: Path) -> None:
    rows = ["eve,,many,2017-01-01", "eve,c,,2017-01-01", *["eve,c,x,never"] * 30, "anna,c,1,2017-01-01", ",,,"]
    taken = take(csv(tmp_path / "a.csv", *rows))
    assert [(fault.column, dict(fault.reasons)) for fault in taken.faults] == [
        ("card", {"empty": 1}),
        ("mails", {"not a number": 31, "empty": 1}),
        ("seen", {"not a date": 30}),
    ]
    assert [[bad.line for bad in fault.first] for fault in taken.faults] == [
        [2],
        list(range(2, 22)),
        list(range(4, 24)),
    ]
    assert [(bad.line, bad.column) for bad in taken.bad_sample[:4]] == [
        (2, "card"),
        (2, "mails"),
        (3, "mails"),
        (4, "mails"),
    ]
    assert (len(taken.bad_sample), taken.bad_rows) == (20, 32)


def test_rows_of_nobody_are_no_faults(tmp_path: Path) -> None:
    assert take(csv(tmp_path / "a.csv", "anna,c,1,2017-01-01", ",,secret,never")).faults == ()


def test_half_of_a_column_may_be_empty_and_more_may_not(tmp_path: Path) -> None:
    """The share of bad rows is judged on its own; this is the check that knows a wrong column."""
    good = "anna,c,1,2017-01-01"
    check_columns(take(csv(tmp_path / "a.csv", good, BAD)), TABLE)
    with pytest.raises(Refused, match="column 'mails' cannot be read in 2 of 3 rows") as caught:
        check_columns(take(csv(tmp_path / "a.csv", good, BAD, BAD)), TABLE)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("set table.columns.mails in node.toml: map it to a column of whole numbers")
    assert "secret" not in caught.value.diagnostics()


def test_counts_out_of_bounds_are_told_the_bounds(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        check_columns(take(csv(tmp_path / "a.csv", "anna,c,101,2017-01-01")), TABLE)
    assert "the plan's bounds are 0 to 100 in whole units" in caught.value.diagnostics()


# -- a second row of somebody ------------------------------------------------------------------------------------------


def one_row_per(column: str) -> Schema:
    return Schema.model_validate({"name": "mails", "columns": COLUMNS, "one_row_per": column})


def test_repeats_are_found_across_files_in_their_order(tmp_path: Path) -> None:
    first = parquet(tmp_path / "a.parquet", ["('bob', 'c', '1', '2017-01-01')", "('anna', 'd', '1', '2017-01-01')"])
    second = csv(tmp_path / "b.csv", "eve,c,1,2017-01-01", "anna,c,1,2017-01-01", ' bob ,"c",1,2017-01-01')
    repeats = take(first, second, schema=one_row_per("customer")).repeats
    assert repeats == Fault(
        "customer",
        {"an earlier row has it": 2},
        (
            BadRow(str(second), 2, 3, "customer", f"the same as {first} data row 2"),
            BadRow(str(second), 3, 4, "customer", f"the same as {first} data row 1"),
        ),
    )


def test_another_id_can_be_the_one_and_rows_without_it_are_no_repeats(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", "a,x,1,2017-01-01", "b,,1,2017-01-01", "c,,1,2017-01-01", ",x,1,2017-01-01")
    assert take(file, schema=one_row_per("card")).repeats is None
    file = csv(tmp_path / "a.csv", "a,x,1,2017-01-01", "b,x,1,2017-01-01", "c,x,1,2017-01-01")
    repeats = take(file, schema=one_row_per("card")).repeats
    assert repeats is not None
    assert [(bad.line, bad.reason) for bad in repeats.first] == [(n, f"the same as {file} line 2") for n in (3, 4)]


def test_a_table_that_says_nothing_may_repeat_anybody(tmp_path: Path) -> None:
    assert take(csv(tmp_path / "a.csv", BAD, BAD)).repeats is None


# -- words that help, without a value ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapped", "hint"),
    [
        ("mail s.", "did you mean table.columns.mails = 'mails'?"),
        ("mails +", "table.columns.mails takes a column or what may stand after SELECT"),
        ("CASE WHEN mails", "what may stand after SELECT, as lower(x) or x - y"),
        ("'mails", "close each bracket and quote"),
        ("1 1 1", "put a column's name with a space or a dash in double quotes"),
    ],
)
def test_a_mapping_that_is_no_expression_is_told_how_to_write_one(tmp_path: Path, mapped: str, hint: str) -> None:
    with pytest.raises(UsageError, match="neither a column of .* nor an expression: ") as caught:
        take(csv(tmp_path / "a.csv", BAD), mapping={"mails": mapped})
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_what_is_no_gzip_file_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"\x51\x5aSECRET")
    with pytest.raises(UsageError) as caught:
        take(tmp_path / "a.csv.gz")
    assert "it is no gzip file, or not a whole one" in caught.value.message
    assert "qz" not in caught.value.diagnostics().lower().replace(str(tmp_path).lower(), "")


def test_a_parquet_file_always_has_its_columns_named(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", ["('anna', 'c', '1', '2017-01-01')"])
    with pytest.raises(UsageError) as caught:
        take(file, mapping=dict.fromkeys(COLUMNS, "who"))
    assert caught.value.hint == "there is 'customer', 'card', 'mails', 'seen'"
