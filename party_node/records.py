"""A party's own files, read once into a snapshot: a Parquet file in the agreed columns that is never changed again.

Nothing is lost silently: a row that cannot be used is kept and marked `bad`, a row of nobody is counted, and a file
that cannot be read whole is refused. Reports name a file, a row and a column, never a value.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from protocols.errors import IntegrityError, UsageError
from protocols.people import KEYS, PeopleRules
from protocols.schema import OTHER, Block, Column, Schema

from . import files, identity, seeds
from .faults import BadRow, Fault, earliest, faults_of, repeats_of
from .files import Source, check_files, exactly, is_parquet, literal, nearest, quoted, source_of, there_is, unreadable

PERSON, BOUGHT_ON = "customer", "bought_on"
_SQL = {"id": "VARCHAR", "date": "DATE", "money": "BIGINT", "count": "BIGINT", "category": "VARCHAR"} | dict.fromkeys(
    KEYS, "VARCHAR"
)
_ROOM = "is there room and permission?"
MEMORY, THREADS = 1 << 30, 4  # bytes, and who shares them: a thread needs some 125 MB
_ASK = "ask the operator for a plan with another table"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[ T][0-2][0-9]:[0-5][0-9](:[0-6][0-9](\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
# Why: a window, an aggregate or a subquery would make one person's row depend on other people's rows,
# and a clock or a random number would make two snapshots of the same rows differ.
_PLAIN = re.compile("COLUMN_REF|CONSTANT|FUNCTION|CAST|TYPE|CASE|COMPARISON|CONJUNCTION|OPERATOR|BETWEEN")
_PURE = """
    SELECT lower(function_name) FROM duckdb_functions()
    WHERE function_name NOT IN ('age', 'current_setting', 'getvariable', 'in_search_path') GROUP BY 1 HAVING bool_and(
        function_type = 'scalar' AND stability <> 'VOLATILE' AND (stability = 'CONSISTENT' OR len(parameters) > 0))
"""


@dataclass(frozen=True)
class Table:
    """Where a party keeps its rows. `columns`: agreed name -> own column, or a DuckDB scalar expression over own ones.

    Each file is `.csv`, `.csv.gz` (UTF-8, a header line; the separator is read off the header) or `.parquet`.
    In an expression for a money or count column an own column is a number (six decimals); when that makes no sense, as
    in `replace(x, ',', '.')`, it is what the file holds, which in a CSV file is text.
    `lists`: name -> a file of some of its customers.
    """

    files: tuple[Path, ...]
    columns: Mapping[str, str]
    lists: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """A written snapshot: `rows` of `people` (bad ones among them), first and last readable day (empty: none).

    `faults`: what cannot be used, by column; `bad_sample`: its first places. `repeats`: rows that a table of one row
    per id may not have, None when there are none. `unspelled`: what a person could be known by but for its spelling.
    `resolved`: how customers became persons; None without rules for that, where a customer is a person.
    """

    path: Path
    sha256: str
    rows: int
    people: int
    first_day: str
    last_day: str
    bad_rows: int
    bad_sample: tuple[BadRow, ...]
    faults: tuple[Fault, ...]
    repeats: Fault | None
    nameless_rows: int
    unspelled: tuple[Fault, ...] = ()
    resolved: identity.Resolved | None = None
    lists: tuple[seeds.Listed, ...] = ()


@dataclass(frozen=True)
class Inside:
    """How many rows, and of how many people, lie on certain days."""

    rows: int
    people: int


def take_snapshot(table: Table, schema: Schema, to: Path, rules: PeopleRules | None = None) -> Snapshot:
    """Read the party's files into one Parquet file at `to`, sorted, in the columns of `schema` plus `bad`.

    id is text, trimmed; date a day (a time of day is dropped as written, zones are not converted); money whole
    hundredths, rounded half away from zero row by row; count a whole number; category one of the agreed values, "other"
    for any other text and for none. What cannot be used is null and its row is `bad`. What a person is known by is in
    its one spelling, or null and its row as good as before; `rules` say which customers are one person, who then is the
    `customer` and has a key. The same rows give the same bytes whatever files they come from. `to` appears whole or not
    at all.
    Raises UsageError: a file or column missing, a mapping that does not fit, a file unreadable, no row of anybody.
    """
    # 1. What can be refused without reading a row
    _check_mapping(table, schema)
    check_files(table.files)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".snapshot-") as beside, _engine(Path(beside)) as con:
        # 2. Every file row by row: values in the agreed types, and for each a reason if it cannot be used
        columns = (f"v{i} {_SQL[schema.columns[name].type]}, r{i} VARCHAR" for i, name in enumerate(_names(schema)))
        more = "bad BOOLEAN, key VARCHAR, merged VARCHAR"
        con.execute(f"CREATE TEMP TABLE rows (file INTEGER, row BIGINT, {', '.join(columns)}, {more})")
        for index, file in enumerate(table.files):
            _load(con, index, file, table, schema)
        if not con.execute("SELECT count(v0) FROM rows").fetchall()[0][0]:
            what = f"no row has a {PERSON}, so there is nothing to take"
            raise UsageError(what, f"is table.columns.{PERSON} in node.toml the right column?")
        # 3. What people are known by in one spelling, and who is one person; a table's repeats are those of its files
        repeats = repeats_of(con, _names(schema), schema.one_row_per, table.files) if schema.one_row_per else None
        identity.spell(con, _names(schema), schema, rules)
        resolved = None if rules is None else identity.resolve(con, _names(schema), schema, rules)
        listed = seeds.mark(con, table.lists, table.columns[PERSON], resolved=rules is not None)
        # 4. Rows of somebody, sorted, written beside and moved into place
        more = "" if rules is None else f", key AS {quoted(identity.KEY)}, merged AS {quoted(identity.MERGED)}"
        more += seeds.chosen(table.lists)
        _write(con, schema, Path(beside) / "part", to, more)
        # 5. What the operator is told
        return replace(_describe(con, schema, table.files, to), repeats=repeats, resolved=resolved, lists=listed)


def keep_snapshot(snapshot: Snapshot, to: Path) -> Snapshot:
    """Move a snapshot to its place: whole or not at all, and for good. Raises UsageError."""
    _move(snapshot.path, to)
    return replace(snapshot, path=to)


def count_inside(path: Path, blocks: Sequence[Block]) -> Inside:
    """The rows of a snapshot that lie in any of the blocks, both ends included; a row without a day lies in none."""
    days = " OR ".join(f"{BOUGHT_ON} BETWEEN DATE '{block.first}' AND DATE '{block.last}'" for block in blocks)
    query = f"SELECT count(*), count(DISTINCT {PERSON}) FROM read_parquet({literal(exactly(path))}) WHERE {days}"
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        return Inside(*con.execute(query).fetchall()[0])


def check_snapshot(path: Path, sha256: str) -> None:
    """Raise IntegrityError when the snapshot is gone or its bytes are not those that were taken."""
    try:
        found = _sha256(path)
    except OSError as exc:
        raise IntegrityError(f"snapshot {path} cannot be read: {exc.strerror}") from None
    if found != sha256:
        what = f"has changed since it was taken: sha256 {found[:12]}… instead of {sha256[:12]}…"
        raise IntegrityError(f"snapshot {path} {what}", "take a new one; a plan names the one it was approved for")


def _check_mapping(table: Table, schema: Schema) -> None:
    agreed = schema.columns
    if PERSON not in agreed or agreed[PERSON].type != "id":
        raise UsageError(f"schema {schema.name} has no id column {PERSON!r}, so its rows belong to nobody", _ASK)
    if "bad" in agreed:
        raise UsageError(f"schema {schema.name} names a column 'bad', which a snapshot keeps for itself", _ASK)
    # Columns that this plan does not ask for may be mapped too: one node.toml serves plans of several tables.
    for name in _names(schema):
        if name not in table.columns:
            spare = sorted(set(table.columns) - set(agreed))
            hint = f'below [table.columns] in node.toml write: {name} = "…", an own column or an expression over them'
            near = f" ({there_is(name, spare)})" if spare else ""
            raise UsageError(f"column {name!r} of schema {schema.name} is not mapped{near}", hint)


def _engine(beside: Path) -> duckdb.DuckDBPyConnection:
    # Why: no extension may be fetched, and what is over MEMORY stays beside the snapshot; by itself DuckDB would first
    # take 80 % of the machine's, on which the party has other work to do.
    con = duckdb.connect(config={"autoload_known_extensions": "false", "temp_directory": str(beside / "spill")})
    settings = "parse_formatted_bytes(current_setting('memory_limit')), current_setting('threads')"
    ((memory, threads),) = con.execute(f"SELECT {settings}").fetchall()
    con.execute(f"SET memory_limit = '{min(memory, MEMORY)}B'")
    con.execute(f"SET threads = {min(threads, THREADS)}")
    con.execute("SET TimeZone = 'UTC'")
    return con


def _load(con: duckdb.DuckDBPyConnection, index: int, file: Path, table: Table, schema: Schema) -> None:
    """Add one file, in its order, to the table `rows`: for column i a value v<i> or a reason r<i> for its lack."""
    source = source_of(con, file)
    _check_header(con, source, table)
    texts, reads = [], []
    for i, name in enumerate(_names(schema)):
        column, mapped = schema.columns[name], table.columns[name]
        texts.append(f"{_own(con, source, f'm{index}_{i}', name, mapped, column)} AS t{i}")
        nothing = "not a date" if column.type == "date" else "no value from its expression"
        value, reason = _typed(f"t{i}", column, "empty" if mapped in source.own else nothing)
        reads.append(f"{value} AS v{i}, {reason} AS r{i}")
    bad = f"coalesce({', '.join(f'r{i}' for i in range(len(reads)))}) IS NOT NULL"
    raw = f"SELECT row_number() OVER () AS row, {', '.join(texts)} FROM {source.clause}"
    try:
        con.execute(f"INSERT INTO rows SELECT {index}, row, {', '.join(reads)}, {bad}, NULL, NULL FROM ({raw})")
        found = con.execute("SELECT count(*) FROM rows WHERE file = ?", [index]).fetchall()[0][0]
    except duckdb.Error as exc:
        raise unreadable(file, exc) from None
    if source.rows is not None and found != source.rows:
        what = f"file {file} holds {source.rows} rows, of which {found} were read"
        raise UsageError(what, "take empty lines out of it, or write it again with every value in quotes")


def _check_header(con: duckdb.DuckDBPyConnection, source: Source, table: Table) -> None:
    """Refuse a CSV file with none of the mapped columns, without saying which it has.

    Why: without a header line its "columns" are a customer's values. After this, names of columns may be shown.
    """
    parsed = [[mapped] if mapped in source.own else _references(con, mapped) for mapped in table.columns.values()]
    # Why a letter: the mapping "0" is an expression, but could be what stands on the first line.
    wanted = sorted({name for names in parsed for name in names if re.search(r"[^\W\d]", name)})
    there = {own.casefold() for own in source.own}
    if wanted and not is_parquet(source.file) and not any(name.casefold() in there for name in wanted):
        what = f"file {source.file} has none of the mapped columns: " + ", ".join(map(repr, wanted))
        raise UsageError(what, "is line 1 a header, and is it the right file? see table.files and table.columns")


def _references(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The columns that an expression names; none when it is not one."""
    tree = json.loads(con.execute("SELECT json_serialize_sql(?)", [f"SELECT {text}"]).fetchall()[0][0])
    return [str(part["column_names"][0]) for part in _parts(tree) if part["class"] == "COLUMN_REF"]


def _own(con: duckdb.DuckDBPyConnection, source: Source, macro: str, name: str, mapped: str, column: Column) -> str:
    """SQL for the text of one value, trimmed, null where the file has none or an expression fails."""
    value = quoted(mapped)
    if mapped not in source.own:
        used = _columns_of(con, source, name, mapped)
        numbers = ", ".join(f"TRY_CAST(CAST({quoted(one)} AS VARCHAR) AS DECIMAL(18,6))" for one in used)
        as_numbers = column.type in ("money", "count") and _fits_numbers(con, macro, mapped, used)
        value = f"TRY({macro}({numbers}))" if as_numbers else f"TRY((\n{mapped}\n))"
    try:
        return files.text_of(con, value, source.clause, whole=column.type == "id")
    except duckdb.Error:
        hint = "a csv column is text: write CAST(x AS DECIMAL(18,2)) where a number is meant"
        what = f"column {name!r} is mapped to {mapped!r}, which cannot be computed from {source.file}"
        raise UsageError(what, hint) from None


def _columns_of(con: duckdb.DuckDBPyConnection, source: Source, name: str, text: str) -> list[str]:
    """The own columns an expression reads. Raises UsageError unless it is one expression over one row of the file."""
    where = f"column {name!r} is mapped to {text!r}"
    tree = json.loads(con.execute("SELECT json_serialize_sql(?)", [f"SELECT {text}"]).fetchall()[0][0])
    if tree["error"]:
        what = f"{where}, neither a column of {source.file} nor an expression: {tree['error_message']}"
        raise UsageError(what, _how_to_write(name, text, source.own))
    node = tree["statements"][0]["node"]
    items = node.get("select_list", [])
    if len(tree["statements"]) != 1 or len(items) != 1 or node["from_table"]["type"] != "EMPTY":
        raise UsageError(f"{where}, which is more than one expression", "one column takes one value of each row")
    pure = {row[0] for row in con.execute(_PURE).fetchall()} | {"nullif"}
    names = {own.casefold(): own for own in source.own}
    used: dict[str, None] = {}
    for part in _parts(items[0]):
        impure = part["class"] == "FUNCTION" and part["function_name"].lower() not in pure
        if impure or not _PLAIN.fullmatch(part["class"]):
            what = part.get("function_name") or part["class"].lower()
            hint = "write it without sums over rows, windows, subqueries, clocks and random numbers"
            raise UsageError(f"{where}, but {what!r} does not compute with the values of one row alone", hint)
        if part["class"] == "COLUMN_REF":
            own = str(part["column_names"][0])
            if own.casefold() not in names:
                raise UsageError(f"{where}; file {source.file} has no column {own!r}", there_is(own, source.own))
            used[names[own.casefold()]] = None
    return list(used)


def _how_to_write(name: str, text: str, own: Sequence[str]) -> str:
    """The hint for a mapping that is neither a column nor an expression."""
    one_word = re.fullmatch(r"[\w .]+", text)  # else it is an expression gone wrong, and no misspelt column
    if one_word and (near := nearest(text, own)):
        return f"did you mean table.columns.{name} = {near!r}?"
    rules = "close each bracket and quote, and put a column's name with a space or a dash in double quotes"
    return f"table.columns.{name} takes a column or what may stand after SELECT, as lower(x) or x - y; {rules}"


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every expression in a parse tree, outermost first."""
    if isinstance(node, dict) and "class" in node:
        yield node
    if isinstance(node, dict | list):
        for below in node.values() if isinstance(node, dict) else node:
            yield from _parts(below)


def _fits_numbers(con: duckdb.DuckDBPyConnection, macro: str, text: str, used: Sequence[str]) -> bool:
    """Whether the expression makes sense when its columns are numbers; then `macro` computes it from them."""
    try:
        con.execute(f"CREATE TEMP MACRO {macro}({', '.join(map(quoted, used))}) AS (\n{text}\n)")
        con.execute(f"SELECT {macro}({', '.join(['1::DECIMAL(18,6)'] * len(used))})")
    except duckdb.Error:
        return False
    return True


def _typed(text: str, column: Column, nothing: str) -> tuple[str, str]:
    """SQL for the value in its agreed type (null if it cannot be used) and for the reason (null if it can)."""
    if column.type == "category":
        public = ", ".join(literal(one) for one in column.values or ())
        return f"CASE WHEN {text} IN ({public}) THEN {text} ELSE {literal(OTHER)} END", "NULL::VARCHAR"
    if column.type in KEYS:
        return text, "NULL::VARCHAR"
    value, wrong = {"id": _text, "date": _date, "money": _money, "count": _whole}[column.type](text, column)
    return value, f"CASE WHEN {text} IS NULL THEN '{nothing}' {wrong} END"


def _text(text: str, _: Column) -> tuple[str, str]:
    return text, ""


def _date(text: str, _: Column) -> tuple[str, str]:
    iso = f"regexp_full_match({text}, '{_DAY}({_CLOCK})?')"
    day = f"(CASE WHEN {iso} THEN TRY_CAST(left({text}, 10) AS DATE) END)"
    fits = f"{day} >= DATE '1970-01-01'"
    wrong = f"WHEN {day} IS NULL THEN 'not a date' WHEN NOT {fits} THEN 'before 1970'"
    return f"CASE WHEN {fits} THEN {day} END", wrong


def _money(text: str, column: Column) -> tuple[str, str]:
    # Why from text: a float rounds as the decimal it is printed as, so CSV and Parquet agree and no sum is inexact.
    amount = f"TRY_CAST({text} AS DECIMAL(38,2))"
    fits = f"({amount} BETWEEN {column.low} AND {column.high})"
    huge = f"{amount} IS NOT NULL OR isfinite(TRY_CAST({text} AS DOUBLE))"
    wrong = f"WHEN {fits} THEN NULL WHEN {huge} THEN 'out of bounds' ELSE 'not a number'"
    return f"CASE WHEN {fits} THEN (100 * {amount}::DECIMAL(14,2))::BIGINT END", wrong


def _whole(text: str, column: Column) -> tuple[str, str]:
    number = f"TRY_CAST({text} AS DOUBLE)"
    finite = f"coalesce(isfinite({number}), false)"
    fits = f"({finite} AND {number} = trunc({number}) AND {number} BETWEEN 0 AND {column.high})"
    wrong = (
        f"WHEN {fits} THEN NULL WHEN NOT {finite} THEN 'not a number' "
        f"WHEN {number} <> trunc({number}) THEN 'not a whole number' ELSE 'out of bounds'"
    )
    return f"CASE WHEN {fits} THEN {number}::BIGINT END", wrong


def _names(schema: Schema) -> list[str]:
    """The columns in the one order a snapshot has, whatever order the schema came in: the person first."""
    return sorted(schema.columns, key=lambda name: (name != PERSON, name))


def _write(con: duckdb.DuckDBPyConnection, schema: Schema, part: Path, to: Path, more: str) -> None:
    """Write the rows of somebody to `part`, readable by the owner only, sync it, move it to `to`."""
    chosen = ", ".join(f"v{i} AS {quoted(name)}" for i, name in enumerate(_names(schema)))
    query = f"SELECT {chosen}{more}, bad FROM rows WHERE v0 IS NOT NULL ORDER BY ALL NULLS FIRST"
    try:
        con.execute(f"COPY ({query}) TO {literal(str(part))} (FORMAT parquet)")
        os.chmod(part, 0o600)
    except (duckdb.Error, OSError):
        raise UsageError(f"snapshot {to} cannot be written", _ROOM) from None
    _move(part, to)


def _move(part: Path, to: Path) -> None:
    try:
        _sync(part)
        os.replace(part, to)
        _sync(to.parent)
    except OSError:
        raise UsageError(f"snapshot {to} cannot be written", _ROOM) from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _describe(con: duckdb.DuckDBPyConnection, schema: Schema, files: Sequence[Path], to: Path) -> Snapshot:
    days = ", ".join(f"v{i}" for i, name in enumerate(_names(schema)) if schema.columns[name].type == "date") or "NULL"
    counts = f"count(*), count(DISTINCT v0), min(least({days}))::VARCHAR, max(greatest({days}))::VARCHAR"
    query = f"SELECT {counts}, count(*) FILTER (bad) FROM rows WHERE v0 IS NOT NULL"
    rows, people, first, last, bad = con.execute(query).fetchall()[0]
    nameless = con.execute("SELECT count(*) FROM rows WHERE v0 IS NULL").fetchall()[0][0]
    faults = faults_of(con, _names(schema), files)
    unspelled = faults_of(con, _names(schema), files, unspelled=True)
    found = (rows, people, first or "", last or "", bad, earliest(faults, files), faults, None, nameless, unspelled)
    return Snapshot(to, _sha256(to), *found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
