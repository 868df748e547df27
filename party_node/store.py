"""What a node must not forget: approved plans, datasets, releases, what it drew, agreed to, sent, and settled.

What it drew is written here before anything that follows from it leaves: the noised sum, and in the same row the secret
that all its masks follow from. So noise is drawn once whatever happens to the process or the network, a node that was
killed goes on with the very same words, and no copy of this file has the masks without the noise.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocols.encoding import canonical, digest
from protocols.errors import Refused

from .database import opened

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plan(digest TEXT PRIMARY KEY, body BLOB NOT NULL, approved INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS dataset(
  number INTEGER PRIMARY KEY, version TEXT UNIQUE NOT NULL, salt TEXT NOT NULL, snapshot TEXT NOT NULL,
  sha256 TEXT NOT NULL, schema_digest TEXT NOT NULL, blocks TEXT NOT NULL, people_cap INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS agreement(
  round TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, roster TEXT NOT NULL,
  PRIMARY KEY(round, step, attempt)) STRICT;
CREATE TABLE IF NOT EXISTS drawing(
  round TEXT NOT NULL, step TEXT NOT NULL, occasion TEXT NOT NULL, root BLOB NOT NULL, noised BLOB NOT NULL,
  PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS alone(
  round TEXT NOT NULL, step TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS failed(round TEXT NOT NULL, step TEXT NOT NULL, PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS sent_share(
  round TEXT NOT NULL, step TEXT NOT NULL, request BLOB NOT NULL, reply BLOB NOT NULL,
  PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS settled(
  round TEXT NOT NULL, step TEXT NOT NULL, survivors TEXT NOT NULL, PRIMARY KEY(round, step)) STRICT;
CREATE TRIGGER IF NOT EXISTS drawing_fixed BEFORE UPDATE ON drawing
  BEGIN SELECT RAISE(ABORT, 'what was drawn never changes'); END;
CREATE TABLE IF NOT EXISTS egress(
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS release(
  round TEXT NOT NULL, step TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS closed(round TEXT PRIMARY KEY) STRICT;
"""
MOST_PLANS = 1000
_OF_STEPS = ("agreement", "alone", "failed", "sent_share", "settled")
_APPEND_ONLY = ("plan", "dataset", *_OF_STEPS, "egress", "release", "closed")


@dataclass(frozen=True)
class Dataset:
    """One registered version of this party's data. `snapshot` is a file below the node's state."""

    version: str
    salt: str
    snapshot: str
    sha256: str
    schema_digest: str
    blocks: tuple[str, ...]
    people_cap: int

    @property
    def commitment(self) -> str:
        """What the ledger says of the snapshot: salted, so that nobody can test a guess of the data against it."""
        return digest(canonical({"salt": self.salt, "snapshot": self.sha256}))


class Store:
    """The node's memory, in `state/node.db`. One process at a time: a second one is refused."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state = state
        self._lease = (state / "lease").open("w")
        try:
            fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lease.close()
            raise Refused(f"another process of this node is using {state}", "stop it first") from None
        triggers = "".join(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'append-only'); END;\n"
            for table in _APPEND_ONLY
            for verb in ("UPDATE", "DELETE")
        )
        try:
            self._db = opened(state / "node.db", _SCHEMA + triggers)
            self._db.execute("PRAGMA secure_delete = ON")  # a forgotten drawing is overwritten in the file
        except BaseException:
            self._lease.close()
            raise

    def close(self) -> None:
        self._db.close()
        self._lease.close()

    # -- plans and datasets --------------------------------------------------------------------------------------------

    def add_plan(self, plan_digest: str, body: bytes, now: int) -> None:
        """Keep an approved plan. Raises Refused when there are MOST_PLANS: a coordinator cannot fill a party's disk."""
        (others,) = self._db.execute("SELECT count(*) FROM plan WHERE digest<>?", (plan_digest,)).fetchone()
        if others >= MOST_PLANS:
            raise Refused(f"{others} plans have been approved here, and no more are kept")
        self._db.execute("INSERT OR IGNORE INTO plan VALUES(?,?,?)", (plan_digest, body, now))

    def plan(self, plan_digest: str) -> bytes | None:
        row = self._db.execute("SELECT body FROM plan WHERE digest=?", (plan_digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def add_dataset(self, dataset: Dataset) -> None:
        self._db.execute(
            "INSERT INTO dataset(version, salt, snapshot, sha256, schema_digest, blocks, people_cap)"
            " VALUES(?,?,?,?,?,?,?)",
            (dataset.version, dataset.salt, dataset.snapshot, dataset.sha256, dataset.schema_digest,
             json.dumps(dataset.blocks), dataset.people_cap),
        )  # fmt: skip

    def dataset(self, version: str | None = None) -> Dataset | None:
        """The named version, or the latest."""
        columns = "version, salt, snapshot, sha256, schema_digest, blocks, people_cap"
        query = f"SELECT {columns} FROM dataset WHERE ? IS NULL OR version=? ORDER BY number DESC LIMIT 1"
        row = self._db.execute(query, (version, version)).fetchone()
        if row is None:
            return None
        number, salt, snapshot, sha256, schema_digest, blocks, people_cap = row
        return Dataset(number, salt, snapshot, sha256, schema_digest, tuple(json.loads(blocks)), people_cap)

    # -- the steps of rounds -------------------------------------------------------------------------------------------

    def add_drawing(
        self, round_id: str, step: str, occasion: str, root: bytes, noised: bytes, alone: str | None = None,
        failed: bool = False,
    ) -> None:  # fmt: skip
        """Keep what was drawn for a step, once. `forget_drawings` drops it when its round has ended.

        occasion   digest of the Occasion
        root       the secret that this party's masks follow from (`masking.Secrets`)
        noised     (slots,) int64, little-endian: the exact sum with this party's noise
        alone      digest of those of them that are this party's alone, where slots have owners: kept for good
        failed     whether nobody is in the sum because of a fault: kept for good
        """
        with self._transaction():
            self._db.execute("INSERT INTO drawing VALUES(?,?,?,?,?)", (round_id, step, occasion, root, noised))
            if alone is not None:
                self._db.execute("INSERT INTO alone VALUES(?,?,?)", (round_id, step, alone))
            if failed:
                self._db.execute("INSERT INTO failed VALUES(?,?)", (round_id, step))

    def drawn(self, round_id: str, step: str) -> tuple[str, bytes] | None:
        """(digest of the occasion, root) of what was drawn for a step."""
        row = self._db.execute(
            "SELECT occasion, root FROM drawing WHERE round=? AND step=?", (round_id, step)
        ).fetchone()
        return None if row is None else (row[0], bytes(row[1]))

    def noised(self, round_id: str, step: str) -> bytes:
        """What was drawn for a step: (slots,) int64, little-endian. It is there where `drawn` is."""
        row = self._db.execute("SELECT noised FROM drawing WHERE round=? AND step=?", (round_id, step)).fetchone()
        return bytes(row[0])

    def alone(self, round_id: str, step: str) -> str | None:
        """Digest of what this party drew for a step that nobody else adds to, also when its round has ended."""
        row = self._db.execute("SELECT sha256 FROM alone WHERE round=? AND step=?", (round_id, step)).fetchone()
        return None if row is None else str(row[0])

    def failed(self, round_id: str, step: str) -> bool:
        """Whether what was drawn for a step was noise over zeros, because of a fault."""
        row = self._db.execute("SELECT 1 FROM failed WHERE round=? AND step=?", (round_id, step)).fetchone()
        return row is not None

    def drawn_rounds(self) -> list[str]:
        return [round_id for (round_id,) in self._db.execute("SELECT DISTINCT round FROM drawing")]

    def forget_drawings(self, round_id: str) -> None:
        """Drop what was drawn for a round that has ended: nothing is sent for it any more."""
        self._db.execute("DELETE FROM drawing WHERE round=?", (round_id,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # it must not lie on in the write-ahead log either

    def agree_once(self, round_id: str, step: str, attempt: int, roster: str) -> None:
        """Keep the digest of the one roster of an attempt. Raises Refused when another one is kept already."""
        key = (round_id, step, attempt)
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO agreement VALUES(?,?,?,?)", (*key, roster))
            kept = self.agreed(*key)
        if kept != roster:
            raise Refused(f"step {step} of round {round_id[:8]}: another roster of mask keys was agreed to before")

    def agreed(self, round_id: str, step: str, attempt: int) -> str | None:
        """The digest of the one roster that this party agreed to for an attempt."""
        key = (round_id, step, attempt)
        row = self._db.execute("SELECT roster FROM agreement WHERE round=? AND step=? AND attempt=?", key).fetchone()
        return None if row is None else str(row[0])

    def sent_share(self, round_id: str, step: str) -> tuple[bytes, bytes] | None:
        """(request, reply) of the one share of a step."""
        row = self._db.execute(
            "SELECT request, reply FROM sent_share WHERE round=? AND step=?", (round_id, step)
        ).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def add_sent_share(self, round_id: str, step: str, request: bytes, reply: bytes, now: int) -> None:
        """Journal a share before it is sent, and with it its egress record. `reply` holds the digest of its words."""
        with self._transaction():
            self._db.execute("INSERT INTO sent_share VALUES(?,?,?,?)", (round_id, step, request, reply))
            self._db.execute("INSERT INTO egress(at, kind, sha256) VALUES(?, 'share', ?)", (now, digest(reply)))

    def settle_once(self, round_id: str, step: str, survivors: list[str]) -> None:
        """Keep the one set of survivors of a step. Raises Refused when another one is kept already."""
        with self._transaction():
            row = (round_id, step, json.dumps(sorted(survivors)))
            self._db.execute("INSERT OR IGNORE INTO settled VALUES(?,?,?)", row)
        self.check_settled(round_id, step, survivors)

    def check_settled(self, round_id: str, step: str, survivors: list[str]) -> None:
        """Raise Refused where other survivors of a step are kept."""
        if self.settled(round_id, step) not in (None, sorted(survivors)):
            raise Refused(f"step {step} of round {round_id[:8]}: other survivors were settled before")

    def settled(self, round_id: str, step: str) -> list[str] | None:
        """The survivors of a step that this party signed for, ascending."""
        row = self._db.execute("SELECT survivors FROM settled WHERE round=? AND step=?", (round_id, step)).fetchone()
        return None if row is None else list(json.loads(row[0]))

    # -- rounds of which nothing left ----------------------------------------------------------------------------------

    def began(self, round_id: str) -> bool:
        """Whether this party drew noise, agreed to a roster, sent a share or settled survivors in any step of a round.

        What was drawn is forgotten when its round has ended; that it was, the accounts still know (`Filter.drawn`).
        """
        tables = ("drawing", "agreement", "sent_share", "settled")
        return any(self._db.execute(f"SELECT 1 FROM {t} WHERE round=?", (round_id,)).fetchone() for t in tables)

    def close_round(self, round_id: str) -> None:
        """Keep that nothing of a round ever leaves this party."""
        self._db.execute("INSERT OR IGNORE INTO closed VALUES(?)", (round_id,))

    def is_closed(self, round_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM closed WHERE round=?", (round_id,)).fetchone() is not None

    # -- what has left -------------------------------------------------------------------------------------------------

    def add_egress(self, kind: str, sha256: str, at: int, *, durable: bool) -> None:
        """Append what is about to be sent to the log of all that ever was. at: unix seconds.

        durable   when this returns, with everything before it. Otherwise it is in the file, where a killed process
                  leaves it, and withstands a loss of power from this store's next durable write on (SQLite, WAL mode:
                  a commit syncs the whole log of writes)
        """
        if not durable:
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._db.execute("INSERT INTO egress(at, kind, sha256) VALUES(?,?,?)", (at, kind, sha256))
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def egress(self, before: int) -> list[tuple[int, int, str, str]]:
        """(number, at, kind, sha256) of every record up to the last one from before this second, oldest first."""
        return self._db.execute(
            "SELECT number, at, kind, sha256 FROM egress WHERE number <= "
            "(SELECT COALESCE(MAX(number), 0) FROM egress WHERE at < ?) ORDER BY number",
            (before,),
        ).fetchall()

    # -- releases ------------------------------------------------------------------------------------------------------

    def add_release(self, round_id: str, step: str, document: bytes) -> None:
        self._db.execute("INSERT OR IGNORE INTO release VALUES(?,?,?)", (round_id, step, document))

    def release(self, round_id: str, step: str) -> bytes | None:
        row = self._db.execute("SELECT document FROM release WHERE round=? AND step=?", (round_id, step)).fetchone()
        return None if row is None else bytes(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
