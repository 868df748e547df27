"""Racing reserves: processes that all want the last of one budget, on one file.

Each has reserves that all parties would sign, and enters one after the other; the caps bear some of them only. What was
granted must be in the ledger as it was granted, the sum within every cap, and nobody refused for want of budget while
there was some.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.errors import Refused
from protocols.ledger import entries
from protocols.ledger.entries import Entry, Reserve
from protocols.logbook import Logbook
from tests.ledger import builder
from tests.ledger.builder import PARTIES, START
from tests.torture_ledger.points import Process, Watcher
from tests.torture_ledger.room import PLENTY, Room


@dataclass
class Found:
    """What the processes were granted and refused, seconds, and what must not be."""

    granted: int = 0
    refused: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def torture(folder: Path, processes: int, each: int, bears: int) -> Found:
    """So many processes with so many reserves each; the caps bear `bears` of them in all."""
    room = _room(bears)
    path = folder / "race.ledger"
    with Logbook(path) as book:
        book.append(room.opening())
        opening = book.size
    prepared = [
        [room.reserve(0, f"{p} {i}", time=_TIME, expires=_TIME + 60) for i in range(each)] for p in range(processes)
    ]
    began = time.monotonic()
    running = [Process(_racing(path, mine), longest=600) for mine in prepared]
    ended = [process.wait() for process in running]
    found = Found(seconds=time.monotonic() - began)
    found.violations += [each.failed for each in ended if each.failed]
    told = [line for each in ended for line in each.told]
    found.granted = sum(line[0] == "granted" for line in told)
    found.refused = sum(line[0] == "refused" for line in told)
    if found.granted + found.refused != processes * each:
        found.violations.append(f"{found.granted} granted and {found.refused} refused of {processes * each}")
    with Logbook(path) as book:
        found.violations += _wrong(room, book, opening, told)
    return found


_TIME = START + 10**6


def _room(bears: int) -> Room:
    """Three caps that would bear more, and one, of a party in a block, that bears so many rounds."""
    charge = sum(step["charge"] for step in Room().steps("any"))
    record = {party: dict.fromkeys(builder.BLOCKS, PLENTY) for party in PARTIES}
    record["beta"] = {**record["beta"], "q2": bears * charge + charge - 1}
    caps = {"record": record, "person": dict.fromkeys(builder.BLOCKS, PLENTY)}
    return Room({**caps, "lifetime_record": dict.fromkeys(PARTIES, PLENTY), "lifetime_person": PLENTY})


def _racing(path: Path, mine: Sequence[Entry]) -> Any:
    def work(told: Watcher) -> None:
        with Logbook(path) as book:
            for entry in mine:
                # No signature in it covers the place; the entry is otherwise what it was.
                try:
                    seq = book.append([lambda seq, entry=entry: entry.model_copy(update={"seq": seq})])
                    told.tell("granted", seq, entry.round)
                except Refused as exc:
                    if "budget" not in exc.message:
                        raise
                    book.refresh()
                    told.tell("refused", book.size, entry.round)

    return work


def _wrong(room: Room, book: Logbook, opening: int, told: list[list[Any]]) -> list[str]:
    found = []
    bodies = [entries.decode(body) for body in book.entries(opening)]
    written = {entry.seq: entry.round for entry in bodies if isinstance(entry, Reserve)}
    granted = {line[1]: line[2] for line in told if line[0] == "granted"}
    if len(granted) != sum(line[0] == "granted" for line in told):
        found.append("one number was given to two reserves")
    if written != granted:
        found.append(f"{len(granted)} were granted, and {len(written)} are in the ledger")
    if set(written) != set(range(opening, book.size)):
        found.append("there are gaps")
    caps = room.genesis().body()["caps"]["record"]
    spent = {
        (party, block): sum(entry.charge[party].get(block, 0) for entry in bodies if isinstance(entry, Reserve))
        for party in PARTIES
        for block in builder.BLOCKS
    }
    found += [f"over-grant: {who} in {block}" for (who, block), sum_ in spent.items() if sum_ > caps[who][block]]
    charge = sum(step["charge"] for step in room.steps("any"))
    least = min(caps[who][block] - sum_ for (who, block), sum_ in spent.items())
    early = [line[1] for line in told if line[0] == "refused" and line[1] < book.size]
    if early or (least >= charge and any(line[0] == "refused" for line in told)):
        found.append(f"refused while the budget still bore a round: at {early[:3]} of {book.size} entries")
    if {line[2] for line in told if line[0] == "refused"} & set(written.values()):
        found.append("a reserve that was refused is in the ledger")
    return found
