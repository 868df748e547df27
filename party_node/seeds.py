"""Lists of a party's own customers, by which a plan may name a seed: read with its data, and fixed with them.

A list is a column of the snapshot, so that its digest, which the ledger holds salted, is that of the lists too: the
same plan on the same version of the data has the same seed. Who is on a list is told to this party's operator alone, in
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from protocols.errors import IntegrityError, UsageError

from .files import check_files, exactly, quoted, source_of, text_of, unreadable

CUSTOMER = "customer"


@dataclass(frozen=True)
class Listed:
    """What was found of one list: for the party's own operator.

    rows      with a customer
    people    how many persons of the party's table they are
    repeated  rows whose person an earlier one has
    unknown   rows with a customer whom the table has not
    """

    name: str
    rows: int
    people: int
    repeated: int
    unknown: int

    def line(self) -> str:
        spare = [f"{n:,} {what}" for n, what in ((self.repeated, "repeated"), (self.unknown, "unknown")) if n]
        people = "1 person" if self.people == 1 else f"{self.people:,} people"
        return f"list {self.name}: {people} of this party's" + (f"; left out: {', '.join(spare)}" if spare else "")


def column(name: str) -> str:
    """The snapshot's column of a list: a name that no plan can spell."""
    return f"list {name}"


def mark(con: duckdb.DuckDBPyConnection, lists: Mapping[str, Path], own: str, *, resolved: bool) -> tuple[Listed, ...]:
    """For each list, in the order of names, a table `listed<i>` of its persons, once each, as `rows` names them.

    own       the party's own column of customers
    resolved  whether the table `resolved` says which person a customer is
    Raises UsageError for a file that cannot be read whole, or has no such column.
    """
    if lists:
        check_files(list(lists.values()))
    return tuple(_listed(con, i, name, lists[name], own, resolved) for i, name in enumerate(sorted(lists)))


def chosen(lists: Mapping[str, Path]) -> str:
    """SQL for the snapshot's columns of lists, each before a comma."""
    names = enumerate(sorted(lists))
    return "".join(f", v0 IN (SELECT person FROM listed{i}) AS {quoted(column(name))}" for i, name in names)


def names_of(snapshot: Path) -> list[str]:
    """The lists that a snapshot has. Raises IntegrityError where it cannot be read."""
    try:
        with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
            found = con.execute("SELECT name FROM parquet_schema(?)", [exactly(snapshot)]).fetchall()
    except duckdb.Error:
        raise IntegrityError("the snapshot cannot be read", hint="take a new one") from None
    return [name.removeprefix(column("")) for (name,) in found if name.startswith(column(""))]


def customers(snapshot: Path, name: str) -> list[str]:
    """The persons on a list, ascending. Raises IntegrityError where the snapshot has no such list."""
    query = f"SELECT DISTINCT {CUSTOMER} FROM read_parquet(?, hive_partitioning=false) WHERE {quoted(column(name))}"
    try:
        with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
            return [who for (who,) in con.execute(f"{query} ORDER BY 1", [exactly(snapshot)]).fetchall()]
    except duckdb.Error:
        raise IntegrityError(f"the snapshot has no list {name}", hint="name it in node.toml, and register") from None


def _listed(con: duckdb.DuckDBPyConnection, i: int, name: str, file: Path, own: str, resolved: bool) -> Listed:
    source = source_of(con, file)
    there = [one for one in (own, CUSTOMER) if one in source.own]
    if not there:
        # Why not which columns there are: without a header line they are customers.
        what = f"seeds.{name}: file {file} has no column {own!r} and no column {CUSTOMER!r}"
        raise UsageError(what, "its first line names its columns; one holds customers as the table's files do")
    value = text_of(con, quoted(there[0]), source.clause, whole=True)
    person = "coalesce(person, id)" if resolved else "id"
    join = "LEFT JOIN resolved ON resolved.customer = id" if resolved else ""
    try:
        con.execute(f"CREATE TEMP TABLE named{i} AS SELECT {value} AS id FROM {source.clause}")
    except duckdb.Error as exc:
        raise unreadable(file, exc) from None
    con.execute(
        f"CREATE TEMP TABLE listed{i} AS SELECT DISTINCT {person} AS person FROM named{i} {join} "
        f"WHERE id IS NOT NULL AND {person} IN (SELECT v0 FROM rows)"
    )
    ((rows,),) = con.execute(f"SELECT count(id) FROM named{i}").fetchall()
    ((people,),) = con.execute(f"SELECT count(*) FROM listed{i}").fetchall()
    ((known,),) = con.execute(
        f"SELECT count(*) FROM named{i} {join} WHERE id IS NOT NULL AND {person} IN (SELECT v0 FROM rows)"
    ).fetchall()
    if not rows:
        raise UsageError(f"seeds.{name}: file {file} names no customer", "a list has a line for each of its customers")
    return Listed(name, rows, people, known - people, rows - known)
