"""What this node has sent: a log of every reply, in the order in which they leave, and its statement of each day.

A record is written before its reply is sent. It tells when, what kind, and the SHA-256 of the reply's exact bytes; the
words of a share travel beside their reply, which has their digest. The node states the log's length and Merkle root to
the coordinator, who writes them into the ledger: from then on no record up to there can be changed, left out or put in
without a contradiction, whoever has the disk. The form of a record is in `docs/egress-log.md`.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols.encoding import canonical
from protocols.errors import Refused, UsageError
from protocols.ledger.entries import build
from protocols.ledger.statements import Egress, statement_body
from protocols.ledger.tree import Tree, leaf_hash
from protocols.messages import EgressStated
from protocols.schema import day

from .database import fault
from .store import Store

DAY_S = 86_400
_UNSIGNED = keys.base64_text(bytes(64))

Row = tuple[int, int, str, str]


def record(row: Row) -> bytes:
    """The canonical bytes of one record: a leaf of the tree, and a line of the file for an auditor."""
    number, at, kind, sha256 = row
    return canonical({"at": at, "kind": kind, "number": number, "sha256": sha256})


def root(rows: Iterable[Row]) -> bytes:
    """The Merkle root (32 bytes) over these records."""
    tree = Tree()
    for row in rows:
        tree.append(leaf_hash(record(row)))
    return tree.root()


def logged(state: Path) -> list[Row]:
    """The whole log in a node's state folder, whether or not the node is running. Raises UsageError, IntegrityError."""
    path = state / "node.db"
    if not path.exists():
        raise UsageError(f"there is no {path}: this node has sent nothing", "sumroom-party register makes it")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT number, at, kind, sha256 FROM egress ORDER BY number").fetchall()
    except sqlite3.DatabaseError as exc:
        raise fault(path, exc) from None


def end_of(date: str) -> int:
    """The second, unix time, at which a day is over in UTC."""
    return (day(date).toordinal() - dt.date(1970, 1, 1).toordinal() + 1) * DAY_S


def state(date: str, *, room: str, party: str, signing: Ed25519PrivateKey, store: Store, now: int) -> EgressStated:
    """Sign how long the log was when a day ended, and its root. Raises Refused for a day that is not over here.

    Up to the last record of that day or an earlier one: a clock that went back puts no record in between.
    """
    if now < end_of(date):
        raise Refused(f"the day {date} is not over here")
    rows = store.egress(end_of(date))
    stated: dict[str, Any] = {"party": party, "day": date, "size": len(rows), "root": root(rows).hex()}
    entry = build({"type": "egress@v1", "seq": 0, "time": 0, **stated, "signature": _UNSIGNED})
    assert isinstance(entry, Egress)
    return EgressStated(**stated, signature=keys.sign(signing, "egress", statement_body(entry, room)))
