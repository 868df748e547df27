"""Requests that no honest coordinator sends, or not yet: another occasion, fewer cosigners, a step that is next."""

from __future__ import annotations

from typing import Any

from protocols import messages
from protocols.ledger import notes
from protocols.ledger.reducer import state_of


def with_occasion(request: messages.Contribute, **changes: Any) -> messages.Contribute:
    """The same request for another occasion."""
    occasion = type(request.occasion).model_validate({**request.occasion.body(), **changes})
    return request.model_copy(update={"occasion": occasion})


def unsigned_by(note: str, *parties: str) -> str:
    """A checkpoint without the lines of these parties."""
    checkpoint, lines = notes.split(note)
    return notes.assemble(checkpoint, lines[0], [line for line in lines[1:] if line.split(" ")[1] not in parties])


def next_step(room: Any) -> messages.Prepare:
    """What opens the next step of the ledger's last round."""
    round_id, round_ = list(room.book.accounts.rounds.items())[-1]
    step = round_.reserve.steps[len(round_.commits)]
    occasion = {"plan": room.plan.digest, "round": round_id, "step": step.step, "nonce": step.nonce}
    more = {"room": "trial", "state": state_of(round_), "attempt": 1}
    return messages.Prepare.model_validate({"occasion": {**occasion, **more}})
