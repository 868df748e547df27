"""What is written down besides rounds: that a plan was refused, and that one was asked for again.

Both are for whoever reads the ledger later. Neither stops anything: where the parties that must cosign are not there,
nothing is written, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from protocols import messages
from protocols.errors import IntegrityError, RoundEnded
from protocols.ledger.entries import decode
from protocols.ledger.state import Round
from protocols.plan import Plan

from . import delivery
from .conversation import Answer, Ask
from .ledger import RoomLedger

log = logging.getLogger("sumroom.coordinator")
TIMEOUT_S = 5.0


def deny(ledger: RoomLedger, ask: Ask, plan: Plan, reason: str, answers: Mapping[str, Answer]) -> None:
    """Write down that a plan was refused, and by whom. A party that was silent has refused nothing."""
    parties = sorted(party for party, answer in answers.items() if isinstance(answer.reply, messages.Refusal))
    if reason == "over-cap" or parties:
        _state(ledger, ask, {"type": "deny@v1", "plan": plan.digest, "reason": reason, "parties": parties})


def reuse(ledger: RoomLedger, ask: Ask, round_: Round) -> None:
    """Write down that a released plan was asked for again, and that its releases are the answer, at no charge."""
    reserve = round_.reserve
    entry = {"type": "reuse@v1", "round": reserve.round, "plan": reserve.plan, "datasets": reserve.datasets}
    _state(ledger, ask, entry)


def _state(ledger: RoomLedger, ask: Ask, body: dict[str, Any]) -> None:
    """Write one entry, and have it cosigned, unless it would only repeat the last one."""
    book = ledger.book
    if not book.size or _said_last(ledger, body):
        return
    parties = delivery.everybody(ledger)
    try:
        if ledger.check_newest(ask, parties, TIMEOUT_S, ledger.room.cosign_quorum):
            return  # it was an older copy: whoever launches again decides by what it is now
        ledger.append([body])
        ledger.countersign(ask, parties, TIMEOUT_S)
    except (RoundEnded, IntegrityError) as exc:
        log.warning("the %s is not written, or not yet cosigned: %s", str(body["type"]).split("@")[0], exc.message)


def _said_last(ledger: RoomLedger, body: Mapping[str, Any]) -> bool:
    (last,) = ledger.book.entries(ledger.book.size - 1)
    said = decode(last).body()
    return {name: value for name, value in said.items() if name not in ("seq", "time")} == body
