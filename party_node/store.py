"""What a node must not forget: approved plans, datasets, releases, rosters agreed to, every share it ever built.

A share is written here, byte for byte, before it is sent; asked again, the node sends those bytes. So noise is drawn
once whatever happens to the process or the network.
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
CREATE TABLE IF NOT EXISTS share(
  round TEXT NOT NULL, step TEXT NOT NULL, request TEXT NOT NULL, reply BLOB NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY(round, step)) STRICT;
CREATE TABLE IF NOT EXISTS egress(
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS release(
  round TEXT NOT NULL, step TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY(round, step)) STRICT;
"""
MOST_PLANS = 1000
_APPEND_ONLY = ("plan", "dataset", "agreement", "share", "egress", "release")


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

    # -- agreements and shares -----------------------------------------------------------------------------------------

    def agree_once(self, round_id: str, step: str, attempt: int, roster: str) -> None:
        """Keep the digest of the one roster of an attempt. Raises Refused when another one is kept already."""
        key = (round_id, step, attempt)
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO agreement VALUES(?,?,?,?)", (*key, roster))
            (kept,) = self._db.execute(
                "SELECT roster FROM agreement WHERE round=? AND step=? AND attempt=?", key
            ).fetchone()
        if kept != roster:
            raise Refused(f"step {step} of round {round_id[:8]}: another roster of mask keys was agreed to before")

    def share(self, round_id: str, step: str) -> tuple[str, bytes, bytes] | None:
        """(digest of the request, reply, payload) of the one share of a step."""
        row = self._db.execute(
            "SELECT request, reply, payload FROM share WHERE round=? AND step=?", (round_id, step)
        ).fetchone()
        return None if row is None else (row[0], bytes(row[1]), bytes(row[2]))

    def add_share(self, round_id: str, step: str, request: str, reply: bytes, payload: bytes, now: int) -> None:
        """Journal a share before it is sent: with its egress record, in one transaction."""
        with self._transaction():
            self._db.execute("INSERT INTO share VALUES(?,?,?,?,?)", (round_id, step, request, reply, payload))
            self._db.execute(
                "INSERT INTO egress(at, kind, sha256) VALUES(?, 'share', ?)", (now, digest(reply + payload))
            )

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
