"""One person, one key: how values that people are known by are spelled, and which rows are of one person.

Read from and written to the table `rows` that `records.py` fills (see `faults.py`), before it becomes a snapshot: what
a snapshot calls a customer is then a person, and all questions count persons.

Whoever two rows are of follows from the values of these rows and from the plan's constants. A limit such as "a key that
more than five share counts for nothing" is wrong here: one person's leaving would then change what the other five are,
and no bound holds for that. So such keys are reported to the party, for it to mend its data, and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import phonenumbers
from numpy.typing import NDArray

from protocols.errors import IntegrityError, UsageError
from protocols.people import KEYS, PeopleRules, email, identifier, maid, sha256
from protocols.schema import Schema

from .faults import UNSPELLED
from .files import exactly, literal, quoted

# The snapshot's columns of keys, and of what a row's customer was called before it became a person: names that no plan
# can spell. The second is null where that is the person's own name.
KEY, MERGED = "person key", "merged customer"
ALSO = "also_customers"  # in lists of a party's own people: the other customers of a person, a JSON array of text
MANY_CUSTOMERS, MANY_KEYS = 20, 10


@dataclass(frozen=True)
class Known:
    """How many persons have a value in a column by which rows are linked, the key's first."""

    column: str
    type: str
    people: int


@dataclass(frozen=True)
class Resolved:
    """What became of the customers: for the party's own operator, never for anybody else.

    customers, people   how many customers the files tell apart, and of how many persons they are
    with_key            persons with a key: nobody else can be found at another party
    known               persons with a value, by column
    many_customers, many_keys
                        persons of over MANY_CUSTOMERS customers, of over MANY_KEYS keys: often a dummy, shared by many
    """

    customers: int
    people: int
    with_key: int
    known: tuple[Known, ...]
    many_customers: int
    many_keys: int

    def warnings(self) -> tuple[str, ...]:
        """What the operator should look at. Never a value."""
        found = ((self.many_customers, MANY_CUSTOMERS, "customers"), (self.many_keys, MANY_KEYS, "keys"))
        return tuple(
            f"{'1 person is' if count == 1 else f'{count:,} persons are each'} made of over {most} {what}: is a dummy "
            "value, such as an address of nobody's, shared by many? leave such values empty in the files"
            for count, most, what in found
            if count
        )


def phone(text: str, country: str | None) -> str | None:
    """A telephone number as E.164, None for what is none that is in use, and for one with an extension.

    country: what a number without + belongs to; None: such a number is none.
    Why not merely a possible one: 000 000 0000 is, and whoever has no telephone has it.
    Why without extension: E.164 has none, and two desks of one company would be one person.
    """
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    spelled: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return spelled


def spelling(kind: str, rules: PeopleRules | None) -> Callable[[str], str | None]:
    """The normaliser of one type of column: text → its one spelling, or None. Raises UsageError: no such country."""
    country, dots = (None, False) if rules is None else (rules.country, bool(rules.gmail_dots))
    if country is not None and country not in phonenumbers.SUPPORTED_REGIONS:
        raise UsageError(f"people.country is {country!r}, and there are no telephone numbers of it", "as DE, FR, US")
    if kind == "email":
        return lambda text: email(text, dots)
    if kind == "phone":
        return lambda text: phone(text, country)
    return {"id": identifier, "maid": maid, "sha256": sha256}[kind]


def spell(con: duckdb.DuckDBPyConnection, columns: Sequence[str], schema: Schema, rules: PeopleRules | None) -> None:
    """Spell each value of a column of `KEYS` in its one way; what has none becomes null, with the reason why.

    A row is none the worse for it: without an e-mail address a customer counts everywhere else.
    """
    for i, name in enumerate(columns):
        if (kind := schema.columns[name].type) in KEYS:
            _spell(con, f"v{i}", kind, rules)
            con.execute(f"UPDATE rows SET v{i} = n, r{i} = why FROM spelled WHERE v{i} = v")


def resolve(con: duckdb.DuckDBPyConnection, columns: Sequence[str], schema: Schema, rules: PeopleRules) -> Resolved:
    """Give the rows of one person one customer and one `key`, each the least of its kind in the order of their text.

    One person: rows with one customer, or with one key, or with one value of a link; and whoever is joined by a third.
    A key is what the key's column holds, spelled by the rules; what cannot be spelled is no key, its reason noted.
    """
    # 1. The key of each row. A column that is of type id holds keys too, and stays as it is
    at = columns.index(rules.column)
    if schema.columns[rules.column].type in KEYS:
        con.execute(f"UPDATE rows SET key = v{at}")
    else:
        _spell(con, f"v{at}", rules.key, rules)
        con.execute(f"UPDATE rows SET key = n, r{at} = coalesce(r{at}, why) FROM spelled WHERE v{at} = v")
    # 2. Customers in the order of their text, and what ties them together
    con.execute(
        "CREATE TEMP TABLE numbered AS SELECT customer, row_number() OVER (ORDER BY customer) - 1 AS n "
        "FROM (SELECT DISTINCT v0 AS customer FROM rows WHERE v0 IS NOT NULL)"
    )
    known: dict[str, tuple[str, str]] = {rules.column: (rules.key, "key")}
    known |= {name: (schema.columns[name].type, f"v{columns.index(name)}") for name in rules.links or []}
    # 3. A person is called by the first of its customers
    first = _first_of_each(con, [_in_one_form(*one) for one in known.values()])
    con.register("person", {"n": np.arange(len(first)), "first": first})
    con.execute(
        "CREATE TEMP TABLE resolved AS SELECT own.customer, other.customer AS person FROM numbered AS own "
        "JOIN person USING (n) JOIN numbered AS other ON other.n = first"
    )
    con.unregister("person")
    told = _told(con, known)
    # 4. Rows are a person's, and so is the key
    con.execute("UPDATE rows SET merged = v0, v0 = person FROM resolved WHERE v0 = customer AND person <> customer")
    con.execute(
        "UPDATE rows SET key = least FROM (SELECT v0 AS who, min(key) AS least FROM rows GROUP BY 1) WHERE v0 = who"
    )
    return told


def keys(snapshot: Path, rules: PeopleRules, batch: int = 65536) -> Iterator[tuple[list[str], list[bytes]]]:
    """The persons of a snapshot who have a key, ascending as in `features.people`, with the key's bytes, in batches.

    A key is UTF-8; of `sha256` it is the digest's 32 bytes. No two persons have one key. `rules` are those by which the
    snapshot was taken. Persons without a row in a plan's blocks are among them. Memory does not grow with the file.
    Raises IntegrityError when the snapshot is gone, has no keys, or is in no order.
    """
    query = (
        f"SELECT customer, {quoted(KEY)} AS k FROM read_parquet(?, hive_partitioning=false) WHERE k IS NOT NULL "
        "QUALIFY lag(customer) OVER () IS DISTINCT FROM customer"
    )
    key_of = as_bytes(rules)
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        last = ""
        try:
            found = con.execute(query, [exactly(snapshot)])
            while rows := found.fetchmany(batch):
                customers = [last, *(customer for customer, _ in rows)]
                # Why here: a file in another order would give one person twice, and say nothing.
                if not all(a < b for a, b in pairwise(customers)):
                    raise IntegrityError(f"snapshot {snapshot} is in no order", "take a new one")
                last = customers[-1]
                yield customers[1:], [key_of(key) for _, key in rows]
        except duckdb.Error:
            raise IntegrityError(f"snapshot {snapshot} has no keys that can be read", "take a new one") from None


def also(con: duckdb.DuckDBPyConnection, snapshot: Path) -> tuple[str, str]:
    """SQL for a list of a snapshot's people as the table that names them `customer`: `, "also_customers"`, and a join.

    Both are empty where the snapshot does not say which customers became one person: the plan had no `people`, or the
    snapshot is of a time before they were kept.
    """
    if not keeps_merged(con, snapshot):
        return "", ""
    file = literal(exactly(snapshot))
    merged = (
        f"SELECT customer, to_json(list(DISTINCT {quoted(MERGED)} ORDER BY {quoted(MERGED)}))::VARCHAR AS {ALSO} "
        f"FROM read_parquet({file}, hive_partitioning=false) WHERE {quoted(MERGED)} IS NOT NULL GROUP BY 1"
    )
    return f", {ALSO}", f" LEFT JOIN ({merged}) AS merged USING (customer)"


def keeps_merged(con: duckdb.DuckDBPyConnection, snapshot: Path) -> bool:
    """Whether a snapshot says which customers became one person. Raises duckdb.Error where it cannot be read."""
    query = f"SELECT count(*) > 0 FROM parquet_schema({literal(exactly(snapshot))}) WHERE name = ?"
    return bool(con.execute(query, [MERGED]).fetchall()[0][0])


def as_bytes(rules: PeopleRules) -> Callable[[str], bytes]:
    """A key's bytes, as they are hashed: UTF-8, or of `sha256` the digest itself."""
    return bytes.fromhex if rules.key == "sha256" else str.encode


def _spell(con: duckdb.DuckDBPyConnection, value: str, kind: str, rules: PeopleRules | None) -> None:
    """Make the table `spelled`: each text v there is in a column, n, its one spelling, and if there is none, why."""
    special: Any = "special"  # the name of a choice; its enumeration is elsewhere in each version of DuckDB
    con.create_function("spelling", spelling(kind, rules), ["VARCHAR"], "VARCHAR", null_handling=special)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE spelled AS SELECT v, spelling(v) AS n, "
        f"CASE WHEN n IS NULL THEN {literal(UNSPELLED[kind])} END AS why "
        f"FROM (SELECT DISTINCT {value} AS v FROM rows WHERE v IS NOT NULL)"
    )
    con.remove_function("spelling")


def _in_one_form(kind: str, value: str) -> str:
    """SQL for a value that rows may share. An id is kept as it was written, and compared in one form of its accents."""
    return f"nfc_normalize({value})" if kind == "id" else value


def _first_of_each(con: duckdb.DuckDBPyConnection, values: Sequence[str]) -> NDArray[np.int64]:
    """For each customer by number: the least number of all who are joined to it, by one value or by several.

    Connected components of customers and values, after Pearce, as scipy has them.
    """
    count, ties = con.execute("SELECT count(*) FROM numbered").fetchall()[0][0], []
    for value in values:
        found = con.execute(
            f"SELECT n, dense_rank() OVER (ORDER BY value) - 1 AS at FROM (SELECT DISTINCT v0, {value} AS value "
            "FROM rows WHERE v0 IS NOT NULL AND value IS NOT NULL) JOIN numbered ON v0 = customer"
        ).fetchnumpy()
        ties.append((np.asarray(found["n"], dtype=np.int64), np.asarray(found["at"], dtype=np.int64)))
    return joined(count, ties)


def joined(count: int, ties: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.int64]:
    """(count,) for each of so many things the least number of all that are joined to it, by one value or by several.

    ties: for each kind of value (m,) things, and (m,) the values that they have, as numbers from 0
    """
    # Here and not above: reading records without people's keys need not wait for scipy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends, nodes = [(np.arange(0), np.arange(0))], count
    for things, values in ties:
        ends.append((things, values + nodes))
        nodes += int(values.max(initial=-1)) + 1
    one, other = (np.concatenate(side) for side in zip(*ends, strict=True))
    edges = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(nodes, nodes))
    labels = connected_components(edges, directed=False)[1][:count]
    _, first, at = np.unique(labels, return_index=True, return_inverse=True)
    least: NDArray[np.int64] = first[at]
    return least


def _told(con: duckdb.DuckDBPyConnection, known: Mapping[str, tuple[str, str]]) -> Resolved:
    """What to tell the operator, from rows that still have the customers of the files."""

    def number(query: str) -> int:
        return int(con.execute(query).fetchall()[0][0])

    rows = "rows JOIN resolved ON v0 = customer"
    having = {
        name: number(f"SELECT count(DISTINCT person) FROM {rows} WHERE {value} IS NOT NULL")
        for name, (_, value) in known.items()
    }
    grouped = "SELECT count(*) FROM (SELECT person FROM {} GROUP BY person HAVING count(DISTINCT {}) > {})"
    return Resolved(
        customers=number("SELECT count(*) FROM resolved"),
        people=number("SELECT count(DISTINCT person) FROM resolved"),
        with_key=next(iter(having.values())),
        known=tuple(Known(name, kind, having[name]) for name, (kind, _) in known.items()),
        many_customers=number(grouped.format("resolved", "customer", MANY_CUSTOMERS)),
        many_keys=number(grouped.format(rows, "key", MANY_KEYS)),
    )
