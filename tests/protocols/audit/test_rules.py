"""What everybody signed is still a violation when rules, plans, mechanisms or budgets are against it."""

from __future__ import annotations

import pytest

from protocols import audit, bundle
from protocols.budget import MICRO, decimal, micro
from protocols.encoding import canonical, digest
from protocols.ledger.state import Balance
from tests.protocols.audit.members import first


def test_what_everybody_signed_against_the_rules_is_still_a_violation(verdict, room, colluding) -> None:
    rounds = [room.reserve(5 + i, f"round {i}") for i in range(4)]
    name, where, what = first(verdict(colluding(*rounds)))
    assert (name, where) == ("rules", "entry 8")
    assert "the record budget of alpha in q1 would be passed" in what
    assert verdict(colluding(*rounds[:3])).violations == ()


def test_plans_are_all_here_whole_and_no_others(verdict, clean, room) -> None:
    file = bundle.plan_name(room.plan.digest)
    assert first(verdict({n: d for n, d in clean.items() if n != file})) == (
        "plans", file, "the plan of entry 4 is not in the bundle",
    )  # fmt: skip
    other = clean[file].replace(b"cohorts", b"clients")
    assert first(verdict({**clean, file: other})) == ("plans", file, "it has another digest than its name")
    orphan = bundle.plan_name(digest(other))
    assert first(verdict({**clean, orphan: other})) == ("plans", orphan, "no entry approves this plan")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"room": "other-room"}, "another room"),
        ({"parties": ["alpha", "beta"], "recipients": ["alpha", "beta"], "collusion": 1, "quorum": 2}, "other parties"),
        ({"blocks": {"q1": {"first": "2017-01-01", "last": "2017-03-30"}}}, "its block q1"),
        ({"blocks": {"q9": {"first": "2017-01-01", "last": "2017-03-30"}}}, "its block q9"),
        ({"delta": "0.1"}, "delta"),
        ({"kind": "x"}, ""),
    ],
)
def test_a_plan_that_does_not_fit_its_entry_is_a_violation(verdict, room, built, colluding, change, what) -> None:
    data = canonical({**built.PLAN, **change})
    file = bundle.plan_name(digest(data))
    members = colluding(room.plan_entry(5, digest(data)), **{file: data})
    name, where, found = first(verdict(members))
    assert (name, where) == ("plans", file)
    assert what in found


def test_a_reserve_with_other_noise_or_blocks_than_its_plan_is_a_violation(verdict, room, built, colluding) -> None:
    steps = room.steps("one")
    noise = {**steps[0]["mechanism"], "variance": decimal(2 * micro(steps[0]["mechanism"]["variance"]), MICRO)}
    charge = built.cost(noise["sensitivity_sq"], micro(noise["variance"]), noise["quorum"], noise["collusion"])
    changed = [{**steps[0], "mechanism": noise, "charge": charge}, steps[1]]
    for entry, what in (
        (room.reserve(5, steps=changed), "its steps, noise or charges"),
        (room.reserve(5, steps=steps[:1]), "its steps, noise or charges"),
        (room.reserve(5, steps=steps[::-1]), "its steps, noise or charges"),
        (room.reserve(5, blocks=["q1"]), "other blocks than its plan"),
    ):
        name, where, found = first(verdict(colluding(entry)))
        assert (name, where) == ("mechanisms", "entry 5")
        assert what in found


def test_a_reducer_that_counted_wrong_would_be_found_by_the_second_count(verdict, clean, monkeypatch) -> None:
    honest = audit.Accounts.balances

    def forgetful(self):
        return {**honest(self), ("alpha", "q1"): Balance(60_000_000, 1)}

    monkeypatch.setattr(audit.Accounts, "balances", forgetful)
    name, where, what = first(verdict(clean))
    assert (name, where) == ("budgets", "budget of alpha, q1")
    assert "cost 36000000, charged 1" in what
