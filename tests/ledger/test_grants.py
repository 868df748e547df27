"""How much may be spent: each rule of a grant; and who must cosign as members come and go."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.errors import IntegrityError, Refused
from protocols.ledger.cosigners import check_cosigners, cosigners_needed
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Balance
from tests.ledger import builder, changing
from tests.ledger.changing import NEW_BLOCK, ORIGIN, Room, refused

COST = 18_000_000


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def accounts(room: Room) -> Accounts:
    return room.accounts()


# --- grants -----------------------------------------------------------------------------------------------------------


def test_a_cap_is_raised_by_the_party_whose_data_it_is_alone(room, accounts) -> None:
    refused(accounts, room.grant(accounts, by=["beta"]), "must be signed by exactly alpha, not by beta")
    refused(accounts, room.grant(accounts, by=["alpha", "beta"]), "must be signed by exactly alpha")
    wrong = {"alpha": room.grant(accounts, by=["beta"]).signatures["beta"]}
    refused(accounts, room.grant(accounts, signatures=wrong), "does not verify", IntegrityError)
    accounts.apply(room.round(accounts))
    before = accounts.balances()
    accounts.apply(
        room.grant(accounts, {"alpha": {"q1": 70_000_000, LIFETIME: 160_000_000}, "beta": {"q2": 60_000_001}})
    )
    after = accounts.balances()
    assert {at for at in after if after[at] != before[at]} == {("alpha", "q1"), ("alpha", LIFETIME), ("beta", "q2")}
    assert after["alpha", "q1"] == Balance(70_000_000, COST)


def test_a_cap_only_rises(room, accounts) -> None:
    for cap in (60_000_000, 59_999_999, 1):
        refused(accounts, room.grant(accounts, {"alpha": {"q1": cap}}), "never lowers it")
    refused(accounts, room.grant(accounts, {"alpha": {"q9": 1}}), "no block q9")
    refused(accounts, room.grant(accounts, {"delta": {"q1": 10**9}}, by=["alpha"]), "delta is not a party")
    with pytest.raises(IntegrityError, match="alpha"):
        room.grant(accounts, {"alpha": {}})


def test_what_a_person_may_lose_is_raised_by_all(room, accounts) -> None:
    caps = {PERSON: {"q1": 200_000_000, LIFETIME: 500_000_000}}
    refused(accounts, room.grant(accounts, caps, by=["alpha", "beta"]), "signed by exactly alpha, beta, gamma")
    accounts.apply(room.grant(accounts, caps))
    assert accounts.balance(PERSON, "q1").cap == 200_000_000
    assert accounts.balance(PERSON, LIFETIME).cap == 500_000_000


def test_a_new_block_has_days_that_no_block_has_had(room, accounts) -> None:
    for days in ({"first": "2017-09-30", "last": "2017-12-31"}, {"first": "2016-01-01", "last": "2018-01-01"},
                 {"first": "2017-02-01", "last": "2017-02-01"}):  # fmt: skip
        refused(accounts, room.new_block(accounts, block=days), "shares its name or a day")
    refused(accounts, room.new_block(accounts, "q1"), "shares its name or a day")
    two = {"q4": NEW_BLOCK, "q5": {"first": "2017-12-31", "last": "2018-03-31"}}
    caps = {who: {"q4": 1, "q5": 1} for who in (*builder.PARTIES, PERSON)}
    refused(accounts, room.grant(accounts, caps, blocks=two), "shares its name or a day")
    with pytest.raises(IntegrityError, match="no block can be named lifetime"):
        room.new_block(accounts, LIFETIME)


def test_a_new_block_is_signed_by_all_and_has_a_cap_for_everybody(room, accounts) -> None:
    refused(accounts, room.new_block(accounts, by=["alpha", "beta"]), "signed by exactly alpha, beta, gamma")
    whole = {who: {"q4": 60_000_000} for who in (*builder.PARTIES, PERSON)}
    for who in whole:
        few = {name: row for name, row in whole.items() if name != who}
        refused(accounts, room.new_block(accounts, caps=few), f"no cap of {who} for every new block")
    accounts.apply(room.new_block(accounts))
    assert accounts.balance("beta", "q4") == Balance(60_000_000, 0)
    accounts.apply(room.dataset(accounts.size, "alpha", version="0" * 32, blocks=["q1", "q4"]))
    refused(
        accounts, room.join(accounts, "delta", caps={**dict.fromkeys(builder.BLOCKS, 1), LIFETIME: 1}), "caps of delta"
    )


def test_nobody_raises_the_cap_of_a_revoked_party_in_an_old_block(room, accounts) -> None:
    """Not even all others with a new block or a person's cap beside it, where its own signature is not asked for."""
    accounts.apply(room.revoke(accounts, "gamma"))
    both = {who: {"q4": 1} for who in (*builder.PARTIES, PERSON)}
    for block in ("q1", LIFETIME):
        caps = {**both, "gamma": {"q4": 1, block: 10**9}}
        refused(accounts, room.new_block(accounts, caps=caps), f"gamma has no key in force to raise its cap in {block}")
        caps = {PERSON: {"q1": 10**9}, "gamma": {block: 10**9}}
        refused(accounts, room.grant(accounts, caps), f"gamma has no key in force to raise its cap in {block}")
    accounts.apply(room.new_block(accounts))
    assert accounts.balance("gamma", "q4").cap == 60_000_000


# --- cosigners by epoch -----------------------------------------------------------------------------------------------


def names_needed(accounts: Accounts, entry: Any) -> tuple[set[str], int]:
    first = cosigners_needed([entry], accounts)[0]
    return set(first.names), first.least


def test_a_change_is_cosigned_by_all_that_are_in_force_just_after_it(room, accounts) -> None:
    for made, parties in (
        (lambda: room.join(accounts, "delta"), {"alpha", "beta", "delta", "gamma"}),
        (lambda: room.rotate(accounts, "beta", "second"), {"alpha", "beta", "delta", "gamma"}),
        (lambda: room.revoke(accounts, "alpha"), {"beta", "delta", "gamma"}),
        (lambda: room.grant(accounts, {"beta": {"q1": 70_000_000}}), {"beta", "delta", "gamma"}),
        (lambda: room.leave(accounts, "delta"), {"beta", "gamma"}),
        (lambda: room.add(accounts, "alpha", "alpha-2"), {"alpha", "beta", "gamma"}),
    ):
        entry = made()
        accounts.apply(entry)
        assert names_needed(accounts, entry) == (parties, len(parties))
        check_cosigners(parties, [entry], accounts)
        for name in parties:
            with pytest.raises(IntegrityError, match=f"the cosignature of {name} is missing"):
                check_cosigners(parties - {name}, [entry], accounts)


def test_members_of_each_size_stay_what_they_were(room, accounts) -> None:
    first = accounts.members
    for made in (lambda: room.join(accounts, "delta"), lambda: room.deny(accounts),
                 lambda: room.rotate(accounts, ORIGIN, "second")):  # fmt: skip
        accounts.apply(made())
    assert [len(accounts.members_at(size).parties) for size in range(1, 9)] == [3] * 5 + [4] * 3
    assert accounts.members_at(7).coordinator == first.coordinator
    assert accounts.members_at(8).coordinator == changing.identity("second").public()
    assert list(accounts.epochs()) == [1, 6, 8]
    with pytest.raises(Refused):
        accounts.members_at(0)


def test_a_round_reserved_before_a_party_left_was_to_be_cosigned_by_it(room, accounts) -> None:
    accounts.apply(room.join(accounts, "delta"))
    reserve = room.round(accounts)
    accounts.apply(reserve)
    leave = room.leave(accounts, "delta")
    accounts.apply(leave)
    with pytest.raises(IntegrityError, match="the cosignature of delta is missing"):
        check_cosigners(set(builder.PARTIES), [reserve, leave], accounts)
    check_cosigners(set(builder.PARTIES), [leave], accounts)


def test_statements_need_the_quorum_and_where_fewer_are_in_force_them_all(room, accounts) -> None:
    deny = room.deny(accounts)
    accounts.apply(deny)
    check_cosigners({"alpha", "beta"}, [deny], accounts)
    with pytest.raises(IntegrityError, match="fewer than the quorum of 2"):
        check_cosigners({"alpha"}, [deny], accounts)
    accounts.apply(room.revoke(accounts, "alpha"))
    accounts.apply(room.revoke(accounts, "beta"))
    later = room.deny(accounts, parties=[])
    accounts.apply(later)
    check_cosigners({"gamma"}, [later], accounts)
    with pytest.raises(IntegrityError, match="the cosignature of gamma is missing"):
        check_cosigners({"alpha"}, [later], accounts)
