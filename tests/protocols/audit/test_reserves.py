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
