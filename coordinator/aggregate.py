"""Add up what the nodes sent. The coordinator sees masked shares and the noised sum, and nothing in between."""

from __future__ import annotations

import numpy as np

from protocols import keys
from protocols.encoding import digest
from protocols.errors import IntegrityError
from protocols.masking import Occasion, Words, add_up
from protocols.messages import Share, share_body
from protocols.room import Room
from protocols.statistic import Integers

__all__ = ["add_up", "check_share", "noised_sum"]


def check_share(
    room: Room, party: str, occasion: Occasion, share: Share, payload: bytes | memoryview, slots: int
) -> Words:
    """One party's words, (slots,) mod 2^64. Raises IntegrityError unless they are its signed share of this occasion."""
    if (share.party, share.occasion) != (party, occasion):
        raise IntegrityError(f"{party} answered for another party or another step")
    if digest(payload) != share.payload or len(payload) != 8 * slots:
        raise IntegrityError(f"{party}: the words are not those of its share, or not {slots} of them")
    keys.check(room.identities[party], "share", share_body(party, occasion, share.payload), share.signature, who=party)
    return np.frombuffer(payload, dtype="<u8").astype(np.uint64, copy=False)


def noised_sum(total: Words) -> Integers:
    """(slots,) signed integers: the sum of the survivors' contributions and their noise; the masks are gone."""
    return total.view(np.int64)
