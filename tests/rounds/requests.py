"""Requests that no honest coordinator sends, or not yet: another occasion, fewer cosigners, a step that is next."""

from __future__ import annotations

from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import messages
from protocols.ledger import notes
from protocols.ledger.state import state_of
from protocols.masking import MaskKey, Occasion, Secrets

Timed = TypeVar("Timed", messages.Prepare, messages.Agree, messages.Contribute, messages.Settle, messages.Unmask)


def with_occasion(request: Timed, **changes: Any) -> Timed:
    """The same request for another occasion."""
    occasion = type(request.occasion).model_validate({**request.occasion.body(), **changes})
    return request.model_copy(update={"occasion": occasion})


def unsigned_by(note: str, *parties: str) -> str:
    """A checkpoint without the lines of these parties."""
    checkpoint, lines = notes.split(note)
    return notes.assemble(checkpoint, lines[0], [line for line in lines[1:] if line.split(" ")[1] not in parties])


def another_key(signing: Ed25519PrivateKey, party: str, occasion: Occasion, *, recoverable: bool = False) -> MaskKey:
    """A mask key that this party might have offered, and did not."""
    return Secrets.fresh(occasion, recoverable=recoverable).offer(signing, party)


def next_step(room: Any, checkpoint: str = "") -> messages.Prepare:
    """What opens the next step of the ledger's last round. checkpoint: another than one that all have cosigned."""
    round_id, round_ = list(room.book.accounts.rounds.items())[-1]
    step = round_.reserve.steps[len(round_.commits)]
    occasion = {"plan": room.plan.digest, "round": round_id, "step": step.step, "nonce": step.nonce}
    more = {"room": "trial", "state": state_of(round_), "attempt": 1}
    covering = checkpoint or room.ledger.covering(round_.reserve.seq)
    return messages.Prepare.model_validate({"occasion": {**occasion, **more}, "checkpoint": covering})


def contribution(room: Any, prepare: messages.Prepare) -> messages.Contribute:
    """What an honest coordinator makes of a step: everybody's mask keys, and everybody's agreement to them."""
    roster = {party: room.say(party, prepare).key for party in room.nodes}
    agree = messages.Agree(occasion=prepare.occasion, roster=roster)
    agreed = {party: room.say(party, agree).signature for party in room.nodes}
    return messages.Contribute(occasion=prepare.occasion, roster=roster, agreements=agreed)
