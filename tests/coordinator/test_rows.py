"""A rehearsal's table: every kind of file gives the same rows; what cannot be used is named by column and row."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import numpy as np
import pytest

from coordinator import rows
from protocols.errors import UsageError

VALUES = np.array([[1.5, -2.0], [0.25, 7.0], [3.0, 4.0]])
CSV = "left,right\n1.5,-2\n0.25,7\n3,4\n"


def parquet(file: Path, query: str) -> Path:
    with duckdb.connect() as con:
        con.execute(f"COPY ({query}) TO '{file}' (FORMAT parquet)")
    return file


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text("\ufeff" + CSV.replace(",", ";").replace("\n", "\r\n"))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "[d]*.csv").write_text(CSV + "\n")
    query = 'SELECT * FROM (VALUES (1.5::DOUBLE, -2::BIGINT), (0.25, 7), (3, 4)) AS t("left", "right")'
    for name in ("e.parquet", "[e]?.parquet"):
        parquet(tmp_path / name, query)
    for name in ("a.csv", "b.csv", "c.csv.gz", "[d]*.csv", "e.parquet", "[e]?.parquet"):
        found = rows.read(tmp_path / name)
        assert found.columns == ("left", "right")
        np.testing.assert_array_equal(found.values, VALUES)
    np.save(tmp_path / "f.npy", VALUES)
    (tmp_path / "g.csv").write_text(CSV.partition("\n")[2])
    for name in ("f.npy", "g.csv"):
        found = rows.read(tmp_path / name)
        assert found.columns == ("c1", "c2")
        np.testing.assert_array_equal(found.values, VALUES)


def test_columns_are_taken_by_name_and_in_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("left,city,right\n1.5,Ulm,-2\n0.25,,7\n3,Bonn,4\n")
    found = rows.read(tmp_path / "a.csv", ["right", "left"])
    assert found.columns == ("right", "left")
    np.testing.assert_array_equal(found.values, VALUES[:, ::-1])
    query = 'SELECT 1.5 AS "left", \'Ulm\' AS city, true AS "right"'
    found = rows.read(parquet(tmp_path / "b.parquet", query), ["right", "left"])
    np.testing.assert_array_equal(found.values, [[1.0, 1.5]])


SECRET = "98765.4321"
BAD_CSV = {
    "text": (f"x,city\n1,2\n{SECRET},Gotham\n", "column 'city', row 2 (line 3): not a number"),
    "empty field": (f"x,y\n{SECRET},\n", "column 'y', row 1 (line 2): empty"),
    "nan": (f"x,y\n{SECRET},2\n1,nan\n", "column 'y', row 2: not a finite number"),
    "infinite": (f"x,y\n{SECRET},-inf\n", "column 'y', row 1: not a finite number"),
    "underscore": (f"x,y\n{SECRET},1_0\n", "column 'y', row 1 (line 2): not a number"),
    "short row": (f"x,y\n{SECRET}\n", "row 1 (line 2): 1 fields, not 2"),
    "open quote": (f'x,y\n1,2\n{SECRET},"2\n', "row 2 (line 3): it cannot be read as CSV"),
    "no row": ("x,y\n", "has no row"),
    "nothing": ("", "has no row"),
    "twice": (f"x,x\n{SECRET},1\n", "two columns of one name"),
}


@pytest.mark.parametrize(("text", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_what_cannot_be_used_is_named_by_column_and_row_and_never_by_value(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UsageError) as refused:
        rows.read(tmp_path / "a.csv")
    said = refused.value.diagnostics()
    assert message in said
    assert SECRET not in said
    assert "Gotham" not in said


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", VALUES[0])
    np.save(tmp_path / "text.npy", np.array([["Gotham"]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object))
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan]]))
    np.save(tmp_path / "empty.npy", np.empty((0, 2)))
    np.save(tmp_path / "narrow.npy", np.empty((50, 0)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:20])
    (tmp_path / "lies.npy").write_bytes((tmp_path / "nan.npy").read_bytes().replace(b"(2, 1)", b"(9999999999999, 1)"))
    np.savez(tmp_path / "several", VALUES)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    (tmp_path / "no.parquet").write_text("Gotham")
    (tmp_path / "no.csv.gz").write_text("Gotham")
    (tmp_path / "latin.csv").write_bytes(b"x\n1\n\xe9\n")
    (tmp_path / "table.xlsx").write_text("Gotham")
    (tmp_path / "folder.csv").mkdir()
    parquet(tmp_path / "city.parquet", "SELECT 1.5 AS x, 'Gotham' AS city")
    parquet(tmp_path / "day.parquet", "SELECT DATE '2026-01-31' AS bought")
    parquet(tmp_path / "list.parquet", "SELECT [1.5, 2.5] AS pair")
    parquet(tmp_path / "while.parquet", "SELECT INTERVAL 3 DAY AS waited")
    parquet(tmp_path / "null.parquet", "SELECT * FROM (VALUES (1.5), (NULL)) AS t(x)")
    for name, message in {
        "flat.npy": "two dimensions",
        "text.npy": "no array of real numbers",
        "objects.npy": "no array of numbers",
        "nan.npy": "column 'c1', row 2: not a finite number",
        "empty.npy": "has no row",
        "narrow.npy": "or no column",
        "cut.npy": "no array of numbers",
        "lies.npy": "no array of numbers",
        "several.npy": "no array of numbers",
        "no.parquet": "cannot be read as Parquet",
        "no.csv.gz": "no gzip file",
        "latin.csv": "no text in UTF-8",
        "table.xlsx": "of no kind that can be read",
        "folder.csv": "there is no file",
        "missing.csv": "there is no file",
        "city.parquet": "column 'city', row 1: varchar, not a number",
        "day.parquet": "column 'bought', row 1: date, not a number",
        "list.parquet": "column 'pair', row 1: decimal(2,1)[], not a number",
        "while.parquet": "column 'waited', row 1: interval, not a number",
        "null.parquet": "column 'x', row 2: not a finite number",
    }.items():
        with pytest.raises(UsageError) as refused:
            rows.read(tmp_path / name)
        assert message in refused.value.message, name
        assert "Gotham" not in refused.value.diagnostics()


def test_columns_that_are_not_there_or_come_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(UsageError, match="no column 'middle'"):
        rows.read(tmp_path / "a.csv", ["middle"])
    with pytest.raises(UsageError, match="asked for twice"):
        rows.read(tmp_path / "a.csv", ["left", "left"])


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_file_without_a_header_is_refused_without_showing_its_first_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    text = b"canary-value,17\n18,19\n"
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with pytest.raises(UsageError, match="no column 'a'") as caught:
        rows.read(file, ["a", "b"])
    assert "canary" not in caught.value.diagnostics()
    with pytest.raises(UsageError, match="no column 'a'") as caught:
        rows.read(file, ["a", "17"])
    assert "'17'" in caught.value.diagnostics()
