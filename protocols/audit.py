"""The auditor's verdict over a bundle: offline, with nothing but the bundle and the auditor's own trust policy.

     1 archive        the archive is the canonical one of its members
     2 entries        every entry is canonical and of a known type
     3 identity       keys and origin of the genesis are those of the policy
     4 checkpoints    every checkpoint is signed, strictly, and its root is the entries' root
     5 rules          the reducer allows every entry, in order; all signatures in the entries verify
     6 cosignatures   what is new in each checkpoint has the cosigners it needs; the last covers everything
     7 plans          every plan is here, under its digest, for these parties and blocks
     8 mechanisms     every reserve holds exactly the steps, noise and charges of its plan
     9 releases       commits and releases match one to one, in every field; the coordinator signed
    10 proofs         every release proves its place in the ledger
    11 figures        every published figure follows from the noised sum, the plan and earlier releases
    12 budgets        what the mechanisms cost, summed here anew, is what was charged and within every cap

A check is reached only when those it builds upon found nothing. Still the auditor's to do: see that the policy came by
another way than the bundle, and compare with the bundle of the last audit.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import accuracy, budget, bundle, release
from .encoding import digest
from .errors import CannotDecide, IntegrityError, SumroomError
from .keys import public_key, unbase64
from .ledger import notes, proofs
from .ledger.cosigners import check_cosigners
from .ledger.entries import Commit, Dataset, Entry, Forfeit, Genesis, Mechanism, Reserve, decode
from .ledger.entries import Plan as PlanEntry
from .ledger.fields import LIFETIME, PERSON
from .ledger.members import Members
from .ledger.notes import Checkpoint
from .ledger.records import check_recorded
from .ledger.reducer import Accounts
from .ledger.tree import Tree, leaf_hash
from .ledger.trust import TrustPolicy
from .plan import Plan
from .schema import day
from .verdict import BudgetLine, Check, Findings, Problem, counted

Kind = TypeVar("Kind", bound=Entry)


@dataclass
class _Evidence:
    """What the checks have read so far, for those that build upon them."""

    data: bytes
    policy: TrustPolicy
    members: dict[str, bytes] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    checkpoints: dict[int, tuple[Checkpoint, frozenset[str]]] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    plans: dict[str, Plan] = field(default_factory=dict)
    releases: dict[int, release.Release] = field(default_factory=dict)
    budgets: list[BudgetLine] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def genesis(self) -> Genesis:
        if not self.entries or not isinstance(self.entries[0], Genesis):
            raise IntegrityError("the first entry is not a genesis")
        return self.entries[0]

    def found(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """What is raised inside is a violation there; only what cannot be decided goes on to the caller."""
        try:
            yield
        except CannotDecide:
            raise
        except SumroomError as exc:
            self.found(where, exc.message)

    def files(self, prefix: str) -> list[str]:
        return [name for name in self.members if name.startswith(prefix)]

    def each(self, kind: type[Kind]) -> Iterator[Kind]:
        return (entry for entry in self.entries if isinstance(entry, kind))


def verify(data: bytes, policy: TrustPolicy) -> Findings:
    """Check a bundle against a policy. Raises CannotDecide only where there is no whole archive to read."""
    evidence = _Evidence(data, policy)
    checks: list[Check] = []
    for name, needs, meaning, look in _CHECKS:
        if any(check.name in needs and check.state != "ok" for check in checks):
            checks.append(Check(name, "", meaning, (), "not reached"))
            continue
        evidence.problems = []
        looked_at = look(evidence)
        problems = tuple(evidence.problems)
        checks.append(Check(name, looked_at, meaning, problems, "violation" if problems else "ok"))
    return _findings(evidence, tuple(checks))


def _findings(evidence: _Evidence, checks: tuple[Check, ...]) -> Findings:
    first = evidence.entries[0] if evidence.entries else None
    bad = {problem.where for check in checks for problem in check.problems}
    reached = all(check.state != "not reached" for check in checks)
    matched = [rel for rel in evidence.releases.values() if reached and _file(rel) not in bad]
    return Findings(
        room=first.room if isinstance(first, Genesis) else None,
        entries=len(evidence.entries),
        root=evidence.tree.root().hex() if evidence.entries else None,
        checks=checks,
        budgets=tuple(evidence.budgets),
        releases=len(evidence.files(bundle.RELEASES)),
        numbers=sum(len(rel.body_.numbers) for rel in matched),
        forfeits=sum(1 for _ in evidence.each(Forfeit)),
        open_rounds=sum(1 for round_ in evidence.accounts.rounds.values() if round_.state == "open"),
    )


# --- the checks, in order: each looks, notes what it found, and says what it looked at -------------------------------


def _archive(evidence: _Evidence) -> str:
    with evidence.at("archive"):
        evidence.members = bundle.unpack(evidence.data)
    return f"{counted(len(evidence.members), 'file')}, {len(evidence.data)} bytes"


def _entries(evidence: _Evidence) -> str:
    with evidence.at(bundle.ENTRIES):
        evidence.raw = bundle.split_entries(evidence.members[bundle.ENTRIES])
    for seq, body in enumerate(evidence.raw):
        with evidence.at(f"entry {seq}"):
            evidence.entries.append(decode(body))
        evidence.tree.append(leaf_hash(body))
    with evidence.at("entry 0"):
        _ = evidence.genesis
    return counted(len(evidence.raw), "entry", "entries")


def _identity(evidence: _Evidence) -> str:
    genesis, policy = evidence.genesis, evidence.policy
    members = Members.of(genesis)
    if members.log_keys() != policy.log:
        evidence.found(
            "entry 0", f"the ledger {genesis.origin} or its keys are not the log {policy.log_name} of the policy"
        )
    witnesses = members.witness_keys()
    for party in sorted(witnesses.keys() | policy.cosigners.keys()):
        if party not in policy.cosigners:
            evidence.found("entry 0", f"the party {party} is no witness in the policy")
        elif witnesses.get(party) != policy.cosigners[party]:
            evidence.found("entry 0", f"the witness {party} of the policy is no party with these keys")
    return f"room {genesis.room}, origin {genesis.origin}, {counted(len(witnesses), 'party', 'parties')}"


def _checkpoints(evidence: _Evidence) -> str:
    files = evidence.files(bundle.CHECKPOINTS)
    if not files:
        evidence.found(bundle.CHECKPOINTS, "no checkpoint at all")
    for name in files:
        with evidence.at(name):
            _checkpoint(evidence, name)
    return counted(len(files), "checkpoint")


def _checkpoint(evidence: _Evidence, name: str) -> None:
    try:
        note = evidence.members[name].decode()
    except UnicodeDecodeError:
        raise IntegrityError("not a text") from None
    checkpoint, signed = notes.open_note(note, evidence.policy.log, evidence.policy.witnesses.values())
    _, lines = notes.split(note)
    if note != notes.assemble(checkpoint, lines[0], lines[1:]) or bundle.checkpoint_name(checkpoint.size) != name:
        raise IntegrityError(f"not the canonical file of the checkpoint of size {checkpoint.size}")
    if not 0 < checkpoint.size <= len(evidence.raw):
        raise IntegrityError(f"it is of {checkpoint.size} entries, the bundle has {len(evidence.raw)}")
    if checkpoint.root != evidence.tree.root(checkpoint.size):
        since = max((size for size in evidence.checkpoints if size < checkpoint.size), default=0)
        raise IntegrityError(f"entries {since} to {checkpoint.size - 1} are not those that were signed")
    evidence.checkpoints[checkpoint.size] = checkpoint, frozenset(signed) - {evidence.policy.log_name}


def _rules(evidence: _Evidence) -> str:
    for seq, entry in enumerate(evidence.entries):
        with evidence.at(f"entry {seq}"):
            evidence.accounts.apply(entry)
        if evidence.problems:
            break
    entries = counted(evidence.accounts.size, "entry", "entries")
    return f"{entries}, {counted(len(evidence.accounts.rounds), 'round')}"


def _cosignatures(evidence: _Evidence) -> str:
    covered = 0
    for size, (_, names) in sorted(evidence.checkpoints.items()):
        with evidence.at(bundle.checkpoint_name(size)):
            check_cosigners(names, evidence.entries[covered:size], evidence.accounts)
            if not evidence.policy.satisfied(names):
                raise IntegrityError(f"the policy's own quorum, {evidence.policy.quorum.name}, has not cosigned")
        covered = size
    if covered < len(evidence.entries):
        evidence.found(f"entry {covered}", "no checkpoint covers this entry and those after it")
    return counted(sum(len(names) for _, names in evidence.checkpoints.values()), "cosignature")


def _plans(evidence: _Evidence) -> str:
    for name, entry in evidence.accounts.plans.items():
        file = bundle.plan_name(name)
        with evidence.at(file):
            evidence.plans[name] = _plan(evidence, file, entry)
    expected = {bundle.plan_name(name) for name in evidence.accounts.plans}
    for file in evidence.files(bundle.PLANS):
        if file not in expected:
            evidence.found(file, "no entry approves this plan")
    return counted(len(evidence.plans), "plan")


def _plan(evidence: _Evidence, file: str, entry: PlanEntry) -> Plan:
    if file not in evidence.members:
        raise IntegrityError(f"the plan of entry {entry.seq} is not in the bundle")
    data = evidence.members[file]
    if digest(data) != entry.plan:
        raise IntegrityError("it has another digest than its name")
    plan = Plan.from_bytes(data)
    if plan.room != evidence.genesis.room or list(plan.parties) != list(entry.parties):
        raise IntegrityError("it is for another room or other parties than its entry")
    for block, days in plan.blocks.items():
        if evidence.accounts.blocks.get(block) != days:
            raise IntegrityError(f"its block {block} is not that of the room")
    return plan


def _mechanisms(evidence: _Evidence) -> str:
    steps = 0
    datasets = {(entry.party, entry.version): entry for entry in evidence.each(Dataset)}
    for entry in evidence.each(Reserve):
        plan = evidence.plans[entry.plan]
        written = [(step.step, step.mechanism.body(), step.charge) for step in entry.steps]
        if written != [tuple(item) for item in plan.mechanisms()]:
            evidence.found(f"entry {entry.seq}", "its steps, noise or charges are not those of its plan")
        if set(entry.blocks) != set(plan.blocks):
            evidence.found(f"entry {entry.seq}", "it charges other blocks than its plan")
        if dt.datetime.fromtimestamp(entry.time, dt.UTC).date() > day(plan.valid_until):
            evidence.found(f"entry {entry.seq}", f"its plan was valid until {plan.valid_until}")
        for party, version in entry.datasets.items():
            declared = datasets[party, version]
            if (declared.schema_digest, declared.people_cap) != (plan.table.digest(), plan.people_cap):
                evidence.found(f"entry {entry.seq}", f"the dataset of {party} is of another table or cap than its plan")
        steps += len(entry.steps)
    return f"{counted(len(evidence.accounts.rounds), 'reserve')}, {counted(steps, 'step')}"


def _releases(evidence: _Evidence) -> str:
    expected = {bundle.release_name(commit.round, commit.step): commit for commit in evidence.each(Commit)}
    for file, commit in expected.items():
        if file not in evidence.members:
            evidence.found(f"entry {commit.seq}", "its release is not in the bundle")
            continue
        with evidence.at(file):
            evidence.releases[commit.seq] = _release(evidence, commit, evidence.members[file])
    for file in evidence.files(bundle.RELEASES):
        if file not in expected:
            evidence.found(file, "no commit in the ledger is of this release")
    releases = counted(len(evidence.files(bundle.RELEASES)), "release")
    return f"{counted(len(expected), 'commit')}, {releases}"


def _release(evidence: _Evidence, commit: Commit, data: bytes) -> release.Release:
    """A release that says in every field what its commit and reserve say, and that the coordinator signed."""
    rel = release.read(data)
    check_recorded(rel, commit, evidence.accounts.rounds[commit.round].reserve, evidence.genesis.room)
    release.check_signature(rel, public_key(evidence.genesis.coordinator.key))
    return rel


def _proofs(evidence: _Evidence) -> str:
    for seq, rel in evidence.releases.items():
        with evidence.at(_file(rel)):
            if rel.proof.size not in evidence.checkpoints:
                raise IntegrityError(
                    f"its proof is for a checkpoint of size {rel.proof.size}, which the bundle has not"
                )
            checkpoint, _ = evidence.checkpoints[rel.proof.size]
            path = [unbase64(part) for part in rel.proof.path]
            proofs.verify_inclusion(leaf_hash(evidence.raw[seq]), seq, checkpoint.size, path, checkpoint.root)
    return counted(len(evidence.releases), "proof")


def _figures(evidence: _Evidence) -> str:
    earlier: dict[str, dict[str, Any]] = {}
    for rel in evidence.releases.values():
        body = rel.body_.body()
        before = earlier.setdefault(body["round"], {})
        with evidence.at(_file(rel)):
            try:
                release.recompute(body, evidence.plans[body["plan"]], dict(before))
            except (ValueError, ArithmeticError, LookupError, TypeError):
                raise IntegrityError("its figures cannot be computed from its noised sum at all") from None
        before[body["step"]] = body
    return counted(sum(len(rel.body_.numbers) for rel in evidence.releases.values()), "figure")


def _budgets(evidence: _Evidence) -> str:
    """Sums anew, from the mechanisms alone and not from what the entries say was charged."""
    costs: Counter[tuple[str, str]] = Counter()
    for entry in evidence.each(Reserve):
        cost, person = (sum(each(step.mechanism) for step in entry.steps) for each in (_cost, _person_cost))
        costs.update({(party, block): cost for party in entry.charge for block in entry.blocks})
        costs.update({(PERSON, block): person for block in entry.blocks})
    deltas = sorted({plan.delta for plan in evidence.plans.values()}, reverse=True)
    for (who, block), balance in evidence.accounts.balances().items():
        spent = sum(n for (party, b), n in costs.items() if who == party and block in (b, LIFETIME))
        if spent != balance.spent or spent > balance.cap:
            evidence.found(f"budget of {who}, {block}", f"cost {spent}, charged {balance.spent} of {balance.cap}")
        epsilon = {delta: accuracy.epsilon(spent, float(delta)) for delta in deltas}
        evidence.budgets.append(BudgetLine(who, block, spent, balance.cap, epsilon))
    return counted(len(evidence.budgets), "budget")


def _cost(noise: Mechanism) -> int:
    honest = budget.honest_shares(noise.quorum, noise.collusion)
    return budget.charge_for(noise.sensitivity_sq, noise.variance_micro, honest)


def _person_cost(noise: Mechanism) -> int:
    return budget.person_charge(noise.sensitivity_sq, noise.variance_micro, len(noise.adders))


def _file(rel: release.Release) -> str:
    return bundle.release_name(rel.body_.round, rel.body_.step)


_CHECKS: tuple[tuple[str, tuple[str, ...], str, Callable[[_Evidence], str]], ...] = (
    ("archive", (), "nothing is hidden around the documents below", _archive),
    ("entries", ("archive",), "every line of the history can be read and is of a known kind", _entries),
    ("identity", ("entries",), "the history is that of the companies you were told of", _identity),
    ("checkpoints", ("entries",), "this is the history that was signed; nothing was changed since", _checkpoints),
    ("rules", ("entries",), "every use was agreed and paid for beforehand, and nothing was paid back", _rules),
    (
        "cosignatures",
        ("identity", "checkpoints", "rules"),
        "no company and no operator could write it alone",
        _cosignatures,
    ),
    ("plans", ("rules",), "what was asked about you is written down in full", _plans),
    ("mechanisms", ("plans",), "the noise that hides you is the noise that was agreed", _mechanisms),
    ("releases", ("rules",), "every release here was paid for, and none on record is missing", _releases),
    ("proofs", ("releases", "checkpoints"), "every recipient can show where in the history a release stands", _proofs),
    (
        "figures",
        ("releases", "plans"),
        "every figure follows from a published noised sum, from nothing else",
        _figures,
    ),
    ("budgets", ("rules", "plans"), "this is the most that all releases together can tell about you", _budgets),
)
