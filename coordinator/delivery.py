"""From what is written to those it is for: cosigned by the parties, signed, handed to the recipients.

Whoever is needed is asked again until the round's deadline; whoever is not gets it later.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence

from protocols import messages
from protocols.encoding import parse
from protocols.errors import PartyUnavailable, RoundEnded

from . import release
from .conversation import Ask, Deadline
from .ledger import RoomLedger

log = logging.getLogger("sumroom.coordinator")


def everybody(ledger: RoomLedger) -> list[str]:
    """Every party of the room witnesses, whether or not it is in a plan."""
    return sorted(ledger.room.parties)


def finish(ledger: RoomLedger, ask: Ask, timeout: float) -> None:
    """Have everybody cosign what there is, sign what was committed, hand it to who has not got it yet."""
    ledger.countersign(ask, everybody(ledger), timeout)
    release.publish_missing(ledger)
    deliver(ledger, ask, timeout)


def unfinished(ledger: RoomLedger) -> bool:
    """Whether `finish` has something to do."""
    book = ledger.book
    return bool(book.size) and (
        ledger.cosigned_size() < book.size or bool(release.undelivered(ledger, everybody(ledger)))
    )


def at_rest(ledger: RoomLedger) -> bool:
    """Nothing is unfinished, and every party in force has cosigned the newest entry, needed or not.

    Why those too who are not needed: only who has cosigned it vouches for the whole history before it.
    """
    return not unfinished(ledger) and (not ledger.book.size or ledger.cosigned_by_everybody())


def countersign(ledger: RoomLedger, ask: Ask, deadline: Deadline, patience: float) -> None:
    """Have what is written cosigned by as many as it needs, at the latest when the round ends."""
    for tries in itertools.count():
        try:
            ledger.countersign(ask, everybody(ledger), min(max(1.0, deadline.left), patience))
            return
        except PartyUnavailable:
            if deadline.left <= 0:
                raise
            deadline.pause(tries)


def hand_out(ledger: RoomLedger, ask: Ask, parties: Sequence[str], needed: int, deadline: Deadline,
             patience: float) -> None:  # fmt: skip
    """Deliver what is released, until so many of these parties have it: a step may start from it.

    Raises PartyUnavailable at the deadline, RoundEnded as soon as too many refused it.
    """
    for tries in itertools.count():
        refused = deliver(ledger, ask, min(max(1.0, deadline.left), patience))
        without = {party for _, _, waiting in release.undelivered(ledger, parties) for party in waiting}
        if len(parties) - len(without) >= needed:
            return
        said = f"{', '.join(sorted(without))} did not take the release that the next step starts from"
        if len(parties) - len(refused & without) < needed:
            raise RoundEnded(said)
        if deadline.left <= 0:
            raise PartyUnavailable(said)
        deadline.pause(tries)


def deliver(ledger: RoomLedger, ask: Ask, timeout: float) -> set[str]:
    """Hand every release to those of its recipients that have not said yet that they have it, oldest first.

    One that is away gets it later. Returns who refused.
    """
    deadline, silent, refused = Deadline.after(timeout), set[str](), set[str]()
    for release_, note, waiting in release.undelivered(ledger, everybody(ledger)):
        request = messages.Deliver(release=parse(release_.to_bytes(), what="release"), checkpoint=note)
        asked = [party for party in waiting if party not in silent]
        for party, answer in ask(dict.fromkeys(asked, request), deadline.left).items():
            if isinstance(answer.reply, messages.Received):
                release.mark_delivered(ledger, release_, party)
            elif isinstance(answer.reply, messages.Refusal):
                log.warning("%s does not accept the release %s: %s", party, release_.name, answer.reply.reason)
                refused.add(party)
            else:
                silent.add(party)
    return refused
