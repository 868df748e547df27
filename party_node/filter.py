"""The party's own privacy filter: what its data may still lose, over all rooms it takes part in.

One file per party, shared by its nodes. A charge covers days, not a room's names for them, so that the same rows asked
for in two rooms, or under two names, add up. Holds are taken before a reserve exists and turn into spends when the
node takes it into its copy of the ledger; a hold that never became one lapses after its expiry, which is safe because a
node answers nothing without a spend. A spend is never removed; where the ledger refunds it, that
stands beside it, and it no longer counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
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
CREATE TABLE IF NOT EXISTS stated(
  room TEXT NOT NULL, round TEXT NOT NULL, step TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY(room, round, step)) STRICT;
CREATE TABLE IF NOT EXISTS noted(
  room TEXT NOT NULL, round TEXT NOT NULL, what TEXT NOT NULL CHECK(what IN ('held', 'taken-over', 'closed')),
  PRIMARY KEY(room, round, what)) STRICT;
CREATE TABLE IF NOT EXISTS refund(room TEXT NOT NULL, round TEXT NOT NULL, PRIMARY KEY(room, round)) STRICT;
CREATE TRIGGER IF NOT EXISTS charge_stays BEFORE DELETE ON charge WHEN OLD.state = 'spent'
  BEGIN SELECT RAISE(ABORT, 'a spend is never removed'); END;
CREATE TRIGGER IF NOT EXISTS charge_fixed BEFORE UPDATE ON charge
  WHEN OLD.state = 'spent' OR NEW.nano <> OLD.nano OR NEW.first <> OLD.first OR NEW.last <> OLD.last
  BEGIN SELECT RAISE(ABORT, 'a charge never changes'); END;
""" + "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'append-only'); END;\n"
    for table in ("stated", "noted", "refund")
    for verb in ("UPDATE", "DELETE")
)
_COUNTS = "(room, round) NOT IN (SELECT room, round FROM refund)"  # a charge that was not refunded


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
        """The rounds of a room whose whole charge is final, and was not refunded."""
        rows = self._db.execute(
            f"SELECT round FROM charge WHERE room=? AND {_COUNTS} GROUP BY round HAVING MIN(state)='spent'", (room,)
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

    def state_once(self, room: str, round_id: str, step: str, sha256: str) -> None:
        """Note the one roster or statement of an overlap's step, beside the node's state. Raises Refused for another.

        step   with what it is about: `overlap/roster`, `overlap/lists`, `overlap/finals`, `overlap/canaries`

        Why here too: a state put back to between drawing and agreeing would lay the same dummies and canaries out for a
        second roster, and whoever has both lists knows them by their bytes.
        """
        self._note("stated", "sha256", (room, round_id, step), sha256, "something else was stated before, not here")

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

    def close_round(self, room: str, round_id: str) -> None:
        """Note that nothing of a round ever leaves this party: it is never held again."""
        self._db.execute("INSERT OR IGNORE INTO noted VALUES(?,?,'closed')", (room, round_id))

    def noted(self, room: str, round_id: str) -> set[str]:
        """What was noted of a round, for ever.

        held         a hold of it was taken here
        taken-over   it was spent without one: this file had been put back to an older copy
        closed       nothing of it ever leaves
        """
        rows = self._db.execute("SELECT what FROM noted WHERE room=? AND round=?", (room, round_id))
        return {what for (what,) in rows}

    def drawn(self, room: str, round_id: str) -> bool:
        """Whether noise was drawn, or survivors settled, for any step of a round."""
        tables = ("drawn", "settled")
        found = [self._db.execute(f"SELECT 1 FROM {t} WHERE room=? AND round=?", (room, round_id)) for t in tables]
        return any(row.fetchone() for row in found)

    def refund(self, room: str, rounds: Iterable[str]) -> None:
        """Give the charges of rounds back, spent or held: they are in the ledger as refunded. Idempotent."""
        with self._transaction():
            for round_id in rounds:
                self._db.execute("INSERT OR IGNORE INTO refund VALUES(?,?)", (room, round_id))
                self._db.execute("DELETE FROM charge WHERE room=? AND round=? AND state='held'", (room, round_id))

    def refunded_rounds(self, room: str) -> set[str]:
        rows = self._db.execute("SELECT round FROM refund WHERE room=?", (room,))
        return {round_id for (round_id,) in rows}

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
            f"SELECT first, last, nano FROM charge WHERE (state='spent' OR expires >= ?) AND {_COUNTS}", (now,)
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
        """Nano-ρ per record that a room's rounds, `but` one, have spent or hold now; without what was refunded.

        plan         of this plan only, or of all
        days         of so many days up to now, or ever
        spent_only   without what is held, and may lapse
        """
        since = -1 if days is None else now - days * DAY_S
        row = self._db.execute(
            "SELECT COALESCE(SUM(nano), 0) FROM (SELECT MAX(nano) AS nano FROM charge WHERE room=? AND at > ? "
            "AND (? IS NULL OR plan=?) AND round<>? AND (state='spent' OR (expires >= ? AND NOT ?)) "
            f"AND {_COUNTS} GROUP BY round)",
            (room, since, plan, plan, but, now, spent_only),
        ).fetchone()
        return int(row[0])

    def _purge(self, now: int) -> None:
        self._db.execute("DELETE FROM charge WHERE state='held' AND expires < ?", (now,))

    def _take(self, charge: Charge, state: str, now: int) -> None:
        refunded = charge.round in self.refunded_rounds(charge.room)
        if state == "held" and (refunded or "closed" in self.noted(charge.room, charge.round)):
            raise Refused("this round is closed here: this party has signed that nothing of it ever leaves")
        if refunded:  # by a copy of the ledger that was put back to before its refund
            return
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
                what = "held" if state == "held" else "taken-over"
                self._db.execute("INSERT OR IGNORE INTO noted VALUES(?,?,?)", (*key[:2], what))
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
