"""Registering a party's data: read once, judged once, then kept as a version, or refused with nothing kept.

Here, and only here, something may be refused because of what the data are: what is found is shown to the party's own
operator, before anybody has approved anything. Once a plan is approved a node answers whatever its data are
(`contribution.py`). A refusal names a column, a row and a limit, never a value.
"""

from __future__ import annotations

import datetime as dt
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from protocols.errors import IntegrityError, Refused, UsageError
from protocols.plan import Plan
from protocols.schema import Column, Schema

from .config import Config
from .faults import Fault
from .records import Snapshot, check_snapshot, keep_snapshot, take_snapshot
from .store import Dataset, Store

# Why 100: the demo's plan gives each party's counts noise of σ 9 to 16 people. What fewer people than this add to a
# bin of it is lost in their own noise, while they pay for it all the same.
LEAST_PEOPLE = 100
# Why one in a thousand: a wrong mapping or a broken export spoils more rows than that, a slip of the hand fewer; and
# each spoilt row takes a whole person out of every figure.
ROWS_PER_BAD_ROW = 1000
YEAR_DAYS = 365
SHOWN = 3
_AGAIN = "then again: sumroom-party register --config node.toml --plan plan.toml"
_READABLE = {
    "id": "map it to a column that every row fills in",
    "date": "a date is read as 2017-12-31; strptime(x, '%d.%m.%Y') reads 31.12.2017",
    "money": "map it to a column of numbers; replace(x, ',', '.') reads a decimal comma",
    "count": "map it to a column of whole numbers; replace(x, ',', '.') reads a decimal comma",
}


@dataclass(frozen=True)
class Registered:
    """A version of a party's data and what was found in it. `fresh`: it is new; otherwise nothing has changed since."""

    dataset: Dataset
    snapshot: Snapshot
    fresh: bool
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        found = self.snapshot
        return {
            "version": self.dataset.version,
            "fresh": self.fresh,
            "rows": found.rows,
            "people": found.people,
            "first_day": found.first_day,
            "last_day": found.last_day,
            "bad_rows": found.bad_rows,
            "rows_without_customer": found.nameless_rows,
            "bad_sample": [vars(row) for row in found.bad_sample],
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """The same in words."""
        found = self.snapshot
        said = f"dataset {self.dataset.version[:8]}: {_rows(found.rows)} of {_people(found.people)}"
        said += f", {found.first_day} to {found.last_day}" if found.first_day else ""
        lines = [said if self.fresh else f"nothing has changed since {said}"]
        if found.nameless_rows:
            belong = "has no customer and belongs" if found.nameless_rows == 1 else "have no customer and belong"
            lines.append(f"{_rows(found.nameless_rows)} {belong} to nobody")
        if found.bad_rows:
            are = "is" if found.bad_rows == 1 else "are"
            lines.append(f"{_rows(found.bad_rows)} {are} unusable, and each one's customer with it:")
            lines += [f"  {row}" for row in found.bad_sample]
            lines += ["  …"] if _more(found) else []
        return lines


def register(config: Config, plan: Plan) -> Registered:
    """Read the party's files into a snapshot of `plan.table`, and keep it as the latest version of its data.

    A snapshot that has the rows and the settings of the latest version makes no new one.
    Raises UsageError: files, columns or mapping are wrong. Refused: what the files hold is not fit for the plan, or the
    node is running. In both cases the state is as it was before.
    """
    table, blocks, state = config.table(), tuple(sorted(config.room.blocks)), config.path("state")
    try:
        with closing(Store(state)) as store, _beside(state) as beside:
            # 1. Read everything, beside what is kept
            snapshot = take_snapshot(table, plan.table, beside / "snapshot.parquet")
            # 2. Judge it
            check_columns(snapshot, plan.table)
            check_rows(snapshot)
            check_repeats(snapshot, plan.table)
            check_people(snapshot, config.settings.table.least_people or LEAST_PEOPLE, plan.people_cap)
            # 3. Keep it, unless it is kept already
            return _kept(store, snapshot, plan, blocks)
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        raise UsageError(f"cannot write below {state}: {reason}", "is there room and permission?") from None


def check_columns(snapshot: Snapshot, schema: Schema) -> None:
    """Raise Refused for a column that most rows have nothing usable in: another column, or another way to write it."""
    for fault in snapshot.faults:
        if 2 * fault.rows > snapshot.rows:
            why = ", ".join(f"{reason} in {rows:,}" for reason, rows in fault.reasons.items())
            what = f"column {fault.column!r} cannot be read in {fault.rows:,} of {_rows(snapshot.rows)} ({why})"
            raise Refused(what + _listed(fault.first[:SHOWN]), _reading(fault, schema.columns[fault.column]))


def check_rows(snapshot: Snapshot) -> None:
    """Raise Refused when more than one row in ROWS_PER_BAD_ROW cannot be used."""
    rows, bad = snapshot.rows, snapshot.bad_rows
    if bad * ROWS_PER_BAD_ROW <= rows:
        return
    # Upward, so that a share just above the limit does not look like the limit.
    percent = -(-bad * 10_000 // rows) / 100
    limit = f"{100 / ROWS_PER_BAD_ROW:g} %, here {_rows(rows // ROWS_PER_BAD_ROW)}"
    raise Refused(
        f"{bad:,} of {_rows(rows)} cannot be used ({percent:g} %); the limit is {limit}"
        + _listed(snapshot.bad_sample, more=_more(snapshot)),
        f"mend these rows in the files or leave them out, or set table.columns in node.toml right; {_AGAIN}",
    )


def check_repeats(snapshot: Snapshot, schema: Schema) -> None:
    """Raise Refused when a table declared to have one row per id has a second one of somebody."""
    if (fault := snapshot.repeats) is not None:
        have = "1 row has" if fault.rows == 1 else f"{fault.rows:,} rows have"
        raise Refused(
            f"{have} in column {fault.column!r} what an earlier row has; table {schema.name!r} takes one row of each"
            + _listed(fault.first, more=fault.rows > len(fault.first)),
            f"leave one row of each in the files (the plan's table says one_row_per = {fault.column!r}); {_AGAIN}",
        )


def check_people(snapshot: Snapshot, least: int, most: int) -> None:
    """Raise Refused for fewer people than `least` or more than `most`, the plan's people_cap."""
    if snapshot.people < least:
        raise Refused(
            f"the files hold {_people(snapshot.people)}, the least is {least:,}: their own noise would drown them",
            "name more files in table.files; a smaller floor is table.least_people in node.toml",
        )
    if snapshot.people > most:
        raise Refused(
            f"the files hold more people than the plan's people_cap of {most}",
            "ask the operator for a plan with a larger public cap",
        )


def _kept(store: Store, snapshot: Snapshot, plan: Plan, blocks: tuple[str, ...]) -> Registered:
    """Keep the snapshot and its row, or find that the latest version is the same."""
    version, latest = secrets.token_hex(16), store.dataset()
    settings = (snapshot.sha256, plan.table.digest(), blocks, plan.people_cap)
    warnings = _warnings(snapshot)
    if latest and settings == (latest.sha256, latest.schema_digest, latest.blocks, latest.people_cap):
        place = store.state / latest.snapshot
        try:
            check_snapshot(place, latest.sha256)
        except IntegrityError:
            keep_snapshot(snapshot, place)  # the same bytes, back in the place of a lost or damaged file
        return Registered(latest, snapshot, False, warnings)
    dataset = Dataset(version, secrets.token_hex(32), f"snapshot-{version}.parquet", *settings)
    kept = keep_snapshot(snapshot, store.state / dataset.snapshot)
    try:
        store.add_dataset(dataset)
    except BaseException:
        kept.path.unlink(missing_ok=True)
        raise
    return Registered(dataset, kept, True, warnings)


def _warnings(snapshot: Snapshot) -> tuple[str, ...]:
    if not snapshot.first_day:
        return ()
    days = (dt.date.fromisoformat(snapshot.last_day) - dt.date.fromisoformat(snapshot.first_day)).days + 1
    if days >= YEAR_DAYS:
        return ()
    span = f"{days:,} days" if days > 1 else "1 day"
    what = f"the table spans {span}, {snapshot.first_day} to {snapshot.last_day}, under 12 months"
    return (f"{what}: seasons and customers who seldom come are missing from it",)


@contextmanager
def _beside(state: Path) -> Iterator[Path]:
    """A folder for what is not kept yet; what a killed `register` left goes first, for the store is ours alone."""
    for left in state.glob(".snapshot-*"):
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=state, prefix=".snapshot-") as beside:
        yield Path(beside)


def _reading(fault: Fault, column: Column) -> str:
    """The hint for a column that cannot be read: what its type wants."""
    hint = _READABLE[column.type]
    if next(iter(fault.reasons)) == "out of bounds":
        hint = f"the plan's bounds are {column.low or 0:,} to {column.high:,} in whole units; x / 100 reads hundredths"
    return f"set table.columns.{fault.column} in node.toml: {hint}"


def _listed(rows: Sequence[object], *, more: bool = False) -> str:
    return "".join(f"\n  {row}" for row in rows) + ("\n  …" if more else "")


def _more(snapshot: Snapshot) -> bool:
    """Whether there are bad rows that the sample does not name."""
    return len({(row.file, row.row) for row in snapshot.bad_sample}) < snapshot.bad_rows


def _rows(count: int) -> str:
    return {0: "no row", 1: "1 row"}.get(count, f"{count:,} rows")


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count:,} people"
