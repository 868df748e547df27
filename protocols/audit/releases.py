"""The checks of what left the room: releases against commits, their proofs, and every figure computed again."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .. import bundle, release
from ..errors import IntegrityError
from ..figures import at
from ..keys import unbase64
from ..ledger import proofs, tlog_proof
from ..ledger.entries import Commit, Entry, Forfeit, Reserve
from ..ledger.records import check_recorded
from ..verdict import counted
from .evidence import MOST_FIGURES, Evidence, Look, Released


class Releases(Look):
    """Commits and releases match one to one, in every field, and the coordinator signed; so do proofs and figures,
    which are looked at while the release is at hand."""

    name = "releases"
    kinds = (Commit, Forfeit)

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence)
        self._reserve: Reserve | None = None
        self._expected: set[str] = set()
        self._commits = 0
        self._numbers: dict[str, int] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._pending: dict[int, list[tuple[str, bytes, release.Release, list[bytes]]]] = defaultdict(list)
        self._proofs = 0

    def before(self, entry: Entry) -> None:
        round_ = self.evidence.accounts.rounds.get(entry.round) if isinstance(entry, Commit) else None
        self._reserve = round_.reserve if round_ else None

    def after(self, entry: Entry, leaf: bytes) -> None:
        if isinstance(entry, Forfeit):
            self._earlier.pop(entry.round, None)
        if not isinstance(entry, Commit) or self._reserve is None:
            return
        self._commits += 1
        file = bundle.release_name(entry.round, entry.step)
        self._expected.add(file)
        if file not in self.evidence.files:
            self.evidence.found(self.name, f"entry {entry.seq}", "its release is not in the bundle")
            return
        with self.evidence.at(self.name, file):
            signed = self._read(entry, self._reserve, self.evidence.files[file])
            self._note(file, entry, self._reserve.plan, signed.body_)
            self._prove(file, signed, leaf)
            self._compute(file, signed)
        if entry.step == self._reserve.steps[-1].step:
            self._earlier.pop(entry.round, None)

    def _read(self, commit: Commit, reserve: Reserve, data: bytes) -> release.Release:
        """A release that says in every field what its commit and reserve say, and that the coordinator signed."""
        signed = release.read(data)
        genesis = self.evidence.accounts.genesis
        check_recorded(signed, commit, reserve, genesis.room)
        return signed

    def _note(self, file: str, commit: Commit, plan: str, body: release.Body) -> None:
        numbers = body.numbers
        self._numbers[file] = len(numbers)
        few = sum(self._numbers.values()) <= MOST_FIGURES
        figures = {pointer: at(body.answer, pointer) for pointer in numbers} if few else {}
        self.evidence.releases.append(
            Released(
                file,
                commit.seq,
                commit.time,
                commit.round,
                commit.step,
                plan,
                commit.recipients,
                commit.survivors,
                len(numbers),
                figures,
            )
        )

    def _prove(self, file: str, signed: release.Release, leaf: bytes) -> None:
        self._proofs += 1
        with self.evidence.at("proofs", file):
            if signed.proof.size <= signed.entry:
                self._check_signature(file, signed)
                raise IntegrityError(f"entry {signed.entry} cannot be in a tree of {signed.proof.size}")
            path = [unbase64(part) for part in signed.proof.path]
            self._pending[signed.proof.size].append((file, leaf, signed, path))

    def _compute(self, file: str, signed: release.Release) -> None:
        body = signed.body_.body()
        before = self._earlier.setdefault(body["round"], {})
        read = self.evidence.plans.get(body["plan"])
        with self.evidence.at("figures", file):
            if read is None:
                raise IntegrityError("its plan is not in the bundle")
            try:
                release.recompute(body, read.plan, dict(before))
            except (ValueError, ArithmeticError, LookupError, TypeError):
                raise IntegrityError("its figures cannot be computed from its noised sum at all") from None
        before[body["step"]] = body

    def checkpoint(self, size: int, root: bytes) -> None:
        """There is a checkpoint of this size in the bundle, and this is the root of its entries."""
        for file, leaf, signed, path in self._pending.pop(size, ()):
            self._check_signature(file, signed)
            with self.evidence.at("proofs", file):
                proofs.verify_inclusion(leaf, signed.entry, size, path, root)
                self._check_text(file, signed.entry, path, bundle.checkpoint_name(size))

    def _check_text(self, file: str, entry: int, path: list[bytes], checkpoint: str) -> None:
        """Beside each release is this very proof once more, in C2SP's words, by the checkpoint that is here."""
        name, files = file.removesuffix(".json") + tlog_proof.SUFFIX, self.evidence.files
        if name not in files:
            raise IntegrityError(f"{name} is not in the bundle")
        if files[name] != tlog_proof.render(entry, path, files[checkpoint].decode()).encode():
            raise IntegrityError(f"{name} beside it is not its proof")

    def _check_signature(self, file: str, signed: release.Release) -> None:
        """By the coordinator's key in force at the checkpoint of the proof: a release is signed once that is there."""
        with self.evidence.at(self.name, file):
            coordinator = self.evidence.accounts.members.coordinator
            if coordinator is None:
                raise IntegrityError("the coordinator had no key in force")
            release.check_signature(signed, coordinator.ed25519)

    def finish(self) -> str:
        for pending in self._pending.values():
            for file, _, signed, _ in pending:
                self._check_signature(file, signed)
        files = self.evidence.files.names(bundle.RELEASES, ".json")
        for file in files:
            if file not in self._expected:
                self.evidence.found(self.name, file, "no commit in the ledger is of this release")
        return f"{counted(self._commits, 'commit')}, {counted(len(files), 'release')}"

    def finish_proofs(self) -> str:
        for file in self.evidence.files.names(bundle.RELEASES, tlog_proof.SUFFIX):
            if file.removesuffix(tlog_proof.SUFFIX) + ".json" not in self._expected:
                self.evidence.found("proofs", file, "it is beside no release of this ledger")
        for size, pending in self._pending.items():
            for file, *_ in pending:
                what = f"its proof is for a checkpoint of size {size}, which the bundle has not"
                self.evidence.found("proofs", file, what)
        return counted(self._proofs, "proof")

    def finish_figures(self) -> str:
        return counted(sum(self._numbers.values()), "figure")

    def matched(self) -> int:
        """Published figures of releases in which nothing was found."""
        bad = {problem.where for name in ("releases", "proofs", "figures") for problem in self.evidence.problems[name]}
        return sum(count for file, count in self._numbers.items() if file not in bad)
