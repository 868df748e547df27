"""Who of a list is written: each of its rows has one fate, and the fates add up to the list.

1. rows of nobody, of other segments, without a rank, below the cut;
2. who is to be left out: whoever opted out, then the holdout arm;
3. whom the party's own table does not know, or knows by nothing that the platform takes.

Whoever is left out takes what they are known by along: a customer who shares an e-mail address, a telephone number or
an advertising id with somebody who opted out, or is held out, is not written either, nor who shares one with these.
Why: what the file names is the address, not the customer, and the platform would show the advertisement to whoever
reads it; and who has two customers' addresses may be both.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

import duckdb

from protocols.errors import UsageError

from ..audience import UNSURE
from ..files import literal
from ..identity import ALSO, MANY_CUSTOMERS
from .persons import listed, tie
from .spelling import Field
from .tables import Known, at, function, lacks, left_out, load, own, source

Fate = Literal[
    "nameless", "other_segment", "unranked", "below_cut", "opted_out", "no_holdout_token", "holdout", "unknown",
    "unreachable", "written",
]  # fmt: skip
FATES: dict[Fate, str] = {
    "nameless": "without a customer",
    "other_segment": "of other segments",
    "unranked": "without a rank",
    "below_cut": "below the cut",
    "opted_out": "opted out",
    "no_holdout_token": "with nothing to draw the holdout by",
    "holdout": "held out",
    "unknown": "not in the party's own table",
    "unreachable": "known by nothing that the platform takes",
    "written": "written",
}
ARMS = 10_000
_YES, _NO = ("1", "true", "yes", "holdout", "control"), ("0", "false", "no", "treated", "treatment")


@dataclass(frozen=True)
class Top:
    """The best of a list: so many, or so many hundredths of a per cent of those who are in it."""

    count: int | None = None
    hundredths: int | None = None

    @classmethod
    def read(cls, text: str) -> Top:
        """`500`, `20%`, `2.5%`. Raises UsageError."""
        if re.fullmatch(r"[1-9][0-9]{0,11}", text):
            return cls(count=int(text))
        if text.endswith("%"):
            return cls(hundredths=hundredths(text[:-1], "--top", 100))
        raise UsageError(f"--top {text}: neither a number nor a share", "as --top 5000, or --top 20%")

    def of(self, people: int) -> int:
        return self.count if self.count is not None else people * (self.hundredths or 0) // ARMS


@dataclass(frozen=True)
class Draw:
    """A holdout arm by lot: HMAC of what a customer is known by, under a key that the parties of a campaign share.

    share   in hundredths of a per cent
    token   the field that is drawn: by `email` a person is in the same arm at every party with the same key
    """

    share: int
    key: bytes
    token: Field = "customer"

    def arm(self, value: str) -> int:
        """0 to 9,999, the same for the same key, field and value: held out below `share`."""
        message = b"sumroom/holdout/v1\0" + self.token.encode() + b"\0" + value.encode()
        return int.from_bytes(hmac.digest(self.key, message, hashlib.sha256)) % ARMS


@dataclass(frozen=True)
class Choice:
    """What a party asks of its list. `holdout`: a file of who is held out, or a column of the list that says it."""

    file: Path
    segments: tuple[str, ...] = ()
    segment_column: str | None = None
    top: Top | None = None
    by: str | None = None
    opt_outs: Path | None = None
    holdout: Path | str | None = None
    draw: Draw | None = None


def hundredths(text: str, option: str, most: int) -> int:
    """A share in per cent, at most two decimals, above 0 and up to `most`, as hundredths. Raises UsageError."""
    try:
        value = Decimal(text.strip()) * 100
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != value.to_integral_value() or not 0 < value <= most * 100:
        what = f"{option} {text.strip()}%: above 0 % and up to {most} %, two decimals at most"
        raise UsageError(what, f"as {option} {'20%' if option == '--top' else '10'}")
    return int(value)


def choose(con: duckdb.DuckDBPyConnection, choice: Choice, known: Known | None) -> None:
    """Make `chosen` (row, customer, fate): no fate means that the row is still to be written; and `members`.

    `tables.known_people` comes first. Raises UsageError, naming file, line and column.
    """
    # 1. The list, and what can be told from it alone
    held, by = _load(con, choice)
    listed(con, choice.file)
    tie(con)
    _fate(con, "nameless", "customer IS NULL")
    if choice.segments:
        _fate(con, "other_segment", f"segment IS NULL OR segment NOT IN ({', '.join(map(literal, choice.segments))})")
        _refuse_unseen(con, choice)
    if choice.top is not None:
        _cut(con, choice.file, choice.top, by)
    # 2. Who is left out. Opt-outs first, so that a report of an experiment counts nobody who never could be in it
    if choice.opt_outs is not None:
        left_out(con, choice.opt_outs, "--opt-out", known)
        _leave_out(con, "opted_out")
    if held is not None:
        _named(con, held)
        _leave_out(con, "holdout")
    elif isinstance(choice.holdout, Path):
        left_out(con, choice.holdout, "--holdout", known)
        _leave_out(con, "holdout")
    if choice.draw is not None:
        _draw(con, choice.draw)


def mark_rest(con: duckdb.DuckDBPyConnection, fate: Fate, condition: str) -> None:
    """Give those who have no fate yet this one, where the condition over `chosen` holds."""
    _fate(con, fate, condition)


def doubts(con: duckdb.DuckDBPyConnection) -> tuple[str | None, int]:
    """Of those written: what the list says of itself where that is not `usable`, and how many are beyond its cut."""
    known = ", ".join(map(literal, UNSURE))
    said = con.execute(f"SELECT min(signal) FROM chosen WHERE fate = 'written' AND signal IN ({known})").fetchall()
    beyond = con.execute("SELECT count(*) FROM chosen WHERE fate = 'written' AND within = ''").fetchall()
    return said[0][0], beyond[0][0]


def dummies(con: duckdb.DuckDBPyConnection) -> int:
    """How many were left out because of over MANY_CUSTOMERS customers who share addresses: often one of nobody's."""
    many = f"SELECT tied FROM persons GROUP BY 1 HAVING count(*) > {MANY_CUSTOMERS}"
    those = f"SELECT count(*) FROM chosen JOIN persons USING (customer) WHERE tied IN ({many})"
    found = con.execute(f"{those} AND fate IN ('opted_out', 'holdout')").fetchall()
    return int(found[0][0])


def counted(con: duckdb.DuckDBPyConnection) -> dict[Fate, int]:
    """Fate → rows, all fates, in their order; they add up to the list."""
    found: Mapping[Fate, int] = dict(con.execute("SELECT fate, count(*) FROM chosen GROUP BY 1").fetchall())
    return {fate: found.get(fate, 0) for fate in FATES}


def _load(con: duckdb.DuckDBPyConnection, choice: Choice) -> tuple[str | None, str]:
    """Make `chosen`; returned: the condition for who is held out by a column of the list, and what --top goes by."""
    found = source(con, choice.file, "LIST")
    mapping = own(found, ("customer",))
    if not mapping:
        raise lacks(found, "customer", False, "a list has a column customer, as segments.csv has")
    wanted = {"segment": _segment_column(found.own, choice), "measure": _measure_column(found.own, choice)}
    if isinstance(choice.holdout, str):
        wanted["held"] = choice.holdout
    for name, column in wanted.items():
        if column is not None:
            there = own(found, (column,))
            if not there:
                raise lacks(found, column, True, "name a column of the list")
            mapping[name] = there[column]
    # What `audience` says of its lists. `within` is empty beyond the largest cut; in another list it is null
    more = own(found, (ALSO, "signal", "within"))
    if "signal" not in more:
        more.pop("within", None)
    mapping |= {"also" if name == ALSO else name: column for name, column in more.items()}
    load(con, "listed", [(found, mapping)])
    names = ("segment", "measure", "held", "also", "signal")
    optional = ", ".join(name if name in mapping else f"NULL::VARCHAR AS {name}" for name in names)
    within = "coalesce(within, '')" if "within" in mapping else "NULL::VARCHAR"
    con.execute(
        f"CREATE TEMP TABLE chosen AS SELECT row, customer, {optional}, {within} AS within, NULL::VARCHAR AS fate "
        "FROM listed"
    )
    held = _held(con, choice) if isinstance(choice.holdout, str) else None
    return held, mapping.get("measure", "")


def _segment_column(there: Sequence[str], choice: Choice) -> str | None:
    if not choice.segments:
        return None
    if choice.segment_column is not None:
        return choice.segment_column
    return next((name for name in ("segment", "class") if name in there), "segment")


def _measure_column(there: Sequence[str], choice: Choice) -> str | None:
    if choice.top is None:
        return None
    if choice.by is not None:
        return choice.by
    if (name := next((name for name in ("rank", "score") if name in there), None)) is None:
        raise UsageError("--top: the list has neither a column rank nor a column score", "name one with --by")
    return name


def _refuse_unseen(con: duckdb.DuckDBPyConnection, choice: Choice) -> None:
    for name in choice.segments:
        if not con.execute("SELECT count(*) FROM chosen WHERE segment = ?", [name]).fetchall()[0][0]:
            raise UsageError(f"--segment {name}: no row of file {choice.file} has it", "as s1, c2")


def _cut(con: duckdb.DuckDBPyConnection, file: Path, top: Top, by: str) -> None:
    """The best `top` of those left; of equal ones those whose customer comes first in the order of its text.

    by: the column it goes by; of `rank` the lowest are the best, of all others the highest.
    """
    con.execute("ALTER TABLE chosen ADD COLUMN number DOUBLE")
    con.execute("UPDATE chosen SET number = TRY_CAST(measure AS DOUBLE)")
    bad = con.execute("SELECT min(row) FROM chosen WHERE measure IS NOT NULL AND number IS NULL").fetchall()[0][0]
    if bad is not None:
        raise UsageError(f"--top: {at(file, bad)}, column {by}: not a number", "name another column with --by")
    people = con.execute("SELECT count(*) FROM chosen WHERE fate IS NULL").fetchall()[0][0]
    if not (most := top.of(people)):
        raise UsageError(f"--top: that share of {people:,} people is nobody", "ask for more")
    _fate(con, "unranked", "number IS NULL OR isnan(number)")
    order = "ASC" if by.casefold() == "rank" else "DESC"
    con.execute(
        "CREATE TEMP TABLE best AS SELECT row FROM chosen WHERE fate IS NULL "
        f"ORDER BY number {order}, customer LIMIT {most}"
    )
    _fate(con, "below_cut", "row NOT IN (SELECT row FROM best)")


def _held(con: duckdb.DuckDBPyConnection, choice: Choice) -> str:
    yes, no = (f"lower(held) IN ({', '.join(map(literal, words))})" for words in (_YES, _NO))
    bad = con.execute(f"SELECT min(row) FROM chosen WHERE held IS NULL OR NOT ({yes} OR {no})").fetchall()[0][0]
    if bad is not None:
        what = f"--holdout: {at(choice.file, bad)}, column {choice.holdout}: neither held out nor not"
        raise UsageError(what, f"held out: {', '.join(_YES)}; not: {', '.join(_NO)}")
    return yes


def _named(con: duckdb.DuckDBPyConnection, condition: str) -> None:
    con.execute(f"CREATE TEMP TABLE named AS SELECT customer FROM chosen WHERE customer IS NOT NULL AND {condition}")
    con.execute("CREATE TEMP TABLE ids (kind VARCHAR, value VARCHAR)")


def _draw(con: duckdb.DuckDBPyConnection, draw: Draw) -> None:
    """Hold out whoever is drawn, on the list or not: one who is not takes what they are known by along as well."""
    function(con, "arm", draw.arm, "INTEGER")
    if draw.token == "customer":
        everybody = "SELECT person AS customer FROM members UNION SELECT customer FROM known"
        those = "WHERE customer IS NOT NULL AND customer NOT IN (SELECT customer FROM members WHERE customer <> person)"
        con.execute("CREATE TEMP TABLE ids (kind VARCHAR, value VARCHAR)")
        con.execute(
            f"CREATE TEMP TABLE named AS SELECT customer FROM ({everybody}) {those} AND arm(customer) < {draw.share}"
        )
    else:
        marks = f"FROM marks WHERE kind = '{draw.token}'"
        drawn = f"SELECT person FROM members WHERE customer IN (SELECT customer {marks})"
        _fate(con, "no_holdout_token", f"customer NOT IN ({drawn})")
        con.execute("CREATE TEMP TABLE named (customer VARCHAR)")
        con.execute(f"CREATE TEMP TABLE ids AS SELECT DISTINCT kind, value {marks} AND arm(value) < {draw.share}")
    _leave_out(con, "holdout")


def _leave_out(con: duckdb.DuckDBPyConnection, fate: Fate) -> None:
    """Give the fate to those in `named`, to whom a mark in `ids` is, and to whoever may be one person with these."""
    con.execute("INSERT INTO named SELECT customer FROM marks JOIN ids USING (kind, value)")
    those = "SELECT tied FROM persons WHERE customer IN (SELECT customer FROM named)"
    _fate(con, fate, f"customer IN (SELECT customer FROM persons WHERE tied IN ({those}))")
    con.execute("DROP TABLE named")
    con.execute("DROP TABLE ids")


def _fate(con: duckdb.DuckDBPyConnection, fate: Fate, condition: str) -> None:
    con.execute(f"UPDATE chosen SET fate = '{fate}' WHERE fate IS NULL AND ({condition})")
