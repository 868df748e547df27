"""The roster of mask keys of a step: made once, agreed to by everybody, and kept before anybody contributes with it.

Kept, because a party agrees to one roster for each step: a coordinator that was killed goes on with this one or not at
all.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols import messages
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.masking import MaskKey, Occasion, agreeing, check_agreements, check_roster
from protocols.plan import Plan

from .conversation import Ask, everybody
from .ledger import RoomLedger
from .store import roster_key

Roster = tuple[dict[str, MaskKey], dict[str, str]]  # party → its key, party → its agreement to all of them


def agree(plan: Plan, occasion: Occasion, ledger: RoomLedger, ask: Ask, left: float) -> Roster:
    """Everybody's mask key for the occasion, and everybody's agreement to them. Raises RoundEnded, IntegrityError."""
    roster: dict[str, MaskKey] = {}
    request = messages.Prepare(occasion=occasion)
    for party, answer in everybody(plan.parties, ask(dict.fromkeys(plan.parties, request), left)).items():
        if not isinstance(answer.reply, messages.MaskOffer) or answer.reply.party != party:
            raise IntegrityError(f"{party} gave another answer than a mask key")
        roster[party] = answer.reply.key
    check_roster(roster, {p: ledger.room.identities[p] for p in plan.parties}, occasion)
    agreements = _agreements(plan, occasion, roster, ledger, ask, left)
    found = {"roster": {party: key.body() for party, key in roster.items()}, "agreements": agreements}
    ledger.book.append([], blobs={roster_key(occasion.round, occasion.step): canonical(found)})
    return roster, agreements


def kept(occasion: Occasion, ledger: RoomLedger) -> Roster | None:
    """The roster that an earlier process made for this step, if it came so far."""
    stored = ledger.book.blob(roster_key(occasion.round, occasion.step))
    if stored is None:
        return None
    found = parse(stored, what="roster")
    return {party: MaskKey.model_validate(key) for party, key in found["roster"].items()}, dict(found["agreements"])


def _agreements(
    plan: Plan, occasion: Occasion, roster: Mapping[str, MaskKey], ledger: RoomLedger, ask: Ask, left: float
) -> dict[str, str]:
    """Every party's signature that this is the one roster of the occasion: none contributes without."""
    parties = agreeing(plan.parties, ledger.room.parties)
    request = messages.Agree(occasion=occasion, roster=dict(roster))
    signatures: dict[str, str] = {}
    for party, answer in everybody(parties, ask(dict.fromkeys(parties, request), left)).items():
        if not isinstance(answer.reply, messages.Agreed) or answer.reply.party != party:
            raise IntegrityError(f"{party} gave another answer than its agreement")
        signatures[party] = answer.reply.signature
    check_agreements(signatures, {p: ledger.room.identities[p] for p in parties}, occasion, roster)
    return signatures
