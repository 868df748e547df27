"""What other people's programs make of our golden files: run in an environment of its own, which holds theirs alone.

    python tests/ledger/other_readers.py        a JSON object: the name of each finding → what was found

aics-tlog reads signed notes, checkpoints, Ed25519 cosignatures and Merkle trees; proofbundle reads ML-DSA-44
cosignatures and C2SP tlog-proofs, and writes a note that ours must read. Nothing of the product is imported here.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import aics_tlog.checkpoint
import aics_tlog.note
import aics_tlog.tree
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from proofbundle import ProofBundleError, tlogproof
from proofbundle import checkpoint as theirs

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PARTIES = ("alpha", "beta", "gamma")
ED25519, ML_DSA_44 = "good-key-", "good-key-ml-dsa-44-"
SEED = hashlib.sha256(b"other readers").digest()


def text(name: str) -> str:
    return (VECTORS / name).read_bytes().decode()  # with its carriage returns, where it has some


def key(kind: str, who: str) -> str:
    return text(f"checkpoint/{kind}{who}.txt").strip()


def entries() -> list[bytes]:
    with tarfile.open(VECTORS / "bundle" / "good-both.tar") as archive:
        found = archive.extractfile("ledger/entries")
        assert found is not None
        return found.read().splitlines()


def by_aics_tlog(name: str) -> bool:
    """The Ed25519 half of a checkpoint, with every party as a witness, and its root against the entries."""
    note = aics_tlog.note.parse_note(text(f"checkpoint/{name}.txt"))
    witnesses = [aics_tlog.note.parse_vkey(key(ED25519, party)) for party in PARTIES]
    log = aics_tlog.note.parse_vkey(key(ED25519, "log"))
    return bool(aics_tlog.checkpoint.verify_checkpoint(note, log, witnesses, 3).ok)


def tree() -> dict[str, Any]:
    made = aics_tlog.tree.MerkleTree(entries())
    parsed, _ = aics_tlog.checkpoint.checkpoint_from_note(text("checkpoint/good-both.txt"))
    proof = tlogproof.parse_tlog_proof(text("tlog-proof/good-commit.tlog-proof"))
    return {
        "root": made.root(parsed.size) == parsed.root,
        "path": made.inclusion_proof(6, 7) == list(proof["proof"]),
        "grows": len(made.consistency_proof(5, 7)) > 0,
    }


def by_proofbundle(name: str) -> dict[str, bool]:
    """The ML-DSA-44 half: the log's own line and every party's."""
    note = text(f"checkpoint/{name}.txt")
    return {who: bool(theirs.verify_cosignature(note, key(ML_DSA_44, who))["ok"]) for who in ("log", *PARTIES)}


def proof(name: str) -> bool:
    """A proof of entry 6, with all six keys of the parties as witnesses."""
    witnesses = [key(kind, party) for kind in (ED25519, ML_DSA_44) for party in PARTIES]
    try:
        found = tlogproof.verify_tlog_proof(
            text(f"tlog-proof/{name}.tlog-proof"), entries()[6], key(ED25519, "log"), witnesses, threshold=6
        )
    except ProofBundleError:
        return False
    return bool(found["ok"])


def written() -> str:
    """A checkpoint with a witness's cosignatures of both kinds, by their code."""
    log, old, new = (
        Ed25519PrivateKey.from_private_bytes(SEED),
        Ed25519PrivateKey.from_private_bytes(SEED[::-1]),
        MLDSA44PrivateKey.from_seed_bytes(SEED),
    )
    note = theirs.sign_checkpoint("room.example/theirs", 7, bytes(range(32)), log, "room.example/theirs")
    note = theirs.cosign_checkpoint(note, old, "theirs", 1_700_000_000)
    return theirs.cosign_checkpoint_mldsa(note, new, "theirs", 1_700_000_000)


if __name__ == "__main__":
    findings: dict[str, Any] = {
        "aics-tlog": {name: by_aics_tlog(name) for name in ("good-first", "good-both", "bad-both-root-changed")},
        "tree": tree(),
        "proofbundle": {name: by_proofbundle(name) for name in ("good-both", "bad-both-root-changed")},
        "proofs": {path.stem: proof(path.stem) for path in sorted(VECTORS.glob("tlog-proof/*.tlog-proof"))},
        "written": written(),
    }
    print(json.dumps(findings))
