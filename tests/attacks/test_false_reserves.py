"""Reserves that say another cost than the plan's, that are out of time, or that a charged party never signed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from protocols import keys, messages
from protocols.ledger.entries import Reserve, build, signed_body
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.rounds import lab

Besiege = Callable[[Stage], Siege]
LEDGER = "ledger"


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """The plan is approved; the coordinator is about to ask for the budget."""
    return besiege_all(stages.before(messages.Reserve))


def refused_by_all(siege: Siege, reason: str, **bent: Any) -> None:
    """No party holds anything for the true draft with these fields changed."""
    with siege.nothing_changes():
        for party in PARTIES:
            code, said = siege.say(party, messages.Reserve(draft={**siege.caught[party].draft, **bent})).refusal
            assert (code, reason in said) == ("budget", True), said


def charged(draft: dict[str, Any], change: int, *parties: str) -> dict[str, Any]:
    return {
        party: {block: nano + (change if party in parties else 0) for block, nano in row.items()}
        for party, row in draft["charge"].items()
    }


def test_a_reserve_that_charges_less_than_the_plan_costs(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    refused_by_all(siege, "charge is not what the plan costs", charge=charged(draft, -1, *PARTIES))


def test_a_reserve_that_charges_more_than_the_plan_costs(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    refused_by_all(siege, "charge is not what the plan costs", charge=charged(draft, 1, *PARTIES))


def test_a_reserve_that_charges_one_party_less(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    refused_by_all(siege, "charge is not what the plan costs", charge=charged(draft, -1, "beta"))


def test_a_reserve_that_leaves_one_party_uncharged(siege: Siege) -> None:
    two = {party: row for party, row in siege.caught["alpha"].draft["charge"].items() if party != "beta"}
    refused_by_all(siege, "charge is not what the plan costs", charge=two)


def test_a_reserve_whose_steps_have_less_noise_than_the_plans(siege: Siege) -> None:
    first, *rest = siege.caught["alpha"].draft["steps"]
    quiet = {**first, "mechanism": {**first["mechanism"], "variance": "9"}}
    refused_by_all(siege, "steps are not those of the plan", steps=[quiet, *rest])


def test_a_reserve_with_one_step_more_than_the_plan(siege: Siege) -> None:
    steps = siege.caught["alpha"].draft["steps"]
    more = {**steps[-1], "step": "rfm-more", "nonce": "0" * 32}
    refused_by_all(siege, "steps are not those of the plan", steps=[*steps, more])


def test_a_reserve_that_has_expired(siege: Siege) -> None:
    refused_by_all(siege, "the reserve expires at", expires=int(time.time()) - 1)


def test_a_reserve_that_does_not_expire_for_a_year(siege: Siege) -> None:
    refused_by_all(siege, "the reserve expires at", expires=int(time.time()) + 31_536_000)


def test_a_reserve_of_data_that_a_party_no_longer_stands_by(siege: Siege) -> None:
    old = dict.fromkeys(PARTIES, "0" * 32)
    refused_by_all(siege, "names another dataset than this party's latest", datasets=old)


def test_a_hold_asked_for_again_with_a_later_expiry(besiege: Besiege, stages: Stages) -> None:
    """Consent allows one round. A hold that lapses in a moment must not leave a signature that lasts for an hour: with
    the budget free again, the next round would be held as well, and both could be reserved.
    """
    siege = besiege(stages.before(messages.Reserve))
    home, now = siege.base / "alpha", int(time.time())
    lab.consent(home, siege.plan, per_period="0.4")
    draft = siege.caught["alpha"].draft
    lasting = {**draft, "expires": now + 900}
    assert isinstance(siege.say("alpha", messages.Reserve(draft={**draft, "expires": now + 5})).reply, messages.Held)
    again = siege.say("alpha", messages.Reserve(draft=lasting)).reply
    with siege.clocks(lambda: now + 10):
        second = {**lasting, "round": "0" * 32, "steps": [{**s, "nonce": s["nonce"][::-1]} for s in draft["steps"]]}
        other = siege.say("alpha", messages.Reserve(draft=second)).reply
    assert [type(again), type(other)].count(messages.Held) == 1


# -- entries that reach the ledger without the signatures they need ----------------------------------------------------


def refused_entry(siege: Siege, party: str, draft: dict[str, Any], holds: dict[str, str], reason: str) -> None:
    with siege.nothing_changes():
        request = histories.lawless(siege, siege.guests[party].node.book, [{**draft, "holds": holds}])
        assert siege.say(party, request).refusal == (LEDGER, reason)


def true_holds(siege: Siege, draft: dict[str, Any], *parties: str) -> dict[str, str]:
    """The signatures that these parties' true keys give for a draft, whether or not their nodes would."""
    entry = build({**draft, "seq": 0, "time": 0, "holds": {}})
    assert isinstance(entry, Reserve)
    body = signed_body(entry, siege.room.room)
    return {party: keys.sign(siege.guests[party].config.signing, "hold", body) for party in parties}


def test_a_reserve_signed_by_the_holds_of_only_two_of_three(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    holds = true_holds(siege, draft, "beta", "gamma")
    for party in PARTIES:
        refused_entry(siege, party, draft, holds, "the holds are not those of exactly the charged parties")


def test_a_reserve_whose_third_hold_the_others_forged(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    holds = true_holds(siege, draft, "beta", "gamma")
    for party in PARTIES:
        forged = {**holds, "alpha": holds["beta"]}
        refused_entry(siege, party, draft, forged, "the hold signature of alpha does not verify")


def test_a_hold_replayed_for_another_round(siege: Siege) -> None:
    """Each party has signed for a round. The same signatures buy no other one."""
    draft = siege.caught["alpha"].draft
    holds = true_holds(siege, draft, *PARTIES)
    other = {**draft, "round": "0" * 32}
    for party in PARTIES:
        refused_entry(siege, party, other, holds, "the hold signature of alpha does not verify")


def test_a_hold_used_for_less_noise_than_it_was_given_for(siege: Siege) -> None:
    draft = siege.caught["alpha"].draft
    holds = true_holds(siege, draft, *PARTIES)
    first, *rest = draft["steps"]
    quiet = {**draft, "steps": [{**first, "mechanism": {**first["mechanism"], "variance": "9"}}, *rest]}
    for party in PARTIES:
        with siege.nothing_changes():
            request = histories.lawless(siege, siege.guests[party].node.book, [{**quiet, "holds": holds}])
            assert siege.say(party, request).refusal[0] == LEDGER


def test_a_reserve_that_all_signed_and_whose_charge_is_less_than_its_noise_costs(siege: Siege) -> None:
    """Three parties in league with the coordinator cannot write a lower price into a fourth one's history either."""
    draft = siege.caught["alpha"].draft
    first, *rest = draft["steps"]
    cheap = {**draft, "steps": [{**first, "charge": 1}, *rest]}
    holds = true_holds(siege, cheap, *PARTIES)
    with siege.nothing_changes():
        request = histories.lawless(siege, siege.guests["alpha"].node.book, [{**cheap, "holds": holds}])
        code, reason = siege.say("alpha", request).refusal
        assert code == LEDGER
        assert reason.startswith(f"step {first['step']} is charged 1, but costs {first['charge']}")


def test_a_nonce_of_an_earlier_round(besiege: Besiege, stages: Stages) -> None:
    """The nodes hold the budget, which lapses; the entry that would spend it is cosigned by nobody."""
    siege = besiege(stages.done())
    (earlier,) = siege.ledger.book.accounts.rounds.values()
    used = earlier.reserve.body()
    del used["seq"], used["time"], used["holds"]
    draft = {**used, "round": "0" * 32, "expires": int(time.time()) + 600}
    with siege.nothing_changes("charge", "noted"):
        held = {party: siege.say(party, messages.Reserve(draft=draft)).reply for party in PARTIES}
    holds = {party: one.signature for party, one in held.items() if isinstance(one, messages.Held)}
    for party in PARTIES:
        step = used["steps"][0]["step"]
        refused_entry(siege, party, draft, holds, f"the nonce of step {step} was used before")


def test_a_round_that_is_in_the_ledger_reserved_again(besiege: Besiege, stages: Stages) -> None:
    siege = besiege(stages.done())
    (earlier,) = siege.ledger.book.accounts.rounds.values()
    draft = earlier.reserve.body()
    del draft["seq"], draft["time"], draft["holds"]
    draft["expires"] = int(time.time()) + 600
    with siege.nothing_changes():
        for party in PARTIES:
            code, reason = siege.say(party, messages.Reserve(draft=draft)).refusal
            assert (code, "is in the ledger already" in reason) == ("budget", True)
