"""What this party has been asked to approve, and what its people have decided: `state/requests.db`.

A running node writes down which plans wait for a person; `sumroom-party requests` reads them and writes decisions, at
the same time, from another process.

A decision is signed with the party's own key, over its number and the plan it is about: who can write to this file, but
has no key, can at most hide requests and the latest decisions; what was decided before them then counts again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols.errors import IntegrityError, Refused, UsageError
from protocols.plan import Plan

from .config import Config
from .database import fault, opened
from .policy import Decision

MOST_WAITING = 64  # beyond it the oldest that nobody decided on goes: a coordinator cannot fill a party's disk
SHORT = 16  # hex digits of a digest that are too many for somebody to make a second plan start with
_AWAY = "move it away: what was decided goes with it, and plans are asked for again"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request(
  plan TEXT PRIMARY KEY, body BLOB NOT NULL, first_asked INTEGER NOT NULL, last_asked INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS decision(
  number INTEGER PRIMARY KEY, plan TEXT NOT NULL, most INTEGER NOT NULL, at INTEGER NOT NULL,
  signature TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS decision_stays BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS decision_fixed BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""


@dataclass(frozen=True)
class Waiting:
    """A plan that was proposed here and no rule decided on. Times: unix seconds."""

    plan: Plan
    first_asked: int
    last_asked: int


def open_requests(config: Config) -> Requests:
    """The requests of this node; other processes of this party may have them open too."""
    path = config.path("state") / "requests.db"
    return Requests(path, room=config.room.room, party=config.party, signing=config.signing)


class Forged(Refused):
    """A decision that this party did not sign: nothing is done on its word."""


class Requests:
    """One party's requests in one room. `signing` signs its decisions and checks them.

    Raises UsageError where the file cannot be read or written, IntegrityError where it is damaged.
    """

    def __init__(self, path: Path, *, room: str, party: str, signing: Ed25519PrivateKey) -> None:
        self._path, self._room, self._party, self._signing = path, room, party, signing
        self._db = opened(path, _SCHEMA, _AWAY)

    def close(self) -> None:
        self._db.close()

    def note(self, plan: Plan, now: int) -> None:
        """Write down that a plan was proposed and waits for a person."""
        self._do(
            "INSERT INTO request VALUES(?,?,?,?) ON CONFLICT(plan) DO UPDATE SET last_asked=excluded.last_asked",
            (plan.digest, plan.canonical, now, now),
        )
        undecided = "SELECT plan FROM request WHERE plan NOT IN (SELECT plan FROM decision)"
        self._do(
            f"DELETE FROM request WHERE plan IN ({undecided} ORDER BY last_asked DESC, plan LIMIT -1 OFFSET ?)",
            (MOST_WAITING,),
        )

    def all(self) -> list[Waiting]:
        """Every request, the latest first. Raises IntegrityError or UsageError for one that is no plan any more."""
        rows = self._do("SELECT body, first_asked, last_asked FROM request ORDER BY last_asked DESC, plan")
        return [Waiting(Plan.from_bytes(bytes(body)), first, last) for body, first, last in rows]

    def find(self, start: str) -> Waiting:
        """The one request whose plan's digest starts so. Raises UsageError where there is none, or more than one."""
        hint = "sumroom-party requests list"
        if not start:
            raise UsageError("a plan is named by its digest, or by how that starts", hint)
        found = [waiting for waiting in self.all() if waiting.plan.digest.startswith(start.lower())]
        if len(found) != 1:
            what = f"{len(found)} requests start" if found else "no request starts"
            raise UsageError(f"{what} with {start[:64]!r}", hint)
        return found[0]

    def decide(self, decision: Decision, now: int) -> None:
        """Keep a person's decision; the latest on a plan counts."""
        self._do("BEGIN IMMEDIATE")
        try:
            ((number,),) = self._do("SELECT COALESCE(MAX(number), 0) + 1 FROM decision")
            signature = keys.sign(self._signing, "decision", self._signed(decision, number, now))
            self._do("INSERT INTO decision VALUES(?,?,?,?,?)", (number, decision.plan, decision.most, now, signature))
        except BaseException:
            self._db.rollback()
            raise
        self._do("COMMIT")

    def decision(self, plan: str) -> Decision | None:
        """The latest decision on a plan. Raises Refused where it is not signed by this party."""
        rows = self._do(
            "SELECT number, most, at, signature FROM decision WHERE plan=? ORDER BY number DESC LIMIT 1", (plan,)
        )
        if not rows:
            return None
        number, most, at, signature = rows[0]
        decision = Decision(plan, most)
        try:
            body = self._signed(decision, number, at)
            keys.check(self._signing.public_key(), "decision", body, signature, who=self._party)
        except IntegrityError:
            raise Forged(f"the decision kept on plan {plan} is not signed by this party") from None
        return decision

    def _signed(self, decision: Decision, number: int, at: int) -> dict[str, object]:
        # Why the number: an old approval written in again must not come after the denial that ended it.
        body = {"room": self._room, "party": self._party, "plan": decision.plan, "most": decision.most}
        return {**body, "number": number, "at": at}

    def _do(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as exc:
            raise fault(self._path, exc, _AWAY) from None
