"""Programs of other people read our checkpoints and proofs, and ours reads theirs: the formats are public indeed.

They need an environment of their own (Python 3.12): `make other-readers` makes it and runs this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols.keys import Identity
from protocols.ledger import notes

PYTHON = os.environ.get("SUMROOM_OTHER_READERS", "")
MEMBERS = {"log", "alpha", "beta", "gamma"}

pytestmark = pytest.mark.skipif(not PYTHON, reason="others' programs are not installed: make other-readers")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    script = Path(__file__).with_name("other_readers.py")
    run = subprocess.run([PYTHON, str(script)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    findings: dict[str, Any] = json.loads(run.stdout)
    return findings


def test_aics_tlog_verifies_our_checkpoints_by_their_ed25519_lines(found: dict[str, Any]) -> None:
    assert found["aics-tlog"] == {"good-first": True, "good-both": True, "bad-both-root-changed": False}


def test_aics_tlog_builds_the_same_tree_and_path_over_our_entries(found: dict[str, Any]) -> None:
    assert found["tree"] == {"root": True, "path": True, "grows": True}


def test_proofbundle_verifies_our_ml_dsa_44_lines_the_logs_own_too(found: dict[str, Any]) -> None:
    assert found["proofbundle"] == {
        "good-both": dict.fromkeys(MEMBERS, True),
        "bad-both-root-changed": dict.fromkeys(MEMBERS, False),
    }


def test_proofbundle_takes_our_good_proof_and_refuses_all_bad_ones_but_that_with_extra_data(
    found: dict[str, Any],
) -> None:
    """Extra data the format allows; we do not."""
    taken = {name for name, ok in found["proofs"].items() if ok}
    assert taken == {"good-commit", "bad-extra"}
    assert len(found["proofs"]) > 10


def test_we_read_a_checkpoint_that_proofbundle_wrote_and_cosigned_with_both_kinds(found: dict[str, Any]) -> None:
    seed = hashlib.sha256(b"other readers").digest()
    log = Identity(Ed25519PrivateKey.from_private_bytes(seed))
    witness = Identity(Ed25519PrivateKey.from_private_bytes(seed[::-1]), MLDSA44PrivateKey.from_seed_bytes(seed))
    checkpoint, signed = notes.open_note(
        found["written"],
        notes.log_keys("room.example/theirs", log.public()),
        notes.cosigner_keys("theirs", witness.public()),
    )
    assert checkpoint == notes.Checkpoint("room.example/theirs", 7, bytes(range(32)))
    assert signed == {"room.example/theirs": None, "theirs": 1_700_000_000}
