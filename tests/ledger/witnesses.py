"""A witness with its files, its model beside it, and all that the machine needs to know of the product's interface."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from party_node import witness as product
from party_node.filter import Filter
from protocols import keys
from protocols.encoding import parse
from protocols.errors import Refused
from protocols.ledger import notes
from protocols.ledger.entries import decode
from protocols.ledger.notes import Checkpoint
from protocols.ledger.reducer import Accounts
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Witness
from protocols.room import Room

from . import builder, naive, shapes

Charges = dict[tuple[str, str], dict[str, Any]]  # round, block → plan, nano, expires, final

CAP = 50_000_000  # of a party's own budget: below the room's, so that it binds
SLACK_S = 300


GENUINE: set[str] = set()  # every note that the coordinator's own keys signed


def sign(book: Logbook) -> str:
    note = book.sign_checkpoint(builder.ORIGIN, builder.identity("coordinator"))
    GENUINE.add(note)
    return note


def party_keys(party: str) -> tuple[notes.VerifierKey, ...]:
    return notes.cosigner_keys(party, builder.identity(party).public())


def signers(note: str) -> set[str]:
    """The parties whose lines are on a note, each of which verifies."""
    known = [key for party in builder.PARTIES for key in party_keys(party)]
    _, signed = notes.open_note(note, builder.log_keys(), known)
    return set(signed) - {builder.ORIGIN}


def cosigned_at(checkpoint: Checkpoint, party: str, line: str) -> int:
    return notes.verify_cosignature(checkpoint, party_keys(party), line + "\n")


def forged_note(size: int, root: bytes, by: str = "coordinator") -> str:
    """Any checkpoint at all, by the coordinator's own keys."""
    checkpoint = Checkpoint(builder.ORIGIN, size, root)
    note = notes.assemble(checkpoint, notes.sign(checkpoint, builder.identity(by), builder.START))
    if by == "coordinator":
        GENUINE.add(note)
    return note


def check_accounts(accounts: Accounts, history: list[naive.Entry]) -> None:
    """The product's sums and rounds are those of the model."""
    if not history:
        return
    assert accounts.time == history[-1]["time"]
    found = {at: (balance.cap, balance.spent) for at, balance in accounts.balances().items()}
    expected = naive.spent(history)
    assert {at: one for at, one in found.items() if at in expected} == expected
    for entry in naive.of_type(history, "reserve"):
        is_open = accounts.rounds[entry["round"]].state == "open"
        assert is_open == naive.is_open(history, entry["round"])
    assert len(accounts.rounds) == len(naive.of_type(history, "reserve"))


def room_file(room: builder.Room) -> Room:
    """What a party holds as its room.toml: the room of the genesis."""
    genesis = room.genesis().body()
    return Room.model_validate(
        {
            "room": genesis["room"],
            "origin": genesis["origin"],
            "cosign_quorum": genesis["cosign_quorum"],
            "coordinator": genesis["coordinator"],
            "parties": genesis["parties"],
            "blocks": genesis["blocks"],
            "caps": {"record": "0.06", "person": "0.18", "lifetime_record": "0.15", "lifetime_person": "0.45"},
        },
        context={"toml": True},
    )


class Alone:
    """One witness: its copy of the ledger, its account, and what both must be."""

    def __init__(self, folder: Path, party: str, room: builder.Room, file: Room) -> None:
        self.folder, self.party, self.file = folder, party, file
        self.genesis = room.genesis().body()
        self.path, self.account = folder / f"{party}.db", folder / f"{party}-account.db"
        self.book, self.filter = Logbook(self.path), Filter(self.account, CAP)
        self.history: list[bytes] = []
        self.charges: Charges = {}
        self.cosigned: list[tuple[int, bytes]] = []
        self.was_put_back, self.saved, self.copies = False, None, 0
        self.saved: tuple[Path, list[bytes]] | None

    def close(self) -> None:
        self.book.close()
        self.filter.close()

    # -- the account ---------------------------------------------------------------------------------------------------

    def hold(self, body: naive.Entry, now: int) -> None:
        """Set aside what a drafted reserve takes, if the account bears it: here, and in the model."""
        if shapes.fault(body) or not set(body["blocks"]) <= set(self.genesis["blocks"]):
            return  # no node would hold what is no draft
        expected = self._taken(self._alive(now), body, final=False)
        draft = decode(naive.spelled(body))
        assert draft.type == "reserve@v1"
        try:
            self.filter.hold(product.charge_of(draft, self.file, self.party), now)
        except Refused:
            taken = None
        else:
            taken = expected
        assert taken == expected
        self.charges = self.charges if taken is None else taken

    def _alive(self, now: int) -> Charges:
        return {at: one for at, one in self.charges.items() if one["final"] or one["expires"] >= now}

    def _taken(self, charges: Charges, body: naive.Entry, *, final: bool) -> Charges | None:
        """What is charged with this reserve among it; None where it must be refused."""
        nano = max(body["charge"][self.party].values())
        charges = dict(charges)
        for block in body["blocks"]:
            at = (body["round"], block)
            if at not in charges:
                if sum(one["nano"] for (_, name), one in charges.items() if name == block) + nano > CAP:
                    return None
                charges[at] = {"plan": body["plan"], "nano": nano, "expires": body["expires"], "final": final}
            before = charges[at]
            if (before["plan"], before["nano"]) != (body["plan"], nano):
                return None
            if not final and before["expires"] != body["expires"]:
                return None
            charges[at] = {**before, "final": final or before["final"]}
        return charges

    def _known(self, now: int) -> set[str]:
        return {round_id for round_id, _ in self._alive(now)}

    def _final(self) -> set[str]:
        """The rounds all of whose charge is final."""
        rounds = {round_id for round_id, _ in self.charges}
        return {
            at for at in rounds if all(one["final"] for (round_id, _), one in self.charges.items() if round_id == at)
        }

    # -- cosigning -----------------------------------------------------------------------------------------------------

    def cosign(self, request: Witness, now: int) -> Cosigned | Behind:
        return product.cosign(
            request,
            room=self.file,
            party=self.party,
            identity=builder.identity(self.party),
            book=self.book,
            filter_=self.filter,
            now=now,
        )

    def expect(self, request: Witness, now: int) -> Checkpoint | int | str:
        """The checkpoint that it must cosign, the size it must say it has, or why it must refuse. Where it must
        cosign, the model has grown."""
        entries = [text.encode() for text in request.entries]
        size, history = len(self.history), self.history
        if request.old_size + len(entries) == size and history[request.old_size :] == entries:
            return self._note(request, history)
        if request.old_size != size:
            return size
        try:
            grown, charges = self._grown(entries, now)
        except naive.No as exc:
            return str(exc)
        checkpoint = self._note(request, grown)
        if isinstance(checkpoint, str):
            return checkpoint
        proof = naive.consistency(grown, size) if size else []
        if [keys.base64_text(node) for node in proof] != request.proof:
            return "the proof"
        self.history, self.charges = grown, charges
        return checkpoint

    def _note(self, request: Witness, history: list[bytes]) -> Checkpoint | str:
        """What it cosigns: only if the note is the coordinator's and of exactly this history."""
        if not history:
            return "a checkpoint of nothing"
        checkpoint = Checkpoint(builder.ORIGIN, len(history), naive.root(history))
        if request.checkpoint not in GENUINE or notes.split(request.checkpoint)[0] != checkpoint:
            return "the checkpoint"
        return checkpoint

    def _grown(self, entries: list[bytes], now: int) -> tuple[list[bytes], Charges]:
        values = [parse(body) for body in self.history]
        for body in entries:
            value = naive.read(body)
            naive.need(value["time"] <= now + SLACK_S, "from the future")
            if value["type"].startswith("genesis"):
                alike = naive.without(value, "seq", "time") == naive.without(self.genesis, "seq", "time")
                naive.need(alike, "the party's own room")
            naive.check(values, value)
            values.append(value)
        return self.history + entries, self._charged(values, now)

    def _charged(self, values: list[naive.Entry], now: int) -> Charges:
        """The account once every reserve of this history is charged: only what it holds."""
        known, due = self._known(now), []
        refunded = {entry["round"] for entry in naive.of_type(values, "refund")}
        for entry in naive.of_type(values, "reserve"):
            if entry["round"] in refunded:
                continue  # nothing of it counts, so nothing is charged that was not charged before
            forfeited = naive.of_round(values, entry["round"])[2]
            if self.party in entry["charge"]:
                naive.need(forfeited or entry["round"] in known, "a charge that it does not hold")
                if entry["round"] not in self._final() and entry["round"] in known:
                    due.append(entry)
        charges: Charges | None = self._alive(now) if due else self.charges
        for entry in due:
            assert charges is not None
            charges = self._taken(charges, entry, final=True)
            naive.need(charges is not None, "a charge that it does not bear")
        assert charges is not None
        return charges

    # -- what befalls it -----------------------------------------------------------------------------------------------

    def reopen(self, kindly: bool) -> None:
        if kindly:
            self.close()
        else:
            path, account = self._copied(self.path), self._copied(self.account)
            self.close()
            self.path, self.account = path, account
        self.book, self.filter = Logbook(self.path), Filter(self.account, CAP)

    def _copied(self, path: Path) -> Path:
        self.copies += 1
        to = self.folder / f"{path.stem.split('.')[0]}.{self.copies}.db"
        for tail in ("", "-wal"):
            if (source := path.with_name(path.name + tail)).exists():
                shutil.copyfile(source, to.with_name(to.name + tail))
        return to

    def back_up(self) -> None:
        self.saved = (self._copied(self.path), list(self.history))

    def put_back(self) -> None:
        """Its copy of the ledger, not its account."""
        assert self.saved is not None
        self.book.close()
        self.path, self.history = self._copied(self.saved[0]), list(self.saved[1])
        self.book, self.was_put_back = Logbook(self.path), True

    def compare(self, now: int) -> None:
        assert self.book.entries() == self.history
        assert self.book.root() == naive.root(self.history)
        assert self.filter.spent_rounds(builder.ROOM) == self._final()
        assert self.filter.known_rounds(builder.ROOM, now) == self._known(now)
        check_accounts(self.book.accounts, [parse(body) for body in self.history])
