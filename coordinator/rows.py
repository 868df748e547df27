"""A table at hand for a rehearsal: a file of numbers, read whole. No party's data come this way.

    .csv, .csv.gz   comma, semicolon or tab; a first line that is all numbers is no header, and columns are c1, c2, …
    .parquet        numeric columns
    .npy            two dimensions, one row a person; columns are c1, c2, …

Errors name column and row, the first row of data being row 1, and never a value.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from protocols.errors import UsageError

if TYPE_CHECKING:
    import duckdb

Reals = NDArray[np.float64]

_KINDS = "a table is a .csv, .csv.gz, .parquet or .npy file"
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN")
_CHOOSE = "--columns names the columns to use, with commas between them"


@dataclass(frozen=True)
class Rows:
    """values (n, d), all finite; columns (d,) their names."""

    columns: tuple[str, ...]
    values: Reals


def read(file: Path, columns: Sequence[str] | None = None) -> Rows:
    """The rows of a file, of these columns or of all. Raises UsageError."""
    with _readable(file) as kind:
        names, values = {"csv": _csv, "parquet": _parquet, "npy": _npy}[kind](file, columns)
    if not values.size:
        raise UsageError(f"file {file} has no row, or no column", _KINDS)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = (int(at) for at in wrong[0])
        raise UsageError(f"{file}: column {names[column]!r}, row {row + 1}: not a finite number", _CHOOSE)
    return Rows(names, values)


def columns_of(file: Path) -> tuple[str, ...]:
    """What a file's columns are called. Raises UsageError."""
    with _readable(file) as kind:
        own = {"csv": _csv_columns, "parquet": _parquet_columns, "npy": _npy_columns}[kind](file)
    _chosen(file, own, None)
    return tuple(own)


def texts(file: Path, column: str) -> list[str]:
    """What stands in one column, of each row; numbers of an array as they are written. Raises UsageError."""
    with _readable(file) as kind:
        return {"csv": _csv_texts, "parquet": _parquet_texts, "npy": _npy_texts}[kind](file, column)


@contextmanager
def _readable(file: Path) -> Iterator[str]:
    """Of which kind a file is, while it is read."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}", _KINDS)
    kind = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in ("csv", "parquet", "npy") or (kind != "csv" and file.name.lower().endswith(".gz")):
        raise UsageError(f"{file} is of no kind that can be read", _KINDS)
    try:
        yield kind
    except OSError as exc:
        raise UsageError(f"file {file} cannot be read: {(exc.strerror or 'it is no gzip file').lower()}") from None


def _chosen(file: Path, own: Sequence[str], columns: Sequence[str] | None) -> list[int]:
    """Where the columns asked for are among the file's own."""
    if len(set(own)) < len(own):
        raise UsageError(f"file {file} has two columns of one name", "give each column a name of its own")
    if columns is None:
        return list(range(len(own)))
    if len(set(columns)) < len(columns):
        raise UsageError("a column is asked for twice", _CHOOSE)
    for name in columns:
        if name not in own:
            raise lacks(file, name, own, columns)
    return [own.index(name) for name in columns]


def lacks(file: Path, name: str, own: Sequence[str], wanted: Sequence[str]) -> UsageError:
    """That a file has no column `name`; which it has is told only where it has another of those `wanted`.

    Why: without a header line the "columns" of a CSV file are somebody's values.
    """
    what = f"file {file} has no column {name!r}"
    if file.name.lower().endswith((".csv", ".csv.gz")) and not any(one in own for one in wanted):
        return UsageError(what, "line 1 of a csv file names its columns: is it there, and is it the right file?")
    there = ", ".join(repr(known) for known in own[:30]) + (", …" if len(own) > 30 else "")
    return UsageError(what, f"there is {there}")


def _numbered(width: int) -> list[str]:
    return [f"c{j + 1}" for j in range(width)]


# -- csv ---------------------------------------------------------------------------------------------------------------


def _csv(file: Path, columns: Sequence[str] | None) -> tuple[tuple[str, ...], Reals]:
    found, number = array("d"), 0
    with _records(file) as (own, records):
        chosen = _chosen(file, own, columns)
        for number, (line, row) in enumerate(records, start=1):
            for at in chosen:
                value = _number(row[at])
                if value is None:
                    why = "not a number" if row[at].strip() else "empty"
                    raise _wrong(file, f"column {own[at]!r}, row {number}", line, why)
                found.append(value)
    values = np.frombuffer(found, dtype=np.float64).reshape(number, len(chosen)) if found else np.empty((0, 0))
    return tuple(own[at] for at in chosen), values


def _csv_columns(file: Path) -> list[str]:
    with _records(file) as (own, _):
        return own


def _csv_texts(file: Path, column: str) -> list[str]:
    with _records(file) as (own, records):
        (at,) = _chosen(file, own, [column])
        return [row[at].strip() for _, row in records]


@contextmanager
def _records(file: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """(names of the columns, each row of data with the number of its line)."""
    with _text(file) as (lines, delimiter):
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number = 0

        def each() -> Iterator[tuple[int, list[str]]]:
            nonlocal number
            for row in filter(None, _and_then(first, reader) if bare else reader):
                number += 1
                if len(row) != len(own):
                    raise _wrong(file, f"row {number}", reader.line_num, f"{len(row)} fields, not {len(own)}")
                yield reader.line_num, row

        try:
            first = next(reader, [])
            bare = bool(first) and all(_number(text) is not None for text in first)
            own = _numbered(len(first)) if bare else [text.strip() for text in first]
            yield own, each()
        except (csv.Error, UnicodeDecodeError):
            why = "it cannot be read as CSV in UTF-8 from about here"
            raise _wrong(file, f"row {number + 1}", reader.line_num, why) from None
        except (EOFError, zlib.error):
            raise UsageError(f"file {file} cannot be read: it is no gzip file, or not a whole one") from None


def _wrong(file: Path, where: str, line: int, why: str) -> UsageError:
    return UsageError(f"{file}: {where} (line {line}): {why}", _CHOOSE)


def _and_then(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _number(text: str) -> float | None:
    """A field's number, None where it is none. Python's `1_000` is none; nan and inf are for `read` to refuse."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


@contextmanager
def _text(file: Path) -> Iterator[tuple[TextIO, str]]:
    """The file's text from its start, and the separator of its first line."""
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
        try:
            first = lines.readline()
        except (UnicodeDecodeError, EOFError, zlib.error):
            raise UsageError(f"file {file} cannot be read: it is no text in UTF-8, or no gzip file", _KINDS) from None
        lines.seek(0)
        yield lines, max(",;\t", key=first.count)


# -- parquet and npy ---------------------------------------------------------------------------------------------------


def _parquet(file: Path, columns: Sequence[str] | None) -> tuple[tuple[str, ...], Reals]:
    with _relation(file) as table:
        chosen = _chosen(file, table.columns, columns)
        names = [table.columns[at] for at in chosen]
        for at, name in zip(chosen, names, strict=True):
            kind = str(table.types[at])
            if not _NUMBERS.fullmatch(kind):
                raise UsageError(f"{file}: column {name!r}, row 1: {kind.lower()}, not a number", _CHOOSE)
        picked = ", ".join(f"CAST({_quoted(name)} AS DOUBLE)" for name in names)
        found = table.project(picked).fetchnumpy()
    parts = [np.ma.filled(np.ma.asarray(part, dtype=np.float64), math.nan) for part in found.values()]
    return tuple(names), np.stack(parts, axis=1)


def _parquet_columns(file: Path) -> list[str]:
    with _relation(file) as table:
        return list(table.columns)


def _parquet_texts(file: Path, column: str) -> list[str]:
    with _relation(file) as table:
        _chosen(file, table.columns, [column])
        rows = table.project(f"CAST({_quoted(column)} AS VARCHAR)").fetchall()
    return ["" if text is None else text for (text,) in rows]


@contextmanager
def _relation(file: Path) -> Iterator[duckdb.DuckDBPyRelation]:
    import duckdb  # here and not above: other commands need not wait for it

    exactly = re.sub(r"([*?\[])", r"[\1]", str(file))  # DuckDB takes these for a pattern
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        try:
            yield con.read_parquet(exactly, hive_partitioning=False)
        except duckdb.Error:  # its text could hold a value
            raise UsageError(f"file {file} cannot be read as Parquet", "write the file again, whole") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _npy(file: Path, columns: Sequence[str] | None) -> tuple[tuple[str, ...], Reals]:
    try:
        with file.open("rb") as raw:
            values: NDArray[Any] = np.lib.format.read_array(raw)  # objects it refuses: reading them would run code
    except (ValueError, EOFError, MemoryError):
        raise UsageError(f"file {file} is no array of numbers", "write it with numpy.save, in two dimensions") from None
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise UsageError(f"file {file} is no array of real numbers in two dimensions", "one row a person")
    names = _numbered(values.shape[1])
    chosen = _chosen(file, names, columns)
    return tuple(names[at] for at in chosen), np.asarray(values[:, chosen], dtype=np.float64)


def _npy_columns(file: Path) -> list[str]:
    return list(_npy(file, None)[0])


def _npy_texts(file: Path, column: str) -> list[str]:
    return [f"{value:g}" for value in _npy(file, [column])[1][:, 0].tolist()]
