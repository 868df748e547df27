"""What may be spent and released, by the second auditor: every entry here is signed by whom it should be, and breaks
one rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols import verify
from protocols.budget import micro
from protocols.ledger import entries
from tests.ledger import builder
from tests.ledger.builder import PARTIES, START, Room, hex16

Entry = entries.Entry
Case = Callable[[Room], tuple[list[Entry], Entry]]
COST = 18_000_000


def ledger_of(*whole: Entry) -> verify.Ledger:
    ledger = verify.Ledger()
    for entry in whole:
        line = entries.encode(entry)
        ledger.take(verify.read_entry(line), line)
    return ledger


def steps_with(room: Room, *, charged: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """The plan's steps, the first with another mechanism, at what that costs (and `charged` more)."""
    first, *others = room.steps("one")
    noise = {**first["mechanism"], **changes}
    cost = builder.cost(noise["sensitivity_sq"], micro(noise["variance"]), noise["quorum"], noise["collusion"])
    return [{**first, "mechanism": noise, "charge": cost + charged}, *others]


def charge(**beta: int) -> dict[str, dict[str, int]]:
    return {"alpha": {"q1": COST, "q2": COST}, "beta": beta, "gamma": {"q1": COST, "q2": COST}}


def of_two(room: Room) -> Entry:
    body = room.plan_entry(5, "ab" * 32).body()
    approvals = {name: body["approvals"][name] for name in ("alpha", "beta")}
    return entries.build({**body, "parties": ["alpha", "beta"], "approvals": approvals})


DATA = {party: hex16(f"data of {party}") for party in PARTIES}
BROKEN: dict[str, Case] = {
    "no plan of the ledger": lambda room: ([], room.reserve(5, plan="ab" * 32)),
    "no plan of the ledger, or of others": lambda room: ([of_two(room)], room.reserve(6, plan="ab" * 32)),
    "it expires before it begins": lambda room: ([], room.reserve(5, expires=START + 5)),
    "a round": lambda room: ([room.reserve(5)], room.reserve(6, steps=room.steps("other"))),
    "a nonce": lambda room: ([room.reserve(5), room.forfeit(6)], room.reserve(7, round=hex16("two"))),
    "charge|cost": lambda room: ([], room.reserve(5, steps=steps_with(room, charged=1))),
    "quorum": lambda room: ([], room.reserve(5, steps=steps_with(room, quorum=2))),
    "who adds noise is not who is charged": lambda room: (
        [], room.reserve(5, steps=steps_with(room, adders=["alpha", "beta"], quorum=2, collusion=1))),
    "not the steps' sum in exactly the blocks": lambda room: ([], room.reserve(5, charge=charge(q1=COST, q2=COST - 1))),
    "not the steps' sum in exactly the blocks ": lambda room: ([], room.reserve(5, charge=charge(q1=COST))),
    "not the last data of each": lambda room: ([], room.reserve(5, datasets={**DATA, "beta": "0" * 32})),
    "not the last data of each ": lambda room: ([room.dataset(5, "beta", version="0" * 32)], room.reserve(6)),
    "data of other blocks": lambda room: ([], room.reserve(5, blocks=["q1", "q3"])),
    "not its next step, or late": lambda room: ([room.reserve(5)], room.commit(6, step="rfm-cohorts")),
    "not its next step, or late ": lambda room: ([room.reserve(5)], room.commit(6, time=START + 66)),
    "survivors who add no noise": lambda room: (
        [room.reserve(5)], room.commit(6, survivors=["alpha", "beta", "delta"])),
    "fewer survivors than the quorum": lambda room: ([room.reserve(5)], room.commit(6, survivors=["alpha", "beta"])),
    "a release": lambda room: (
        [room.reserve(5), room.commit(6), room.forfeit(7), room.reserve(8, "two")],
        room.commit(9, "two", digest=room.commit(6).body()["digest"])),
    "a version of data": lambda room: ([], room.dataset(5, "beta")),
    "a block that the room has not": lambda room: ([], room.dataset(5, "beta", version="0" * 32, blocks=["q1", "q9"])),
    "a plan": lambda room: ([], room.plan_entry(5)),
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_an_entry_that_breaks_one_rule_is_refused_for_it(words: str) -> None:
    room = Room()
    before, entry = BROKEN[words](room)
    ledger = ledger_of(*room.opening(), *before)
    with pytest.raises(verify.Violation, match=words.strip()):
        ledger.take(verify.read_entry(entries.encode(entry)), entries.encode(entry))


def test_what_is_just_within_the_rules_is_taken() -> None:
    room = Room()
    last = room.reserve(5).body()["expires"]
    ledger = ledger_of(*room.opening(), room.reserve(5), room.commit(6, time=last))
    assert ledger.spent["alpha", "q1"] == COST
    assert ledger.spent["person", "q1"] == 3 * COST
    assert ledger_of(*room.opening(), room.dataset(5, "beta", version="0" * 32)).roots


@pytest.mark.parametrize(("who", "at", "spent"), [("alpha", "q2", COST), ("person", "q2", 3 * COST)])
@pytest.mark.parametrize("short", [0, 1])
def test_all_of_a_cap_may_be_spent_and_no_millionth_more(who: str, at: str, spent: int, short: int) -> None:
    room = Room()
    caps = room.genesis().body()["caps"]
    if who == "person":
        caps["person"] = {**caps["person"], at: spent - short}
    else:
        caps["record"] = {**caps["record"], who: {**caps["record"][who], at: spent - short}}
    opening = [room.genesis(caps=caps), *room.opening()[1:]]
    ledger, line = ledger_of(*opening), entries.encode(room.reserve(5))
    if not short:
        ledger.take(verify.read_entry(line), line)
        assert ledger.spent[who, at] == spent
    else:
        with pytest.raises(verify.Violation):
            ledger.take(verify.read_entry(line), line)
