"""A room that changes: keys are rotated, revoked and added, parties come and go, caps are raised; and its model.

One ledger and a copy that follows it. Who is in force at every size, whose keys sign checkpoints, whose cosignatures an
entry needs and every balance must be what `naive.py` says.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.encoding import parse
from protocols.errors import IntegrityError, SumroomError
from protocols.ledger import notes
from protocols.ledger.cosigners import check_cosigners
from protocols.ledger.entries import decode, encode
from protocols.logbook import Logbook

from . import builder, naive, shapes, witnesses
from .changes import CHANGES, STATEMENTS, KeyRing
from .drafts import KINDS, Drafts

STRONG = ("genesis", "key", "party", "grant", "dataset", "plan", "reserve")
MEMBERS = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon"])


class Room(RuleBasedStateMachine):
    """`steps` and `seen`: of all runs in this process."""

    steps = 0
    seen: dict[str, int] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="changes-"))
        self.room, self.ring, self.now = builder.Room(), KeyRing(), builder.START + 3 * 86_400
        self.book, self.copy = Logbook(self.folder / "ledger.db"), Logbook(self.folder / "copy.db")
        self.history: list[naive.Entry] = []

    def teardown(self) -> None:
        self.book.close()
        self.copy.close()
        shutil.rmtree(self.folder)

    def note(self, what: str) -> None:
        Room.steps += 1
        Room.seen[what] = Room.seen.get(what, 0) + 1

    @initialize()
    def begin(self) -> None:
        self._append([encode(entry) for entry in self.room.opening()], "open")

    @rule(kind=st.sampled_from(CHANGES), data=st.data())
    def change(self, kind: str, data: st.DataObject) -> None:
        self._append([self._draft(kind, data)], kind)

    @rule(kind=st.sampled_from([*CHANGES, *STATEMENTS, *KINDS]), data=st.data())
    def write(self, kind: str, data: st.DataObject) -> None:
        self._append([self._draft(kind, data)], kind)

    @rule(days=st.sampled_from([1, 2, 400]))
    def wait(self, days: int) -> None:
        self.now += days * 86_400
        self.note("wait")

    def _draft(self, kind: str, data: st.DataObject) -> bytes:
        return naive.spelled(Drafts(self.room, self.history, self.now, data.draw, self.ring).make(kind))

    def _append(self, bodies: list[bytes], what: str) -> None:
        expected, history = "", list(self.history)
        try:
            for body in bodies:
                naive.check(history, naive.read(body))
                history.append(parse(body))
        except naive.No as exc:
            expected = str(exc)
        try:
            self.book.append([decode(body) for body in bodies])
            refused = ""
        except SumroomError as exc:
            refused = exc.message
        assert bool(refused) == bool(expected), f"product: {refused!r}, model: {expected!r}: {bodies!r}"
        self.note(f"{what}: {expected or 'taken'}")
        self.history = self.history if expected else history

    @rule(start=st.booleans())
    @precondition(lambda self: self.copy.size < self.book.size)
    def follow(self, start: bool) -> None:
        """The copy takes the entries over that it lacks; nothing where they do not begin at its end."""
        size = self.copy.size
        if start:
            self.copy.extend(size, self.book.entries(size), self.book.root())
            self.note("follow")
        else:
            with_one_less = self.book.entries(size)[:-1]
            try:
                self.copy.extend(size, with_one_less, self.book.root())
            except SumroomError:
                assert self.copy.size == size
            else:
                raise AssertionError("a copy took another history than the root that came with it")
            self.note("follow: refused")

    @rule(who=st.sampled_from(["ledger", "copy"]))
    def reopen(self, who: str) -> None:
        path = self.folder / f"{who}.db"
        (self.book if who == "ledger" else self.copy).close()
        if who == "ledger":
            self.book = Logbook(path)
        else:
            self.copy = Logbook(path)
        self.note("reopen")

    @rule(by=st.sampled_from(["the keys in force", "older keys"]))
    def sign(self, by: str) -> None:
        """Only the coordinator's keys in force sign a checkpoint."""
        now = naive.members(self.history)["coordinator"]
        first = self.history[0]["coordinator"]
        identity = self.ring.identity(now if by == "the keys in force" and now else first)
        try:
            note = self.book.sign_checkpoint(builder.ORIGIN, identity)
        except SumroomError:
            assert now != (now if by == "the keys in force" and now else first)
            self.note("checkpoint: refused")
            return
        assert now
        assert by == "the keys in force" or first == now
        checkpoint, signed = notes.open_note(note, self.book.accounts.members.log_keys())
        assert (checkpoint.size, set(signed)) == (len(self.history), {builder.ORIGIN})
        self.note("checkpoint")

    @rule(names=st.sets(MEMBERS), new=st.integers(0, 3))
    def ask_who_suffices(self, names: set[str], new: int) -> None:
        """Whose cosignatures the last few entries need (ledger-changes 10)."""
        entries = self.history[len(self.history) - new :]
        lacking = False
        for entry in entries:
            kind = entry["type"].split("@")[0]
            if kind in STRONG:
                lacking |= bool(set(naive.in_force(self.history[: entry["seq"] + 1])) - names)
            if kind == "commit":
                steps = naive.of_round(self.history, entry["round"])[0]["steps"]  # type: ignore[index]
                noise = next(step["mechanism"] for step in steps if step["step"] == entry["step"])
                least = naive.threshold(len(noise["adders"]), noise["collusion"])
                lacking |= len(names & set(entry["survivors"])) < least
        force = set(naive.in_force(self.history))
        weak = all(entry["type"].split("@")[0] not in STRONG for entry in entries)
        lacking |= weak and len(names & force) < min(naive.members(self.history)["quorum"], len(force))
        try:
            check_cosigners(names, [decode(naive.spelled(entry)) for entry in entries], self.book.accounts)
        except IntegrityError:
            assert lacking
        else:
            assert not lacking
        self.note("who suffices")

    @invariant()
    def both_say_the_same(self) -> None:
        accounts = self.book.accounts
        witnesses.check_accounts(accounts, self.history)
        for size in range(1, len(self.history) + 1):
            expected, found = naive.members(self.history[:size]), accounts.members_at(size)
            force = {party: member for party, member in expected["parties"].items() if member}
            assert {party: member.texts() for party, member in found.parties.items()} == force
            assert found.quorum == expected["quorum"]
        assert {name: block.body() for name, block in accounts.blocks.items()} == naive.blocks(self.history)
        assert self.book.root() == naive.root(naive.spelled(entry) for entry in self.history)
        assert all(shapes.fault(entry) is None for entry in self.history[-1:])
