"""A party's files become one snapshot: nothing is lost silently, nothing of a customer is said."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pytest

from party_node.records import Snapshot, Table, check_snapshot, take_snapshot
from protocols.errors import IntegrityError, UsageError
from protocols.schema import Schema

MONEY = {"type": "money", "low": -1000, "high": 10000}
LINES = Schema.model_validate(
    {
        "name": "lines",
        "columns": {
            "customer": {"type": "id"},
            "basket": {"type": "id"},
            "bought_on": {"type": "date"},
            "paid": MONEY,
            "discount": MONEY,
        },
    }
)
SAME = {name: name for name in LINES.columns}
HEADER = "customer,basket,bought_on,paid,discount"
VALUES = ("'anna'", "'b1'", "DATE '2017-05-06'", "12.5", "0.5")
GOOD = "anna,b1,2017-05-06,12.50,0.50"


def write(file: Path, *lines: str, header: str = HEADER) -> Path:
    text = "\n".join([header, *lines, ""]).encode()
    file.write_bytes(gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    return file


def take(*files: Path, columns: Mapping[str, str] = SAME, schema: Schema = LINES) -> Snapshot:
    return take_snapshot(Table(files, columns), schema, files[0].parent / "out" / "snapshot.parquet")


def rows(snapshot: Snapshot, columns: str = "*") -> list[tuple[object, ...]]:
    with duckdb.connect() as con:
        return con.execute(f"SELECT {columns} FROM read_parquet(?)", [str(snapshot.path)]).fetchall()


def parquet(file: Path, query: str) -> Path:
    with duckdb.connect() as con:
        con.sql(query).write_parquet(str(file))
    return file


def refusal(*files: Path, columns: Mapping[str, str] = SAME, schema: Schema = LINES) -> str:
    with pytest.raises(UsageError) as caught:
        take(*files, columns=columns, schema=schema)
    return caught.value.diagnostics()


def test_a_row_arrives_in_the_agreed_columns_and_types(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", GOOD, " bob ,b2,2017-05-07T23:59:59+02:00,-3,0"))
    with duckdb.connect() as con:
        described = con.execute(f"DESCRIBE FROM read_parquet('{taken.path}')").fetchall()
    assert [tuple(row[:2]) for row in described] == [
        ("customer", "VARCHAR"),
        ("basket", "VARCHAR"),
        ("bought_on", "DATE"),
        ("discount", "BIGINT"),
        ("paid", "BIGINT"),
        ("bad", "BOOLEAN"),
    ]
    assert rows(taken, "customer, basket, bought_on::VARCHAR, discount, paid, bad") == [
        ("anna", "b1", "2017-05-06", 50, 1250, False),
        ("bob", "b2", "2017-05-07", 0, -300, False),
    ]
    assert (taken.rows, taken.people, taken.bad_rows, taken.nameless_rows) == (2, 2, 0, 0)
    assert (taken.first_day, taken.last_day) == ("2017-05-06", "2017-05-07")


def test_the_same_rows_give_the_same_bytes_whatever_files_hold_them(tmp_path: Path) -> None:
    query = "SELECT i % 997 AS customer, i AS basket, DATE '2017-01-01' + (i % 300)::INTEGER AS bought_on, "
    query += "(i % 5000) / 100 AS paid, (i % 70) / 100 AS discount FROM range({}) t(i) ORDER BY {}"
    whole = take(parquet(tmp_path / "whole.parquet", query.format("200000", "i")))
    with duckdb.connect() as con:
        con.execute(f"COPY ({query.format('120000', 'hash(i)')}) TO '{tmp_path}/one.csv' (HEADER, DELIMITER ';')")
        con.execute(f"COPY ({query.format('120000, 200000', '-i')}) TO '{tmp_path}/two.csv.gz' (HEADER)")
    parts = take(tmp_path / "two.csv.gz", tmp_path / "one.csv")
    assert rows(whole, "count(*)") == [(whole.rows,)] == [(200_000,)]
    assert parts.sha256 == whole.sha256


def test_the_order_of_columns_in_the_schema_does_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", GOOD)
    turned = LINES.model_copy(update={"columns": dict(reversed(LINES.columns.items()))})
    assert take(file, schema=turned).sha256 == take(file).sha256


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("eve,b,2017-05-06,nan,0", "paid", "not a number"),
        ("eve,b,2017-05-06,0,-inf", "discount", "not a number"),
        ("eve,b,2017-05-06,,0", "paid", "empty"),
        ("eve,b,2017-05-06,twelve,0", "paid", "not a number"),
        ('eve,b,2017-05-06,"1,50",0', "paid", "not a number"),
        ("eve,b,2017-05-06,true,0", "paid", "not a number"),
        ("eve,b,2017-05-06,1e308,0", "paid", "out of bounds"),
        ("eve,b,2017-05-06,10000.01,0", "paid", "out of bounds"),
        ("eve,b,2017-05-06,0,-1000.01", "discount", "out of bounds"),
        ("eve,b,1969-12-31,1,0", "bought_on", "before 1970"),
        ("eve,b,2017-02-30,1,0", "bought_on", "not a date"),
        ("eve,b,06.05.2017,1,0", "bought_on", "not a date"),
        ("eve,b,infinity,1,0", "bought_on", "not a date"),
        ("eve,b,2017-05-06 noon,1,0", "bought_on", "not a date"),
        ("eve,b,,1,0", "bought_on", "empty"),
        ("eve, ,2017-05-06,1,0", "basket", "empty"),
    ],
)
def test_a_value_that_cannot_be_used_is_null_in_a_row_marked_bad(
    tmp_path: Path, line: str, column: str, reason: str
) -> None:
    taken = take(write(tmp_path / "a.csv", GOOD, line))
    assert (taken.rows, taken.people, taken.bad_rows) == (2, 2, 1)
    (bad,) = taken.bad_sample
    assert (bad.file, bad.row, bad.column, bad.reason) == (str(tmp_path / "a.csv"), 2, column, reason)
    assert rows(taken, f"customer, {column}, bad")[1] == ("eve", None, True)


def test_amounts_at_the_bounds_are_good(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", "a,b,1970-01-01,10000,-1000"))
    assert rows(taken, "paid, discount, bad") == [(1_000_000, -100_000, False)]


def test_rows_of_nobody_are_dropped_and_counted(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", GOOD, ",b,2017-05-06,1,0", '"  ",b,never,x,x'))
    assert (taken.rows, taken.nameless_rows, taken.bad_rows) == (1, 2, 0)


def test_the_sample_of_bad_rows_stops_at_twenty_and_the_count_does_not(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", *["eve,b,never,x,0"] * 30))
    assert taken.bad_rows == 30
    assert [(bad.row, bad.column) for bad in taken.bad_sample[:3]] == [(1, "bought_on"), (1, "paid"), (2, "bought_on")]
    assert len(taken.bad_sample) == 20
    assert (taken.first_day, taken.last_day) == ("", "")


@pytest.mark.parametrize(
    ("text", "hundredths"),
    [("1.005", 101), ("-1.005", -101), ("2.675", 268), ("0.285", 29), ("0.0049", 0), ("1e2", 10000)],
)
def test_money_rounds_half_away_from_zero_in_csv_and_as_a_float(tmp_path: Path, text: str, hundredths: int) -> None:
    csv = write(tmp_path / "a.csv", f"anna,b1,2017-05-06,{text},0")
    query = f"SELECT 'anna' AS customer, 'b1' AS basket, DATE '2017-05-06' AS bought_on, {text}::DOUBLE AS paid"
    floats = parquet(tmp_path / "a.parquet", f"{query}, 0 AS discount")
    assert rows(take(csv), "paid") == [(hundredths,)]
    assert take(floats).sha256 == take(csv).sha256


def test_a_difference_of_floats_is_exact(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "a.parquet",
        "SELECT i::VARCHAR AS who, 'b' AS basket, DATE '2017-05-06' AS day, (i + 7)::DOUBLE / 100 AS gross, "
        "0.07::DOUBLE AS rebate FROM range(3000) t(i)",
    )
    columns = {
        "customer": "who",
        "basket": "basket",
        "bought_on": "day",
        "paid": "gross - rebate",
        "discount": "rebate",
    }
    assert sorted(rows(take(file, columns=columns), "customer::INTEGER, paid, discount, bad")) == [
        (i, i, 7, False) for i in range(3000)
    ]


def test_a_float_id_is_the_whole_number_it_stands_for_and_nan_is_nobody(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "a.parquet",
        "SELECT unnest([17.0::DOUBLE, 'nan'::DOUBLE, NULL, 17.5::DOUBLE]) AS customer, 1 AS basket, "
        "TIMESTAMP '2017-05-06 23:59:59' AS bought_on, 1 AS paid, 0 AS discount",
    )
    taken = take(file)
    assert rows(taken, "customer, bought_on::VARCHAR") == [("17", "2017-05-06"), ("17.5", "2017-05-06")]
    assert taken.nameless_rows == 2


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_hostile_names_of_files_and_columns_are_names_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    names = ['cust"omer', "bas'ket", "ダ日付", "gross; DROP TABLE rows --", "row"]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    write(tmp_path / "a1.csv", "WRONG,w,2017-01-01,1,1", header=header)
    file = write(tmp_path / f"a[1]*'{{x}}.csv{'.gz' if suffix.endswith('gz') else ''}", GOOD, header=header)
    if suffix == "parquet":
        named = ", ".join(
            f"""{value} AS {'"' + name.replace('"', '""') + '"'}""" for value, name in zip(VALUES, names, strict=True)
        )
        file = parquet(tmp_path / "a[1]*'{x}.parquet", f"SELECT {named}")
    columns = dict(zip(("customer", "basket", "bought_on", "paid", "discount"), names, strict=True))
    assert rows(take(file, columns=columns), "customer, basket, paid, discount, bad") == [
        ("anna", "b1", 1250, 50, False)
    ]
    columns["paid"] = '"gross; DROP TABLE rows --" - "ROW"'
    assert rows(take(file, columns=columns), "paid") == [(1200,)]


@pytest.mark.parametrize(
    ("expression", "hundredths"),
    [
        ("gross - rebate", 900),
        ("GROSS -- the till's price\n - Rebate", 900),
        ("greatest(gross, rebate)", 1000),
        ("coalesce(nothing, 0) + gross", None),
        ("gross * 1.19", 1190),
        ("gross / 3", 333),
        ("CASE WHEN kind = 'R' THEN -CAST(gross AS DECIMAL(18,2)) ELSE 0 END", -1000),
        ("replace(comma, ',', '.')", 250),
        ("0", 0),
    ],
)
def test_an_expression_computes_with_the_numbers_in_a_csv_file(
    tmp_path: Path, expression: str, hundredths: int | None
) -> None:
    header = "customer,basket,bought_on,gross,rebate,kind,comma"
    file = write(tmp_path / "a.csv", 'anna,b,2017-05-06,10,1,R,"2,50"', header=header)
    columns = SAME | {"paid": expression, "discount": "rebate"}
    if hundredths is None:
        assert "'nothing'" in refusal(file, columns=columns)
    else:
        assert rows(take(file, columns=columns), "paid, bad") == [(hundredths, False)]


def test_an_expression_that_fails_on_a_row_makes_that_row_bad_only(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "anna,b,31.12.2017,1,0", "bob,b,2017-12-31,1,0", "eve,b,1.1.2017,x,0")
    columns = SAME | {"bought_on": "strptime(bought_on, '%d.%m.%Y')", "paid": "paid + 1"}
    taken = take(file, columns=columns)
    assert rows(taken, "customer, bought_on::VARCHAR, paid, bad") == [
        ("anna", "2017-12-31", 200, False),
        ("bob", None, 200, True),
        ("eve", "2017-01-01", None, True),
    ]
    assert {bad.reason for bad in taken.bad_sample} == {"not a date", "no value from its expression"}


@pytest.mark.parametrize(
    "expression",
    [
        "sum(paid)",
        "sum(paid) OVER ()",
        "(SELECT max(paid) FROM rows)",
        "paid * random()",
        "CASE WHEN now() > TIMESTAMP '2020-01-01' THEN paid END",
        "unnest([1, 2])",
        "paid, discount",
        "*",
        "paid) FROM range(3) t(paid",
        "paid); DROP TABLE rows; SELECT (1",
        "getvariable('x')",
        "list_transform([1], lambda x: x)[1]",
        "error(customer)",
    ],
)
def test_an_expression_may_read_one_row_and_nothing_else(tmp_path: Path, expression: str) -> None:
    assert "'paid' is mapped to" in refusal(write(tmp_path / "a.csv", GOOD), columns=SAME | {"paid": expression})


@pytest.mark.parametrize("mapped", ["CARD_N", "card no"])
def test_an_unknown_column_is_named_with_those_there_are(tmp_path: Path, mapped: str) -> None:
    file = write(tmp_path / "a.csv", GOOD, header="CARD_NO,basket,bought_on,paid,discount")
    said = refusal(file, columns=SAME | {"customer": mapped})
    assert f"'{mapped}'" in said
    assert "did you mean 'CARD_NO'? there is 'CARD_NO', 'basket'" in said


def test_a_mapping_must_fit_the_schema(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", GOOD)
    assert "'paid' of schema lines is not mapped" in refusal(file, columns={k: k for k in SAME if k != "paid"})
    said = refusal(file, columns={("payed" if k == "paid" else k): k for k in SAME})
    assert "'paid' of schema lines is not mapped (did you mean 'payed'?" in said
    assert "cannot be computed" in refusal(file, columns=SAME | {"paid": "paid + INTERVAL 1 DAY"})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"person": {"type": "id"}}, "no id column 'customer'"),
        ({"customer": MONEY}, "no id column 'customer'"),
        ({"customer": {"type": "id"}, "bad": {"type": "id"}}, "'bad'"),
    ],
)
def test_a_schema_must_say_whose_a_row_is(tmp_path: Path, columns: dict[str, object], said: str) -> None:
    schema = Schema.model_validate({"name": "odd", "columns": columns})
    assert said in refusal(write(tmp_path / "a.csv", GOOD), columns=dict.fromkeys(columns, "customer"), schema=schema)


def test_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", GOOD)
    (tmp_path / "sub").mkdir()
    assert "does not exist" in refusal(tmp_path / "b.csv")
    assert "does not exist" in refusal(tmp_path)
    assert "listed twice" in refusal(file, tmp_path / "sub" / ".." / "a.csv")
    assert ".parquet" in refusal(write(tmp_path / "a.xlsx", GOOD))
    assert "no row has a customer" in refusal(write(tmp_path / "empty.csv"))
    with pytest.raises(UsageError, match="names no files"):
        take_snapshot(Table((), SAME), LINES, tmp_path / "x")


def broken(name: str, text: bytes, said: Sequence[str]) -> object:
    return pytest.param(name, text, said, id=name)


FULL = f"{HEADER}\n{GOOD}\n".encode()
ZIPPED = gzip.compress(FULL + f"{GOOD}\n".encode() * 99, mtime=0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        broken("more-fields.csv", FULL + b"SECRET,b,2017-05-06,1,0,7\n", ["line 3", "6 fields"]),
        broken("fewer-fields.csv", FULL + b"SECRET,b\n" + FULL, ["line 3", "2 fields"]),
        broken(
            "open-quote.csv",
            FULL + b'"SECRET,b,2017-05-06,1,0\nx,b,2017-05-06,1,0\n',
            ["line 3", "a quote that is not closed"],
        ),
        broken("open-quote-at-end.csv", FULL + b'SECRET,b,2017-05-06,1,"0', ["line 3"]),
        broken("text-after-quote.csv", FULL + b'"SECRET"x,b,2017-05-06,1,0\n', ["line 3"]),
        broken("latin.csv", FULL + b"SECRET\xe9,b,2017-05-06,1,0\n", ["UTF-8"]),
        broken("mixed-ends.csv", FULL + b'"SECRET",b,2017-05-06,1,0\r\n', ["line 3", "another way than line 1"]),
        broken("no-bytes.csv", b"", ["empty"]),
        broken("two-of-a-name.csv", b"customer,Customer\nSECRET,b\n", ["two columns of one name"]),
        broken("cut-off.csv.gz", ZIPPED[: len(ZIPPED) // 2], ["cannot be read"]),
        broken("wrong-checksum.csv.gz", ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], ["cannot be read"]),
        broken("no-gzip.csv.gz", FULL, ["cannot be read"]),
        broken("no-parquet.parquet", FULL, ["cannot be read"]),
    ],
)
def test_a_file_that_is_not_whole_is_refused_without_a_value_and_leaves_the_last_snapshot(
    tmp_path: Path, name: str, text: bytes, said: Sequence[str]
) -> None:
    before = take(write(tmp_path / "good.csv", GOOD))
    (tmp_path / name).write_bytes(text)
    message = refusal(tmp_path / "good.csv", tmp_path / name)
    assert name in message
    assert all(part in message for part in said)
    assert "SECRET" not in message
    check_snapshot(before.path, before.sha256)
    assert [file.name for file in before.path.parent.iterdir()] == ["snapshot.parquet"]


def test_quotes_line_breaks_blank_lines_and_other_separators_keep_every_row(tmp_path: Path) -> None:
    text = '\ufeffcustomer;basket;bought_on;paid;discount;note\r\n"a;""b\r\nc";1;2017-05-06;1;0;x\r\n\r\n'
    text += "d;2;2017-05-06;2;0;"
    (tmp_path / "a.csv").write_bytes(text.encode())
    taken = take(tmp_path / "a.csv")
    assert rows(taken, "customer, paid") == [('a;"b\r\nc', 100), ("d", 200)]


def test_a_file_of_which_two_readers_count_different_rows_is_refused(tmp_path: Path) -> None:
    # In a file of one column an empty line may be a row or not; DuckDB says yes, Python's csv says no.
    schema = Schema.model_validate({"name": "names", "columns": {"customer": {"type": "id"}}})
    file = write(tmp_path / "a.csv", "anna", "", "bob", header="customer")
    assert "2 rows, of which 3 were read" in refusal(file, columns={"customer": "customer"}, schema=schema)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", "SELECT 'a' AS customer, 'b' AS CUSTOMEX")
    file.write_bytes(file.read_bytes().replace(b"CUSTOMEX", b"CUSTOMER"))
    schema = Schema.model_validate({"name": "names", "columns": {"customer": {"type": "id"}}})
    assert "a column comes twice" in refusal(file, columns={"customer": "customer"}, schema=schema)


def test_a_snapshot_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", GOOD))
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600


def test_a_snapshot_that_cannot_be_put_in_place_says_so(tmp_path: Path) -> None:
    (tmp_path / "out" / "snapshot.parquet").mkdir(parents=True)
    assert "cannot be written" in refusal(write(tmp_path / "a.csv", GOOD))
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_snapshot_with_one_bit_changed_or_gone_is_noticed(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "a.csv", GOOD))
    check_snapshot(taken.path, taken.sha256)
    changed = bytearray(taken.path.read_bytes())
    changed[40] ^= 1
    taken.path.write_bytes(changed)
    with pytest.raises(IntegrityError, match="has changed"):
        check_snapshot(taken.path, taken.sha256)
    taken.path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        check_snapshot(taken.path, taken.sha256)
