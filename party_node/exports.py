"""What this party can hand to an auditor, and check itself, from its own copy: no word of the coordinator's needed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from protocols import audit, handout
from protocols.errors import UsageError
from protocols.ledger import trust
from protocols.logbook import Logbook
from protocols.verdict import Findings

from .config import Config


def write(settings: Config, out: Path) -> Findings:
    """Write `room.tar` and `policy.txt` below `out`, from this party's copies; what an auditor would find in them.

    The releases are those that this party got. May run while the node does. Raises CannotDecide where no checkpoint is
    whole here: a party has others' cosignatures from the checkpoints that releases came with.
    """
    state = settings.path("state")
    if not (state / "ledger.db").exists():
        raise UsageError("this party has no copy of the ledger yet", "it gets one in its first round")
    out.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(f"{(state / 'node.db').resolve().as_uri()}?mode=ro", uri=True)

    def one(query: str, *values: str) -> bytes | None:
        row = db.execute(query, values).fetchone()
        return None if row is None else bytes(row[0])

    try:
        with Logbook(state / "ledger.db") as book:
            packed = handout.bundle_of(
                book,
                lambda digest: one("SELECT body FROM plan WHERE digest=?", digest),
                lambda round_id, step: one("SELECT document FROM release WHERE round=? AND step=?", round_id, step),
            )
    except sqlite3.Error as exc:
        raise UsageError(f"cannot read {state / 'node.db'}: {exc}") from None
    finally:
        db.close()
    policy = handout.policy_of(settings.room)
    handout.write_file(out / "room.tar", packed)
    handout.write_file(out / "policy.txt", trust.render(policy).encode())
    return audit.verify(packed, policy)
