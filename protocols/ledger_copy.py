"""A copy of a ledger on disk, read and never written: while its own process has it, too.

The rules run over every entry, as when it is opened (`logbook.py`), and the newest checkpoint must be over them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .change import OnTrial, Proposal, content
from .errors import IntegrityError, Refused, SumroomError, UsageError
from .ledger import notes
from .ledger.changes import Grant, KeyChange, PartyChange
from .ledger.decoding import Decoder
from .ledger.standing import standing
from .ledger.statements import Audit
from .ledger.tree import Tree, leaf_hash
from .room import Room


@dataclass(frozen=True)
class Copy:
    """A room by somebody's copy of its ledger. entered: what a change says (`change.content`) → the number it has."""

    accounts: OnTrial
    tree: Tree
    entered: dict[str, int]

    def number_of(self, proposal: Proposal) -> int | None:
        """The number of the entry that says the same, None where there is none."""
        return self.entered.get(content(proposal.body))

    def check_root(self, entry: object) -> None:
        """Raise Refused for a verdict over another history than this one."""
        if not isinstance(entry, Audit) or entry.size > self.accounts.size:  # the rules refuse one that is too long
            return
        if bytes.fromhex(entry.root) != self.tree.root(entry.size):
            raise Refused(f"the verdict of {entry.auditor} is over another history of {entry.size} entries")


def read(path: Path) -> Copy | None:
    """The room of a logbook's file, None where there is no file or no entry in it.

    Raises IntegrityError naming the entry where file and rules disagree, UsageError where it cannot be read.
    """
    if not path.exists():
        return None
    copy, decoder = Copy(OnTrial(), Tree(), {}), Decoder()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            db.execute("BEGIN")  # entries and checkpoints of one moment
            bodies = db.execute("SELECT body FROM entry ORDER BY seq").fetchall()
            noted = db.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchall()
    except sqlite3.Error as exc:
        raise UsageError(f"cannot read the ledger {path.name}: {exc}", "is it this room's files.state?") from None
    for seq, (body,) in enumerate(bodies):
        try:
            entry = decoder.decode(body)
            copy.accounts.apply(entry, body)
        except SumroomError as exc:
            raise IntegrityError(f"entry {seq} in the file breaks a rule: {exc.message}") from None
        copy.tree.append(leaf_hash(body))
        if isinstance(entry, KeyChange | PartyChange | Grant | Audit):
            copy.entered[content(entry.body())] = seq
    for (note,) in noted:
        checkpoint = notes.split(note)[0]
        if checkpoint.size > copy.accounts.size or checkpoint.root != copy.tree.root(checkpoint.size):
            raise IntegrityError(f"the entries are not those of the checkpoint of size {checkpoint.size}")
    copy.accounts.settle()
    return copy if bodies else None


def room_now(room: Room, path: Path) -> Room:
    """The room as the ledger in this file has changed it. room: what its file says; raises as `read`."""
    copy = read(path)
    return room if copy is None else standing(room, copy.accounts)
