"""Entering a change of the room: a checkpoint of its own, cosigned by those before it and those after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protocols.change import Proposal, content
from protocols.errors import PartyUnavailable, Refused, RoundEnded
from protocols.ledger.changes import Grant, KeyChange, PartyChange
from protocols.ledger.entries import decode
from protocols.ledger.statements import Audit

from . import delivery
from .conversation import Ask
from .ledger import RoomLedger


@dataclass(frozen=True)
class Entered:
    """The number of each change's entry; fresh: those of them that were not in the ledger before."""

    numbers: tuple[int, ...]
    fresh: tuple[int, ...]


def enter(
    proposals: Sequence[Proposal], ledger: RoomLedger, ask: Ask, timeout: float, meet: Callable[[], None]
) -> Entered:
    """Enter changes, one after the other, under one checkpoint. A change that is there already is not entered again.

    1. everybody in force says how far its copy goes, and cosigns what there is: who leaves will not be asked later
    2. the changes are written, if the rules allow every one of them
    3. `meet` lets in who is new; everybody in force now cosigns
    Raises Refused or IntegrityError as the rules say, and then nothing was written; RoundEnded where the changes are
    written and not all cosigned: entering them again goes on there.
    """
    # (1)
    if ledger.book.size:
        ledger.check_newest(ask, delivery.everybody(ledger), timeout, len(ledger.room.parties))
    ledger.open_room()
    there = _numbers(ledger)
    new = [proposal for proposal in proposals if content(proposal.body) not in there]
    _check_coordinator_stays(new, ledger.book.accounts.members.origin)
    if new:
        try:
            ledger.countersign(ask, delivery.everybody(ledger), timeout)
        except RoundEnded as exc:
            raise Refused(f"nothing was entered: {exc.message}", exc.hint) from None
        # (2)
        ledger.append([proposal.body for proposal in new])
    # (3)
    meet()
    try:
        ledger.countersign(ask, delivery.everybody(ledger), timeout)
    except RoundEnded as exc:
        hint = "see to what they say (a party whose keys change needs files.signing_key_next), and enter it again"
        kind = PartyUnavailable if isinstance(exc, PartyUnavailable) else RoundEnded
        raise kind(f"the change is written, and no round can run before it is cosigned: {exc.message}", hint) from None
    there = _numbers(ledger)
    return Entered(*(tuple(there[content(proposal.body)] for proposal in some) for some in (proposals, new)))


def _numbers(ledger: RoomLedger) -> dict[str, int]:
    """What each change in the ledger says → its number."""
    found = {}
    for seq, data in enumerate(ledger.book.entries()):
        if any(kind in data for kind in (b'"key@v1"', b'"party@v1"', b'"grant@v1"', b'"audit@v1"')):
            entry = decode(data)
            if isinstance(entry, KeyChange | PartyChange | Grant | Audit):
                found[content(entry.body())] = seq
    return found


def _check_coordinator_stays(new: Sequence[Proposal], origin: str) -> None:
    """Raise Refused where a checkpoint after these changes could be signed by nobody."""
    keyless = False
    for proposal in new:
        entry = proposal.entry()
        if isinstance(entry, KeyChange) and entry.member == origin:
            keyless = entry.action == "revoke"
    if keyless:
        raise Refused(
            "without a key of the coordinator nobody could sign the checkpoint after this change",
            "enter its new key along with it: sumroom-coordinator change enter REVOKE.json ADD.json",
        )
