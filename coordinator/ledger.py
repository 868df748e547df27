"""The coordinator's side of the ledger: it writes, the parties check and cosign. It cannot spend without them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from protocols import keys
from protocols import release as releases
from protocols.encoding import canonical
from protocols.errors import IntegrityError, PartyUnavailable, Refused, RoundEnded, Stale, SumroomError, UsageError
from protocols.ledger import notes
from protocols.ledger.cosigners import check_cosigners
from protocols.ledger.entries import Entry, build, decode
from protocols.ledger.records import check_recorded
from protocols.ledger.standing import in_force, standing
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Refusal, Supplied, Supply, Witness
from protocols.plan import Plan
from protocols.room import Room

from .config import Config
from .conversation import Ask
from .store import body_key, plan_key, received_key, release_key

MOST_BYTES = 8 << 20  # of entries in one message, which may have 16 MB

Body = Mapping[str, Any]


class RoomLedger:
    """founded: the room as its file says it began; more: identities the coordinator may have by now; clock: unix s."""

    def __init__(self, founded: Room, book: Logbook, identity: keys.Identity, clock: Callable[[], float],
                 more: Sequence[keys.Identity] = ()) -> None:  # fmt: skip
        self.founded, self.book, self.clock = founded, book, clock
        self._identities = (identity, *more)
        self._covered = 0

    @property
    def room(self) -> Room:
        """The room as it stands now."""
        return standing(self.founded, self.book.accounts)

    @property
    def identity(self) -> keys.Identity:
        """The coordinator's keys in force. Raises UsageError where its files have other ones."""
        return self.identity_at(self.book.size)

    def identity_at(self, size: int) -> keys.Identity:
        """Those in force after so many entries."""
        known = self.book.accounts.members_at(size).coordinator if size else self.founded.coordinator_keys
        return in_force(self._identities, known, "the coordinator")

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
        stated = self.founded.genesis()
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
        heard = self._hear(ask, parties, timeout)
        if heard.ahead and self.cosigned_size() == self.book.size:  # nothing here that the others have not
            self.catch_up(ask, heard.ahead, timeout)
            heard = self._hear(ask, parties, timeout)
        self._check_not_behind(heard)
        size = self.book.size
        self._check_enough(size, heard.refused, heard.silent)
        return self.book.checkpoint(size)

    def check_newest(self, ask: Ask, parties: Sequence[str], timeout: float, least: int) -> int:
        """Ask before anything is written: how many entries were missing here, and are taken back from a party.

        Raises PartyUnavailable when fewer than `least` say how far theirs go. What they refuse to cosign as it is does
        not matter here: with what is written next they may (a reserve that lapsed, once it is forfeited). Raises Stale
        where the parties hold more, and entries here are not among them.
        """
        before = self.book.size
        heard = self._hear(ask, parties, timeout)
        if heard.ahead:
            self.catch_up(ask, heard.ahead, timeout)
            heard = self._hear(ask, parties, timeout)
        self._check_not_behind(heard)
        if len(parties) - len(heard.silent) < least:
            raise PartyUnavailable("nobody knows whether this ledger is the newest" + _because(heard.silent))
        return self.book.size - before

    def catch_up(self, ask: Ask, ahead: Mapping[str, int], timeout: float) -> None:
        """Take back what this copy has lost, from the parties that hold it: entries, checkpoints, plans and releases.

        Each growth passes the rules, a consistency proof and the signature of this coordinator's own keys, so no party
        can add anything. A release that no party has is lost: it was never handed out. Raises Stale where a growth does
        not continue what is here.
        """
        wrong = ""
        while behind := [party for party, size in ahead.items() if size > self.book.size]:
            old = self.book.size
            answers = ask(dict.fromkeys(behind, Supply(old_size=old)), timeout)
            given = {
                party: a.reply for party, a in answers.items() if isinstance(a.reply, Supplied) and a.reply.entries
            }
            for party, supplied in given.items():
                if self.book.size == old:
                    try:
                        self._take_back(supplied)
                    except (IntegrityError, Refused) as exc:
                        wrong = f"what {party} holds does not continue this ledger: {exc.message}"
            for party, supplied in given.items():
                self._take_documents(party, supplied)
            if self.book.size == old:
                break
        self._covered = 0
        if wrong and behind:
            raise Stale(wrong, "put the newest copy back; this one was written to after it was restored")

    def _take_back(self, answer: Supplied) -> None:
        """Entries, and the checkpoint over them with those cosignatures that verify."""
        proof = [keys.unbase64(node) for node in answer.proof]
        log = notes.log_keys(self.founded.origin, self.founded.coordinator_keys)
        entries = [text.encode() for text in answer.entries]
        checkpoint = self.book.follow(_own_lines(answer.checkpoint), log, self.book.size, proof, entries)
        members, cosigned = self.book.accounts.members, dict[str, str]()
        for name, lines in notes.cosignatures(answer.checkpoint).items():
            with suppress(IntegrityError, KeyError):  # it may be wrong here, as anything a party says
                notes.verify_cosignature(checkpoint, members.witness_keys()[name], lines)
                cosigned[name] = lines
        self.book.add_cosignatures(checkpoint.size, cosigned)

    def _take_documents(self, party: str, answer: Supplied) -> None:
        """Plans and releases of entries that are here; what a party gives besides, or altered, is passed over."""
        blobs: dict[str, bytes] = {}
        for body in answer.plans:
            with suppress(SumroomError):
                plan = Plan.from_bytes(canonical(dict(body)))
                if plan.digest in self.book.accounts.plans:
                    blobs[plan_key(plan.digest)] = plan.canonical
        for document in answer.releases:
            with suppress(SumroomError):
                blobs |= self._recorded(releases.read(canonical(document)), party)
        self.book.append([], blobs={key: data for key, data in blobs.items() if self.book.blob(key) is None})

    def _recorded(self, release: releases.Release, party: str) -> dict[str, bytes]:
        """A release that was given back, if it is what the ledger says and was signed here."""
        body, accounts = release.body_, self.book.accounts
        round_ = accounts.rounds.get(body.round)
        commit = next((c for c in round_.commits if c.step == body.step), None) if round_ else None
        if round_ is None or commit is None:
            raise IntegrityError("a release of no commit that is here")
        check_recorded(release, commit, round_.reserve, self.founded.room)
        releases.check_signature(release, self.identity_at(release.proof.size).ed25519.public_key())
        try:
            check_cosigners(self._signers(self.book.checkpoint(release.proof.size)), [commit], accounts)
        except (UsageError, IntegrityError):  # its checkpoint is not whole here: it is signed anew, over the same body
            return {body_key(body.round, body.step): canonical(body.body())}
        return {
            body_key(body.round, body.step): canonical(body.body()),
            release_key(body.round, body.step): release.to_bytes(),
            received_key(body.round, body.step, party): b"",
        }

    def _hear(self, ask: Ask, parties: Sequence[str], timeout: float) -> _Heard:
        """(1) to (3) of `countersign`."""
        # (1)
        self.sign()
        size, heard = self.book.size, _Heard()
        start = dict.fromkeys(parties, 0) | {p: n for p, n in self._cosigned_sizes().items() if p in parties}
        unlike = set[str]()
        while start:
            requests = {party: self._growth(old, size) for party, old in start.items()}
            start = {}
            for party, answer in ask(requests, timeout).items():
                reached = notes.split(requests[party].checkpoint)[0].size
                match answer.reply:
                    case Cosigned():
                        self._keep(party, reached, answer.reply)
                        if reached < size:  # far behind: one message does not bear it all
                            start[party] = reached
                    case Behind() if answer.reply.size <= size and party not in unlike:  # (2)
                        unlike.add(party)
                        start[party] = answer.reply.size
                    case Behind():
                        self._note_ahead(party, answer.reply, heard)
                    case Refusal():
                        heard.refused.append(f"{party}: {answer.reply.reason}")
                    case _:
                        heard.silent.append(f"{party}: {answer.missing or 'another answer than asked for'}")
        return heard

    def sign(self) -> str:
        """The coordinator's note over all entries there are."""
        return self.book.sign_checkpoint(self.room.origin, self.identity)

    def cosigned(self, size: int) -> str:
        """The note of the checkpoint of this size with the cosignatures it has."""
        return self.book.checkpoint(size)

    def _growth(self, old: int, new: int) -> Witness:
        """From a party's size to the newest, or to the last stored checkpoint that one message bears."""
        while sum(map(len, self.book.entries(old, new))) > MOST_BYTES:
            sizes = [size for size in self.book.checkpoint_sizes() if old < size < new]
            if not sizes:
                break
            new = sizes[-1] if len(sizes) == 1 else sizes[len(sizes) // 2]
        proof = self.book.consistency(old, new) if 0 < old < new else []
        return Witness(
            old_size=old,
            entries=[data.decode() for data in self.book.entries(old, new)],
            proof=[keys.base64_text(node) for node in proof],
            checkpoint=self.book.bare_checkpoint(new),
        )

    def _keep(self, party: str, size: int, reply: Cosigned) -> None:
        # (3)
        checkpoint, _ = notes.split(self.book.checkpoint(size))
        public = notes.cosigner_keys(party, self.book.accounts.members_at(size).parties[party])
        notes.verify_cosignature(checkpoint, public, reply.line + "\n")
        self.book.add_cosignature(size, party, reply.line + "\n")

    def _note_ahead(self, party: str, said: Behind, heard: _Heard) -> None:
        """A party holds more entries, if it shows that this coordinator has signed them; only its word is nothing."""
        checkpoint = self._signed_here(said.checkpoint)
        if checkpoint is None:
            heard.silent.append(f"{party}: it says that it holds {said.size} entries, and shows nothing")
            return
        if checkpoint.size > self.book.size:
            heard.ahead[party] = checkpoint.size
        else:
            heard.silent.append(f"{party}: it says that it holds {said.size} entries, and shows {checkpoint.size}")

    def _check_not_behind(self, heard: _Heard) -> None:
        for party, size in heard.ahead.items():
            raise Stale(
                f"{party} holds {size} entries, this ledger {self.book.size}: it was restored from an older copy",
                "put the newest copy back; nothing may be written to an older one",
            )

    def _signed_here(self, note: str) -> notes.Checkpoint | None:
        """The checkpoint of a note if this coordinator has signed it, by whichever of its keys."""
        for identity in self._identities:
            for public in (identity.public(), keys.PublicKeys(identity.public().ed25519)):
                with suppress(IntegrityError):
                    return notes.open_note(_own_lines(note), notes.log_keys(self.founded.origin, public))[0]
        return None

    def _cosigned_sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for size in reversed(self.book.checkpoint_sizes()):
            note = self.book.checkpoint(size)
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
        self._covered = self._covered or self._last_of_everybody()
        # Once complete, always complete: cosignatures are only ever added.
        for at in self.book.checkpoint_sizes(above=self._covered):
            new = [decode(data) for data in self.book.entries(self._covered, at)]
            try:
                check_cosigners(self._signers(self.book.checkpoint(at)), new, self.book.accounts)
            except IntegrityError:
                continue
            self._covered = at
        return self._covered

    def cosigned_by_everybody(self) -> bool:
        """Whether every party in force has cosigned the newest entry."""
        return self.book.size in self.book.checkpoint_sizes(above=self.book.size - 1) and self._is_of_everybody(
            self.book.size
        )

    def _is_of_everybody(self, size: int) -> bool:
        note, parties = self.book.checkpoint(size), self.book.accounts.members_at(size).parties
        # First what is cheap: only verified lines are stored.
        return all(f"\n— {party} " in note for party in parties) and set(parties) <= self._signers(note)

    def _last_of_everybody(self) -> int:
        """The last size that every party in force then has cosigned: each of them vouches for all that came before."""
        return next(filter(self._is_of_everybody, reversed(self.book.checkpoint_sizes())), 0)

    def _signers(self, note: str) -> set[str]:
        members = self.book.accounts.members_at(notes.split(note)[0].size)
        witnesses = itertools.chain.from_iterable(members.witness_keys().values())
        return set(notes.open_note(note, members.log_keys(), witnesses)[1])


def ledger_of(config: Config, book: Logbook) -> RoomLedger:
    """The ledger of the room of these settings, by the machine's clock."""
    return RoomLedger(config.room, book, config.identities[0], time.time, config.identities[1:])


@dataclass
class _Heard:
    """What came of asking for cosignatures. ahead: party → how many entries it shows that this coordinator signed."""

    refused: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    ahead: dict[str, int] = field(default_factory=dict)


def _own_lines(note: str) -> str:
    """A note with the ledger's own signatures only. Raises IntegrityError for what is no note."""
    checkpoint, lines = notes.split(note)
    return notes.assemble(checkpoint, "".join(line for line in lines if line.startswith(f"— {checkpoint.origin} ")))


def _because(said: Sequence[str]) -> str:
    return f" ({'; '.join(said)})" if said else ""
