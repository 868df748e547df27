"""The room of three whose ledgers are tortured: its entries, its parties' own copies, and what must hold of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from party_node import witness
from party_node.filter import Filter
from protocols import keys
from protocols.ledger import entries, notes
from protocols.ledger.entries import Commit, Entry, Reserve
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Witness
from protocols.room import Room as RoomFile
from tests.ledger import builder
from tests.ledger.builder import ORIGIN, PARTIES, ROOM, START, identity, key

PLENTY = 10**14
NOW = START + 60  # reserves that are held expire after this, and no entry is from the future
CAPS = {
    "record": {party: dict.fromkeys(builder.BLOCKS, PLENTY) for party in PARTIES},
    "person": dict.fromkeys(builder.BLOCKS, PLENTY),
    "lifetime_record": dict.fromkeys(PARTIES, PLENTY),
    "lifetime_person": PLENTY,
}


def release_of(label: str) -> bytes:
    """Bytes that stand for a release where its content does not matter."""
    return hashlib.sha256(label.encode()).digest() * 40


class Room(builder.Room):
    """Rounds have one step. A label names a round; what follows from it is always the same."""

    def __init__(self, caps: dict[str, Any] | None = None) -> None:
        super().__init__(caps=caps or CAPS)

    @property
    def file(self) -> RoomFile:
        """What every party has in its room.toml."""
        genesis = self.genesis().body()
        caps = {**CAPS, **self.caps}
        return RoomFile.model_validate(
            {
                **{name: genesis[name] for name in ("room", "origin", "cosign_quorum", "coordinator", "parties")},
                "blocks": genesis["blocks"],
                "caps": {
                    "record": next(iter(caps["record"]["alpha"].values())),
                    "person": next(iter(caps["person"].values())),
                    "lifetime_record": caps["lifetime_record"]["alpha"],
                    "lifetime_person": caps["lifetime_person"],
                },
            }
        )

    def steps(self, round_label: str) -> list[dict[str, Any]]:
        return super().steps(round_label)[:1]

    def ended(self, seq: int, label: str, blob: bytes | None = None) -> Entry:
        """A commit of a release, by its digest."""
        return self.commit(seq, label, digest=hashlib.sha256(blob or release_of(label)).hexdigest())

    def rounds(self, first: int = 0) -> Iterator[Callable[[int], Entry]]:
        """Drafts for ever: rounds, two of three of them released, the third forfeited."""
        number = first
        while True:
            label = f"round {number}"
            yield lambda seq, label=label: self.reserve(seq, label)  # type: ignore[misc]
            if number % 3 == 2:
                yield lambda seq, label=label: self.forfeit(seq, label)  # type: ignore[misc]
            else:
                yield lambda seq, label=label: self.ended(seq, label)  # type: ignore[misc]
            number += 1

    def history(self, length: int) -> list[bytes]:
        """The bytes of so many entries: the opening, and rounds after it."""
        drafts = self.rounds()
        opening = self.opening()[:length]
        more = [next(drafts)(seq) for seq in range(len(opening), length)]
        return [entries.encode(entry) for entry in (*opening, *more)]


@dataclass
class Member:
    """A party's own ledger and accounts."""

    name: str
    book: Logbook
    filter: Filter

    @classmethod
    def at(cls, folder: Path, name: str) -> Member:
        return cls(name, Logbook(folder / f"{name}.ledger"), Filter(folder / f"{name}.accounts", PLENTY))

    def close(self) -> None:
        self.book.close()
        self.filter.close()

    def hold(self, room: RoomFile, draft: Reserve, now: int) -> str:
        """Set the budget of a draft aside; the signature that says so."""
        self.filter.hold(witness.charge_of(draft, room, self.name), now)
        return keys.sign(key(self.name), "hold", entries.signed_body(draft, ROOM))

    def cosign(self, room: RoomFile, request: Witness, now: int) -> Cosigned | Behind:
        """By the node's own rules."""
        own = {"party": self.name, "identity": identity(self.name), "book": self.book, "filter_": self.filter}
        return witness.cosign(request, room=room, now=now, **own)

    def hold_all(self, room: RoomFile, bodies: Sequence[bytes], now: int) -> None:
        """Hold every round that these entries reserve, as a node that agreed to them has."""
        for body in bodies:
            entry = entries.decode(body)
            if isinstance(entry, Reserve):
                self.filter.hold(witness.charge_of(entry, room, self.name), now)


def growth(book: Logbook, room: builder.Room, old: int) -> Witness:
    """What the coordinator sends a witness that holds `old` entries, over all it has."""
    note = book.sign_checkpoint(ORIGIN, room.identity)
    return Witness(
        old_size=old,
        entries=[body.decode() for body in book.entries(old)],
        proof=[keys.base64_text(part) for part in (book.consistency(old, book.size) if old else [])],
        checkpoint=note,
    )


def faults_of(path: Path) -> list[str]:
    """What is wrong in a copy as it lies there: opening it looks through entries, rules and checkpoints; and every
    release must have its commit, and every commit of such a copy its release."""
    found = []
    with Logbook(path) as book:
        committed = {entry.digest for entry in map(entries.decode, book.entries()) if isinstance(entry, Commit)}
        kept = {hashlib.sha256(data).hexdigest() for key_, data in book.blobs("release/").items()}
        if kept - committed:
            found.append("a release is kept that was never committed")
        if kept and committed - kept:
            found.append("a release was committed, and is not kept")
    return found


def checkpoint_of(note: str) -> tuple[int, bytes]:
    checkpoint, _ = notes.split(note)
    return checkpoint.size, checkpoint.root


def sync_line(path: Path, line: str) -> None:
    """One line more in a file, there to stay whatever happens to this process."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)
