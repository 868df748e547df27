"""What is handed to an auditor, by whoever holds a copy of the ledger: the bundle, and a policy to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from . import bundle, keys
from . import release as releases
from .ledger import tlog_proof, trust
from .ledger.entries import Commit
from .ledger.notes import ML_DSA_44, VerifierKey, cosigner_keys, log_keys
from .logbook import Logbook
from .room import Room

QUORUM = "Quorum"  # no party's name, which has small letters
_OF_KIND = {False: "/ed25519", True: "/ml-dsa-44"}  # nor has it a slash


def bundle_of(book: Logbook, plan: Callable[[str], bytes | None], release: Callable[[str, str], bytes | None]) -> bytes:
    """`room.tar`: the ledger as far as it is cosigned, its plans and its releases. Raises CannotDecide if empty.

    plan      the plan of a digest, if the holder has it
    release   the signed release of a round's step, if the holder has it
    """
    documents = _releases(book, release)
    members = bundle.ledger_members(book, {releases.read(document).proof.size for _, _, document in documents})
    covered = len(bundle.split_entries(members[bundle.ENTRIES]))
    for digest, entry in book.accounts.plans.items():
        body = plan(digest)
        if entry.seq < covered and body is not None:
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


def _releases(book: Logbook, release: Callable[[str, str], bytes | None]) -> list[tuple[Commit, str, bytes]]:
    """(commit, round, document) of every release that is there, and whose checkpoint is."""
    found, sizes = [], set(book.checkpoint_sizes())
    for round_id, round_ in book.accounts.rounds.items():
        for commit in round_.commits:
            document = release(round_id, commit.step)
            if document is not None and releases.read(document).proof.size in sizes:
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


def write_file(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
