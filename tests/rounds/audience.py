"""Rooms in which one party has a seed and others rank: who is who, and what would be counted in the plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from protocols.plan import Plan
from tests.rounds import lab

SEED_PARTY, OWNERS = "beta", ("alpha", "gamma")
REGIONS = ["north", "south", "other"]
COLUMNS = {**lab.COLUMNS, "region": {"type": "category", "values": REGIONS}}
SHARES = {
    "edges": 40_000_000,
    "background": 10_000_000,
    "seed": 50_000_000,
    "scores": 20_000_000,
    "overlap": 60_000_000,
    "audit": 20_000_000,
}
FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 400},
    {"name": "baskets", "transform": "identity", "low": 0, "high": 30},
    {"name": "spend_cents", "transform": "log1p", "low": 0, "high": 200_000},
]
QUESTION: dict[str, Any] = {
    "kind": "lookalike",
    "rho": SHARES,
    "features": FEATURES,
    "seed": {"party": SEED_PARTY, "list": "loyalists"},
    "ranks": list(OWNERS),
    "floor": 500,
    "reach": 20,
    "target": "1.5",
    "attributes": [{"column": "region", "reference": "north"}],
}
CHANGES: dict[str, Any] = {
    "table": {"name": "sales", "columns": COLUMNS},
    "people": {"column": "customer", "key": "id"},
    "questions": [QUESTION],
    "people_cap": 3000,
    "rho": 400_000_000,
    "deadline_s": 120,
}
FIRST = {"alpha": 0, "beta": 600, "gamma": 1200}  # neighbours share 600 of their 1,200 customers
PEOPLE = 1200


def loyal(i: int) -> bool:
    """Whether person i is one of the seed's kind: they buy often, and come lately."""
    return i % 2 == 0


def baskets(i: int) -> int:
    return 8 + i % 5 if loyal(i) else 1 + i % 4


def rows(party: str) -> list[str]:
    found = []
    for i in range(FIRST[party], FIRST[party] + PEOPLE):
        for j in range(baskets(i)):
            month = 12 - j if loyal(i) else 1 + (i + j) % 9
            found.append(f"p-{i},p-{i}-{j},2017-{month:02d}-15,{5 + (i * 7 + j) % 40}.00,0.00,{REGIONS[(i // 3) % 2]}")
    return found


def csv_of(party: str) -> str:
    return "\n".join(["customer,basket,bought_on,paid,discount,region", *rows(party)]) + "\n"


def members() -> list[int]:
    """The seed: the loyal ones of its party."""
    return [i for i in range(FIRST[SEED_PARTY], FIRST[SEED_PARTY] + PEOPLE) if loyal(i)]


def make(base: Path, **changes: Any) -> tuple[Path, Plan]:
    """A room's folders with everybody registered, and its plan."""
    whole = CHANGES | changes
    (base / SEED_PARTY).parent.mkdir(parents=True, exist_ok=True)
    lists = base.parent / f"{base.name}-loyalists.csv"
    lists.write_text("customer\n" + "".join(f"p-{i}\n" for i in [*members(), members()[0]]) + "stranger\n")
    more = f'region = "region"\n[seeds]\nloyalists = "{lists}"\n'
    lab.make(base, csv={party: csv_of(party) for party in lab.PARTIES}, more=more, **whole)
    return base, lab.plan(**whole)


def shared(owner: str) -> list[int]:
    """The seed's people at an owner, by number."""
    there = range(FIRST[owner], FIRST[owner] + PEOPLE)
    return [i for i in members() if i in there]


def regions(owner: str) -> Any:
    """(groups,) people of an owner by region."""
    found = [(i // 3) % 2 for i in range(FIRST[owner], FIRST[owner] + PEOPLE)]
    return np.bincount(found, minlength=len(REGIONS))
