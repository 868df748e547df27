"""From a noised sum to a signed release: first the ledger, then the world.

Two phases: `commit` and the body's very bytes are written in one transaction; a signed release is made from the stored
bytes only after the parties have cosigned. So a release asked for again is the same bytes, and nothing that is not in
the ledger was ever sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols import release as releases
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.ledger.notes import split
from protocols.plan import Plan
from protocols.release import Body, Proof, Release
from protocols.statistic import Integers

from .store import body_key


def commit(plan: Plan, *, round_id: str, step: str, nonce: str, noised: Integers, survivors: list[str],
           earlier: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes], Body]:  # fmt: skip
    """The commit entry's body, the bytes that are written with it, and what they say."""
    body = releases.compose(
        plan,
        round_id=round_id,
        step=step,
        nonce=nonce,
        noised=noised,
        survivors=survivors,
        earlier=earlier,
        salt=secrets.token_bytes(32),
    )
    entry = {
        "type": "commit@v1",
        "round": round_id,
        "step": step,
        "digest": body.digest,
        "recipients": plan.recipients,
        "numbers": body.numbers,
        "survivors": survivors,
    }
    return entry, {body_key(round_id, step): canonical(body.body())}, body


def publish(stored: bytes, entry: int, path: list[bytes], note: str, signing: Ed25519PrivateKey) -> Release:
    """The signed release of a stored body, with its proof to a cosigned checkpoint."""
    checkpoint, _ = split(note)
    if checkpoint.size <= entry:
        raise IntegrityError(f"the checkpoint of size {checkpoint.size} does not cover entry {entry}")
    body = releases.read_body(parse(stored, what="release body"))
    return releases.sign(
        body, signing, entry, Proof(size=checkpoint.size, path=[keys.base64_text(node) for node in path])
    )
