"""What is asked of the parties beside the rounds: refunds of rounds that came to nothing, and what nodes have sent."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Mapping

from protocols import messages
from protocols.errors import IntegrityError, PartyUnavailable, Refused, RoundEnded
from protocols.ledger.state import Round

from . import delivery
from .conversation import Ask, says
from .ledger import RoomLedger

log = logging.getLogger("sumroom.coordinator")
ASK_S = 10.0
_DAY_S = 86_400


def find_round(rounds: Mapping[str, Round], name: str) -> str:
    """The id of the round whose id is, or begins with, `name`. Raises Refused unless there is exactly one."""
    found = [round_id for round_id in rounds if round_id.startswith(name)]
    if not name or len(found) != 1:
        raise Refused(
            f"{'no round' if not found else 'more than one round'} of the ledger begins with {name[:32] or 'nothing'}",
            "sumroom-coordinator plan status shows a plan's rounds",
        )
    return found[0]


def refund(ledger: RoomLedger, ask: Ask, round_id: str) -> bool:
    """Have a forfeited round's charge given back, by the word of every party that it charged that nothing left it.

    1. the ledger has the round, forfeited without a release; one that is refunded already needs its cosigners at most
    2. enough parties say how far their copies go, and get the forfeit with it
    3. every charged party signs; one entry; the parties cosign it
    Returns whether it was not refunded before. Raises Refused, naming each party that did not sign and why; then
    nothing is written, and it can be asked for again.
    """
    # (1)
    round_ = ledger.book.accounts.rounds.get(round_id)
    if round_ is None:
        raise Refused(f"round {round_id[:8]} is not in the ledger")
    fresh = round_.state != "refunded"
    if fresh:
        check_refundable(round_)
    # (2)
    if ledger.check_newest(ask, delivery.everybody(ledger), ASK_S, ledger.room.cosign_quorum):
        raise Refused("this ledger was an older copy, and has taken back what it lacked", "nothing is done; ask again")
    # (3)
    if fresh:
        charged = sorted(round_.reserve.charge)
        answers = ask(dict.fromkeys(charged, messages.Refund(round=round_id)), ASK_S)
        signed = {
            party: answer.reply.signature
            for party, answer in answers.items()
            if isinstance(answer.reply, messages.Refunded)
        }
        if len(signed) < len(charged):
            reasons = "; ".join(f"{party}: {says(answers.get(party))}" for party in charged if party not in signed)
            raise Refused(
                f"round {round_id[:8]} is not refunded: {reasons}",
                "its charge stays spent. A party that did not answer can be asked again when its node is back",
            )
        ledger.append([{"type": "refund@v1", "round": round_id, "signatures": signed}])
    _countersign(ledger, ask)
    return fresh


def check_refundable(round_: Round) -> None:
    """Raise Refused for a round that no party's word could refund."""
    short = round_.reserve.round[:8]
    if round_.commits:
        raise Refused(f"round {short} has released something; what it reserved stays spent")
    if round_.state != "forfeited":
        raise Refused(
            f"round {short} is {round_.state}; only a forfeited one can be refunded",
            "an open round is forfeited when its deadline has passed: launch its plan, or let serve do it",
        )


def unstated(ledger: RoomLedger) -> tuple[str, list[str]]:
    """Yesterday, in UTC, and the parties that have not stated yet what they had sent by its end.

    None where the room was not there yesterday.
    """
    today = ledger.now // _DAY_S
    day = dt.datetime.fromtimestamp((today - 1) * _DAY_S, dt.UTC).date().isoformat()
    accounts = ledger.book.accounts
    if not ledger.book.size or accounts.genesis.time // _DAY_S >= today:
        return day, []
    before = accounts.egress
    return day, [p for p in delivery.everybody(ledger) if p not in before or before[p].day < day]


def state_egress(ledger: RoomLedger, ask: Ask, only: Collection[str] | None = None) -> None:
    """Ask the parties, or only these, for what is `unstated`, and write an entry for each that answers.

    One that does not answer, or states what does not follow from what it stated before, stops nothing. Nobody is asked
    to cosign here.
    """
    day, parties = unstated(ledger)
    asked = [party for party in parties if only is None or party in only]
    if not asked:
        return
    for party, answer in sorted(ask(dict.fromkeys(asked, messages.Egress(day=day)), ASK_S).items()):
        stated = answer.reply
        if not isinstance(stated, messages.EgressStated):
            log.warning("%s does not state what it sent up to %s: %s", party, day, says(answer))
            continue
        try:
            if (stated.party, stated.day) != (party, day):
                raise IntegrityError("a statement of another party or day")
            body = {name: value for name, value in stated.body().items() if name != "type"}
            ledger.append([{"type": "egress@v1", **body}])
        except (Refused, IntegrityError) as exc:
            log.warning("what %s states to have sent up to %s is not written: %s", party, day, exc.message)


def tend(ledger: RoomLedger, ask: Ask, only: Collection[str]) -> None:
    """`state_egress` outside a round: after hearing that this ledger is the newest, and cosigned by those here."""
    ledger.check_newest(ask, delivery.everybody(ledger), ASK_S, ledger.room.cosign_quorum)
    size = ledger.book.size
    state_egress(ledger, ask, only)
    if ledger.book.size > size:
        _countersign(ledger, ask)


def _countersign(ledger: RoomLedger, ask: Ask) -> None:
    """By those who are here; the others check it later."""
    try:
        ledger.countersign(ask, delivery.everybody(ledger), ASK_S)
    except (PartyUnavailable, RoundEnded) as exc:
        log.warning("the ledger is not cosigned yet: %s", exc.message)
