"""The party's own tables of an activation, as text in DuckDB: its list, whom it knows, who is to be left out.

Files are read as `files.py` reads all files of a party: whole, or refused. What is said of them names a file, a line, a
column, never a value; and the columns of a file only once it has shown that its first line is a header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from protocols.errors import UsageError

from ..faults import SAMPLE, BadRow, Fault, place
from ..files import Source, check_files, lines_of, literal, quoted, source_of, text_of, there_is, unreadable
from ..records import MEMORY, THREADS
from .spelling import IDS, UNSPELLED, Field, first, known_by

FIELDS: tuple[Field, ...] = (
    "customer", "email", "phone", "maid", "first_name", "last_name", "postcode", "country"
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """The party's own table: its files, field → own column, the country of telephone numbers without +."""

    files: tuple[Path, ...]
    columns: Mapping[Field, str]
    country: str | None = None


@contextmanager
def engine(beside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB for one activation; what is over its memory spills to a folder of its own in `beside`."""
    config: dict[str, str | bool | int | float | list[str]] = {"autoload_known_extensions": "false"}
    with TemporaryDirectory(dir=beside, prefix=".spill-") as spill, duckdb.connect(config=config) as con:
        con.execute(f"SET temp_directory = {literal(spill)}")
        con.execute(f"SET memory_limit = '{MEMORY}B'")
        con.execute(f"SET threads = {THREADS}")
        yield con


def source(con: duckdb.DuckDBPyConnection, file: Path, option: str) -> Source:
    """A file as it is to be read. Raises UsageError, which names the option that the file came by."""
    try:
        check_files([file])
        return source_of(con, file)
    except UsageError as exc:
        # Of this file no setting speaks: what the hint says of node.toml is of another.
        more = f"{exc.hint}; " if exc.hint and "node.toml" not in exc.hint else ""
        raise UsageError(exc.message, f"{more}it was named with {option}") from None


def own(source: Source, names: Sequence[str]) -> dict[str, str]:
    """Those of `names` that the file has as columns, upper and lower case being one → as it spells them."""
    there = {name.casefold(): name for name in source.own}
    return {name: there[name.casefold()] for name in names if name.casefold() in there}


def lacks(source: Source, name: str, known: bool, hint: str) -> UsageError:
    """That a file has no column `name`. known: whether it has another that was looked for, so its line 1 is a header.

    Why: without a header line the "columns" are a customer's values.
    """
    more = f"; {there_is(name, source.own)}" if known else "; is its line 1 a header?"
    return UsageError(f"file {source.file} has no column {name!r}{more}", hint)


def load(con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[tuple[Source, Mapping[str, str]]]) -> None:
    """Make the table (file, row, and a text for each name of the mappings, trimmed, null when empty), in file order.

    Rows are the data rows of each file from 1. A name that one of the mappings lacks is null in that file.
    """
    columns = list(dict.fromkeys(name for _, mapping in sources for name in mapping))
    texts = ", ".join(f"{quoted(name)} VARCHAR" for name in columns)
    con.execute(f"CREATE TEMP TABLE {table} (file INTEGER, row BIGINT, {texts})")
    for index, (source, mapping) in enumerate(sources):
        try:
            values = [_text(con, source, mapping[name]) if name in mapping else "NULL" for name in columns]
            query = f"SELECT {index}, row_number() OVER (), {', '.join(values)} FROM {source.clause}"
            con.execute(f"INSERT INTO {table} {query}")
            rows = con.execute(f"SELECT count(*) FROM {table} WHERE file = {index}").fetchall()[0][0]
        except duckdb.Error as exc:
            raise unreadable(source.file, exc) from None
        if source.rows is not None and rows != source.rows:
            what = f"file {source.file} holds {source.rows} rows, of which {rows} were read"
            raise UsageError(what, "take empty lines out of it, or write it again with every value in quotes")


def called_so(file: Path) -> dict[Field, str]:
    """The fields after which columns of a party's own table are called → the columns. Raises UsageError."""
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        found = own(source(con, file, "--people"), FIELDS)
    return {name: found[name] for name in FIELDS if name in found}


def has_column(file: Path, name: str) -> bool:
    """Whether a list has this column. Raises UsageError."""
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        return bool(own(source(con, file, "LIST"), (name,)))


def at(file: Path, row: int) -> str:
    """A data row as its owner finds it: by its line in a CSV file."""
    return place(str(file), row, lines_of(file, {row}).get(row))


def known_people(con: duckdb.DuckDBPyConnection, known: Known | None) -> tuple[Fault, ...]:
    """Make `known` (file, row, customer and every field in the project's spelling) and `marks` (customer, kind, value).

    A mark is what one person is known by, in the widest spelling. Returned: what has no spelling, and is not written.
    """
    con.execute(f"CREATE TEMP TABLE known (file INTEGER, row BIGINT, {', '.join(f'{one} VARCHAR' for one in FIELDS)})")
    con.execute("CREATE TEMP TABLE marks (customer VARCHAR, kind VARCHAR, value VARCHAR)")
    if known is None:
        return ()
    sources = [source(con, file, "--people") for file in known.files]
    load(con, "raw", [(one, _mapped(one, known.columns)) for one in sources])
    mapped = [name for name in FIELDS if name in known.columns]
    values = [spelled(con, name, known.country) if name != "customer" else "customer" for name in mapped]
    con.execute(f"INSERT INTO known (file, row, {', '.join(mapped)}) SELECT file, row, {', '.join(values)} FROM raw")
    for kind in (name for name in IDS if name in mapped):
        con.execute(
            f"INSERT INTO marks SELECT DISTINCT customer, '{kind}', {_mark(con, kind)} FROM known "
            f"WHERE customer IS NOT NULL AND {kind} IS NOT NULL"
        )
    return _unspelled(con, mapped, known)


def left_out(con: duckdb.DuckDBPyConnection, file: Path, option: str, known: Known | None) -> None:
    """Make `named` (customer) and `ids` (kind, value) of a file with columns customer, email, phone or maid.

    Raises UsageError for a row that says nothing, and for a value without a spelling: whoever it is would be written.
    """
    found = source(con, file, option)
    mapping = own(found, ("customer", *IDS))
    if not mapping:
        raise lacks(found, "customer", False, f"{option}: columns customer, email, phone or maid say who")
    if known is None and (more := [name for name in mapping if name != "customer"]):
        what = f"{option}: file {file} says by {more[0]} who is to be left out, and whose it is cannot be told"
        raise UsageError(what, "name your own table with --people")
    load(con, "outs", [(found, mapping)])
    _refuse_empty(con, file, option, list(mapping))
    con.execute("CREATE TEMP TABLE named (customer VARCHAR)")
    con.execute("CREATE TEMP TABLE ids (kind VARCHAR, value VARCHAR)")
    if "customer" in mapping:
        con.execute("INSERT INTO named SELECT DISTINCT customer FROM outs WHERE customer IS NOT NULL")
    country = None if known is None else known.country
    for kind in (name for name in IDS if name in mapping):
        query = f"SELECT row, {spelled(con, kind, country)} AS {kind} FROM outs WHERE {kind} IS NOT NULL"
        con.execute(f"CREATE TEMP TABLE spelled AS {query}")
        if bad := con.execute(f"SELECT row FROM spelled WHERE {kind} IS NULL ORDER BY 1 LIMIT 1").fetchall():
            what = f"{option}: {at(file, bad[0][0])}, column {kind}: {UNSPELLED[kind]}"
            raise UsageError(what, "mend it, or take the row out: who cannot be told would not be left out")
        con.execute(f"INSERT INTO ids SELECT DISTINCT '{kind}', {_mark(con, kind)} FROM spelled")
        con.execute("DROP TABLE spelled")
    con.execute("DROP TABLE outs")


def function(con: duckdb.DuckDBPyConnection, name: str, python: Callable[[str], Any], kind: str = "VARCHAR") -> None:
    """A function of one text for SQL, null for null. One that is there already is replaced."""
    special: Any = "special"  # the name of a choice; its enumeration is elsewhere in each version of DuckDB
    if con.execute("SELECT count(*) FROM duckdb_functions() WHERE function_name = ?", [name]).fetchall()[0][0]:
        con.remove_function(name)
    con.create_function(
        name, lambda text: None if text is None else python(text), ["VARCHAR"], kind, null_handling=special
    )


def spelled(con: duckdb.DuckDBPyConnection, name: Field, country: str | None) -> str:
    """SQL for a field's text in the project's spelling, null where it has none."""
    function(con, f"spell_{name}", first(name, country))
    return f"spell_{name}({name})"


def _mark(con: duckdb.DuckDBPyConnection, kind: Field) -> str:
    function(con, f"mark_{kind}", lambda text: known_by(kind, text))
    return f"mark_{kind}({kind})"


def _mapped(source: Source, columns: Mapping[Field, str]) -> dict[str, str]:
    found = own(source, list(columns.values()))
    for name, column in columns.items():
        if column not in found:
            hint = f"set activation.columns.{name} in node.toml, or --column {name}=COLUMN"
            raise lacks(source, column, bool(found), hint)
    return {name: found[column] for name, column in columns.items()}


def _text(con: duckdb.DuckDBPyConnection, source: Source, column: str) -> str:
    """SQL for one column as text, as `records.py` reads ids: 17.0 and 17 are one customer, NaN is nobody."""
    return text_of(con, quoted(column), source.clause, whole=True)


def _refuse_empty(con: duckdb.DuckDBPyConnection, file: Path, option: str, columns: Sequence[str]) -> None:
    nothing = " AND ".join(f"{name} IS NULL" for name in columns)
    if bad := con.execute(f"SELECT row FROM outs WHERE {nothing} ORDER BY 1 LIMIT 1").fetchall():
        raise UsageError(f"{option}: {at(file, bad[0][0])} says of nobody who it is", "take the row out")


def _unspelled(con: duckdb.DuckDBPyConnection, mapped: Sequence[Field], known: Known) -> tuple[Fault, ...]:
    """What the table has and cannot be used, by field: how often, and where first."""
    faults = []
    for name in mapped:
        reason = UNSPELLED.get(name, "empty, so the row is nobody's")
        bad = "raw.customer IS NULL" if name == "customer" else f"raw.{name} IS NOT NULL AND known.{name} IS NULL"
        those = f"FROM raw JOIN known USING (file, row) WHERE {bad}"
        if count := con.execute(f"SELECT count(*) {those}").fetchall()[0][0]:
            found = con.execute(f"SELECT file, row {those} ORDER BY 1, 2 LIMIT {SAMPLE}").fetchall()
            faults.append(Fault(known.columns[name], {reason: count}, _placed(known, name, found, reason)))
    return tuple(faults)


def _placed(known: Known, name: Field, found: Sequence[tuple[int, int]], reason: str) -> tuple[BadRow, ...]:
    rows = {file: lines_of(known.files[file], {row for other, row in found if other == file}) for file, _ in found}
    column = known.columns[name]
    return tuple(BadRow(str(known.files[file]), row, rows[file].get(row), column, reason) for file, row in found)
