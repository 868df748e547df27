"""The party's own privacy filter: what its data may still lose, over all rooms it takes part in.

One file per party, shared by its nodes. A charge covers days, not a room's names for them, so that the same rows asked
for in two rooms, or under two names, add up. Holds are taken before a reserve exists and turn into spends when the
node takes it into its copy of the ledger; a hold that never became one lapses after its expiry, which is safe because a
node answers nothing without a spend. A spend is never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocols.budget import decimal
from protocols.errors import Refused
from protocols.schema import Block

from .database import opened

log = logging.getLogger("sumroom.party")
DAY_S = 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charge(
  room TEXT NOT NULL, round TEXT NOT NULL, plan TEXT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
  nano INTEGER NOT NULL CHECK(nano > 0), state TEXT NOT NULL CHECK(state IN ('held', 'spent')),
  at INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY(room, round, first, last)) STRICT;
CREATE TABLE IF NOT EXISTS drawn(
  room TEXT NOT NULL, round TEXT NOT NULL, step TEXT NOT NULL, mask_key TEXT NOT NULL,
  PRIMARY KEY(room, round, step)) STRICT;
CREATE TABLE IF NOT EXISTS settled(
  room TEXT NOT NULL, round TEXT NOT NULL, step TEXT NOT NULL, survivors TEXT NOT NULL,
  PRIMARY KEY(room, round, step)) STRICT;
CREATE TRIGGER IF NOT EXISTS charge_stays BEFORE DELETE ON charge WHEN OLD.state = 'spent'
  BEGIN SELECT RAISE(ABORT, 'a spend is never removed'); END;
CREATE TRIGGER IF NOT EXISTS charge_fixed BEFORE UPDATE ON charge
  WHEN OLD.state = 'spent' OR NEW.nano <> OLD.nano OR NEW.first <> OLD.first OR NEW.last <> OLD.last
  BEGIN SELECT RAISE(ABORT, 'a charge never changes'); END;
"""


@dataclass(frozen=True)
class Charge:
    """What one round takes from each of these blocks, nano-ρ. `expires`: when a hold of it lapses, unix seconds."""

    room: str
    round: str
    plan: str
    blocks: tuple[Block, ...]
    nano: int
    expires: int


class Filter:
    """`cap`: the most nano-ρ that any one day may lose. Several processes may use one file."""

    def __init__(self, path: Path, cap: int) -> None:
        self.cap, self._db = cap, opened(path, _SCHEMA)

    def close(self) -> None:
        self._db.close()

    def hold(self, charge: Charge, now: int) -> None:
        """Set budget aside for a draft. Idempotent by round. Raises Refused when a day's cap would be passed."""
        with self._transaction():
            self._purge(now)
            self._take(charge, "held", now)

    def let_go(self, room: str, round_id: str) -> None:
        """Drop the hold of a round that is not spent. Safe: without one a node does not cosign its reserve."""
        with self._transaction():
            self._db.execute("DELETE FROM charge WHERE room=? AND round=? AND state='held'", (room, round_id))

    def spend(self, charges: Sequence[Charge], now: int) -> None:
        """Make rounds' charges final, from their holds or afresh: all of them, or none and Refused."""
        with self._transaction():
            self._purge(now)
            for charge in charges:
                self._take(charge, "spent", now)

    def spent_rounds(self, room: str) -> set[str]:
        """The rounds of a room whose whole charge is final."""
        rows = self._db.execute(
            "SELECT round FROM charge WHERE room=? GROUP BY round HAVING MIN(state)='spent'", (room,)
        ).fetchall()
        return {round_id for (round_id,) in rows}

    def draw_once(self, room: str, round_id: str, step: str, mask_key: str) -> None:
        """Note the one drawing of a step, known by its mask key. Raises Refused when another one was noted before.

        This file lies apart from the node's state: a state put back from an older copy has forgotten what it drew, and
        must not draw noise again.
        """
        self._note("drawn", "mask_key", (room, round_id, step), mask_key, "noise was drawn for it before, not here")

    def check_undrawn(self, room: str, round_id: str, step: str) -> None:
        """Raise Refused when a drawing for a step was noted: before anything is computed for it."""
        row = self._db.execute("SELECT 1 FROM drawn WHERE room=? AND round=? AND step=?", (room, round_id, step))
        if row.fetchone():
            raise Refused(f"step {step} of round {round_id[:8]}: noise was drawn for it before, not here")

    def settle_once(self, room: str, round_id: str, step: str, survivors: Sequence[str]) -> None:
        """Note the one set of survivors of a step, beside the node's state. Raises Refused for another one."""
        named = " ".join(sorted(survivors))
        self._note("settled", "survivors", (room, round_id, step), named, "other survivors were settled before")

    def settled(self, room: str, round_id: str, step: str) -> list[str] | None:
        """The survivors of a step that were noted, ascending."""
        row = self._db.execute(
            "SELECT survivors FROM settled WHERE room=? AND round=? AND step=?", (room, round_id, step)
        ).fetchone()
        return None if row is None else str(row[0]).split(" ")

    def _note(self, table: str, column: str, key: tuple[str, str, str], value: str, otherwise: str) -> None:
        with self._transaction():
            self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES(?,?,?,?)", (*key, value))
            where = "WHERE room=? AND round=? AND step=?"
            (kept,) = self._db.execute(f"SELECT {column} FROM {table} {where}", key).fetchone()
        if kept != value:
            raise Refused(f"step {key[2]} of round {key[1][:8]}: {otherwise}")

    def known_rounds(self, room: str, now: int) -> set[str]:
        """The rounds of a room that are charged here: spent, or held and not lapsed."""
        rows = self._db.execute(
            "SELECT DISTINCT round FROM charge WHERE room=? AND (state='spent' OR expires >= ?)", (room, now)
        ).fetchall()
        return {round_id for (round_id,) in rows}

    def is_spent(self, room: str, round_id: str) -> bool:
        return round_id in self.spent_rounds(room)

    def worst_day(self, blocks: Sequence[Block], now: int) -> int:
        """The largest sum of charges, spent or held, on any day of these blocks, nano-ρ."""
        rows = self._db.execute(
            "SELECT first, last, nano FROM charge WHERE state='spent' OR expires >= ?", (now,)
        ).fetchall()
        charges = [(Block(first=f, last=la), n) for f, la, n in rows]
        # The sum only rises on a charge's first day, so the worst day is a block's first or a charge's first day.
        days = {b.first for b in blocks} | {c.first for c, _ in charges if any(c.meets(b) for b in blocks)}
        inside = [d for d in days if any(b.first <= d <= b.last for b in blocks)]
        return max((sum(n for c, n in charges if c.first <= d <= c.last) for d in inside), default=0)

    def used_by(
        self,
        room: str,
        now: int,
        *,
        plan: str | None = None,
        days: int | None = None,
        but: str = "",
        spent_only: bool = False,
    ) -> int:
        """Nano-ρ per record that a room's rounds, `but` one, have spent or hold now.

        plan         of this plan only, or of all
        days         of so many days up to now, or ever
        spent_only   without what is held, and may lapse
        """
        since = -1 if days is None else now - days * DAY_S
        row = self._db.execute(
            "SELECT COALESCE(SUM(nano), 0) FROM (SELECT MAX(nano) AS nano FROM charge WHERE room=? AND at > ? "
            "AND (? IS NULL OR plan=?) AND round<>? AND (state='spent' OR (expires >= ? AND NOT ?)) GROUP BY round)",
            (room, since, plan, plan, but, now, spent_only),
        ).fetchone()
        return int(row[0])

    def _purge(self, now: int) -> None:
        self._db.execute("DELETE FROM charge WHERE state='held' AND expires < ?", (now,))

    def _take(self, charge: Charge, state: str, now: int) -> None:
        for block in charge.blocks:
            key = (charge.room, charge.round, block.first, block.last)
            row = self._db.execute(
                "SELECT plan, nano, state, expires FROM charge WHERE room=? AND round=? AND first=? AND last=?", key
            ).fetchone()
            if row is None:
                used = self.worst_day([block], now)
                if used + charge.nano > self.cap:
                    log.warning(
                        "the budget for %s to %s is %s over all rooms, %s is used, %s was asked for",
                        block.first, block.last, decimal(self.cap), decimal(used), decimal(charge.nano),
                    )  # fmt: skip
                    # Not the figures: what other rooms have used is none of this room's business.
                    raise Refused("this party's own budget, over all its rooms, does not bear it")
                self._db.execute(
                    "INSERT INTO charge VALUES(?,?,?,?,?,?,?,?,?)",
                    (*key[:2], charge.plan, *key[2:], charge.nano, state, now, charge.expires),
                )
            elif row[:2] != (charge.plan, charge.nano):
                raise Refused("this round was held for another plan or with another charge")
            elif state == "held" and row[3] != charge.expires:
                # A hold counts until it expires, and its signature until the draft does: they must be one moment.
                raise Refused("this round was held with another expiry")
            elif row[2] == "held" and state == "spent":
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
