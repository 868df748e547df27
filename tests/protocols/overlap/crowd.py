"""People in lists of several parties, counted one by one: what the question's figures are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.questions import overlap
from protocols.schema import Column, Schema
from protocols.statistic import Facts, Integers

TABLE = Schema(
    name="sales",
    columns={
        "customer": Column(type="id"),
        "tier": Column(type="category", values=["gold", "silver", "plain", "other"]),
    },
)
# party → person → the number of the person's list there
Listed = Mapping[str, Mapping[int, int]]


def facts_of(*parties: str, segments: int | None = 3, people_cap: int = 100_000, **more: Any) -> Facts:
    features = ("baskets", "spend_cents", "usable")
    return Facts(**{
        "parties": parties, "people_cap": people_cap, "table": TABLE, "features": features, "keyed": True,
        "segments": segments, **more,
    })  # fmt: skip


def question_of(by: str = "segments", *, sizes: int = 4_000_000, pairs: int = 24_000_000, **more: Any) -> overlap.Plan:
    lists = {"by": by, "column": "tier"} if by == "column" else {"by": by}
    return overlap.Plan.model_validate({"rho": {"sizes": sizes, "pairs": pairs}, "lists": lists, **more})


def exact_sizes(question: overlap.Plan, facts: Facts, listed: Listed) -> Integers:
    """(slots,) of `overlap-sizes`, the last for nobody."""
    found = [
        sum(1 for at in listed[party].values() if at == number)
        for party in facts.parties
        for number in range(len(overlap.list_names(question, facts, party)))
    ]
    return np.array([*found, 0], dtype=np.int64)


def exact_cells(question: overlap.Plan, facts: Facts, listed: Listed) -> Integers:
    """(slots,) of `overlap`."""
    found = []
    for a, b in overlap.pairs(facts.parties):
        wide = len(overlap.list_names(question, facts, b))
        cells = np.zeros((len(overlap.list_names(question, facts, a)), wide), dtype=np.int64)
        for person, at in listed[a].items():
            if person in listed[b]:
                cells[at, listed[b][person]] += 1
        found.append(cells.ravel())
    return np.concatenate(found)
