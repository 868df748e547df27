"""Plans that nobody approved, or no longer: no budget is held for them, and nothing is computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols import keys, messages
from protocols.ledger.entries import approval_body
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.rounds import lab

Besiege = Callable[[Stage], Siege]
OTHER = lab.plan(name="another", deadline_s=600)


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """The plan is approved and in the ledger; the coordinator is about to ask for the budget."""
    return besiege_all(stages.before(messages.Reserve))


def test_a_plan_that_no_rule_of_consent_names(siege: Siege) -> None:
    with siege.nothing_changes():
        for party in PARTIES:
            code, reason = siege.say(party, messages.Propose(plan=OTHER.body())).refusal
            assert code == "consent"
            assert f"no rule allows plan {OTHER.digest}" in reason or "a person must decide" in reason


def test_a_reserve_of_a_plan_that_nobody_approved(siege: Siege) -> None:
    draft = {**siege.caught["alpha"].draft, "plan": OTHER.digest}
    with siege.nothing_changes():
        for party in PARTIES:
            reason = f"plan {OTHER.digest[:12]}… was not approved here"
            assert siege.say(party, messages.Reserve(draft=draft)).refusal == ("budget", reason)


@pytest.mark.parametrize("signer", ["coordinator", "the two others"])
def test_a_plan_entered_into_the_ledger_with_approvals_that_a_party_never_gave(siege: Siege, signer: str) -> None:
    """The other two may be in league: alpha's approval is missing, and alpha does not cosign."""
    body = approval_body(siege.room.room, OTHER.digest)
    own = {party: siege.guests[party].config.signing for party in PARTIES}
    used = dict.fromkeys(PARTIES, siege.signing) if signer == "coordinator" else {**own, "alpha": own["beta"]}
    approvals = {party: keys.sign(key, "approval", body) for party, key in used.items()}
    entry = {"type": "plan@v1", "plan": OTHER.digest, "parties": sorted(PARTIES), "approvals": approvals}
    with siege.nothing_changes():
        request = histories.lawless(siege, siege.guests["alpha"].node.book, [entry])
        refused = ("ledger", "the approval signature of alpha does not verify")
        assert siege.say("alpha", request).refusal == refused


def test_a_plan_approved_and_then_withdrawn_from_consent(besiege: Besiege, stages: Stages) -> None:
    """Alpha was asked before, said yes, and has changed its mind: it holds nothing, and its old yes buys nothing."""
    siege = besiege(stages.before(messages.Reserve))
    (siege.base / "alpha" / "consent.toml").write_text('default = "deny"\n')
    with siege.nothing_changes():
        code, reason = siege.say("alpha", siege.caught["alpha"]).refusal
        assert code == "budget"
        assert siege.plan.digest in reason or "denied" in reason
    held = siege.say("beta", siege.caught["beta"]).reply, siege.say("gamma", siege.caught["gamma"]).reply
    holds = {one.party: one.signature for one in held if isinstance(one, messages.Held)}
    assert set(holds) == {"beta", "gamma"}
    with siege.nothing_changes():
        request = histories.lawless(
            siege, siege.guests["alpha"].node.book, [{**siege.caught["alpha"].draft, "holds": holds}]
        )
        assert siege.say("alpha", request).refusal == (
            "ledger",
            "the holds are not those of exactly the charged parties",
        )
