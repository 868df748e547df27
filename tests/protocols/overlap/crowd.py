"""People in lists of several parties, counted one by one: what the question's figures are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from protocols import release
from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.questions import overlap
from protocols.schema import Column, Schema
from protocols.statistic import Facts, Integers

TABLE = Schema(
    name="sales",
    columns={
        "basket": Column(type="id"),
        "bought_on": Column(type="date"),
        "paid": Column(type="money", low=-10000, high=10000),
        "discount": Column(type="money", low=-10000, high=10000),
        "customer": Column(type="id"),
        "basket": Column(type="id"),
        "bought_on": Column(type="date"),
        "paid": Column(type="money", low=-10_000, high=10_000),
        "discount": Column(type="money", low=-10_000, high=10_000),
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


SHOPS = ("baker", "grocer", "jeweller")


def plan_of(question: overlap.Plan, parties: Sequence[str] = SHOPS[:2], **more: Any) -> Plan:
    """A whole plan that asks it, after a question for three segments where it needs them."""
    features = [{"name": name, "transform": "identity", "low": 0, "high": 9} for name in ("baskets", "tenure_days")]
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    segments = {"kind": "segments", "rho": rho, "features": features, "clusters": 3, "lloyd_rounds": 1,
                "coarse_cells": 8, "fine_cells": 8}  # fmt: skip
    document = {
        "type": "plan@v1", "room": "shop-room", "name": "shared", "purpose": "know whom we share",
        "parties": list(parties), "recipients": list(parties), "valid_until": "2031-12-31", "delta": "0.000001",
        "rho": 10**9, "blocks": {"q1": {"first": "2017-01-01", "last": "2017-03-31"}},
        "features": {"as_of": "2017-07-01", "discount_depth_percent": 15}, "table": TABLE.body(),
        "collusion": len(parties) - 1, "quorum": len(parties), "deadline_s": 60, "answer_after_s": 1,
        "people_cap": 50_000, "people": {"column": "customer", "key": "email"},
        "questions": [*([segments] if question.lists.by == "segments" else []), question.body()], **more,
    }  # fmt: skip
    return Plan.from_bytes(canonical(document))


def bodies_of(plan: Plan, sizes: Sequence[int], cells: Sequence[int]) -> list[release.Body]:
    """The releases of both steps, as of made-up noised vectors."""
    found: list[release.Body] = []
    for step, noised in (("overlap-sizes", sizes), ("overlap", cells)):
        found.append(
            release.compose(
                plan,
                round_id="0a" * 16,
                step=step,
                nonce="1b" * 16,
                noised=np.asarray(noised, np.int64),
                survivors=list(plan.parties),
                earlier={body.step: body.released for body in found},
                salt=bytes(32),
            )
        )
    return found
