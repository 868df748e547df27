"""A coordinator's ledger, three witnesses with their own accounts, and everything that can happen between them, at
random; beside each its model: lists, maps and sums (`naive.py`). After every step both must say the same.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols import keys
from protocols.encoding import parse
from protocols.errors import SumroomError
from protocols.ledger import notes
from protocols.ledger.entries import decode, encode
from protocols.ledger.notes import Checkpoint
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Witness

from . import builder, forge, naive, shapes, witnesses
from .changes import STATEMENTS, KeyRing
from .drafts import KINDS, Drafts
from .witnesses import Alone

PICK = st.integers(0, 2**32)
# "restart" closes and opens again; "kill" goes on with the files as they lie there while they are open; "put back" with
# an older copy of the ledger (a party's own account over all rooms lies elsewhere, and stays).
MISHAPS = ["restart", "kill", "kill", "back up", "put back", "wait", "wait"]
PARTY = st.sampled_from(builder.PARTIES)


class Ledgers(RuleBasedStateMachine):
    """`steps` counts the steps of all runs in this process."""

    steps = 0
    seen: dict[str, int] = {}  # noqa: RUF012 - of the class on purpose: what happened, over all runs

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledgers-"))
        self.room, self.ring = builder.Room(), KeyRing()
        self.now = builder.START
        self.path = self.folder / "coordinator.db"
        self.book = Logbook(self.path)
        self.history: list[bytes] = []
        self.notes: dict[int, str] = {}
        self.lines: dict[int, dict[str, str]] = {}
        file = witnesses.room_file(self.room)
        self.witnesses = {party: Alone(self.folder, party, self.room, file) for party in builder.PARTIES}
        self.requests: list[Witness] = []
        self.old_copy: tuple[Path, list[bytes], dict[int, str], dict[int, dict[str, str]]] | None = None
        self.complete: dict[int, bytes] = {}
        self.copies = 0

    def teardown(self) -> None:
        self.book.close()
        for witness in self.witnesses.values():
            witness.close()
        shutil.rmtree(self.folder)

    def note(self, what: str) -> None:
        Ledgers.steps += 1
        Ledgers.seen[what] = Ledgers.seen.get(what, 0) + 1

    @staticmethod
    def _agree(alike: bool, otherwise: str) -> None:
        assert alike, otherwise

    @property
    def values(self) -> list[naive.Entry]:
        return [parse(body) for body in self.history]

    # -- the coordinator writes ----------------------------------------------------------------------------------------

    @initialize(opened=st.integers(0, 9))
    def begin(self, opened: int) -> None:
        if opened:
            self._append([encode(entry) for entry in self.room.opening()])
            self.now += 10
            if opened > 4:
                for party in builder.PARTIES:
                    self._deliver(self._growth(0), party)

    @rule(kind=st.sampled_from(KINDS), data=st.data())
    def write(self, kind: str, data: st.DataObject) -> None:
        """One entry, sound or not."""
        self._append(self._drafts(data, [kind]), f"write {kind}")

    @rule(kind=st.sampled_from(["reserve", "commit"]), data=st.data())
    def write_of_a_round(self, kind: str, data: st.DataObject) -> None:
        """What there is most of."""
        self._append(self._drafts(data, [kind]), f"write {kind}")

    @rule(kind=st.sampled_from(STATEMENTS), data=st.data())
    def state(self, kind: str, data: st.DataObject) -> None:
        """Raised caps, refunds, and what only says that something happened."""
        self._append(self._drafts(data, [kind]), f"write {kind}")

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=3), data=st.data())
    def write_several(self, kinds: list[str], data: st.DataObject) -> None:
        """All in one transaction, or none."""
        self._append(self._drafts(data, kinds), "write several")

    def _drafts(self, data: st.DataObject, kinds: list[str]) -> list[bytes]:
        """The bytes of entries, each made for the history that there is if those before it are taken."""
        history, made = self.values, list[bytes]()
        for kind in kinds:
            body = Drafts(self.room, history, self.now, data.draw, self.ring).make(kind)
            if body["type"] == "reserve@v1":
                for party in data.draw(st.sampled_from([builder.PARTIES] * 3 + [builder.PARTIES[:2], ()])):
                    if party in body["charge"]:
                        self.witnesses[party].hold(body, self.now)
            made.append(naive.spelled(body))
            history = history if shapes.fault(body) else [*history, body]
        return made

    def _append(self, bodies: list[bytes], what: str = "open") -> None:
        expected: str | None = None
        history = self.values
        try:
            for body in bodies:
                entry = naive.read(body)
                naive.check(history, entry)
                history.append(entry)
        except naive.No as exc:
            expected = str(exc)
        try:
            first = self.book.append([decode(body) for body in bodies])
        except SumroomError as exc:
            self._agree(expected is not None, f"refused without a reason: {exc.message}: {bodies!r}")
            self.note(f"{what}: refused, {expected}")
        else:
            assert expected is None, f"taken in spite of {expected}: {bodies!r}"
            assert first == len(self.history)
            self.history += bodies
            self.note(what)

    @rule()
    @precondition(lambda self: self.history)
    def sign(self) -> None:
        note = self._sign()
        assert self._sign() == note
        self.note("checkpoint")

    def _sign(self) -> str:
        size = len(self.history)
        note = witnesses.sign(self.book)
        checkpoint, _ = notes.split(note)
        assert (checkpoint.size, checkpoint.root) == (size, naive.root(self.history))
        assert self.notes.setdefault(size, note) == note
        return note

    # -- the witnesses -------------------------------------------------------------------------------------------------

    @rule(party=PARTY, start=st.sampled_from(["its size"] * 6 + ["known", "before", "after", "zero"]))
    @precondition(lambda self: self.history)
    def ask(self, party: str, start: str) -> None:
        """Growth from what the party holds, or from elsewhere."""
        size = len(self.witnesses[party].history)
        known = max((at for at, lines in self.lines.items() if party in lines), default=0)
        old = {"its size": size, "known": known, "before": size - 1, "after": size + 1, "zero": 0}[start]
        self._deliver(self._growth(min(max(old, 0), len(self.history))), party)

    @rule(party=PARTY, which=PICK)
    @precondition(lambda self: self.requests)
    def ask_again(self, party: str, which: int) -> None:
        """An earlier request, to the same party or another: late, twice, out of order."""
        self._deliver(self.requests[which % len(self.requests)], party)

    @rule(party=PARTY, how=st.sampled_from(["entry", "cut", "twice", "proof", "root", "note", "spelling"]), at=PICK)
    @precondition(lambda self: self.history)
    def ask_spoiled(self, party: str, how: str, at: int) -> None:
        """Growth that something was done to on the way, or by the coordinator itself."""
        witness = self.witnesses[party]
        old = min(len(witness.history), len(self.history))
        self._deliver(forge.spoiled(self._growth(old), how, at), party)

    @rule(party=PARTY, kinds=st.lists(st.sampled_from(KINDS), max_size=2), back=st.integers(0, 3), data=st.data())
    def ask_forked(self, party: str, kinds: list[str], back: int, data: st.DataObject) -> None:
        """Another history, signed by the coordinator's own key: it leaves the party's copy some entries before its
        end."""
        witness = self.witnesses[party]
        shared = witness.history[: max(0, len(witness.history) - back)]
        entries, history = list[bytes](), [parse(body) for body in shared]
        for kind in kinds:
            body = Drafts(self.room, history, self.now, data.draw, self.ring).make(kind)
            entries.append(naive.spelled(body))
            history += [] if shapes.fault(body) else [body]
        self._deliver(forge.growth(shared, entries), party, keep=False)

    def _growth(self, old: int) -> Witness:
        proof = self.book.consistency(old, len(self.history)) if old else []
        return Witness(
            old_size=old,
            entries=[body.decode() for body in self.book.entries(old)],
            proof=[keys.base64_text(node) for node in proof],
            checkpoint=self._sign(),
        )

    def _deliver(self, request: Witness, party: str, *, keep: bool = True) -> None:
        if keep:
            self.requests.append(request)
        witness = self.witnesses[party]
        expected = witness.expect(request, self.now)
        try:
            reply = witness.cosign(request, self.now)
        except SumroomError as exc:
            self._agree(isinstance(expected, str), f"{party} refused without a reason: {exc.message}")
            self.note("cosign: refused")
            return
        if isinstance(reply, Behind):
            assert expected == len(witness.history) == reply.size
            self.note("cosign: behind")
            return
        assert isinstance(expected, Checkpoint), f"{party} cosigned in spite of {expected}"
        self._keep(witness, expected, reply)
        self.note("cosign")

    def _keep(self, witness: Alone, checkpoint: Checkpoint, reply: Cosigned) -> None:
        """What the coordinator does with a line: where it is one of its own checkpoint."""
        assert reply.size == checkpoint.size
        for size, root in witness.cosigned:
            assert size > checkpoint.size or root == naive.root(witness.history[:size]) or witness.was_put_back
        witness.cosigned.append((checkpoint.size, checkpoint.root))
        assert witnesses.cosigned_at(checkpoint, witness.party, reply.line) == self.now
        mine = self.notes.get(checkpoint.size)
        if mine is not None and notes.split(mine)[0] == checkpoint and checkpoint.size <= len(self.history):
            self.book.add_cosignature(checkpoint.size, witness.party, reply.line + "\n")
            self.lines.setdefault(checkpoint.size, {}).setdefault(witness.party, reply.line + "\n")

    # -- what befalls them ---------------------------------------------------------------------------------------------

    @rule(who=st.sampled_from(["coordinator", *builder.PARTIES]), what=st.sampled_from(MISHAPS))
    def befall(self, who: str, what: str) -> None:
        if what == "wait":
            self.now += {"coordinator": 1, "alpha": 20, "beta": 70, "gamma": 400}[who]
        elif what == "back up":
            self._back_up()
        elif what == "put back":
            if self.old_copy is None:
                return
            if who == "coordinator":
                self._put_back()
            else:
                self.witnesses[who].put_back()
        elif who != "coordinator":
            self.witnesses[who].reopen(kindly=what == "restart")
        else:
            self.path = self.path if what == "restart" else self._copied(self.path)
            self.book.close()
            self.book = Logbook(self.path)
        self.note(f"{what}: {'the coordinator' if who == 'coordinator' else 'a party'}" if what != "wait" else what)

    def _copied(self, path: Path) -> Path:
        self.copies += 1
        to = self.folder / f"{path.stem.split('-')[0]}-{self.copies}.db"
        for tail in ("", "-wal"):
            if (source := path.with_name(path.name + tail)).exists():
                shutil.copyfile(source, to.with_name(to.name + tail))
        return to

    def _back_up(self) -> None:
        notes, lines = dict(self.notes), {size: dict(kept) for size, kept in self.lines.items()}
        self.old_copy = (self._copied(self.path), list(self.history), notes, lines)
        for witness in self.witnesses.values():
            witness.back_up()

    def _put_back(self) -> None:
        """An older copy of the coordinator's: from here on it may sign another history than before."""
        assert self.old_copy is not None
        path, history, notes, lines = self.old_copy
        self.book.close()
        self.path = self._copied(path)
        self.book = Logbook(self.path)
        self.history, self.notes = list(history), dict(notes)
        self.lines = {size: dict(kept) for size, kept in lines.items()}

    # -- both must say the same ----------------------------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        assert self.book.size == len(self.history)
        assert self.book.root() == naive.root(self.history)
        assert self.book.entries() == self.history
        witnesses.check_accounts(self.book.accounts, self.values)
        for size, note in self.book.checkpoints():
            assert witnesses.signers(note) == set(self.lines.get(size, {}))
        for witness in self.witnesses.values():
            witness.compare(self.now)
        self._check_one_history()

    def _check_one_history(self) -> None:
        """While no witness was put back, two checkpoints that enough parties cosigned never disagree."""
        if any(witness.was_put_back for witness in self.witnesses.values()):
            return
        cosigned: dict[tuple[int, bytes], set[str]] = {}
        for witness in self.witnesses.values():
            for at in witness.cosigned:
                cosigned.setdefault(at, set()).add(witness.party)
        for (size, root), who in cosigned.items():
            if len(who) >= 2:  # the quorum of the genesis
                assert self.complete.setdefault(size, root) == root
