"""The lines of a platform's file, and the files: readable by their owner only, there whole or not at all.

Lines are in the order of their cells, which tells nothing of a ranking, and no two are the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from protocols.errors import UsageError

from ..files import literal, quoted
from .profile import Column, Format
from .spelling import IDS, Field, cell, hashed, one_line, then
from .tables import at, function

_BOM = b"\xef\xbb\xbf"
_BATCH = 65536


@dataclass(frozen=True)
class Part:
    """One file, still beside its place: how many people's lines, and SHA-256 of its bytes."""

    path: Path
    rows: int
    sha256: str


def lines(con: duckdb.DuckDBPyConnection, format_: Format, file: Path) -> None:
    """Make `lines` (person, a text for each column with a field) of those of `chosen` without a fate.

    A person has the rows of all its customers. Of fields that go together all are there or none. A line by which nobody
    could be found is none. Raises UsageError for a customer of the list whose own id has a line break, where the file
    holds such ids.
    """
    if "customer" in format_.fields:
        function(con, "one_line", one_line, "BOOLEAN")
        those = "members JOIN chosen USING (row) WHERE fate IS NULL"
        bad = con.execute(f"SELECT min(row) FROM {those} AND NOT one_line(members.customer)").fetchall()[0][0]
        if bad is not None:
            raise UsageError(f"{at(file, bad)}, column customer: not one line of text", "mend it in the list")
    for number, column in enumerate(format_.columns):
        if column.field is not None:
            function(con, f"cell_{number}", _turn(column))
    cells = {number: _cell(format_, number) for number, column in enumerate(format_.columns) if column.field}
    texts = ", ".join(f"{value} AS c{number}" for number, value in cells.items())
    own = "SELECT members.person, members.customer FROM members JOIN chosen USING (row) WHERE fate IS NULL"
    whose = f"FROM ({own})" + (" JOIN known USING (customer)" if needs_people(format_) else "")
    found = " OR ".join(f"c{number} IS NOT NULL" for number in _finding(format_))
    con.execute(f"CREATE TEMP TABLE lines AS SELECT DISTINCT * FROM (SELECT person, {texts} {whose}) WHERE {found}")


def needs_people(format_: Format) -> bool:
    """Whether the file holds more than the list does: then the party's own table is needed."""
    return any(field != "customer" for field in format_.fields)


def write(con: duckdb.DuckDBPyConnection, format_: Format, folder: Path) -> list[Part]:
    """Write `lines` into files below `folder`, as many as the platform's limits ask for. Raises UsageError."""
    chosen = [f"c{number}" for number, column in enumerate(format_.columns) if column.field is not None]
    query = f"SELECT DISTINCT {', '.join(chosen)} FROM lines ORDER BY ALL NULLS FIRST"
    if format_.profile.file == "parquet":
        return [_parquet(con, format_, query, folder / "1")]
    return list(_csv(format_, _fetched(con, query), folder))


def place(parts: Sequence[tuple[Path, Path]]) -> None:
    """Move each file to its place, in this order; when one cannot be moved, none is there. Raises UsageError.

    Places must be free. The last one is the receipt: a file without one was not finished.
    """
    done: list[Path] = []
    try:
        for source, target in parts:
            with source.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(source, target)
            done.append(target)
        folder = os.open(parts[0][1].parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as exc:
        for target in done:
            with suppress(OSError):
                target.unlink()
        if isinstance(exc, OSError):
            raise UsageError(f"cannot write beside {parts[0][1]}: {exc.strerror}", "name another --out") from None
        raise


def _turn(column: Column) -> Callable[[str], str | None]:
    turn = then(column.spelling)

    def one(text: str) -> str | None:
        spelled = turn(text)
        return hashed(spelled) if spelled is not None and column.hashed else spelled

    return one


def _cell(format_: Format, number: int) -> str:
    """SQL for one cell; null where a field that it goes with is."""
    field = format_.columns[number].field
    value = f"cell_{number}({field})"
    for group in format_.profile.together:
        if field in group:
            whole = " AND ".join(f"{one} IS NOT NULL" for one in group)
            value = f"CASE WHEN {whole} THEN {value} END"
    return value


def _finding(format_: Format) -> list[int]:
    """The columns of which one is enough to find a person by."""
    enough: set[Field] = {"customer", *IDS} | {one for group in format_.profile.together for one in group}
    return [number for number, column in enumerate(format_.columns) if column.field in enough]


def _fetched(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[str | None, ...]]:
    found = con.execute(query)
    while rows := found.fetchmany(_BATCH):
        yield from rows


def _csv(format_: Format, rows: Iterator[tuple[str | None, ...]], folder: Path) -> Iterator[Part]:
    """Files with header and lines before, cut where a limit of lines or bytes would be passed."""
    limits, bare = format_.profile.limits, [one.hashed or one.field is None for one in format_.columns]
    head = _encoded([one.header for one in format_.columns]) + b"".join(_encoded(line) for line in format_.before)
    head = (_BOM if format_.profile.byte_order_mark else b"") + head
    most = (limits.rows or 1 << 62) - 1 - len(format_.before)
    part: _Open | None = None
    number = 0
    for row in rows:
        texts = iter(row)
        filled = [one.text or "" if one.field is None else next(texts) or "" for one in format_.columns]
        line = _encoded([text if plain else cell(text) for text, plain in zip(filled, bare, strict=True)])
        if part is None or part.rows >= most or part.size + len(line) > (limits.bytes or 1 << 62):
            if part is not None:
                yield part.close()
            number += 1
            part = _Open(folder / str(number), head)
        part.add(line)
    if part is not None:
        yield part.close()


class _Open:
    """A file that is being written: its owner's alone from the first byte on."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._path, self._hash, self.rows, self.size = path, hashlib.sha256(), -1, 0
        self.add(head)

    def add(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.rows, self.size = self.rows + 1, self.size + len(data)

    def close(self) -> Part:
        self._file.close()
        return Part(self._path, self.rows, self._hash.hexdigest())


def _encoded(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _parquet(con: duckdb.DuckDBPyConnection, format_: Format, query: str, path: Path) -> Part:
    names = [quoted(one.header) for one in format_.columns]
    named = ", ".join(f"c{number} AS {name}" for number, name in enumerate(names))
    rows = con.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    con.execute(f"COPY (SELECT {named} FROM ({query})) TO {literal(str(path))} (FORMAT parquet)")
    path.chmod(0o600)
    with path.open("rb") as file:
        return Part(path, rows, hashlib.file_digest(file, "sha256").hexdigest())
