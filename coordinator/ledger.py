"""The coordinator's side of the ledger: it writes, the parties check and cosign. It cannot spend without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols import keys
from protocols.errors import IntegrityError, PartyUnavailable, RoundEnded, Stale
from protocols.ledger import notes
from protocols.ledger.cosigners import check_cosigners
from protocols.ledger.entries import Entry, build, decode
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Refusal, Witness
from protocols.room import Room

from .conversation import Ask

Body = Mapping[str, Any]


class RoomLedger:
    """`identity`: the coordinator's; `clock`: unix seconds."""

    def __init__(self, room: Room, book: Logbook, identity: keys.Identity, clock: Callable[[], float]) -> None:
        self.room, self.book, self.identity, self.clock = room, book, identity, clock
        self._covered = 0

    def append(self, bodies: Sequence[Body], blobs: Mapping[str, bytes] | None = None) -> int:
        """Write entries (plain bodies without place and time) and blobs in one transaction; the first one's number."""
        now = self.now

        def draft(body: Body) -> Callable[[int], Entry]:
            return lambda seq: build({**body, "seq": seq, "time": now})

        return self.book.append([draft(body) for body in bodies], blobs=blobs or {})

    @property
    def now(self) -> int:
        """The coordinator's clock, but never before the last entry: time in the ledger does not go back."""
        return max(int(self.clock()), self.book.accounts.time)

    def open_room(self) -> None:
        """Write the genesis where there is none; raise IntegrityError where it is another room's."""
        stated = self.room.genesis()
        if self.book.size == 0:
            self.append([stated])
            return
        written = self.book.accounts.genesis.body()
        if {**written, "seq": 0, "time": 0} != {**stated, "seq": 0, "time": 0}:
            raise IntegrityError("the ledger's genesis is not the room of the settings")

    def forfeit(self, round_id: str, reason: str) -> None:
        """End an open round; what it reserved stays spent."""
        self.append([{"type": "forfeit@v1", "round": round_id, "reason": reason}])

    def covering(self, entry: int) -> str:
        """The first checkpoint over an entry that has all the cosigners it needs. Raises PartyUnavailable."""
        new = [decode(data) for data in self.book.entries(entry, entry + 1)]
        for size, note in self.book.checkpoints():
            if size > entry:
                try:
                    check_cosigners(self._signers(note), new, self.book.accounts)
                except IntegrityError:
                    continue
                return note
        raise PartyUnavailable(f"entry {entry} is under no checkpoint that enough parties cosigned")

    def open_rounds(self) -> list[str]:
        return [name for name, round_ in self.book.accounts.rounds.items() if round_.state == "open"]

    def countersign(self, ask: Ask, parties: Sequence[str], timeout: float) -> str:
        """Have the parties check and cosign everything there is; the cosigned note.

        1. sign the checkpoint; each party gets the entries after those it last cosigned
        2. a party whose copy has another size says so, and gets the growth from there, once
        3. each line is verified before it is kept
        Raises PartyUnavailable when fewer cosigned than the new entries need because some were silent, RoundEnded when
        because they refused; asking again later loses nothing.
        """
        refused, silent = self._hear(ask, parties, timeout)
        size = self.book.size
        self._check_enough(size, refused, silent)
        return self.book.checkpoint(size)

    def check_newest(self, ask: Ask, parties: Sequence[str], timeout: float, least: int) -> None:
        """Ask before anything is written: raise Stale where a party holds more entries than there are here.

        Raises PartyUnavailable when fewer than `least` say how far theirs go. What they refuse to cosign as it is does
        not matter here: with what is written next they may (a reserve that lapsed, once it is forfeited).
        """
        _, silent = self._hear(ask, parties, timeout)
        if len(parties) - len(silent) < least:
            raise PartyUnavailable("nobody knows whether this ledger is the newest" + _because(silent))

    def _hear(self, ask: Ask, parties: Sequence[str], timeout: float) -> tuple[list[str], list[str]]:
        """(1) to (3) of `countersign`; who refused and who said nothing of use, and why. Raises Stale."""
        # (1)
        self.book.sign_checkpoint(self.room.origin, self.identity)
        size = self.book.size
        start = dict.fromkeys(parties, 0) | {p: n for p, n in self._cosigned_sizes().items() if p in parties}
        refused, silent = list[str](), list[str]()
        for _ in range(2):
            requests = {party: self._growth(old, size) for party, old in start.items()}
            start = {}
            for party, answer in ask(requests, timeout).items():
                match answer.reply:
                    case Cosigned():
                        self._keep(party, size, answer.reply)
                    case Behind() if answer.reply.size <= size:  # (2)
                        start[party] = answer.reply.size
                    case Behind():
                        self._check_shown(party, answer.reply)
                        silent.append(f"{party}: it says that it holds {answer.reply.size} entries, and shows nothing")
                    case Refusal():
                        refused.append(f"{party}: {answer.reply.reason}")
                    case _:
                        silent.append(f"{party}: {answer.missing or 'another answer than asked for'}")
            if not start:
                break
        return refused, silent

    def cosigned(self, size: int) -> str:
        """The note of the checkpoint of this size with the cosignatures it has."""
        return self.book.checkpoint(size)

    def _growth(self, old: int, new: int) -> Witness:
        proof = self.book.consistency(old, new) if 0 < old < new else []
        return Witness(
            old_size=old,
            entries=[data.decode() for data in self.book.entries(old, new)],
            proof=[keys.base64_text(node) for node in proof],
            checkpoint=self.book.sign_checkpoint(self.room.origin, self.identity),
        )

    def _keep(self, party: str, size: int, reply: Cosigned) -> None:
        # (3)
        checkpoint, _ = notes.split(self.book.checkpoint(size))
        public = notes.cosigner_keys(party, self.room.members[party])
        notes.verify_cosignature(checkpoint, public, reply.line + "\n")
        self.book.add_cosignature(size, party, reply.line + "\n")

    def _check_shown(self, party: str, said: Behind) -> None:
        """Raise Stale where a party shows that this coordinator has signed more entries than it has now."""
        try:
            checkpoint, _ = notes.open_note(said.checkpoint, self._log_keys(), self._witness_keys())
        except IntegrityError:
            return
        if checkpoint.size > self.book.size:
            raise Stale(
                f"{party} holds {said.size} entries, this ledger {self.book.size}: it was restored from an older copy",
                "put the newest copy back; nothing may be written to an older one",
            )

    def _cosigned_sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for size, note in reversed(self.book.checkpoints()):
            for party in set(self.room.parties) - set(sizes):
                if f"\n— {party} " in note:  # only verified lines are stored
                    sizes[party] = size
            if len(sizes) == len(self.room.parties):
                break
        return sizes

    def _check_enough(self, size: int, refused: Sequence[str], silent: Sequence[str]) -> None:
        if self.cosigned_size() < size:
            entries = [decode(data) for data in self.book.entries(self.cosigned_size(), size)]
            signed = self._signers(self.book.checkpoint(size))
            try:
                check_cosigners(signed, entries, self.book.accounts)
            except IntegrityError as exc:
                said = f"the ledger is not cosigned: {exc.message}" + _because([*refused, *silent])
                raise (PartyUnavailable if silent else RoundEnded)(said) from None

    def cosigned_size(self) -> int:
        """How many entries are under a checkpoint that has all the cosigners its new entries need."""
        for at, note in self.book.checkpoints():
            if at <= self._covered:  # once complete, always complete: cosignatures are only ever added
                continue
            new = [decode(data) for data in self.book.entries(self._covered, at)]
            try:
                check_cosigners(self._signers(note), new, self.book.accounts)
            except IntegrityError:
                continue
            self._covered = at
        return self._covered

    def _signers(self, note: str) -> set[str]:
        _, signed = notes.open_note(note, self._log_keys(), self._witness_keys())
        return set(signed)

    def _log_keys(self) -> tuple[notes.VerifierKey, ...]:
        return notes.log_keys(self.room.origin, self.room.coordinator_keys)

    def _witness_keys(self) -> list[notes.VerifierKey]:
        return [key for party, public in self.room.members.items() for key in notes.cosigner_keys(party, public)]


def _because(said: Sequence[str]) -> str:
    return f" ({'; '.join(said)})" if said else ""
