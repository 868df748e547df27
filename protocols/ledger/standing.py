"""The room as it stands now: as its members' files state it at first, and as the ledger has changed it since."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError
from ..keys import Identity, PublicKeys
from ..room import Caps, Member, Room
from .fields import LIFETIME, PERSON
from .state import State


def standing(room: Room, accounts: State) -> Room:
    """The room after all entries: members in force, blocks, caps, quorum. `room`: what its file says.

    Its caps are one number each; where parties or blocks differ by now, the largest: what is left where is for the
    accounts to say, which every charge is checked against.
    """
    if not accounts.size or accounts.revision == (1, 0):
        return room
    members, caps = accounts.members, {key: balance.cap for key, balance in accounts.balances().items()}
    parties = {party: Member.model_validate(public.texts()) for party, public in members.parties.items()}
    now = Caps(
        record=max(cap for (who, block), cap in caps.items() if who != PERSON and block != LIFETIME),
        person=max(cap for (who, block), cap in caps.items() if who == PERSON and block != LIFETIME),
        lifetime_record=max(cap for (who, block), cap in caps.items() if who != PERSON and block == LIFETIME),
        lifetime_person=caps[PERSON, LIFETIME],
    )
    coordinator = room.coordinator if members.coordinator is None else members.coordinator.texts()
    return room.changed(
        coordinator=Member.model_validate(coordinator) if isinstance(coordinator, dict) else coordinator,
        parties=parties,
        blocks=dict(accounts.blocks),
        caps=now,
        cosign_quorum=members.least,
    )


def in_force(held: Sequence[Identity], known: PublicKeys | None, who: str) -> Identity:
    """Which of a member's identities has the keys that the ledger, or before it the room file, knows it by.

    Raises UsageError where none has: after a change of keys the new ones must be at hand.
    """
    for identity in held:
        if known is not None and (found := identity.known_as(known)) is not None:
            return found
    raise UsageError(
        f"files.signing_key has not the keys that the room knows {who} by",
        "after a change of its keys set files.signing_key_next to the new key file",
    )
