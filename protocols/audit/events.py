"""What an auditor wants to see one by one: rounds that ended early, and whatever changed in the room."""

from __future__ import annotations

from ..ledger.entries import Entry, Forfeit
from ..verdict import Event
from .evidence import Evidence


def note(evidence: Evidence, entry: Entry) -> None:
    """Add what this entry says, if it is of that kind."""
    match entry:
        case Forfeit():
            what = f"round {entry.round} ended early ({entry.reason}); its budget stays spent"
            evidence.events.append(Event(entry.seq, entry.time, "forfeit", what))
