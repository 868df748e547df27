"""What a room hands out: releases, the auditor's bundle, a trust policy to start from, and the report page."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from protocols import audit, bundle, keys
from protocols import release as releases
from protocols.ledger import tlog_proof, trust
from protocols.ledger.entries import Commit
from protocols.ledger.notes import ML_DSA_44, VerifierKey, cosigner_keys, log_keys
from protocols.logbook import Logbook
from protocols.plan import Plan
from protocols.room import Room
from protocols.verdict import Findings

from .console import report
from .store import plan_key, release_key

QUORUM = "Quorum"  # no party's name, which has small letters
_OF_KIND = {False: "/ed25519", True: "/ml-dsa-44"}  # nor has it a slash


def bundle_of(book: Logbook, *, with_releases: bool = True) -> bytes:
    """`room.tar`: the ledger as far as it is cosigned, its plans and its releases. Raises CannotDecide if empty.

    with_releases   False for an auditor who may not see them
    """
    documents = _releases(book) if with_releases else []
    members = bundle.ledger_members(book, {releases.read(document).proof.size for _, _, document in documents})
    covered = len(bundle.split_entries(members[bundle.ENTRIES]))
    for digest, plan in book.accounts.plans.items():
        body = book.blob(plan_key(digest))
        if plan.seq < covered and body is not None:
            members[bundle.plan_name(digest)] = body
    for commit, round_id, document in documents:
        if commit.seq < covered:
            members[bundle.release_name(round_id, commit.step)] = document
            proof = proof_of(book, releases.read(document))
            members[bundle.proof_name(round_id, commit.step)] = proof.encode()
    verifier = bundle.verifier()
    if verifier is not None:
        members[bundle.VERIFIER] = verifier
    return bundle.pack(members)


def _releases(book: Logbook) -> list[tuple[Commit, str, bytes]]:
    """(commit, round, document) of every release that was signed."""
    found = []
    for round_id, round_ in book.accounts.rounds.items():
        for commit in round_.commits:
            document = book.blob(release_key(round_id, commit.step))
            if document is not None:
                found.append((commit, round_id, document))
    return found


def policy_of(room: Room) -> trust.TrustPolicy:
    """The trust policy that this room file stands for: the coordinator's log, and the room's quorum of witnesses.

    A party with one key is a witness of its name; one with two is a group of two witnesses, of which all must sign.
    """
    witnesses: dict[str, VerifierKey] = {}
    groups: dict[str, trust.Group] = {}
    for party, public in sorted(room.members.items()):
        own = cosigner_keys(party, public)
        names = [party] if len(own) == 1 else [f"{party}{_OF_KIND[key.kind == ML_DSA_44]}" for key in own]
        witnesses.update(zip(names, own, strict=True))
        if len(own) > 1:
            groups[party] = trust.Group(len(own), tuple(names))
    groups[QUORUM] = trust.Group(room.cosign_quorum, tuple(sorted(room.parties)))
    return trust.TrustPolicy(log_keys(room.origin, room.coordinator_keys), witnesses, trust.Quorum(QUORUM, groups))


def proof_of(book: Logbook, release: releases.Release) -> str:
    """The C2SP tlog-proof of a release's commit, by the checkpoint that the release names."""
    path = [keys.unbase64(step) for step in release.proof.path]
    return tlog_proof.render(release.entry, path, book.checkpoint(release.proof.size))


def write(out: Path, room: Room, book: Logbook, now: float) -> Findings:
    """Write everything below `out`; each file whole or not at all. Returns what the auditor would find."""
    (out / "releases").mkdir(parents=True, exist_ok=True)
    packed = bundle_of(book)
    policy = policy_of(room)
    findings = audit.verify(packed, policy)
    members = bundle.unpack(packed)
    for name, data in members.items():
        if name.startswith(bundle.RELEASES):
            _write(out / name, data)
    _write(out / "room.tar", packed)
    _write(out / "policy.txt", trust.render(policy).encode())
    latest = _latest(members)
    if latest:
        plan = Plan.from_bytes(members[bundle.plan_name(latest[0].plan)])
        made_at = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        _write(out / "report.html", report.page(plan, latest, findings, made_at=made_at).encode())
    return findings


def _latest(members: dict[str, bytes]) -> list[releases.Body]:
    """The bodies of the round that released last, in the order of their entries."""
    found = [
        releases.read(data)
        for name, data in members.items()
        if name.startswith(bundle.RELEASES) and name.endswith(".json")
    ]
    found.sort(key=lambda release: release.entry)
    return [r.body_ for r in found if r.body_.round == found[-1].body_.round]


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
