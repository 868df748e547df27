"""From a noised sum to a signed release: first the ledger, then the world.

Two phases: `commit` and the body's very bytes are written in one transaction; a signed release is made from the stored
bytes only after the parties have cosigned. So a release asked for again is the same bytes, and nothing that is not in
the ledger was ever sent.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from protocols import keys
from protocols import release as releases
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.ledger.state import Round
from protocols.plan import Plan
from protocols.release import Body, Proof, Release
from protocols.statistic import Integers

from . import fits
from .ledger import RoomLedger
from .store import body_key, received_key, release_key

log = logging.getLogger("sumroom.coordinator")


def commit(plan: Plan, *, round_id: str, step: str, nonce: str, noised: Integers, survivors: list[str],
           earlier: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes], Body]:  # fmt: skip
    """The commit entry's body, the bytes that are written with it, and what they say."""
    asked, mechanism = plan.step(step)
    noise = asked.noise(len(survivors), mechanism.variance_micro)
    body = releases.compose(
        plan,
        round_id=round_id,
        step=step,
        nonce=nonce,
        noised=noised,
        survivors=survivors,
        earlier=earlier,
        salt=secrets.token_bytes(32),
        state=fits.state_after(plan, step, noised, noise, earlier),
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


def publish_missing(ledger: RoomLedger) -> list[Release]:
    """Sign every committed body that has no release yet and is under a complete checkpoint, from its stored bytes.

    After a crash, or a checkpoint that was cosigned late, the bytes are there: the same release is sent, none is drawn.
    Where they are not, nothing is made in their place.
    """
    made: list[Release] = []
    size, book = ledger.cosigned_size(), ledger.book
    for round_id, round_ in book.accounts.rounds.items():
        for commit_ in round_.commits:
            key = release_key(round_id, commit_.step)
            if commit_.seq >= size or book.blob(key) is not None:
                continue
            stored = book.blob(body_key(round_id, commit_.step))
            if stored is None:
                # This copy was lost before the release went out, and no party has it: it is in nobody's hands, the
                # audit names it for ever, and the room goes on.
                log.error("the bytes of the release in entry %d are lost: it was handed to nobody", commit_.seq)
                continue
            path = [keys.base64_text(node) for node in book.inclusion(commit_.seq, size)]
            body = releases.read_body(parse(stored, what="release body"))
            signed = releases.sign(body, ledger.identity_at(size).ed25519, commit_.seq, Proof(size=size, path=path))
            book.append([], blobs={key: signed.to_bytes()})
            made.append(signed)
    return made


def answers(ledger: RoomLedger, round_: Round) -> dict[str, Any]:
    """What the committed steps of a round released, by step: what later steps start from."""
    found: dict[str, Any] = {}
    for commit_ in round_.commits:
        stored = ledger.book.blob(body_key(commit_.round, commit_.step))
        if stored is None:
            raise IntegrityError(f"the bytes of the release in entry {commit_.seq} are missing")
        found[commit_.step] = releases.read_body(parse(stored, what="release body")).released
    return found


def published(ledger: RoomLedger, round_: Round) -> list[Release]:
    """The signed releases of a round, in the order of its steps."""
    documents = [ledger.book.blob(release_key(commit_.round, commit_.step)) for commit_ in round_.commits]
    return [releases.read(document) for document in documents if document is not None]


def undelivered(ledger: RoomLedger, parties: Sequence[str]) -> list[tuple[Release, str, list[str]]]:
    """(release, the note its proof leads to, which of these parties must still get it), in the ledger's order."""
    found = []
    for round_id, round_ in ledger.book.accounts.rounds.items():
        for commit_ in round_.commits:
            document = ledger.book.blob(release_key(round_id, commit_.step))
            have = ledger.book.blobs(received_key(round_id, commit_.step, ""))
            waiting = [
                p for p in parties if p in commit_.recipients and received_key(round_id, commit_.step, p) not in have
            ]
            if document is not None and waiting:
                release_ = releases.read(document)
                found.append((release_, ledger.book.checkpoint(release_.proof.size), waiting))
    return found


def mark_delivered(ledger: RoomLedger, release: Release, party: str) -> None:
    ledger.book.append([], blobs={received_key(release.body_.round, release.body_.step, party): b""})
