"""Every rule of the ledger, one test each, named after the rule; and that a refusal changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.budget import micro
from protocols.errors import IntegrityError, Refused
from protocols.ledger.entries import build
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Balance

COST = 18_000_000  # what the example plan costs a record, in each block


def state(accounts: Accounts) -> object:
    """All it knows; its values never change, its maps do."""
    known = {name: value for name, value in vars(accounts).items() if name != "_undo"}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in known.items()}


@pytest.fixture
def refuse():
    def _refuse(accounts: Accounts, entry, match: str, error: type[Exception] = Refused) -> None:
        before = state(accounts)
        with pytest.raises(error, match=match):
            accounts.apply(entry)
        assert state(accounts) == before

    return _refuse


# --- place ------------------------------------------------------------------------------------------------------------


def test_the_genesis_comes_first(room, refuse) -> None:
    for entry in (room.dataset(0, "alpha"), room.plan_entry(0), room.reserve(0), room.commit(0), room.forfeit(0)):
        refuse(Accounts(), entry, "first entry must be a genesis")


def test_the_genesis_comes_once(room, refuse) -> None:
    refuse(room.accounts(), build({**room.genesis().body(), "seq": 5, "time": 1_700_000_009}), "second genesis")


def test_an_entry_has_the_next_number(room, refuse) -> None:
    for seq in (0, 4, 6):
        refuse(room.accounts(), room.plan_entry(seq, "ab" * 32, time=1_700_000_009), f"entry {seq} where 5 is next")


def test_an_entry_from_the_past_is_refused_and_one_of_the_same_second_is_not(room, refuse) -> None:
    accounts = room.accounts()
    refuse(accounts, room.plan_entry(5, "ab" * 32, time=accounts.time - 1), "entry from the past")
    accounts.apply(room.plan_entry(5, "ab" * 32, time=accounts.time))


# --- datasets and plans -----------------------------------------------------------------------------------------------


def test_a_dataset_is_of_a_party_of_the_room_and_of_its_blocks(room, refuse) -> None:
    refuse(room.accounts(), room.dataset(5, "delta"), "delta is not a party")
    refuse(room.accounts(), room.dataset(5, "alpha", version="0" * 32, blocks=["q9"]), "no block q9")


def test_a_dataset_is_signed_by_its_party(room, refuse) -> None:
    refuse(room.accounts(), room.dataset(5, "alpha", by="beta", version="0" * 32), "alpha", IntegrityError)


def test_a_dataset_version_is_declared_once_so_that_no_old_one_comes_back(room, refuse) -> None:
    accounts = room.accounts(room.dataset(5, "alpha", version="0" * 32))
    refuse(accounts, room.dataset(6, "alpha"), "declared dataset .* before")
    assert accounts.datasets["alpha"].version == "0" * 32


def test_a_plan_enters_once(room, refuse) -> None:
    refuse(room.accounts(), room.plan_entry(5), "already")


def test_a_plan_needs_the_signature_of_each_of_its_parties(room, refuse) -> None:
    body = room.plan_entry(5, "ab" * 32).body()
    body["approvals"]["beta"] = body["approvals"]["alpha"]
    refuse(room.accounts(), build(body), "approval signature of beta", IntegrityError)


def test_an_approval_is_for_one_plan_only(room, refuse) -> None:
    body = {**room.plan_entry(5, "ab" * 32).body(), "plan": "cd" * 32}
    refuse(room.accounts(), build(body), "approval", IntegrityError)


def test_a_plan_has_no_party_from_outside(room, refuse) -> None:
    body = room.plan_entry(5, "ab" * 32).body()
    names = ["alpha", "beta", "delta"]
    body = {**body, "parties": names, "approvals": dict.fromkeys(names, "AAAA")}
    refuse(room.accounts(), build(body), "delta is not a party")


# --- reserve ----------------------------------------------------------------------------------------------------------


def test_a_reserve_is_charged_in_every_balance(room) -> None:
    accounts = room.accounts(room.reserve(5))
    assert accounts.balance("alpha", "q1") == Balance(60_000_000, COST)
    assert accounts.balance("alpha", "q3") == Balance(60_000_000, 0)
    assert accounts.balance("beta", LIFETIME) == Balance(150_000_000, 2 * COST)
    assert accounts.balance(PERSON, "q2") == Balance(180_000_000, 3 * COST)
    assert accounts.balance(PERSON, LIFETIME) == Balance(450_000_000, 6 * COST)
    assert accounts.balance("alpha", "q1").left == 60_000_000 - COST
    assert len(accounts.balances()) == 4 * 4
    assert all(accounts.balance(*at) == balance for at, balance in accounts.balances().items())


def test_a_reserve_is_for_a_known_plan(room, refuse) -> None:
    refuse(room.accounts(), room.reserve(5, plan="ab" * 32), "plan .* is not in the ledger")


def test_a_round_is_reserved_once(room, refuse) -> None:
    accounts = room.accounts(room.reserve(5))
    refuse(accounts, room.reserve(6, steps=room.steps("other")), "round .* already")


def test_a_nonce_is_used_once_in_all_history(room, refuse, built) -> None:
    accounts = room.accounts(room.reserve(5), room.forfeit(6))
    refuse(accounts, room.reserve(7, round=built.hex16("two")), "nonce of step rfm-cuts was used")


def test_a_reserve_expires_after_it_begins(room, refuse) -> None:
    refuse(room.accounts(), room.reserve(5, expires=1_700_000_005), "expires")


def test_a_reserve_names_blocks_of_the_room(room, refuse) -> None:
    refuse(room.accounts(), room.reserve(5, blocks=["q1", "q9"]), "no block q9")


def with_mechanism(room, built, **changes):
    steps = room.steps("one")
    noise = {**steps[0]["mechanism"], **changes}
    charge = built.cost(noise["sensitivity_sq"], micro(noise["variance"]), noise["quorum"], noise["collusion"])
    steps[0] = {**steps[0], "mechanism": noise, "charge": charge}
    return steps


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_step_is_charged_what_its_mechanism_costs(room, refuse, difference) -> None:
    steps = room.steps("one")
    steps[1]["charge"] += difference
    refuse(room.accounts(), room.reserve(5, steps=steps), "step rfm-cohorts is charged .* but costs")


def test_a_share_of_noise_below_sigma_three_is_refused(room, refuse, built) -> None:
    big = {"record": {p: dict.fromkeys(built.BLOCKS, 10**12) for p in built.PARTIES}}
    big["person"], big["lifetime_record"] = dict.fromkeys(built.BLOCKS, 10**13), dict.fromkeys(built.PARTIES, 10**13)
    room.opening = lambda: [
        room.genesis(caps={**big, "lifetime_person": 10**14}),
        *[room.dataset(seq, party) for seq, party in enumerate(built.PARTIES, 1)],
        room.plan_entry(4),
    ]
    below = with_mechanism(room, built, sensitivity_sq=1, variance="8.999999")
    refuse(room.accounts(), room.reserve(5, steps=below), "below 9")
    room.accounts(room.reserve(5, steps=with_mechanism(room, built, sensitivity_sq=1, variance="9")))


def test_a_quorum_is_no_larger_than_those_who_add_noise(room, refuse, built) -> None:
    refuse(room.accounts(), room.reserve(5, steps=with_mechanism(room, built, quorum=4)), "quorum of 4 among 3")


def test_a_quorum_is_so_large_that_two_sets_of_survivors_share_an_honest_party(room, refuse, built) -> None:
    least = "a quorum of 2; with 3 parties of which 2 may collude it must be at least 3"
    refuse(room.accounts(), room.reserve(5, steps=with_mechanism(room, built, quorum=2)), least)
    room.accounts(room.reserve(5, steps=with_mechanism(room, built, collusion=1)))


@pytest.mark.parametrize("collusion", [0, 3])
def test_collusion_is_one_to_all_others(room, refuse, built, collusion) -> None:
    refuse(room.accounts(), room.reserve(5, steps=with_mechanism(room, built, collusion=collusion)), "collusion")


def test_a_lone_contributor_reckons_with_no_collusion(room, built) -> None:
    steps = [
        {**s, "mechanism": {**s["mechanism"], "adders": ["alpha"], "quorum": 1, "collusion": 0}}
        for s in room.steps("one")
    ]
    whole = sum(step["charge"] for step in steps)
    alone = {"charge": {"alpha": {"q1": whole}}, "datasets": {"alpha": built.hex16("data of alpha")}}
    room.accounts(room.reserve(5, steps=steps, blocks=["q1"], **alone))


def test_those_who_add_noise_are_those_who_are_charged(room, refuse, built) -> None:
    steps = with_mechanism(room, built, adders=["alpha", "beta"], quorum=2, collusion=1)
    refuse(room.accounts(), room.reserve(5, steps=steps), "are not those who are charged")


def test_nobody_outside_the_plan_is_charged(room, refuse, built) -> None:
    pair = room.plan_entry(5, "ab" * 32).body()
    names = ["alpha", "beta"]
    pair = build({**pair, "parties": names, "approvals": {name: pair["approvals"][name] for name in names}})
    refuse(room.accounts(pair), room.reserve(6, plan="ab" * 32), "gamma is charged but not in the plan")


def test_every_party_is_charged_the_steps_sum_in_every_block(room, refuse) -> None:
    charge = {party: {"q1": COST, "q2": COST} for party in ("alpha", "beta", "gamma")}
    for row, match in (
        ({"q1": COST}, "exactly the blocks"),
        ({"q1": COST, "q2": COST, "q3": COST}, "exactly the blocks"),
        ({"q1": COST, "q2": COST - 1}, "not the steps' sum"),
        ({"q1": COST + 1, "q2": COST}, "not the steps' sum"),
        ({"q1": 0, "q2": 0}, "not the steps' sum"),
    ):
        refuse(room.accounts(), room.reserve(5, charge={**charge, "beta": row}), match)


def test_the_datasets_are_the_latest_of_exactly_the_charged_parties(room, refuse, built) -> None:
    known = {party: built.hex16(f"data of {party}") for party in built.PARTIES}
    refuse(room.accounts(), room.reserve(5, datasets={**known, "beta": "0" * 32}), "not the latest")
    refuse(room.accounts(), room.reserve(5, datasets={"alpha": known["alpha"]}), "not those of the charged")
    newer = room.accounts(room.dataset(5, "beta", version="0" * 32))
    refuse(newer, room.reserve(6), "not the latest that beta declared")


def test_the_datasets_cover_the_blocks(room, refuse) -> None:
    refuse(room.accounts(), room.reserve(5, blocks=["q1", "q3"]), "does not cover q3")


def capped(room, **caps):
    whole = room.genesis().body()["caps"]
    datasets = [room.dataset(seq, party) for seq, party in enumerate(("alpha", "beta", "gamma"), 1)]
    genesis = room.genesis(caps={**whole, **caps})
    accounts = Accounts()
    for entry in (genesis, *datasets, room.plan_entry(4)):
        accounts.apply(entry)
    return accounts


@pytest.mark.parametrize("short", [0, 1])
def test_no_record_cap_is_passed_and_all_of_it_may_be_used(room, refuse, short) -> None:
    whole = room.genesis().body()["caps"]["record"]
    accounts = capped(room, record={**whole, "beta": {**whole["beta"], "q2": COST - short}})
    if short:
        refuse(accounts, room.reserve(5), "record budget of beta in q2 would be passed: ρ 0 spent, 0.018 asked")
    else:
        accounts.apply(room.reserve(5))
        assert accounts.balance("beta", "q2").left == 0
        refuse(accounts, room.reserve(6, "two"), "record budget of beta in q2")


@pytest.mark.parametrize("short", [0, 1])
def test_no_person_cap_is_passed_and_all_of_it_may_be_used(room, refuse, short) -> None:
    accounts = capped(room, person={"q1": 3 * COST - short, "q2": 3 * COST, "q3": 0})
    if short:
        refuse(accounts, room.reserve(5), "the person budget in q1 would be passed")
    else:
        accounts.apply(room.reserve(5))


@pytest.mark.parametrize("short", [0, 1])
def test_no_lifetime_record_cap_is_passed_and_all_of_it_may_be_used(room, refuse, short) -> None:
    caps = dict.fromkeys(("alpha", "beta", "gamma"), 10**9)
    accounts = capped(room, lifetime_record={**caps, "gamma": 2 * COST - short})
    if short:
        refuse(accounts, room.reserve(5), "lifetime record budget of gamma")
    else:
        accounts.apply(room.reserve(5))


@pytest.mark.parametrize("short", [0, 1])
def test_no_lifetime_person_cap_is_passed_and_all_of_it_may_be_used(room, refuse, short) -> None:
    accounts = capped(room, lifetime_person=6 * COST - short)
    if short:
        refuse(accounts, room.reserve(5), "lifetime person budget")
    else:
        accounts.apply(room.reserve(5))


def test_every_charged_party_holds_and_nobody_else(room, refuse) -> None:
    two = {"alpha": "alpha", "beta": "beta"}
    refuse(room.accounts(), room.reserve(5, signers=two), "exactly the charged")
    wrong = {**two, "gamma": "alpha"}
    refuse(room.accounts(), room.reserve(5, signers=wrong), "hold signature of gamma", IntegrityError)


def test_a_hold_is_for_exactly_one_reserve(room, refuse, built) -> None:
    body = room.reserve(5).body()
    for change in ({"expires": body["expires"] + 1}, {"round": built.hex16("x")}):
        refuse(room.accounts(), build({**body, **change}), "hold signature", IntegrityError)
    room.accounts(build({**body, "time": body["time"] + 1}))


# --- commit and forfeit -----------------------------------------------------------------------------------------------


def test_commits_come_in_the_order_of_the_steps_and_close_the_round(room, refuse, built) -> None:
    accounts = room.accounts(room.reserve(5))
    refuse(accounts, room.commit(6, step="rfm-cohorts"), "rfm-cuts is next")
    accounts.apply(room.commit(6))
    assert accounts.rounds[built.hex16("one")].state == "open"
    refuse(accounts, room.commit(7, digest="ab" * 32), "rfm-cohorts is next")
    accounts.apply(room.commit(7, step="rfm-cohorts"))
    assert accounts.rounds[built.hex16("one")].state == "done"
    assert [commit.step for commit in accounts.rounds[built.hex16("one")].commits] == ["rfm-cuts", "rfm-cohorts"]
    refuse(accounts, room.commit(8, step="rfm-cohorts", digest="ab" * 32), "is done")


def test_a_commit_is_of_a_reserved_round(room, refuse) -> None:
    refuse(room.accounts(), room.commit(5), "no round")


def test_a_commit_comes_before_its_round_expires(room, refuse) -> None:
    accounts = room.accounts(room.reserve(5))
    expires = room.reserve(5).expires
    refuse(accounts, room.commit(6, time=expires + 1), "expired")
    accounts.apply(room.commit(6, time=expires))


def test_survivors_are_among_those_who_add_noise_and_reach_the_quorum(room, refuse) -> None:
    accounts = room.accounts(room.reserve(5))
    refuse(accounts, room.commit(6, survivors=["alpha", "beta", "delta"]), "delta did not add noise")
    refuse(accounts, room.commit(6, survivors=["alpha", "beta"]), "2 shares .* fewer than its 3")


def test_a_digest_is_released_once_in_all_history(room, refuse) -> None:
    accounts = room.accounts(room.reserve(5), room.commit(6), room.forfeit(7), room.reserve(8, "two"))
    refuse(accounts, room.commit(9, "two", digest=room.commit(6).digest), "digest .* already")


def test_a_forfeit_closes_an_open_round_and_gives_nothing_back(room, refuse, built) -> None:
    accounts = room.accounts(room.reserve(5))
    before = accounts.balances()
    accounts.apply(room.forfeit(6))
    assert accounts.balances() == before
    assert accounts.rounds[built.hex16("one")].state == "forfeited"
    refuse(accounts, room.forfeit(7), "is forfeited")
    refuse(accounts, room.commit(7), "is forfeited")
    refuse(accounts, room.forfeit(7, "other"), "no round")


def test_a_round_can_be_forfeited_after_it_expired(room) -> None:
    accounts = room.accounts(room.reserve(5))
    accounts.apply(room.forfeit(6, time=room.reserve(5).expires + 1000))


# --- the whole --------------------------------------------------------------------------------------------------------


def test_what_was_applied_can_be_taken_back(room) -> None:
    accounts = room.accounts()
    before, mark = state(accounts), accounts.mark()
    for entry in (room.reserve(5), room.commit(6), room.forfeit(7), room.dataset(8, "alpha", version="0" * 32)):
        accounts.apply(entry)
    assert state(accounts) != before
    accounts.roll_back(mark)
    assert state(accounts) == before


def test_views_cannot_be_written_to(room) -> None:
    accounts = room.accounts(room.reserve(5))
    for view in (accounts.plans, accounts.datasets, accounts.rounds):
        with pytest.raises(TypeError):
            view["x"] = None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_taken_whole_or_changes_nothing_and_no_balance_passes_its_cap(built, data) -> None:
    room, accounts = built.Room(), built.Room().accounts()
    labels = st.sampled_from(["one", "two", "three", "four"])
    for _ in range(data.draw(st.integers(1, 10))):
        seq = accounts.size + data.draw(st.sampled_from([0, 0, 0, 0, 1]))
        label = data.draw(labels)
        step = data.draw(st.sampled_from(["rfm-cuts", "rfm-cohorts"]))
        change = {"time": accounts.time + data.draw(st.sampled_from([0, 1, 30, -1]))}
        entry = data.draw(st.sampled_from([
            room.reserve(seq, label, **change, expires=change["time"] + 60),
            room.reserve(seq, label, **change, expires=change["time"] + 60, signers={"alpha": "beta"}),
            room.commit(seq, label, step, **change),
            room.forfeit(seq, label, **change),
            room.dataset(seq, "alpha", version=built.hex16(label), **change),
        ]))  # fmt: skip
        before = state(accounts)
        spent = {at: balance.spent for at, balance in accounts.balances().items()}
        try:
            accounts.apply(entry)
        except (Refused, IntegrityError):
            assert state(accounts) == before
        else:
            assert accounts.size == before["_size"] + 1
        for at, balance in accounts.balances().items():
            assert spent[at] <= balance.spent <= balance.cap
