"""Registering a party's data: read once, judged once, then kept as a version, or refused with nothing kept.

Here, and only here, something may be refused because of what the data are: what is found is shown to the party's own
operator, before anybody has approved anything. Once a plan is approved a node answers whatever its data are
(`contribution.py`). A refusal names a column, a row and a limit, never a value.

Registering always makes a new version, also of the same rows: a version is what the party declares, and never found by
comparing data, or the ledger would show everybody whether a party's data have changed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from protocols import ledger_copy
from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.schema import Block, Column, Schema

from .config import Config
from .faults import Fault
from .records import BOUGHT_ON, Inside, Snapshot, count_inside, keep_snapshot, take_snapshot
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
    """A new version of a party's data and what was found in it. `inside`: by block of the plan; empty without days."""

    dataset: Dataset
    snapshot: Snapshot
    inside: Mapping[str, Inside]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        found = self.snapshot
        return {
            "version": self.dataset.version,
            "rows": found.rows,
            "people": found.people,
            "first_day": found.first_day,
            "last_day": found.last_day,
            "inside": {block: vars(part) for block, part in self.inside.items()},
            "bad_rows": found.bad_rows,
            "rows_without_customer": found.nameless_rows,
            "bad_sample": [vars(row) for row in found.bad_sample],
            "warnings": list(self.warnings),
            **_known_by(found),
            **({"lists": [vars(one) for one in found.lists]} if found.lists else {}),
        }

    def lines(self) -> list[str]:
        """The same in words."""
        found = self.snapshot
        said = f"dataset {self.dataset.version[:8]}: {_rows(found.rows)} of {_people(found.people)}"
        lines = [said + (f", {found.first_day} to {found.last_day}" if found.first_day else "")]
        for block, part in self.inside.items():
            lines.append(f"{block}: {part.rows:,} of {_rows(found.rows)}, {_people(part.people)}")
        if found.nameless_rows:
            belong = "has no customer and belongs" if found.nameless_rows == 1 else "have no customer and belong"
            lines.append(f"{_rows(found.nameless_rows)} {belong} to nobody")
        if found.bad_rows:
            are = "is" if found.bad_rows == 1 else "are"
            lines.append(f"{_rows(found.bad_rows)} {are} unusable, and each one's customer with it:")
            lines += [f"  {row}" for row in found.bad_sample]
            lines += ["  …"] if _more(found) else []
        return [*lines, *_people_lines(found), *(one.line() for one in found.lists)]


def register(config: Config, plan: Plan) -> Registered:
    """Read the party's files into a snapshot of `plan.table`, and keep it as the latest version of its data.

    The same rows again are a new version too; so is a snapshot that was lost.
    Raises UsageError: files, columns or mapping are wrong. Refused: what the files hold is not fit for the plan, or the
    node is running. In both cases the state is as it was before.
    """
    table, state = config.table(), config.path("state")
    try:
        with closing(Store(state)) as store, _beside(state) as beside:
            # 1. Read everything, beside what is kept
            snapshot = take_snapshot(table, plan.table, beside / "snapshot.parquet", plan.people)
            # 2. Judge it
            check_columns(snapshot, plan.table)
            check_rows(snapshot)
            check_repeats(snapshot, plan.table)
            least = config.settings.table.least_people or LEAST_PEOPLE
            check_people(snapshot, least, plan.people_cap)
            inside, period = _inside(snapshot, plan)
            check_period(period, least, plan.blocks)
            # 3. Keep it
            blocks = tuple(sorted(ledger_copy.room_now(config.room, state / "ledger.db").blocks))
            dataset, kept = _kept(store, snapshot, plan, blocks)
            warnings = (*_warnings(snapshot, period), *_small_seeds(snapshot, plan, config.party))
            return Registered(dataset, kept, inside, warnings)
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


def check_period(period: Inside | None, least: int, blocks: Mapping[str, Block]) -> None:
    """Raise Refused when fewer than `least` people have a row on a day of the plan: others do not exist for it."""
    if period is not None and period.people < least:
        days = ", ".join(f"{block.first} to {block.last}" for block in blocks.values())
        raise Refused(
            f"{_people(period.people)} with a row inside the plan's period ({days}), the least is {least:,}",
            "name files of that period in table.files, or ask the operator for a plan of another period",
        )


def _inside(snapshot: Snapshot, plan: Plan) -> tuple[dict[str, Inside], Inside | None]:
    """What lies in each block of the plan, and in all together; nothing and None for a table without days."""
    if BOUGHT_ON not in plan.table.columns:
        return {}, None
    inside = {name: count_inside(snapshot.path, [block]) for name, block in plan.blocks.items()}
    return inside, count_inside(snapshot.path, list(plan.blocks.values()))


def _kept(store: Store, snapshot: Snapshot, plan: Plan, blocks: tuple[str, ...]) -> tuple[Dataset, Snapshot]:
    """Keep the snapshot and its row, as a version of its own."""
    version = secrets.token_hex(16)
    settings = (snapshot.sha256, plan.table_digest, blocks, plan.people_cap)
    dataset = Dataset(version, secrets.token_hex(32), f"snapshot-{version}.parquet", *settings)
    kept = keep_snapshot(snapshot, store.state / dataset.snapshot)
    try:
        store.add_dataset(dataset)
    except BaseException:
        kept.path.unlink(missing_ok=True)
        raise
    return dataset, kept


def _warnings(snapshot: Snapshot, period: Inside | None) -> tuple[str, ...]:
    resolved = () if snapshot.resolved is None else snapshot.resolved.warnings()
    return (*_outside(snapshot, period), *_short(snapshot), *_ill_spelled(snapshot), *resolved)


def _small_seeds(snapshot: Snapshot, plan: Plan, party: str) -> tuple[str, ...]:
    """Of a seed that is too small for the plan, or not there: said now, since afterwards nothing may depend on it."""
    found = {one.name: one.people for one in snapshot.lists}
    said = list[str]()
    for question in plan.questions:
        if isinstance(question, lookalike.Plan) and question.seed.party == party and question.seed.list is not None:
            name = question.seed.list
            if name not in found:
                said.append(f'the plan\'s seed is the list {name}, and node.toml names none: [seeds] {name} = "FILE"')
            elif found[name] < question.floor:
                said.append(f"the list {name} has {_people(found[name])}, the plan's floor is {question.floor:,}")
    return tuple(said)


def _known_by(snapshot: Snapshot) -> dict[str, Any]:
    """Who is one person, and what they are known by, as plain values; nothing for a table without such columns."""
    found: dict[str, Any] = {}
    if snapshot.resolved is not None:
        found["persons"] = dataclasses.asdict(snapshot.resolved)
    if snapshot.resolved is not None or snapshot.unspelled:
        found["unspelled"] = [
            {"column": fault.column, "rows": fault.rows, "first": [vars(row) for row in fault.first]}
            for fault in snapshot.unspelled
        ]
    return found


def _people_lines(snapshot: Snapshot) -> list[str]:
    """The same in words."""
    lines = []
    if (found := snapshot.resolved) is not None:
        told_apart = "1 customer" if found.customers == 1 else f"{found.customers:,} customers"
        lines.append(f"{told_apart} in the files: {found.customers - found.people:,} merged into others")
        lines.append(f"{found.with_key:,} of {_people(found.people)} have a key, and can be found at another party")
        lines += [f"column {one.column} ({one.type}): filled for {_people(one.people)}" for one in found.known]
    for fault in snapshot.unspelled:
        lines.append(f"column {fault.column}: unreadable in {_rows(fault.rows)}, as if empty; the rest of each counts:")
        lines += [f"  {row}" for row in fault.first]
        lines += ["  …"] if fault.rows > len(fault.first) else []
    return lines


def _ill_spelled(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(
        f"column {fault.column!r} is unreadable in {fault.rows:,} of {_rows(snapshot.rows)}: "
        f"is table.columns.{fault.column} in node.toml the right column?"
        for fault in snapshot.unspelled
        if 2 * fault.rows > snapshot.rows
    )


def _outside(snapshot: Snapshot, period: Inside | None) -> tuple[str, ...]:
    if period is None or 2 * period.rows >= snapshot.rows:
        return ()
    what = f"{period.rows:,} of {_rows(snapshot.rows)} lie inside the plan's period"
    return (f"{what}: the others count for nothing in it",)


def _short(snapshot: Snapshot) -> tuple[str, ...]:
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
