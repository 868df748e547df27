"""A party's own files, as DuckDB is to read them: whole, or refused. What their values mean is for `records.py`."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import duckdb

from protocols.errors import UsageError

_BLANKS = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"
_KINDS = (".csv", ".csv.gz", ".parquet")
_FILES = "set table.files in node.toml"
_ONCE = "give each column a name of its own and write the file again"


@dataclass(frozen=True)
class Source:
    """One file as DuckDB reads it: a FROM clause, its own columns, the rows counted by other means (None: not)."""

    file: Path
    clause: str
    own: tuple[str, ...]
    rows: int | None


def check_files(files: Sequence[Path]) -> None:
    """What can be refused without reading: no file, one that is not there or of no known kind, one named twice."""
    if not files:
        raise UsageError("the table names no files", _FILES)
    seen: set[Path] = set()
    for file in files:
        if not file.is_file():
            raise UsageError(f"file {file} does not exist", _FILES)
        if not file.name.lower().endswith(_KINDS):
            raise UsageError(f"file {file} is of no known kind", "files end in " + ", ".join(_KINDS))
        if file.resolve() in seen:
            raise UsageError(f"file {file} is listed twice, so its rows would count twice", _FILES)
        seen.add(file.resolve())


def source_of(con: duckdb.DuckDBPyConnection, file: Path) -> Source:
    """How to read the file. Raises UsageError when it cannot be read whole."""
    return _parquet(con, file) if is_parquet(file) else _csv(file)


def is_parquet(file: Path) -> bool:
    return file.name.lower().endswith(".parquet")


def lines_of(file: Path, rows: Collection[int]) -> dict[int, int]:
    """Data row (from 1) → the line of a CSV file on which it begins, its header being line 1; empty for Parquet.

    For a file that `source_of` has read whole; read again up to the last of `rows`.
    """
    found: dict[int, int] = {}
    if not rows or is_parquet(file):
        return found
    with _text(file) as (lines, delimiter):
        reader, begins, row = csv.reader(lines, delimiter=delimiter), 1, -1
        for fields in reader:
            row += bool(fields)  # an empty line is no row; the header is row 0
            if fields and row in rows:
                found[row] = begins
                if len(found) == len(rows):
                    break
            begins = reader.line_num + 1
    return found


@contextmanager
def _text(file: Path) -> Iterator[tuple[TextIO, str]]:
    """The file's text from its start, and the separator of its header."""
    with (gzip.open if _zipped(file) else open)(file, "rb") as raw:
        lines = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        header = lines.readline()
        delimiter = max(",;\t|", key=lambda char: len(next(csv.reader([header], delimiter=char), [])))
        lines.seek(0)
        yield lines, delimiter


def _zipped(file: Path) -> bool:
    return file.name.lower().endswith(".gz")


def _csv(file: Path) -> Source:
    """The file's header and number of rows. Raises UsageError for a line that a strict reader would not accept."""
    reader: Any = None
    try:
        # Why Python reads it too: DuckDB does not look at the checksum of a gzip file.
        with _text(file) as (lines, delimiter):
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            own = tuple(name or f"column{i}" for i, name in enumerate(next(reader, [])))
            rows = _count(reader, len(own))
            mixed = isinstance(lines.newlines, tuple)  # perhaps inside quotes only
    except (csv.Error, UnicodeDecodeError) as exc:
        line, why = _fault(file, exc, reader.line_num if reader else 1)
        hint = "a csv file is UTF-8, has as many fields in each line, and doubles a quote inside quotes"
        raise UsageError(f"file {file}, line {line}: {why}", hint) from None
    except (OSError, EOFError, zlib.error) as exc:
        # Why not the text of the error: of what is no gzip file it quotes the first bytes.
        why = getattr(exc, "strerror", None) or "it is no gzip file, or not a whole one"
        raise UsageError(f"file {file} cannot be read: {why.lower()}", "write the file again, whole") from None
    if not own:
        raise UsageError(f"file {file} is empty: it lacks a header line", "write the names of its columns on line 1")
    if len({name.casefold() for name in own}) < len(own):
        raise UsageError(f"file {file} has two columns of one name (upper and lower case are one)", _ONCE)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in own)
    strict = not (mixed and _ends_differ(file))
    # Why not parallel=false: DuckDB 2.0 then drops what follows a quote that does not close, without a word.
    clause = (
        f"read_csv({literal(exactly(file))}, auto_detect=false, header=true, strict_mode={strict}, null_padding=false, "
        f"ignore_errors=false, hive_partitioning=false, delim={literal(delimiter)}, quote='\"', escape='\"', "
        f"compression='{'gzip' if _zipped(file) else 'none'}', columns={{{columns}}})"
    )
    return Source(file, clause, own, rows)


def _fault(file: Path, exc: csv.Error | UnicodeDecodeError, line: int) -> tuple[int, str]:
    """The line and the words for what a strict reader stumbled over at `line`."""
    if isinstance(exc, UnicodeDecodeError):
        return line, "not UTF-8 from about here"
    text = str(exc)
    if "end of data" in text or "field limit" in text:
        return _row_of_fault(file), "a quote that is not closed"
    if "expected after" in text:
        begins = _row_of_fault(file)
        where = f"; the row begins on line {begins}: is a quote there not closed?" if begins < line else ""
        return line, f"text after the quote that closes a value{where}"
    return line, text


def _row_of_fault(file: Path) -> int:
    """The line on which the row begins that a strict reader cannot read."""
    begins = 1
    with _text(file) as (lines, delimiter), suppress(csv.Error):
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        for _ in reader:
            begins = reader.line_num + 1
    return begins


def _ends_differ(file: Path) -> bool:
    """Whether lines end in two ways, outside quotes. Raises UsageError where such a file has quotes at all.

    Why: DuckDB reads it only when it is not strict, and then makes its own sense of quotes. Without any there is
    nothing to make sense of: a separator separates, and Python has counted the fields of every line.
    """
    with _text(file) as (lines, delimiter):
        ends = _Ends(lines)
        reader, first, odd = csv.reader(ends, delimiter=delimiter), "", 0
        for _ in reader:
            first = first or ends.last
            if not odd and ends.last not in ("", first):
                odd = reader.line_num
    if odd and ends.quotes:
        what = (
            f"file {file}, line {odd}: it ends in another way than line 1, which cannot be read in a file with quotes"
        )
        raise UsageError(what, rf"write the file again with one kind of line end, as by: sed -i 's/\r$//' {file.name}")
    return bool(odd)


class _Ends:
    """Lines as they come; how the last one ended, and whether any had a quote."""

    def __init__(self, lines: TextIO) -> None:
        self._lines, self.last, self.quotes = lines, "", False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last = line[len(line.rstrip("\r\n")) :]
            self.quotes = self.quotes or '"' in line
            yield line


def _count(reader: Iterator[list[str]], width: int) -> int:
    rows = 0
    for row in filter(None, reader):  # an empty line is no row
        rows += 1
        if len(row) != width:
            raise csv.Error(f"{len(row)} fields where the header has {width}")
    return rows


def _parquet(con: duckdb.DuckDBPyConnection, file: Path) -> Source:
    clause = f"read_parquet({literal(exactly(file))}, hive_partitioning=false)"
    try:
        own = [str(row[0]) for row in con.execute(f"DESCRIBE SELECT * FROM {clause}").fetchall()]
        written = con.execute(f"SELECT name FROM parquet_schema({literal(exactly(file))})").fetchall()
    except duckdb.Error as exc:
        raise unreadable(file, exc) from None
    # Why: of two columns of one name DuckDB renames the second; nobody should map to a name that is not in the file.
    if renamed := sorted(set(own) - {str(row[0]) for row in written}):
        raise UsageError(f"file {file}: a column comes twice, the second would be read as {renamed[0]!r}", _ONCE)
    return Source(file, clause, tuple(own), None)


def unreadable(file: Path, exc: duckdb.Error) -> UsageError:
    """DuckDB's error about a file, with the number of its line."""
    # Why not the text of the error: it quotes the line, and with it a customer.
    line = re.search(r"CSV Error on Line: ([0-9]+)", str(exc))
    where = f", line {line[1]}," if line else ""
    return UsageError(f"file {file}{where} cannot be read", "write the file again, whole and in UTF-8")


def text_of(con: duckdb.DuckDBPyConnection, value: str, clause: str, *, whole: bool) -> str:
    """SQL for the text of a value of each row, trimmed, null where there is none. Raises duckdb.Error.

    whole   it names somebody: a whole number that a file stores as a float is that number
    """
    kind = con.execute(f"DESCRIBE SELECT {value} AS v FROM {clause}").fetchall()[0][1]
    if whole and kind in ("FLOAT", "DOUBLE"):
        # Why: a whole-number id with gaps is often stored as a float; 17.0 and 17 are one customer, NaN is nobody.
        number = f"isfinite({value}) AND {value} = trunc({value}) AND abs({value}) < 9007199254740992"
        value = f"CASE WHEN {number} THEN {value}::BIGINT::VARCHAR WHEN isfinite({value}) THEN {value}::VARCHAR END"
    return f"nullif(trim(CAST({value} AS VARCHAR), {_BLANKS}), '')"


def quoted(name: str, mark: str = '"') -> str:
    """A name in SQL."""
    return mark + name.replace(mark, mark * 2) + mark


def literal(text: str) -> str:
    """A text in SQL."""
    return quoted(text, "'")


def exactly(file: Path) -> str:
    """The file's path for DuckDB, which takes [ * ? in a path for a pattern, and would read another file."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The column that was perhaps meant."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), list(folded), n=1)
    return folded[near[0]] if near else None


def there_is(word: str, known: Sequence[str]) -> str:
    """The columns there are, the nearest to `word` first."""
    near = nearest(word, known)
    guess = f"did you mean {near!r}? " if near else ""
    return f"{guess}there is " + ", ".join(repr(name) for name in known[:30]) + (", …" if len(known) > 30 else "")
