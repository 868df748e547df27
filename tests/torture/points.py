"""Where a process can be killed, stopped or have its disk filled: data, and nothing else.

A point is a function of the product, where it is defined, and whether before or after it. `only`: calls whose arguments
say this word. A name that is no function any more is found by `tests/rounds/test_torture.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["party", "coordinator"]
When = Literal["before", "after"]


@dataclass(frozen=True)
class Point:
    """often: how many times about it is passed in a round of two steps."""

    module: str
    attribute: str
    when: When
    role: Role
    often: int = 2
    only: str = ""


def _both(role: Role, name: str, module: str, attribute: str, often: int = 2, only: str = "") -> dict[str, Point]:
    """Before it, and after it."""
    whens: tuple[When, When] = ("before", "after")
    return {f"{name}-{when}": Point(module, attribute, when, role, often, only) for when in whens}


PARTY: dict[str, Point] = {
    # Whatever a node is asked, and whatever it sends and keeps of that.
    **_both("party", "answer", "party_node.node", "Node.answer", 14),
    **_both("party", "claim", "protocols.carrier.journal", "Journal.claim", 14),
    **_both("party", "put-reply", "protocols.carrier.journal", "Journal.put_reply", 14),
    **_both("party", "send", "protocols.carrier.frames", "send", 14),
    # Before a round.
    **_both("party", "hold", "party_node.filter", "Filter.hold", 1),
    **_both("party", "spend", "party_node.filter", "Filter.spend", 1),
    # The ledger.
    **_both("party", "follow", "protocols.logbook", "Logbook.follow", 3),
    **_both("party", "cosign", "party_node.witness", "cosign", 4),
    **_both("party", "keep-cosignature", "protocols.logbook", "Logbook.add_cosignature", 4),
    # A step.
    **_both("party", "prepare", "party_node.participation", "Participation.prepare"),
    **_both("party", "compute", "party_node.contribution", "contribute"),
    **_both("party", "noise", "protocols.noise", "add_noise"),
    **_both("party", "add-drawing", "party_node.store", "Store.add_drawing"),
    **_both("party", "draw-once", "party_node.filter", "Filter.draw_once"),
    **_both("party", "agree", "party_node.participation", "Participation.agree"),
    **_both("party", "agree-once", "party_node.store", "Store.agree_once"),
    **_both("party", "contribute", "party_node.participation", "Participation.contribute"),
    **_both("party", "mask", "protocols.masking", "mask"),
    **_both("party", "add-sent-share", "party_node.store", "Store.add_sent_share"),
    **_both("party", "settle", "party_node.participation", "Participation.settle"),
    **_both("party", "settle-in-accounts", "party_node.filter", "Filter.settle_once"),
    **_both("party", "settle-in-state", "party_node.store", "Store.settle_once"),
    **_both("party", "unmask", "party_node.participation", "Participation.unmask"),
    **_both("party", "forget-drawings", "party_node.store", "Store.forget_drawings"),
    # A release.
    **_both("party", "add-release", "party_node.store", "Store.add_release"),
}

COORDINATOR: dict[str, Point] = {
    # Whatever it asks, and whatever comes back.
    **_both("coordinator", "exchange", "coordinator.grid", "RoomGrid.send_and_receive", 16),
    **_both("coordinator", "c-put-reply", "protocols.carrier.journal", "Journal.put_reply", 40),
    **_both("coordinator", "c-send", "protocols.carrier.frames", "send", 40),
    **_both("coordinator", "forget", "protocols.carrier.journal", "Journal.forget", 1),
    # The ledger.
    **_both("coordinator", "reserve", "coordinator.ledger", "RoomLedger.append", 1, "reserve@v1"),
    **_both("coordinator", "commit", "coordinator.ledger", "RoomLedger.append", 2, "commit@v1"),
    **_both("coordinator", "write", "protocols.logbook", "Logbook.append", 10),
    **_both("coordinator", "sign-checkpoint", "protocols.logbook", "Logbook.sign_checkpoint", 8),
    **_both("coordinator", "add-cosignature", "protocols.logbook", "Logbook.add_cosignature", 9),
    **_both("coordinator", "countersign", "coordinator.ledger", "RoomLedger.countersign", 3),
    # A step.
    **_both("coordinator", "offered", "coordinator.steps", "StepUnderWay._offered"),
    **_both("coordinator", "agreed", "coordinator.steps", "StepUnderWay._agreed"),
    **_both("coordinator", "shares", "coordinator.steps", "StepUnderWay._shares"),
    **_both("coordinator", "check-share", "coordinator.aggregate", "check_share", 6),
    **_both("coordinator", "keep", "coordinator.steps", "StepUnderWay._keep", 4),
    **_both("coordinator", "unmasked", "protocols.recovery", "unmask"),
    **_both("coordinator", "add-up", "coordinator.aggregate", "noised_sum"),
    # A release.
    **_both("coordinator", "compose", "coordinator.release", "commit"),
    **_both("coordinator", "publish", "coordinator.release", "publish_missing"),
    **_both("coordinator", "delivered", "coordinator.release", "mark_delivered", 6),
}

POINTS: dict[str, Point] = {**PARTY, **COORDINATOR}
