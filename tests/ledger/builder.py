"""A room, of three parties unless said, its keys, its plan, all entries it may write: where tests of ledgers start."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols import budget, bundle, keys, release
from protocols.encoding import canonical, digest, parse
from protocols.ledger import entries, notes, tlog_proof
from protocols.ledger.reducer import Accounts
from protocols.ledger.tree import Tree, leaf_hash
from protocols.ledger.trust import Group, Quorum, TrustPolicy
from protocols.logbook import Logbook
from protocols.plan import Plan
from tests.ledger.ml_dsa import Deterministic

PARTIES = ("alpha", "beta", "gamma")
FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")
ROOM, ORIGIN = "demo-room", "room.example/demo"
BLOCKS = {
    "q1": {"first": "2017-01-01", "last": "2017-03-31"},
    "q2": {"first": "2017-04-01", "last": "2017-06-30"},
    "q3": {"first": "2017-07-01", "last": "2017-09-30"},
}
START = 1_700_000_000
QUESTION = {
    "kind": "rfm",
    "rho": {"cuts": 6_000_000, "cohorts": 12_000_000},
    "recency_days": [10, 20, 40, 80],
    "frequency_baskets": [2, 4, 8, 16],
    "monetary_units": [10, 20, 40, 80],
    "bargain_baskets": 4,
    "bargain_share_percent": 60,
}
PLAN = {
    "type": "plan@v1",
    "room": ROOM,
    "name": "quintiles",
    "purpose": "know the shared cohorts",
    "parties": list(PARTIES),
    "recipients": list(PARTIES),
    "collusion": 2,
    "quorum": 3,
    "deadline_s": 60,
    "answer_after_s": 0,
    "valid_until": "2031-12-31",
    "delta": "0.000001",
    "people_cap": 5000,
    "rho": 20_000_000,
    "blocks": {"q1": BLOCKS["q1"], "q2": BLOCKS["q2"]},
    "features": {"as_of": "2017-07-01", "discount_depth_percent": 15},
    "table": {"name": "sales", "columns": {"customer": {"type": "id"}}},
    "questions": [QUESTION],
}


def key(name: str) -> Ed25519PrivateKey:
    """The same key for the same name, in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


@cache
def second_key(name: str) -> MLDSA44PrivateKey:
    """Its ML-DSA-44 key, which signs the same bytes in every run too."""
    return cast(MLDSA44PrivateKey, Deterministic(hashlib.sha256(f"ml-dsa-44/{name}".encode()).digest()))


def identity(name: str, both: bool = False) -> keys.Identity:
    return keys.Identity(key(name), second_key(name) if both else None)


def log_keys(name: str = "coordinator", origin: str = ORIGIN, both: bool = False) -> tuple[notes.VerifierKey, ...]:
    """The keys with which `name` would sign checkpoints of this ledger."""
    return notes.log_keys(origin, identity(name, both).public())


def hex16(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:32]


class Room:
    """Makes entries that the rules allow, unless a test changes a field. Times count up from START.

    both: its members have ML-DSA-44 keys beside the others.
    """

    def __init__(
        self, parties: tuple[str, ...] = PARTIES, caps: dict[str, Any] | None = None, both: bool = False, **plan: Any
    ) -> None:
        self.parties, self.caps, self.both = parties, caps or {}, both
        self.plan = Plan.from_bytes(canonical({**PLAN, "parties": parties, "recipients": parties, **plan}))
        self.identity = identity("coordinator", both)

    @property
    def coordinator(self) -> Ed25519PrivateKey:
        return self.identity.ed25519

    def genesis(self, **changes: Any) -> entries.Entry:
        caps = {
            "record": {party: dict.fromkeys(BLOCKS, 60_000_000) for party in self.parties},
            "person": dict.fromkeys(BLOCKS, 180_000_000),
            "lifetime_record": dict.fromkeys(self.parties, 150_000_000),
            "lifetime_person": 450_000_000,
        }
        body = {
            "type": "genesis@v2" if self.both else "genesis@v1",
            "seq": 0,
            "time": START,
            "room": ROOM,
            "origin": ORIGIN,
            "unit": "person×party×block",
            "accountant": "zcdp",
            "coordinator": self.identity.public().texts(),
            "parties": {party: identity(party, self.both).public().texts() for party in self.parties},
            "blocks": BLOCKS,
            "caps": {**caps, **self.caps, **changes.pop("caps", {})},
            "cosign_quorum": 2,
        }
        return entries.build({**body, **changes})

    def dataset(self, seq: int, party: str, *, by: str | None = None, **changes: Any) -> entries.Entry:
        body = {
            "type": "dataset@v1",
            "seq": seq,
            "time": START + seq,
            "party": party,
            "version": hex16(f"data of {party}"),
            "blocks": ["q1", "q2"],
            "commitment": digest(party.encode()),
            "schema_digest": self.plan.table_digest,
            "people_cap": 5000,
            "signature": "AAAA",
            **changes,
        }
        draft = entries.build(body)
        assert isinstance(draft, entries.Dataset)
        return entries.build(
            {**body, "signature": keys.sign(key(by or party), "dataset", entries.signed_body(draft, ROOM))}
        )

    def plan_entry(self, seq: int, plan: str | None = None, **changes: Any) -> entries.Entry:
        plan = plan or self.plan.digest
        body = entries.approval_body(ROOM, plan)
        return entries.build(
            {
                "type": "plan@v1",
                "seq": seq,
                "time": START + seq,
                "plan": plan,
                "parties": list(self.parties),
                "approvals": {party: keys.sign(key(party), "approval", body) for party in self.parties},
                **changes,
            }
        )

    def steps(self, round_label: str) -> list[dict[str, Any]]:
        return [
            {"step": step, "nonce": hex16(f"{round_label}/{step}"), "mechanism": mechanism, "charge": charge}
            for step, mechanism, charge in self.plan.mechanisms()
        ]

    def reserve(
        self, seq: int, label: str = "one", *, signers: dict[str, str] | None = None, **changes: Any
    ) -> entries.Entry:
        steps = changes.pop("steps", self.steps(label))
        blocks = changes.pop("blocks", ["q1", "q2"])
        whole = sum(step["charge"] for step in steps)
        body = {
            "type": "reserve@v1",
            "seq": seq,
            "time": START + seq,
            "round": hex16(label),
            "plan": self.plan.digest,
            "steps": steps,
            "blocks": blocks,
            "charge": {party: dict.fromkeys(blocks, whole) for party in self.parties},
            "datasets": {party: hex16(f"data of {party}") for party in self.parties},
            "expires": START + seq + 60,
            "holds": {},
            **changes,
        }
        draft = entries.build(body)
        assert isinstance(draft, entries.Reserve)
        signed = entries.signed_body(draft, ROOM)
        signers = {party: party for party in draft.charge} if signers is None else signers
        holds = {party: keys.sign(key(by), "hold", signed) for party, by in signers.items()}
        return entries.build({**body, "holds": holds})

    def commit(self, seq: int, label: str = "one", step: str = "rfm-cuts", **changes: Any) -> entries.Entry:
        body = {
            "type": "commit@v1",
            "seq": seq,
            "time": START + seq,
            "round": hex16(label),
            "step": step,
            "digest": digest(f"{label}/{step}".encode()),
            "recipients": list(self.parties),
            "numbers": ["/size"],
            "survivors": list(self.parties),
        }
        return entries.build({**body, **changes})

    def forfeit(self, seq: int, label: str = "one", **changes: Any) -> entries.Entry:
        body = {
            "type": "forfeit@v1",
            "seq": seq,
            "time": START + seq,
            "round": hex16(label),
            "reason": "party-unavailable",
        }
        return entries.build({**body, **changes})

    def opening(self) -> list[entries.Entry]:
        """Genesis, a dataset of each party, the plan: five entries for three; then rounds may be reserved."""
        datasets = [self.dataset(seq, party) for seq, party in enumerate(self.parties, 1)]
        return [self.genesis(), *datasets, self.plan_entry(1 + len(datasets))]

    def accounts(self, *more: entries.Entry) -> Accounts:
        accounts = Accounts()
        for entry in (*self.opening(), *more):
            accounts.apply(entry)
        return accounts

    def policy(self) -> TrustPolicy:
        witnesses: dict[str, notes.VerifierKey] = {}
        groups: dict[str, Group] = {}
        for party in self.parties:
            own = notes.cosigner_keys(party, identity(party, self.both).public())
            names = [f"{party}-{key.kind}" for key in own]
            witnesses.update(zip(names, own, strict=True))
            groups[party] = Group(len(own), tuple(names))
        groups["parties"] = Group(2, self.parties)
        log = notes.log_keys(ORIGIN, self.identity.public())
        return TrustPolicy(log, witnesses, Quorum("parties", groups))

    def cosigned(self, log: Logbook, by: tuple[str, ...] | None = None) -> int:
        """Sign a checkpoint over everything, let parties (all, unless said) cosign it, return its size."""
        checkpoint, _ = notes.split(log.sign_checkpoint(ORIGIN, self.identity))
        for party in by or self.parties:
            log.add_cosignature(checkpoint.size, party, self.cosigned_by(party, checkpoint))
        return checkpoint.size

    def cosigned_by(self, party: str, checkpoint: notes.Checkpoint) -> str:
        return notes.cosign(checkpoint, party, identity(party, self.both), START)

    def bodies(self, label: str = "one", survivors: tuple[str, ...] | None = None) -> list[release.Body]:
        """What the two steps of a round would release, from made-up noised sums of all parties, or of `survivors`."""
        answers: dict[str, Any] = {}
        found = []
        for step, _ in self.plan.steps():
            body = release.compose(
                self.plan,
                round_id=hex16(label),
                step=step.name,
                nonce=hex16(f"{label}/{step.name}"),
                noised=np.full(len(step.statistic.slots), 4000, dtype=np.int64),
                survivors=list(survivors or self.parties),
                earlier=dict(answers),
                salt=hashlib.sha256(f"{label}/{step.name}".encode()).digest(),
            )
            answers[step.name] = body.answer
            found.append(body)
        return found

    def commit_of(self, seq: int, label: str, body: release.Body) -> entries.Entry:
        return self.commit(seq, label, body.step, digest=body.digest, numbers=body.numbers, survivors=body.survivors)

    def whole(self, path: Path) -> dict[str, bytes]:
        """The members of a bundle: a round with both its releases, and a round that was forfeited."""
        with Logbook(path) as log:
            log.append(self.opening())
            self.cosigned(log)
            log.append([self.reserve(5)])
            self.cosigned(log)
            releases = [self._released(log, body) for body in self.bodies()]
            log.append([self.reserve(8, "two")])
            self.cosigned(log)
            log.append([self.forfeit(9, "two")])
            self.cosigned(log, PARTIES[:2])
            members = bundle.ledger_members(log, [size for size, _ in log.checkpoints()])
        members[bundle.plan_name(self.plan.digest)] = self.plan.canonical
        return proved({**members, **{f"{bundle.RELEASES}{rel.name}.json": rel.to_bytes() for rel in releases}})

    def _released(self, log: Logbook, body: release.Body, by: tuple[str, ...] | None = None) -> release.Release:
        entry = log.append([lambda seq: self.commit_of(seq, "one", body)])
        size = self.cosigned(log, by)
        path = [keys.base64_text(part) for part in log.inclusion(entry, size)]
        return release.sign(body, self.coordinator, entry, release.Proof(size=size, path=path))


def signed_members(room: Room, bodies: list[bytes], cosigned: dict[int, tuple[str, ...]]) -> dict[str, bytes]:
    """The ledger's part of a bundle over any entries at all, checkpoints of these sizes by these parties: what a
    coordinator can produce alone, or with parties that go along."""
    tree, members = Tree(), {bundle.ENTRIES: bundle.join_entries(bodies)}
    for size, body in enumerate(bodies, 1):
        tree.append(leaf_hash(body))
        if size in cosigned:
            checkpoint = notes.Checkpoint(ORIGIN, size, tree.root())
            lines = [room.cosigned_by(party, checkpoint) for party in cosigned[size]]
            note = notes.assemble(checkpoint, notes.sign(checkpoint, room.identity, START), lines)
            members[bundle.checkpoint_name(size)] = note.encode()
    return members


def proved(members: dict[str, bytes]) -> dict[str, bytes]:
    """The members and, beside each release, what it says of its proof, in the text of C2SP tlog-proof.

    Written by hand, since a test's release may say what no proof can. None where the checkpoint is not here.
    """
    proofs = {}
    for name in [name for name in members if name.startswith(bundle.RELEASES) and name.endswith(".json")]:
        made = parse(members[name])
        head = [tlog_proof.HEADER, f"index {made['entry']}", *made["proof"]["path"]]
        note = members.get(bundle.checkpoint_name(made["proof"]["size"]))
        if note is not None:
            proofs[name.removesuffix(".json") + tlog_proof.SUFFIX] = "\n".join([*head, "\n"]).encode() + note
    return {**members, **proofs}


def cost(sensitivity_sq: int, variance_micro: int, quorum: int, collusion: int) -> int:
    return budget.charge_for(sensitivity_sq, variance_micro, budget.honest_shares(quorum, collusion))
