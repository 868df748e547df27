"""What in a party's rows cannot be used: in which column, how often, and where first. Never what stands there.

Read from the table `rows` that `records.py` fills: `file` (an index into the files), `row` (data rows of the file from
1), for column i a value v<i> or a reason r<i> for its lack. Column 0 is the person; a row without one is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from .files import lines_of, literal

SAMPLE = 20
# Of a value that a person is known by: not a fault of its row, which counts everywhere else.
UNSPELLED = {
    "email": "not an e-mail address",
    "phone": "not a telephone number",
    "id": "blank",
    "maid": "not an advertising id",
    "sha256": "not 64 hex digits",
}
Found = list[tuple[int, int, str]]  # file, row, reason


@dataclass(frozen=True)
class BadRow:
    """A value that cannot be used: where it is and why, never what it is.

    `row` counts data rows of the file from 1. `line`: where the row begins in a CSV file, whose header is line 1; None
    for a file without lines.
    """

    file: str
    row: int
    line: int | None
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{place(self.file, self.row, self.line)}, column {self.column}: {self.reason}"


@dataclass(frozen=True)
class Fault:
    """A column that cannot be used in every row. `reasons`: reason → rows; `first`: the first rows, SAMPLE at most."""

    column: str
    reasons: Mapping[str, int]
    first: tuple[BadRow, ...]

    @property
    def rows(self) -> int:
        return sum(self.reasons.values())


def place(file: str, row: int, line: int | None) -> str:
    """A row as the operator finds it: by its line in a text editor where there are lines."""
    return f"{file} data row {row}" if line is None else f"{file} line {line}"


def faults_of(
    con: duckdb.DuckDBPyConnection, columns: Sequence[str], files: Sequence[Path], *, unspelled: bool = False
) -> tuple[Fault, ...]:
    """The columns with rows that cannot be used, in the order of `columns`. Reads the files again, up to those rows.

    unspelled: instead, those with values that a person is known by and that have no spelling.
    """
    these = f"{'IN' if unspelled else 'NOT IN'} ({', '.join(map(literal, UNSPELLED.values()))})"
    reasons, first = {}, {}
    for i, name in enumerate(columns):
        bad = f"FROM rows WHERE v0 IS NOT NULL AND r{i} {these}"
        if counted := con.execute(f"SELECT r{i}, count(*) {bad} GROUP BY 1 ORDER BY 2 DESC, 1").fetchall():
            reasons[name] = dict(counted)
            first[name] = con.execute(f"SELECT file, row, r{i} {bad} ORDER BY 1, 2 LIMIT {SAMPLE}").fetchall()
    lines = _lines([one for found in first.values() for one in found], files)
    return tuple(Fault(name, reasons[name], _placed(name, first[name], lines, files)) for name in first)


def repeats_of(
    con: duckdb.DuckDBPyConnection, columns: Sequence[str], column: str, files: Sequence[Path]
) -> Fault | None:
    """The rows whose value in `column` an earlier row has. None when there are none."""
    value = f"v{columns.index(column)}"
    those = f"FROM rows WHERE v0 IS NOT NULL AND {value} IS NOT NULL"
    repeated = con.execute(f"SELECT count(*) - count(DISTINCT {value}) {those}").fetchall()[0][0]
    if not repeated:
        return None
    again = con.execute(
        f"SELECT file, row, earlier.file, earlier.row FROM (SELECT file, row, first_value(struct_pack(file, row)) OVER "
        f"same AS earlier, row_number() OVER same AS nth {those} WINDOW same AS (PARTITION BY {value} ORDER BY file, "
        f"row)) WHERE nth > 1 ORDER BY 1, 2 LIMIT {SAMPLE}"
    ).fetchall()
    lines = _lines([one for a, b, c, d in again for one in ((a, b, ""), (c, d, ""))], files)
    found = [(a, b, f"the same as {place(str(files[c]), d, lines.get((c, d)))}") for a, b, c, d in again]
    return Fault(column, {"an earlier row has it": repeated}, _placed(column, found, lines, files))


def earliest(faults: Sequence[Fault], files: Sequence[Path]) -> tuple[BadRow, ...]:
    """The first bad values of all columns together, by file, row and column, SAMPLE at most."""
    order = {str(file): index for index, file in enumerate(files)}
    rows = [bad for fault in faults for bad in fault.first]
    return tuple(sorted(rows, key=lambda bad: (order[bad.file], bad.row))[:SAMPLE])


def _lines(found: Found, files: Sequence[Path]) -> dict[tuple[int, int], int]:
    """(file, row) → line, for files that have lines."""
    lines: dict[tuple[int, int], int] = {}
    for file in sorted({file for file, _, _ in found}):
        at = lines_of(files[file], {row for other, row, _ in found if other == file})
        lines |= {(file, row): line for row, line in at.items()}
    return lines


def _placed(
    column: str, found: Found, lines: Mapping[tuple[int, int], int], files: Sequence[Path]
) -> tuple[BadRow, ...]:
    return tuple(BadRow(str(files[file]), row, lines.get((file, row)), column, why) for file, row, why in found)
