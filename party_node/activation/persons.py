"""Which customers are one person, for an activation: those whom the list names together, and who share an address.

The first is what the party's data said when the list was made (`identity.py`): the list calls a person by the first of
its customers, and all of their rows are the person's. The second decides only who is left out: whoever may be somebody
who opted out is not written, by however many steps from one customer to the next.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np

from protocols.errors import UsageError

from ..identity import ALSO, joined
from .tables import at


def listed(con: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Make `members` (customer, person, row) of `chosen` (row, customer, also): the customers of each row's person.

    Raises UsageError where a customer comes twice, or where `also_customers` is no JSON array of customers.
    """
    con.execute("CREATE TEMP TABLE members (customer VARCHAR, person VARCHAR, row BIGINT)")
    con.execute("INSERT INTO members SELECT customer, customer, row FROM chosen WHERE customer IS NOT NULL")
    _refuse_twice(con, file, "customer")
    named = con.execute(
        "SELECT row, customer, also FROM chosen WHERE customer IS NOT NULL AND also IS NOT NULL ORDER BY row"
    ).fetchall()
    found = [(other, person, row) for row, person, text in named for other in _others(file, row, text)]
    if found:
        others, persons, rows = zip(*found, strict=True)
        texts = {"customer": np.array(others, dtype=np.object_), "person": np.array(persons, dtype=np.object_)}
        con.register("others", {**texts, "row": np.array(rows, dtype=np.int64)})
        con.execute("INSERT INTO members SELECT customer, person, row FROM others")
        con.unregister("others")
        _refuse_twice(con, file, ALSO)


def tie(con: duckdb.DuckDBPyConnection) -> None:
    """Make `persons` (customer, tied) of `members`, `known` and `marks`: who may be one person is tied to one."""
    con.execute(
        "CREATE TEMP TABLE persons AS SELECT customer, row_number() OVER () - 1 AS n, 0::BIGINT AS tied FROM "
        "(SELECT customer FROM members UNION SELECT customer FROM known WHERE customer IS NOT NULL)"
    )
    # 1. A customer has the marks of its rows, and the person that the list says
    marks = "SELECT n, dense_rank() OVER (ORDER BY kind, value) - 1 AS at FROM marks JOIN persons USING (customer)"
    named = (
        "SELECT own.n, whose.n AS at FROM members JOIN persons AS own USING (customer) "
        "JOIN persons AS whose ON whose.customer = person"
    )
    ties = []
    for query in (marks, named):
        found = con.execute(query).fetchnumpy()
        ties.append((np.asarray(found["n"], dtype=np.int64), np.asarray(found["at"], dtype=np.int64)))
    # 2. Joined by any of these, by however many steps
    (count,) = con.execute("SELECT count(*) FROM persons").fetchall()[0]
    numbers = joined(count, ties)
    con.register("numbers", {"n": np.arange(count), "tied": numbers})
    con.execute("UPDATE persons SET tied = numbers.tied FROM numbers WHERE persons.n = numbers.n")
    con.unregister("numbers")


def _others(file: Path, row: int, text: str) -> list[str]:
    try:
        found = json.loads(text)
        # Why encoded: JSON can spell half of a character, which no text of a file is.
        if isinstance(found, list) and all(isinstance(one, str) and one.strip() and one.encode() for one in found):
            return found
    except (ValueError, RecursionError):
        pass
    what = f"{at(file, row)}, column {ALSO}: no JSON array of customers"
    raise UsageError(what, 'as `audience` writes it: ["18", "23"], or nothing')


def _refuse_twice(con: duckdb.DuckDBPyConnection, file: Path, column: str) -> None:
    twice = con.execute(
        "SELECT customer, list(row ORDER BY row) FROM members GROUP BY 1 HAVING count(*) > 1 ORDER BY min(row) LIMIT 1"
    ).fetchone()
    if twice is not None:
        first, again = twice[1][:2]
        what = f"{at(file, again)}, column {column}: the same as {at(file, first)}"
        raise UsageError(what, "a list has each customer once")
