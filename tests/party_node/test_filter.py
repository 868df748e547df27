"""The party's own budget: over all its rooms, by the day, and never given back once it is spent."""

from __future__ import annotations

import datetime as dt
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.filter import DAY_S, Charge, Filter
from protocols.errors import Refused
from protocols.ledger.entries import decode
from protocols.ledger.statements import Deny
from protocols.schema import Block

CAP = 100
PLAN, OTHER_PLAN = "a" * 64, "b" * 64


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Filter]:
    budget = Filter(tmp_path / "accounts.db", CAP)
    yield budget
    budget.close()


def block(first: int, last: int) -> Block:
    """Days of January 2017."""
    return Block(first=f"2017-01-{first:02}", last=f"2017-01-{last:02}")


def charge(round_id: str, nano: int, *blocks: Block, room: str = "one", plan: str = PLAN, expires: int = 60) -> Charge:
    return Charge(room, round_id, plan, blocks or (block(1, 31),), nano, expires)


def hold(budget: Filter, round_id: str, nano: int, *blocks: Block, room: str = "one", now: int = 0) -> None:
    budget.hold(charge(round_id, nano, *blocks, room=room, expires=now + 60), now)


def spend(budget: Filter, round_id: str, nano: int, *blocks: Block, room: str = "one", now: int = 0) -> None:
    budget.spend([charge(round_id, nano, *blocks, room=room)], now)


def worst(budget: Filter, *blocks: Block, now: int = 0) -> int:
    return budget.worst_day(list(blocks or [block(1, 31)]), now)


def test_a_budget_can_be_used_to_its_last_nano_and_not_beyond(accounts: Filter) -> None:
    hold(accounts, "1", 60)
    hold(accounts, "2", 40)
    with pytest.raises(Refused, match="does not bear it"):
        hold(accounts, "3", 1)


def test_a_refusal_does_not_tell_a_room_how_much_others_have_used(accounts: Filter) -> None:
    hold(accounts, "1", 60, room="one")
    with pytest.raises(Refused) as refused:
        hold(accounts, "2", 41, room="two")
    assert not any(char.isdigit() for char in refused.value.diagnostics())


def test_one_day_in_common_is_enough_for_charges_to_add_up(accounts: Filter) -> None:
    hold(accounts, "1", 60, block(1, 15))
    hold(accounts, "2", 60, block(16, 31))
    for room, days in (("one", block(15, 15)), ("two", block(10, 20)), ("three", block(1, 31))):
        with pytest.raises(Refused):
            hold(accounts, "3", 41, days, room=room)
    hold(accounts, "3", 40, block(10, 20), room="two")


def test_a_hold_over_several_blocks_is_taken_whole_or_not_at_all(accounts: Filter) -> None:
    hold(accounts, "1", 60, block(16, 31))
    with pytest.raises(Refused):
        hold(accounts, "2", 60, block(1, 15), block(16, 31))
    assert worst(accounts, block(1, 15)) == 0


def test_a_hold_lapses_after_its_expiry_and_not_in_its_last_second(accounts: Filter) -> None:
    hold(accounts, "1", 100)
    with pytest.raises(Refused):
        hold(accounts, "2", 1, now=60)
    hold(accounts, "2", 1, now=61)
    assert worst(accounts, now=61) == 1


def test_a_lapsed_hold_counts_for_nothing_even_before_it_is_removed(accounts: Filter) -> None:
    hold(accounts, "1", 30, now=1)
    assert (worst(accounts, now=61), accounts.used_by("one", 61, plan=PLAN)) == (30, 30)
    assert (worst(accounts, now=62), accounts.used_by("one", 62, plan=PLAN)) == (0, 0)


def test_a_spend_never_lapses(accounts: Filter) -> None:
    hold(accounts, "1", 100)
    spend(accounts, "1", 100)
    with pytest.raises(Refused):
        hold(accounts, "2", 1, now=10**12)
    assert accounts.is_spent("one", "1")


def test_a_hold_is_no_spend_and_a_round_that_is_unknown_is_none(accounts: Filter) -> None:
    hold(accounts, "1", 10)
    assert not accounts.is_spent("one", "1")
    assert not accounts.is_spent("one", "2")
    spend(accounts, "1", 10)
    assert accounts.is_spent("one", "1")
    assert not accounts.is_spent("two", "1")


def test_holding_and_spending_the_same_round_again_costs_nothing_more(accounts: Filter) -> None:
    for _ in range(3):
        hold(accounts, "1", 60)
    for _ in range(3):
        spend(accounts, "1", 60)
    hold(accounts, "1", 60)
    assert worst(accounts) == 60
    assert accounts.is_spent("one", "1")


def test_the_same_round_at_another_price_is_refused(accounts: Filter) -> None:
    hold(accounts, "1", 60)
    for nano in (59, 61):
        with pytest.raises(Refused, match="another charge"):
            hold(accounts, "1", nano)
        with pytest.raises(Refused, match="another charge"):
            spend(accounts, "1", nano)


def test_a_round_held_for_one_plan_is_not_taken_for_anothers(accounts: Filter) -> None:
    hold(accounts, "1", 60)
    other = charge("1", 60, plan=OTHER_PLAN)
    with pytest.raises(Refused, match="another plan"):
        accounts.hold(other, 0)
    with pytest.raises(Refused, match="another plan"):
        accounts.spend([other], 0)


def test_several_rounds_are_spent_together_or_none_of_them(accounts: Filter) -> None:
    with pytest.raises(Refused):
        accounts.spend([charge("1", 60), charge("2", 41)], 0)
    assert (worst(accounts), accounts.spent_rounds("one")) == (0, set())
    accounts.spend([charge("1", 60), charge("2", 40)], 0)
    assert accounts.spent_rounds("one") == {"1", "2"}


def test_what_a_plan_has_used_is_counted_once_a_round_and_for_its_room_alone(accounts: Filter) -> None:
    hold(accounts, "1", 10, block(1, 10), block(11, 20), now=1)
    spend(accounts, "1", 10, block(1, 10), block(11, 20), now=1)
    hold(accounts, "2", 20, now=1)
    hold(accounts, "3", 40, room="two", now=1)
    assert accounts.used_by("one", 1, plan=PLAN) == accounts.used_by("one", 1) == 30
    assert accounts.used_by("one", 1, plan=PLAN, but="2") == 10
    assert accounts.used_by("two", 1, plan=PLAN) == 40
    assert accounts.used_by("one", 1, plan=OTHER_PLAN) == 0


def test_a_round_counts_from_its_hold_on_for_so_many_days_and_its_spend_does_not_make_it_younger(
    accounts: Filter,
) -> None:
    hold(accounts, "1", 10, now=1000)
    spend(accounts, "1", 10, now=1050)
    assert accounts.used_by("one", 1000 + DAY_S - 1, days=1) == 10
    assert accounts.used_by("one", 1000 + DAY_S, days=1) == 0
    assert accounts.used_by("one", 1000 + DAY_S, days=2) == accounts.used_by("one", 10**12) == 10


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM charge",
        "UPDATE charge SET nano = 1",
        "UPDATE charge SET state = 'held'",
        "UPDATE charge SET last = '2017-01-01'",
        "INSERT INTO charge VALUES('one', '9', 'p', '2017-01-01', '2017-01-01', 0, 'spent', 0, 0)",
        "INSERT INTO charge VALUES('one', '9', 'p', '2017-01-01', '2017-01-01', -5, 'spent', 0, 0)",
    ],
)
def test_the_file_itself_refuses_to_take_a_spend_back(accounts: Filter, tmp_path: Path, statement: str) -> None:
    spend(accounts, "1", 60)
    db = sqlite3.connect(tmp_path / "accounts.db")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)
    db.close()


def test_processes_that_race_for_one_budget_never_pass_its_cap(tmp_path: Path) -> None:
    def work(worker: int) -> int:
        budget = Filter(tmp_path / "accounts.db", CAP)
        granted = 0
        for i in range(15):
            try:
                hold(budget, f"{worker}-{i}", 7, room=f"room-{worker}")
            except Refused:
                continue
            granted += 7
        budget.close()
        return granted

    with ThreadPoolExecutor(4) as pool:
        granted = sum(pool.map(work, range(4)))
    assert granted == 98


DAYS = st.tuples(st.integers(1, 31), st.integers(1, 31)).map(sorted)
CHARGES = st.lists(st.tuples(DAYS, st.integers(1, 50)), max_size=12)


@given(charges=CHARGES, asked=DAYS)
@settings(max_examples=40, deadline=None)
def test_the_worst_day_is_the_worst_of_all_days_counted_one_by_one(
    charges: list[tuple[list[int], int]], asked: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        budget = Filter(Path(folder) / "accounts.db", 10**6)
        budget._db.execute("PRAGMA synchronous=OFF")
        for i, ((first, last), nano) in enumerate(charges):
            hold(budget, str(i), nano, block(first, last))
        found = worst(budget, block(*asked))
        budget.close()
    loads = [sum(n for (a, b), n in charges if a <= d <= b) for d in range(asked[0], asked[1] + 1)]
    assert found == max(loads)


# -- two rooms, one party ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("year", "2017-01-01", "2017-12-31"), ("q4", "2017-12-31", "2018-03-31"), ("long", "2015-01-01", "2017-01-01")],
)
def test_a_second_rooms_round_is_refused_where_both_would_pass_one_partys_budget(
    lab: ModuleType, tmp_path: Path, name: str, first: str, last: str
) -> None:
    """Under any name, and for one day in common: the accounts of a party are one file for all its rooms."""
    accounts = str(tmp_path / "{party}.db")
    blocks, as_of = {name: {"first": first, "last": last}}, str(dt.date.fromisoformat(last) + dt.timedelta(1))
    features = {"as_of": as_of, "discount_depth_percent": 15}
    here = lab.make(tmp_path / "here", accounts=accounts)
    there = lab.make(tmp_path / "there", room="other", accounts=accounts, block=(name, first, last), features=features)
    plan = lab.plan(room="other", blocks=blocks, features=features)
    with lab.Room(here) as one, lab.Room(there, plan) as two:
        one.run()
        two.run()
        for room in (one, two):
            size = room.book.size
            with pytest.raises(Refused, match="over all its rooms"):
                room.run()
            (denied,) = map(decode, room.book.entries(size))  # that it was refused, and by whom, is written down
            assert isinstance(denied, Deny)
            assert denied.reason == "not-held"
        days: list[Any] = list(two.nodes["alpha"].room.blocks.values())
        assert two.nodes["alpha"].filter.worst_day(days, lab.START) == 2 * lab.RHO


def test_rooms_about_different_days_each_have_the_whole_budget(lab: ModuleType, tmp_path: Path) -> None:
    accounts = str(tmp_path / "{party}.db")
    block_, as_of = ("next", "2018-01-01", "2018-12-31"), {"as_of": "2019-01-01", "discount_depth_percent": 15}
    here = lab.make(tmp_path / "here", accounts=accounts)
    there = lab.make(tmp_path / "there", room="other", accounts=accounts, block=block_, features=as_of)
    plan = lab.plan(room="other", blocks={"next": {"first": block_[1], "last": block_[2]}}, features=as_of)
    with lab.Room(here) as one, lab.Room(there, plan) as two:
        for room in (one, two, one, two):
            assert len(room.run()) == 2
