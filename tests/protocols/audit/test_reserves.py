"""A reserve that everybody signed is a violation where its plan had lapsed or its datasets are not the plan's."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.protocols.audit.members import first

LAST_DAY = dt.datetime(2031, 12, 31, 23, 59, 59, tzinfo=dt.UTC)  # of the room's plan


def test_a_reserve_after_the_last_day_of_its_plan_is_a_violation(verdict: Any, room: Any, colluding: Any) -> None:
    last, late = int(LAST_DAY.timestamp()), int(LAST_DAY.timestamp()) + 1
    assert verdict(colluding(room.reserve(5, time=last, expires=last + 60))).violations == ()
    name, where, what = first(verdict(colluding(room.reserve(5, time=late, expires=late + 60))))
    assert (name, where, what) == ("mechanisms", "entry 5", "its plan was valid until 2031-12-31")


@pytest.mark.parametrize("change", [{"people_cap": 4999}, {"schema_digest": "ab" * 32}])
def test_a_reserve_of_a_dataset_of_another_table_or_cap_than_the_plans_is_a_violation(
    verdict: Any, room: Any, built: Any, colluding: Any, change: dict[str, Any]
) -> None:
    version = built.hex16("new data of beta")
    dataset = room.dataset(5, "beta", version=version, **change)
    datasets = {party: built.hex16(f"data of {party}") for party in built.PARTIES} | {"beta": version}
    name, where, what = first(verdict(colluding(dataset, room.reserve(6, datasets=datasets))))
    assert (name, where) == ("mechanisms", "entry 6")
    assert what == "the dataset of beta is of another table or cap than its plan"


def test_each_reserve_with_other_noise_than_the_plans_is_a_violation(
    verdict: Any, room: Any, built: Any, colluding: Any
) -> None:
    """Before one that is right, between two, and after one; by more noise, which alone makes it cheaper."""

    def other(seq: int, label: str) -> Any:
        steps = room.steps(label)
        noise = {**steps[0]["mechanism"], "variance": "500"}
        cost = built.cost(noise["sensitivity_sq"], 500_000_000, noise["quorum"], noise["collusion"])
        return room.reserve(seq, label, steps=[{**steps[0], "mechanism": noise, "charge": cost}, *steps[1:]])

    right = colluding(*[room.reserve(5 + i, f"round {i}") for i in range(3)])
    assert verdict(right).violations == ()
    for wrong in ({5}, {6}, {7}, {5, 6}, {5, 7}):
        made = [(other if seq in wrong else room.reserve)(seq, f"round {seq}") for seq in (5, 6, 7)]
        found = verdict(colluding(*made)).violations
        assert [problem.where for problem in found] == [f"entry {seq}" for seq in sorted(wrong)]
        assert {problem.what for problem in found} == {"its steps, noise or charges are not those of its plan"}
