"""A CSV file is read whole however its lines end; where it cannot be, the line to look at is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from party_node.files import source_of
from protocols.errors import UsageError

HEADER = "customer,paid"
FULL = f"{HEADER}\nanna,1\n".encode()


def read(file: Path) -> list[tuple[object, ...]]:
    """What DuckDB makes of the file, as many rows as were counted by other means."""
    with duckdb.connect() as con:
        source = source_of(con, file)
        found = con.execute(f"SELECT * FROM {source.clause}").fetchall()
    assert len(found) == source.rows
    return found


def refusal(file: Path) -> str:
    with duckdb.connect() as con, pytest.raises(UsageError) as caught:
        source_of(con, file)
    return caught.value.diagnostics()


MIXED = {
    "one CRLF among LF": ("\n", "\r\n", "\n"),
    "one LF among CRLF": ("\r\n", "\n", "\r\n"),
    "a CRLF header": ("\r\n", "\n", "\n"),
    "a last line that ends otherwise": ("\n", "\n", "\r\n"),
    "an old Mac's": ("\n", "\r", "\n"),
    "an empty line that ends otherwise": ("\n", "\n\r\n", "\n"),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_whose_lines_end_in_two_ways_is_read_whole(tmp_path: Path, name: str, zipped: bool) -> None:
    lines = (HEADER, "anna,1", "bob,2")
    text = "".join(line + end for line, end in zip(lines, MIXED[name], strict=True)).encode()
    file = tmp_path / ("a.csv.gz" if zipped else "a.csv")
    file.write_bytes(gzip.compress(text) if zipped else text)
    assert read(file) == [("anna", "1"), ("bob", "2")]


def test_a_quote_that_swallows_rows_is_named_with_the_line_on_which_its_row_begins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(FULL + b'"eve,1\n' + 4 * FULL + b'x,"1"\n')
    message = refusal(tmp_path / "a.csv")
    assert "line 12: text after the quote that closes a value; the row begins on line 3" in message
    (tmp_path / "a.csv").write_bytes(FULL + b'"eve,1\n' + 9_999 * FULL)
    assert "line 3: a quote that is not closed" in refusal(tmp_path / "a.csv")


def test_lines_that_end_in_two_ways_are_refused_where_there_are_quotes_with_the_line_and_the_cure(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_bytes(FULL + b'eve,"1"\nbob,1\r\n')
    said = refusal(tmp_path / "a.csv")
    assert "a.csv, line 4: it ends in another way than line 1" in said
    assert said.endswith("hint: write the file again with one kind of line end, as by: sed -i 's/\\r$//' a.csv")


def test_line_ends_inside_quotes_are_part_of_a_value_and_may_be_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(FULL + b'"eve\r\nof two lines",2\n')
    assert read(tmp_path / "a.csv") == [("anna", "1"), ("eve\r\nof two lines", "2")]


def test_many_lines_that_end_in_two_ways_are_all_read_in_their_order(tmp_path: Path) -> None:
    """More than one of DuckDB's buffers of 32 MB, so that line ends lie across two of them."""
    filling = "y" * 1000
    lines = [f"c{i},{i}{filling}" for i in range(40_000)]
    ends = ("\n", "\r\n", "\r\n")
    text = HEADER + "\n" + "".join(line + ends[i % 3] for i, line in enumerate(lines))
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert [",".join(map(str, row)) for row in read(tmp_path / "a.csv")] == lines
