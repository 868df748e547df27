"""A round's next step starts from its last release, and its first step from its plan."""

from __future__ import annotations

from typing import Any

from protocols.ledger.state import state_of


def test_a_step_starts_from_the_plan_and_then_from_each_release_in_turn(room: Any, built: Any) -> None:
    accounts, label = room.accounts(room.reserve(5)), built.hex16("one")
    assert state_of(accounts.rounds[label]) == room.plan.digest
    for seq, step in enumerate(("rfm-cuts", "rfm-cohorts"), 6):
        entry = room.commit(seq, step=step)
        accounts.apply(entry)
        assert state_of(accounts.rounds[label]) == entry.digest


def test_a_forfeit_changes_nothing_about_where_a_step_would_start(room: Any, built: Any) -> None:
    accounts = room.accounts(room.reserve(5), room.forfeit(6))
    assert state_of(accounts.rounds[built.hex16("one")]) == room.plan.digest
