"""An attack on the sizes of lists: of two rooms of which the same was released, can a peer tell which one it is in?

In one every list has more people than in the other, and the noise of the sizes happens to make up for it. So every
list must be as long in both: how long it is then says nothing that the release does not say. That nothing but the size
check stops a node which sends unpadded lists is no proof that sizes are watched; here the check is out of the way too,
every node takes what it gets, and it is the attack that must see that sizes depend on people.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from party_node import share
from protocols.overlap.layout import CANARIES, Layout
from protocols.questions import overlap
from protocols.statistic import Integers
from tests.overlap import meeting_lab
from tests.privacy.exact_profile import ALPHA, least, most
from tests.privacy.overlap_rooms import LISTS, PARTIES, Seen, changes, in_the_group, make, seen_in
from tests.rounds import lab

FEW, MANY = 60, 90  # people of each list: 30 apart, 2 σ of what a row of unpadded dummies moves by
RELEASED = 100  # of each list, in both rooms
Bend = Callable[[pytest.MonkeyPatch, int], None]


def tells(without: Integers, with_people: Integers) -> float:
    """By how much an event x ≥ t is surely likelier in the room with more people than in the other, for the best t.

    Sizes are paid for by the first step; of what the second one shows of them, no event may be likelier at all.
    """
    found = []
    events = np.unique(np.concatenate([without, with_people]))
    alpha = ALPHA / (2 * len(events))
    for t in events.tolist():
        likelier = least(int((with_people >= t).sum()), len(with_people), alpha)
        found.append(likelier - most(int((without >= t).sum()), len(without), alpha))
    return max(found)


def stated(seen: Seen) -> Integers:
    """How long every list is, as its owner signs it; it is what it sends."""
    for pair, sizes in seen.stated.items():
        assert 32 * sum(sizes) == len(seen.written[pair][1])
    return np.array([size for pair in sorted(seen.stated) for size in seen.stated[pair]], dtype=np.int64)


def released(patch: pytest.MonkeyPatch) -> None:
    """Noise of the sizes that makes them what they are in both rooms."""

    def draw(total: Integers, mechanism: Any, _: slice) -> Integers:
        assert mechanism.slots == LISTS * len(PARTIES) + 1
        assert total.sum() in (LISTS * FEW, LISTS * MANY)
        return np.where(total > 0, RELEASED, 0).astype(np.int64)

    patch.setattr(share, "draw", draw)


def unpadded(patch: pytest.MonkeyPatch, people: int) -> None:
    """Lists of as many entries as there are people and dummies; every node, and the coordinator, takes these sizes."""
    real, drawn = Layout.of.__func__, meeting_lab.Draws(patch).by  # type: ignore[attr-defined]

    def of(kind: type[Layout], *given: Any) -> Layout:
        found: Layout = real(kind, *given)
        return kind({party: (people,) * len(caps) for party, caps in found.caps.items()}, found.shift)

    def sent(_: Layout, owner: str, peer: str) -> tuple[int, ...]:
        return tuple((people + CANARIES + drawn[owner, peer].sum(axis=1)).tolist())

    def final(layout: Layout, owner: str, peer: str) -> tuple[int, ...]:
        return tuple((np.array(layout.sent(owner, peer)) + drawn[peer, owner].sum(axis=0)).tolist())

    patch.setattr(Layout, "of", classmethod(of))
    patch.setattr(Layout, "sent", sent)
    patch.setattr(Layout, "final", final)


def padded(_: pytest.MonkeyPatch, __: int) -> None:
    """The product as it is."""


def rooms(place: Path, bend: Bend) -> tuple[Integers, Integers]:
    """The sizes of all lists in a room with fewer people and in one with more."""
    found = []
    for people in (FEW, MANY):
        base = make(place / f"room-{people}", {}, people // 2)
        with in_the_group() as patch:
            released(patch)
            bend(patch, people)
            found.append(stated(seen_in(patch, base, lab.plan(**changes()))))
    return found[0], found[1]


def test_how_long_lists_are_says_no_more_than_was_released(tmp_path: Path) -> None:
    without, with_people = rooms(tmp_path, padded)
    assert (without == with_people).all()
    shift = overlap.shift(lab.plan(**changes()).step("overlap")[1].variance_micro)
    assert len(set(without.tolist())) == 1
    assert without[0] > RELEASED + CANARIES + 2 * shift * LISTS
    assert tells(without, with_people) <= 0


def test_unpadded_lists_that_everybody_takes_are_seen(tmp_path: Path) -> None:
    without, with_people = rooms(tmp_path, unpadded)
    assert tells(without, with_people) > 0.05
