"""Steps that the ledger does not say are next: no mask key, agreement, share or piece, and nothing is computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from protocols import messages
from protocols.errors import RoundEnded
from protocols.masking import Occasion
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages

Besiege = Callable[[Stage], Siege]


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved, and every party has agreed to contribute to its first step."""
    made = besiege_all(stages.before(messages.Prepare))
    made.ready = made.contribute(made.occasion())
    return made


@pytest.fixture(scope="module")
def reserved(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved; nobody was asked for a mask key."""
    return besiege_all(stages.before(messages.Prepare))


@pytest.fixture(scope="module")
def later(stages: Stages, besiege_all: Besiege) -> Siege:
    """The first step is released, the second is next."""
    return besiege_all(stages.before(messages.Prepare, nth=2))


def another(occasion: Occasion, **change: Any) -> Occasion:
    return Occasion.model_validate({**occasion.body(), **change})


def refused(siege: Siege, occasion: Occasion, reason: str, *parties: str) -> None:
    """Whatever is asked for this occasion is refused."""
    with siege.nothing_changes():
        for party in parties or PARTIES:
            for request in words_of(siege, occasion):
                code, said = siege.say(party, request).refusal
                assert (code, reason in said) == ("round", True), said


def words_of(siege: Siege, occasion: Occasion) -> list[messages.Request]:
    """Everything that can be asked of a step."""
    asked, everybody = siege.ready.model_copy(update={"occasion": occasion}), sorted(PARTIES)
    return [
        siege.prepare(siege.ready.occasion).model_copy(update={"occasion": occasion}),
        messages.Agree(occasion=occasion, roster=asked.roster),
        asked,
        messages.Settle(occasion=occasion, survivors=everybody),
        messages.Unmask(occasion=occasion, survivors=everybody, signatures={}, boxes={}),
    ]


def test_another_plan_than_the_reserves(siege: Siege, computed: list[str]) -> None:
    refused(siege, another(siege.ready.occasion, plan="0" * 64), "is not what its reserve says is next")
    assert computed == []


def test_a_nonce_of_another_step(siege: Siege, computed: list[str]) -> None:
    (round_,) = siege.ledger.book.accounts.rounds.values()
    nonce = round_.reserve.steps[1].nonce
    refused(siege, another(siege.ready.occasion, nonce=nonce), "is not what its reserve says is next")
    assert computed == []


def test_a_step_before_its_turn(siege: Siege, computed: list[str]) -> None:
    (round_,) = siege.ledger.book.accounts.rounds.values()
    step = round_.reserve.steps[1]
    refused(
        siege, another(siege.ready.occasion, step=step.step, nonce=step.nonce), "is not what its reserve says is next"
    )
    assert computed == []


def test_a_second_attempt_at_a_step(siege: Siege, computed: list[str]) -> None:
    refused(siege, another(siege.ready.occasion, attempt=2), "a step is attempted once")
    assert computed == []


def test_a_round_that_nobody_reserved(siege: Siege, computed: list[str]) -> None:
    refused(siege, another(siege.ready.occasion, round="0" * 32), "is not open in this party's copy of the ledger")
    assert computed == []


def test_a_step_of_another_room(siege: Siege, computed: list[str]) -> None:
    refused(siege, another(siege.ready.occasion, room="other"), "another room")
    assert computed == []


def test_another_state_to_one_party(siege: Siege, computed: list[str]) -> None:
    """Alpha and gamma are asked to start from the plan, beta from a release that is in nobody's ledger."""
    occasion = siege.ready.occasion
    refused(siege, another(occasion, state="0" * 64), "starts from another release than this copy's last", "beta")
    assert computed == []


def test_another_state_to_one_party_in_the_middle_of_a_round(later: Siege, computed: list[str]) -> None:
    """After a release the state is its digest; beta is asked to start again from the plan."""
    later.ready = later.contribute(later.occasion())
    computed.clear()
    occasion = another(later.ready.occasion, state=later.plan.digest)
    refused(later, occasion, "starts from another release than this copy's last", "beta")
    assert computed == []


def test_a_step_repeated_after_its_commit(later: Siege, computed: list[str]) -> None:
    """The mask keys are new, and nobody asked for them: what was answered is answered."""
    (round_,) = later.ledger.book.accounts.rounds.values()
    first, occasion = round_.reserve.steps[0], later.occasion()
    later.ready = later.contribute(occasion)
    computed.clear()
    again = another(occasion, step=first.step, nonce=first.nonce, state=later.plan.digest)
    refused(later, again, "is not what its reserve says is next")
    assert computed == []


def test_a_reserve_that_one_party_did_not_cosign(reserved: Siege, computed: list[str]) -> None:
    asked = reserved.prepare(reserved.occasion())
    asked = asked.model_copy(update={"checkpoint": histories.without(asked.checkpoint, "beta")})
    with reserved.nothing_changes():
        for party in PARTIES:
            reason = "the cosignature of beta is missing; these entries need it"
            assert reserved.say(party, asked).refusal == ("round", reason)
    assert computed == []


def test_a_checkpoint_from_before_the_reserve(reserved: Siege, computed: list[str]) -> None:
    (round_,) = reserved.ledger.book.accounts.rounds.values()
    before = reserved.ledger.book.checkpoint(round_.reserve.seq)
    asked = reserved.prepare(reserved.occasion()).model_copy(update={"checkpoint": before})
    with reserved.nothing_changes():
        for party in PARTIES:
            said = reserved.say(party, asked).refusal
            assert said == ("round", f"the checkpoint does not cover entry {round_.reserve.seq}")
    assert computed == []


def test_a_round_that_has_expired(reserved: Siege, computed: list[str]) -> None:
    (round_,) = reserved.ledger.book.accounts.rounds.values()
    asked = reserved.prepare(reserved.occasion())
    with reserved.nothing_changes(), reserved.clocks(lambda: time.time() + 1_000_000):
        for party in PARTIES:
            said = reserved.say(party, asked).refusal
            assert said == ("round", f"round {round_.reserve.round[:8]} expired at {round_.reserve.expires}")
    assert computed == []


def test_a_hold_kept_back_until_it_has_lapsed(besiege: Besiege, stages: Stages, computed: list[str]) -> None:
    """The reserve is dated back, its holds are genuine: nobody cosigns it, nobody is charged."""
    siege = besiege(stages.before(messages.Reserve))
    draft = siege.caught["alpha"].draft
    held = {party: siege.say(party, siege.caught[party]).reply for party in PARTIES}
    holds = {party: one.signature for party, one in held.items() if isinstance(one, messages.Held)}
    siege.ledger.append([{**draft, "holds": holds}])
    with (
        siege.clocks(lambda: time.time() + 1_000_000),
        siege.nothing_changes("checkpoint"),
        pytest.raises(RoundEnded, match="which it does not hold"),
    ):
        siege.ledger.countersign(siege.ask, PARTIES, 10.0)
    assert computed == []
