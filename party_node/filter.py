"""The party's own privacy filter: what its data may still lose, over all rooms it takes part in.

One file per party, shared by its nodes. A charge covers days, not a room's names for them, so that the same rows asked
for in two rooms, or under two names, add up. Holds are taken before a reserve exists and turn into spends when the
node cosigns it; a hold that never became one lapses after its expiry, which is safe because a node answers nothing
without a spend. A spend is never removed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from protocols.budget import decimal
from protocols.errors import Refused
from protocols.schema import Block

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charge(
  room TEXT NOT NULL, round TEXT NOT NULL, plan TEXT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
  nano INTEGER NOT NULL CHECK(nano > 0), state TEXT NOT NULL CHECK(state IN ('held', 'spent')),
  expires INTEGER NOT NULL, PRIMARY KEY(room, round, first, last)) STRICT;
CREATE TRIGGER IF NOT EXISTS charge_stays BEFORE DELETE ON charge WHEN OLD.state = 'spent'
  BEGIN SELECT RAISE(ABORT, 'a spend is never removed'); END;
CREATE TRIGGER IF NOT EXISTS charge_fixed BEFORE UPDATE ON charge
  WHEN OLD.state = 'spent' OR NEW.nano <> OLD.nano OR NEW.first <> OLD.first OR NEW.last <> OLD.last
  BEGIN SELECT RAISE(ABORT, 'a charge never changes'); END;
"""


class Filter:
    """`cap`: the most nano-ρ that any one day may lose. Several processes may use one file."""

    def __init__(self, path: Path, cap: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.cap = cap
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def hold(self, room: str, round_id: str, plan: str, blocks: Sequence[Block], nano: int, *, expires: int,
             now: int) -> None:  # fmt: skip
        """Set budget aside for a draft. Idempotent by round. Raises Refused when a day's cap would be passed."""
        with self._transaction():
            self._db.execute("DELETE FROM charge WHERE state='held' AND expires < ?", (now,))
            self._charge(room, round_id, plan, blocks, nano, expires, "held")

    def spend(self, room: str, round_id: str, plan: str, blocks: Sequence[Block], nano: int, *, expires: int) -> None:
        """Make a round's charge final, from its hold or afresh. Raises Refused like `hold`."""
        with self._transaction():
            self._charge(room, round_id, plan, blocks, nano, expires, "spent")

    def is_spent(self, room: str, round_id: str) -> bool:
        rows = self._db.execute("SELECT state FROM charge WHERE room=? AND round=?", (room, round_id)).fetchall()
        return bool(rows) and all(state == "spent" for (state,) in rows)

    def worst_day(self, blocks: Sequence[Block]) -> int:
        """The largest sum of charges on any day of these blocks, nano-ρ."""
        rows = self._db.execute("SELECT first, last, nano FROM charge").fetchall()
        charges = [(Block(first=f, last=la), n) for f, la, n in rows]
        # The sum only rises on a charge's first day, so the worst day is a block's first or a charge's first day.
        days = {b.first for b in blocks} | {c.first for c, _ in charges if any(c.meets(b) for b in blocks)}
        inside = [d for d in days if any(b.first <= d <= b.last for b in blocks)]
        return max((sum(n for c, n in charges if c.first <= d <= c.last) for d in inside), default=0)

    def spent_on(self, room: str, plan: str) -> int:
        """Nano-ρ per record that all rounds of one plan hold or have spent."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(nano), 0) FROM"
            " (SELECT MAX(nano) AS nano FROM charge WHERE room=? AND plan=? GROUP BY round)",
            (room, plan),
        ).fetchone()
        return int(row[0])

    def _charge(self, room: str, round_id: str, plan: str, blocks: Sequence[Block], nano: int, expires: int,
                state: str) -> None:  # fmt: skip
        for block in blocks:
            key = (room, round_id, block.first, block.last)
            row = self._db.execute(
                "SELECT nano, state FROM charge WHERE room=? AND round=? AND first=? AND last=?", key
            ).fetchone()
            if row is None:
                used = self.worst_day([block])
                if used + nano > self.cap:
                    raise Refused(
                        f"this party's budget for {block.first} to {block.last} is {decimal(self.cap)} over all rooms, "
                        f"{decimal(used)} is used, and {decimal(nano)} was asked for"
                    )
                self._db.execute(
                    "INSERT INTO charge VALUES(?,?,?,?,?,?,?,?)",
                    (room, round_id, plan, block.first, block.last, nano, state, expires),
                )
            elif row[0] != nano:
                raise Refused("this round was held with another charge")
            elif row[1] == "held" and state == "spent":
                self._db.execute("UPDATE charge SET state='spent' WHERE room=? AND round=? AND first=? AND last=?", key)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
