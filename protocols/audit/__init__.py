"""The auditor's verdict over a bundle: offline, with nothing but the bundle and the auditor's own trust policy.

     1 archive        the archive is the canonical one of its members
     2 verifier       the second verifier in it, if any, is one that this or an earlier version shipped
     3 entries        every entry is canonical and of a known type
     4 since          the entries of the last audit, if its bundle was given, begin these
     5 identity       keys and origin of the room are, at one size, those of the policy
     6 checkpoints    every checkpoint is signed, strictly, and its root is the entries' root
     7 rules          the reducer allows every entry, in order; all signatures in the entries verify
     8 cosignatures   what is new in each checkpoint has the cosigners it needs; the last covers everything
     9 plans          every plan is here, under its digest, for these parties and blocks
    10 mechanisms     every reserve holds exactly the steps, noise and charges of its plan
    11 releases       commits and releases match one to one, in every field; the coordinator signed
    12 proofs         every release proves its place in the ledger
    13 figures        every published figure follows from the noised sum, the plan and earlier releases
    14 budgets        what the mechanisms cost, summed here anew, is what was charged and within every cap

All of them look at each entry once, as it goes by: an audit needs as much memory for a hundred thousand entries as for
a hundred, but for sets of ids. A check is reached only when those it builds upon found nothing (`evidence.NEEDS`).
Still the auditor's to do: see that the policy came by another way than the bundle, and keep the bundle for the next
audit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from .. import bundle
from ..bundle import Archive, Buffer
from ..errors import SumroomError
from ..ledger.entries import Commit, Entry
from ..ledger.reducer import Accounts
from ..ledger.tree import leaf_hash
from ..ledger.trust import TrustPolicy
from ..verdict import Check, Event, Findings, State, counted
from . import events
from .budgets import Budgets
from .documents import Mechanisms, Plans
from .evidence import NEEDS, Evidence, Look
from .history import Checkpoints, Entries, Identity, Since, check_verdict
from .releases import Releases
from .verifiers import check_verifier

__all__ = ["MEANINGS", "NEEDS", "Accounts", "audit", "verify"]

# check → what it says to a person whose data were used
MEANINGS: dict[str, str] = {
    "archive": "nothing is hidden around the documents below",
    "verifier": "nobody hands the auditor a program that says what it was told to say",
    "entries": "every line of the history can be read and is of a known kind",
    "since": "nothing that was written before the last audit was changed since",
    "identity": "the history is that of the companies you were told of",
    "checkpoints": "this is the history that was signed; nothing was changed since",
    "rules": "every use was agreed and paid for beforehand, and what was used is never paid back",
    "cosignatures": "no company and no operator could write it alone",
    "plans": "what was asked about you is written down in full",
    "mechanisms": "the noise that hides you is the noise that was agreed",
    "releases": "every release here was paid for, and none on record is missing",
    "proofs": "every recipient can show where in the history a release stands",
    "figures": "every figure follows from a published noised sum, from nothing else",
    "budgets": "this is the most that all releases together can tell about you",
}
OF_RELEASES = frozenset({"releases", "proofs", "figures"})


def verify(data: Buffer, policy: TrustPolicy, *, releases: bool = True, since: Archive | None = None) -> Findings:
    """Check a bundle against a policy. Raises CannotDecide only where there is no whole archive to read.

    data      the archive's bytes, or a mapped file of them
    releases  False for an auditor who may not see releases: they, their proofs and figures are then not asked for
    since     the bundle of the last audit, whose entries must begin these
    """
    return audit(data, policy, releases=releases, since=since)[0]


def audit(
    data: Buffer, policy: TrustPolicy, *, releases: bool = True, since: Archive | None = None
) -> tuple[Findings, Evidence]:
    """The same as `verify`, with all that was read on the way."""
    asked = frozenset(NEEDS) - (frozenset() if releases else OF_RELEASES) - ({"since"} if since is None else set())
    evidence = Evidence(policy, asked)
    with evidence.at("archive", "archive"):
        evidence.archive = Archive(data)
    looked = {"archive": f"{counted(len(evidence.archive or ()), 'file')}, {len(data)} bytes"}
    if evidence.archive is None:
        return _findings(evidence, looked, 0), evidence
    with evidence.at("verifier", bundle.VERIFIER):
        looked["verifier"] = check_verifier(evidence.archive)
    walk = _Walk(evidence, since)
    walk.run()
    looked.update(walk.finish())
    matched = walk.releases.matched() if _all_ok(evidence, OF_RELEASES) else 0
    return _findings(evidence, looked, matched), evidence


class _Walk:
    """One way through all entries, past every check."""

    def __init__(self, evidence: Evidence, since: Archive | None) -> None:
        self.evidence = evidence
        self.entries = Entries(evidence)
        self.since = Since(evidence, since)
        self.checkpoints = Checkpoints(evidence)
        self.identity = Identity(evidence, self.checkpoints)
        self.plans, self.mechanisms, self.budgets = Plans(evidence), Mechanisms(evidence), Budgets(evidence)
        self.releases = Releases(evidence)
        looks: list[Look] = [self.plans, self.mechanisms, self.budgets, self.releases]
        asked = [look for look in looks if look.name in evidence.asked]
        self.looks = {kind: [look for look in asked if kind in look.kinds] for kind in get_args(Entry)}

    def run(self) -> None:
        evidence, tree, problems = self.evidence, self.evidence.tree, self.evidence.problems
        self.checkpoints.start()
        sizes = self.checkpoints.sizes
        for raw, entry in self.entries:
            leaf = leaf_hash(raw)
            tree.append(leaf)
            self.since.see(raw)
            if entry is not None and not problems["entries"] and not problems["rules"]:
                self._apply(entry, raw, leaf)
            size = evidence.size + 1
            if size in sizes:
                self._checkpoint(size, tree.root())
        evidence.root = tree.root() if len(tree) else None

    def _apply(self, entry: Entry, raw: bytes, leaf: bytes) -> None:
        evidence, accounts, looks = self.evidence, self.evidence.accounts, self.looks[type(entry)]
        said: list[Event] = []
        self.checkpoints.before(entry)
        for look in looks:
            look.before(entry)
        try:
            if isinstance(entry, Commit):  # most are, and there is no more to be said of them
                accounts.apply(entry, raw)
            else:
                said = events.describe(evidence, entry)
                accounts.apply(entry, raw)
                check_verdict(evidence, entry)
        except SumroomError as exc:
            evidence.found("rules", f"entry {evidence.size}", exc.message)
            return
        accounts.settle()
        evidence.events += said
        self.checkpoints.after(entry)
        for look in looks:
            look.after(entry, leaf)

    def _checkpoint(self, size: int, root: bytes) -> None:
        if self.evidence.accounts.size:  # before there are members, nobody can have signed
            self.checkpoints.see(size, root)
        self.releases.checkpoint(size, root)

    def finish(self) -> dict[str, str]:
        """Check → what it looked at, in words; the last problems are found here."""
        steps: dict[str, Callable[[], str]] = {
            "entries": self.entries.finish,
            "since": self.since.finish,
            "identity": self.identity.finish,
            "checkpoints": self.checkpoints.finish,
            "rules": self._finish_rules,
            "cosignatures": self.checkpoints.finish_cosignatures,
            "plans": self.plans.finish,
            "mechanisms": self.mechanisms.finish,
            "releases": self.releases.finish,
            "proofs": self.releases.finish_proofs,
            "figures": self.releases.finish_figures,
            "budgets": self.budgets.finish,
        }
        return {name: finish() for name, finish in steps.items() if self.evidence.goes_on(name)}

    def _finish_rules(self) -> str:
        accounts = self.evidence.accounts
        return f"{counted(accounts.size, 'entry', 'entries')}, {counted(self.evidence.counts['rounds'], 'round')}"


def _all_ok(evidence: Evidence, names: frozenset[str]) -> bool:
    return all(evidence.goes_on(name) for name in names)


def _findings(evidence: Evidence, looked: dict[str, str], matched: int) -> Findings:
    checks = []
    for name, meaning in MEANINGS.items():
        state: State = "ok"
        if name not in evidence.asked:
            state = "not asked"
        elif not evidence.reached(name):
            state = "not reached"
        elif evidence.problems[name]:
            state = "violation"
        problems = tuple(evidence.problems[name]) if state == "violation" else ()
        checks.append(Check(name, looked.get(name, ""), meaning, problems, state))
    states = {check.name: check.state for check in checks}
    genesis = evidence.genesis
    archive = evidence.archive
    return Findings(
        room=genesis.room if genesis else None,
        entries=evidence.size,
        root=evidence.root.hex() if evidence.root else None,
        checks=tuple(checks),
        budgets=tuple(evidence.budgets),
        releases=len(archive.names(bundle.RELEASES, ".json")) if archive is not None else 0,
        numbers=matched,
        forfeits=sum(1 for event in evidence.events if event.kind == "forfeit"),
        open_rounds=sum(1 for round_ in evidence.accounts.rounds.values() if round_.state == "open"),
        cosigners=tuple(evidence.cosigners.values()) if states["cosignatures"] == "ok" else (),
        events=(*evidence.events, *events.latest_egress(evidence)),
        time=evidence.accounts.time if evidence.size else None,
    )
