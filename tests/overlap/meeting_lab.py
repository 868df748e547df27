"""Rooms whose parties share customers: who they are, by party and tier, and what an overlap of them must count."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from party_node import overlap as node_overlap
from protocols.plan import Plan
from protocols.questions import overlap
from tests.rounds import lab

TIERS = ["gold", "silver", "other"]
COLUMNS = {**lab.COLUMNS, "tier": {"type": "category", "values": TIERS}}
QUESTION = {
    "kind": "overlap",
    "rho": {"sizes": 50_000_000, "pairs": 100_000_000},
    "lists": {"by": "column", "column": "tier"},
}
CHANGES: dict[str, Any] = {
    "table": {"name": "sales", "columns": COLUMNS},
    "people": {"column": "customer", "key": "id"},
    "questions": [QUESTION],
    "people_cap": 2000,
}
PEOPLE = 300


def of_two(*, rho: int = 20_000_000) -> dict[str, Any]:
    """Of a plan of two companies. rho: of the pair, nano; as it is, σ = 5."""
    question = QUESTION | {"rho": {"sizes": 50_000_000, "pairs": rho}}
    names = list(lab.PARTIES[:2])
    return CHANGES | {"parties": names, "recipients": names, "collusion": 1, "quorum": 2, "questions": [question]}


def customers(party: str) -> dict[str, str]:
    """Customer → tier. Neighbours in `lab.FIVE` share two thirds of their customers, in other tiers."""
    at = lab.FIVE.index(party)
    return {f"person-{i}": TIERS[(i * (at + 2) + i // 7) % 3] for i in range(100 * at, 100 * at + PEOPLE)}


def csv_of(who: dict[str, str]) -> str:
    lines = ["customer,basket,bought_on,paid,discount,tier"]
    lines += [f"{name},b-{name},2017-06-01,10.00,0.00,{tier}" for name, tier in who.items()]
    return "\n".join(lines) + "\n"


def make(base: Path, members: tuple[str, ...] = lab.PARTIES, **changes: Any) -> tuple[Path, Plan]:
    """A room's folders with everybody registered, and its plan."""
    names = sorted(members)
    whole = (
        CHANGES | {"parties": names, "recipients": names, "collusion": len(names) - 1, "quorum": len(names)} | changes
    )
    csv = {party: csv_of(customers(party)) for party in members}
    lab.make(base, csv=csv, members=members, more='tier = "tier"\n', **whole)
    return base, lab.plan(**whole)


def truth(a: str, b: str) -> Any:
    """(tiers, tiers) shared customers, counted in the plain."""
    mine, theirs = customers(a), customers(b)
    cells = np.zeros((len(TIERS), len(TIERS)), dtype=np.int64)
    for name in mine.keys() & theirs.keys():
        cells[TIERS.index(mine[name]), TIERS.index(theirs[name])] += 1
    return cells


def matrices(noised: list[int], parties: list[str]) -> dict[tuple[str, str], Any]:
    cells = np.asarray(noised, dtype=np.int64).reshape(-1, len(TIERS), len(TIERS))
    return dict(zip(combinations(parties, 2), cells, strict=True))


class Draws:
    """In place of the meeting's `_draw`: notes what each party drew for each peer, shifted, as it is used."""

    def __init__(self, monkeypatch: Any) -> None:
        self.by: dict[tuple[str, str], Any] = {}
        self.shift = 0
        real = node_overlap.Meeting._draw

        def draw(meeting: node_overlap.Meeting, mechanism: Any, layout: Any) -> Any:
            drawn = real(meeting, mechanism, layout)
            self.shift = overlap.shift(mechanism.variance_micro)
            at = 0
            for peer in layout.peers(meeting.party):
                shape = (layout.lists(meeting.party), layout.lists(peer))
                count = shape[0] * shape[1]
                self.by[meeting.party, peer] = drawn[at : at + count].reshape(shape)
                at += count
            return drawn

        monkeypatch.setattr(node_overlap.Meeting, "_draw", draw)

    def noise(self, a: str, b: str) -> Any:
        """What both parties added to each cell, the public part taken off."""
        return self.by[a, b] + self.by[b, a].T - 2 * self.shift
