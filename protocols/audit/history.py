"""The checks of the history itself: its entries, whose it is, who signed it, whether the rules allow it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from .. import bundle
from ..bundle import Archive
from ..errors import IntegrityError, SumroomError
from ..ledger import notes
from ..ledger.changes import KeyChange, PartyChange
from ..ledger.cosigners import Needed, cosigners_needed
from ..ledger.coverage import Coverage
from ..ledger.decoding import Decoder
from ..ledger.entries import Commit, Entry, Genesis
from ..ledger.members import Members
from ..ledger.notes import Checkpoint
from ..ledger.statements import Audit
from ..verdict import Cosigner, counted
from .evidence import Evidence


class Entries:
    """The entries one by one, each decoded once: no list of them is ever in memory."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._decoder = Decoder()

    def __iter__(self) -> Iterator[tuple[bytes, Entry | None]]:
        """(exact bytes, the entry) from the first on; None for one that cannot be read."""
        evidence = self._evidence
        with evidence.at("entries", bundle.ENTRIES):
            decode = self._decoder.decode
            for raw in evidence.files.entries():
                entry: Entry | None = None
                try:
                    entry = decode(raw)
                except SumroomError as exc:
                    evidence.found("entries", f"entry {evidence.size}", exc.message)
                if evidence.size == 0:
                    entry = self._begin(entry)
                yield raw, entry
                evidence.size += 1
        if evidence.genesis is None and not evidence.problems["entries"]:
            evidence.found("entries", "entry 0", "the first entry is not a genesis")

    def _begin(self, entry: Entry | None) -> Genesis | None:
        if isinstance(entry, Genesis):
            self._evidence.genesis = entry
            return entry
        if entry is not None:
            self._evidence.found("entries", "entry 0", "the first entry is not a genesis")
        return None

    def finish(self) -> str:
        return counted(self._evidence.size, "entry", "entries")


class Since:
    """Whether the entries of the last audit's bundle begin these."""

    def __init__(self, evidence: Evidence, old: Archive | None) -> None:
        self._evidence = evidence
        self._old = old.entries() if old is not None else iter(())
        self._size = 0

    def see(self, raw: bytes) -> None:
        """The next entry of this bundle."""
        before = next(self._old, None)
        if before is None:
            return
        if before != raw and not self._evidence.problems["since"]:
            self._evidence.found("since", f"entry {self._size}", "it is not what it was at the last audit")
        self._size += 1

    def finish(self) -> str:
        rest = sum(1 for _ in self._old)
        if rest:
            self._evidence.found(
                "since", f"entry {self._size}", f"it and {counted(rest - 1, 'later entry', 'later entries')} are gone"
            )
        return f"the {counted(self._size + rest, 'entry', 'entries')} of the last audit begin this history"


class Checkpoints:
    """Checkpoints, each at its size: its root, its signatures, its cosigners."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._rounds = evidence.accounts.rounds
        self._notes: dict[int, tuple[str, Checkpoint, str]] = {}
        self._coverage = Coverage()
        self._covered = 0
        # What an entry needs is the same for all of a kind, so long as the members are the same: kind → needs, and
        # kind → the last entry of it that is not yet in the coverage.
        self._needs: dict[object, list[Needed]] = {}
        self._waiting: dict[object, int] = {}
        self._kind: object = None
        self._cosignatures = 0
        self._count = 0
        self.anchored = False

    def start(self) -> None:
        files = self._evidence.files.names(bundle.CHECKPOINTS)
        self._count = len(files)
        if not files:
            self._evidence.found("checkpoints", bundle.CHECKPOINTS, "no checkpoint at all")
        for file in files:
            with self._evidence.at("checkpoints", file):
                note, checkpoint = _canonical_note(file, self._evidence.files[file])
                self._notes[checkpoint.size] = file, checkpoint, note

    @property
    def sizes(self) -> frozenset[int]:
        return frozenset(self._notes)

    def before(self, entry: Entry) -> None:
        """Who must cosign a commit is in its reserve, which the accounts forget with the round. Its kind is its step,
        with the survivors and that step's noise."""
        if not isinstance(entry, Commit):
            return
        round_ = self._rounds.get(entry.round)
        if round_ is not None and round_.state == "open":
            step = round_.reserve.steps[len(round_.commits)]
            if step.step == entry.step:  # of another step the rules say no
                mechanism = step.mechanism
                self._kind = entry.step, entry.survivors, mechanism.adders, mechanism.collusion
                if self._kind not in self._needs:
                    self._needs[self._kind] = cosigners_needed([entry], self._evidence.accounts)

    def after(self, entry: Entry) -> None:
        """The rules have allowed this entry: who must have cosigned it?"""
        if not isinstance(entry, Commit):
            self._kind = type(entry)
            if isinstance(entry, Genesis | KeyChange | PartyChange):
                self._cover()
                self._needs.clear()
                self._coverage.members(self._evidence.accounts.members)
            if self._kind not in self._needs:
                self._needs[self._kind] = cosigners_needed([entry], self._evidence.accounts)
        self._waiting[self._kind] = entry.seq

    def _cover(self) -> None:
        for kind, seq in self._waiting.items():
            self._coverage.add(seq, self._needs[kind])
        self._waiting.clear()

    def see(self, size: int, root: bytes) -> None:
        """The first `size` entries have this root."""
        evidence = self._evidence
        file, checkpoint, note = self._notes[size]
        members = evidence.accounts.members
        names: dict[str, int | None] = {}
        with evidence.at("checkpoints", file):
            if members.coordinator is None:
                raise IntegrityError("the coordinator had no key in force")
            _, names = notes.open_note(note, members.log_keys(), chain.from_iterable(members.witness_keys().values()))
            if checkpoint.root != root:
                since = max((other for other in self._notes if other < size), default=0)
                raise IntegrityError(f"entries {since} to {size - 1} are not those that were signed")
        if not names or not evidence.reached("cosignatures"):
            return
        cosigners = names.keys() - {members.origin}
        self._note(size, names)
        self._cover()
        with evidence.at("cosignatures", file):
            self._coverage.check(cosigners, self._covered)
            if members.log_keys() == evidence.policy.log and members.witness_keys() == evidence.policy.cosigners:
                self.anchored = True
                if not evidence.policy.satisfied(cosigners):
                    raise IntegrityError(f"the policy's own quorum, {evidence.policy.quorum.name}, has not cosigned")
        self._covered = size

    def _note(self, size: int, names: dict[str, int | None]) -> None:
        cosigners = self._evidence.cosigners
        for name, time in names.items():
            if time is not None:
                before = cosigners[name].checkpoints if name in cosigners else 0
                cosigners[name] = Cosigner(name, before + 1, size, time)
                self._cosignatures += 1

    def finish(self) -> str:
        evidence = self._evidence
        for size, (file, _, _) in self._notes.items():
            if not 0 < size <= evidence.size:
                evidence.found("checkpoints", file, f"it is of {size} entries, the bundle has {evidence.size}")
        return counted(self._count, "checkpoint")

    def finish_cosignatures(self) -> str:
        if self._covered < self._evidence.size:
            self._evidence.found(
                "cosignatures", f"entry {self._covered}", "no checkpoint covers this entry and those after it"
            )
        return counted(self._cosignatures, "cosignature")


class Identity:
    """Whether the members of the room, at one size of the ledger, are exactly those of the policy.

    They need not be those of the genesis: a policy may name the keys that came later. Whoever cosigned by these vouches
    for all that was before, and every change after them is signed, entry by entry, by keys that were in force. That
    holds only if these keys have signed a checkpoint that is here; so one of their stretch must be.
    """

    def __init__(self, evidence: Evidence, checkpoints: Checkpoints) -> None:
        self._evidence = evidence
        self._checkpoints = checkpoints

    def finish(self) -> str:
        evidence, policy, genesis = self._evidence, self._evidence.policy, self._evidence.genesis
        if genesis is None:
            raise IntegrityError("the first entry is not a genesis")
        epochs = evidence.accounts.epochs() or {1: Members.of(genesis)}
        right = [
            start
            for start, members in epochs.items()
            if members.log_keys() == policy.log and members.witness_keys() == policy.cosigners
        ]
        if not right:
            self._differences(epochs[min(epochs)])
        elif not self._checkpoints.anchored and evidence.reached("cosignatures"):
            what = "no checkpoint is here by exactly the keys of the policy, which came with this entry"
            evidence.found("identity", f"entry {right[0] - 1}", what)
        members = epochs[max(epochs)]
        since = f"; the keys of the policy came with entry {right[0] - 1}" if right and right[0] > 1 else ""
        parties = counted(len(members.parties), "party", "parties")
        return f"room {genesis.room}, origin {genesis.origin}, {parties}{since}"

    def _differences(self, members: Members) -> None:
        """Who is not who, at the beginning of the room."""
        found, policy = self._evidence.found, self._evidence.policy
        if members.log_keys() != policy.log:
            what = f"the ledger {members.origin} or its keys are not the log {policy.log_name} of the policy"
            found("identity", "entry 0", what)
        witnesses = members.witness_keys()
        for party in sorted(witnesses.keys() | policy.cosigners.keys()):
            if party not in policy.cosigners:
                found("identity", "entry 0", f"the party {party} is no witness in the policy")
            elif witnesses.get(party) != policy.cosigners[party]:
                found("identity", "entry 0", f"the witness {party} of the policy is no party with these keys")


def check_verdict(evidence: Evidence, entry: Entry) -> None:
    """Raise IntegrityError for an auditor's verdict over other entries than those that are here."""
    if isinstance(entry, Audit) and bytes.fromhex(entry.root) != evidence.tree.root(entry.size):
        raise IntegrityError(f"the root that {entry.auditor} has signed is not that of the first {entry.size} entries")


def _canonical_note(file: str, data: bytes) -> tuple[str, Checkpoint]:
    """A checkpoint in its one form under its own name; its signatures are not verified yet. Raises IntegrityError."""
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise IntegrityError("not a text") from None
    checkpoint, lines = notes.split(note)
    if note != notes.assemble(checkpoint, lines[0], lines[1:]) or bundle.checkpoint_name(checkpoint.size) != file:
        raise IntegrityError(f"not the canonical file of the checkpoint of size {checkpoint.size}")
    return note, checkpoint
