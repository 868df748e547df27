"""What a reserve costs one person at all parties: each share's noise alone, however many honest ones are counted on.

Five parties, one may collude, four must survive: a record's charge counts on three honest shares, ρ 0.018 a round. One
person known to all five is charged 5 · 3 · 0.018 = 0.27, not 5 · 0.018 = 0.09.
"""

from __future__ import annotations

from typing import Any

import pytest

from protocols.errors import Refused
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts

RECORD, PERSONS = 18_000_000, 270_000_000


@pytest.fixture
def five(built: Any) -> Any:
    return built.Room(built.FIVE, collusion=1, quorum=4)


def opened(room: Any, **caps: Any) -> Accounts:
    whole = room.genesis().body()["caps"]
    generous = {"person": dict.fromkeys(whole["person"], 10**10), "lifetime_person": 10**11}
    room_of = Accounts()
    for entry in (room.genesis(caps={**whole, **generous, **caps}), *room.opening()[1:]):
        room_of.apply(entry)
    return room_of


def test_a_round_is_charged_to_a_person_by_each_share_alone_in_each_of_its_blocks(five: Any) -> None:
    accounts = opened(five)
    accounts.apply(five.reserve(7))
    assert five.plan.charge == RECORD
    assert five.plan.charge_person == PERSONS
    assert [accounts.balance("delta", block).spent for block in ("q1", "q2", "q3")] == [RECORD, RECORD, 0]
    assert [accounts.balance(PERSON, block).spent for block in ("q1", "q2", "q3")] == [PERSONS, PERSONS, 0]
    assert accounts.balance(PERSON, LIFETIME).spent == 2 * PERSONS
    accounts.apply(five.reserve(8, "two", blocks=["q2"]))
    assert [accounts.balance(PERSON, block).spent for block in ("q1", "q2")] == [PERSONS, 2 * PERSONS]
    assert accounts.balances()[PERSON, LIFETIME].spent == 3 * PERSONS


def test_where_one_honest_share_is_counted_on_a_person_pays_what_the_parties_are_charged_together(built: Any) -> None:
    for parties, trust in ((built.PARTIES, {}), (built.FIVE, {"collusion": 4, "quorum": 5})):
        room = built.Room(parties, **trust)
        accounts = opened(room)
        accounts.apply(room.reserve(accounts.size))
        together = sum(accounts.balance(party, "q1").spent for party in parties)
        assert accounts.balance(PERSON, "q1").spent == together == len(parties) * RECORD


@pytest.mark.parametrize("short", [0, 1])
def test_a_cap_of_a_person_is_passed_although_what_the_parties_are_charged_together_would_fit(
    five: Any, short: int
) -> None:
    accounts = opened(five, person={"q1": PERSONS - short, "q2": 10**10, "q3": 0})
    assert PERSONS - short > 5 * RECORD
    if short:
        with pytest.raises(Refused, match="the person budget in q1 would be passed: ρ 0 spent, 0.27 asked"):
            accounts.apply(five.reserve(7))
    else:
        accounts.apply(five.reserve(7))
        with pytest.raises(Refused, match="the person budget in q1 would be passed: ρ 0.27 spent, 0.27 asked"):
            accounts.apply(five.reserve(8, "two"))


@pytest.mark.parametrize("short", [0, 1])
def test_a_cap_of_a_person_over_a_lifetime_counts_every_block(five: Any, short: int) -> None:
    accounts = opened(five, lifetime_person=2 * PERSONS - short)
    if short:
        with pytest.raises(Refused, match="the lifetime person budget would be passed: ρ 0 spent, 0.54 asked"):
            accounts.apply(five.reserve(7))
    else:
        accounts.apply(five.reserve(7))


def test_a_draft_is_checked_against_the_caps_of_a_person_before_anybody_signs_it(five: Any) -> None:
    accounts = opened(five, person={"q1": PERSONS, "q2": PERSONS, "q3": 0})
    charge = {party: {"q1": RECORD, "q2": RECORD} for party in five.parties}
    accounts.check_caps(charge, PERSONS)
    with pytest.raises(Refused, match="the person budget in q"):
        accounts.check_caps(charge, PERSONS + 1)
