"""A node whose whole disk, state and accounts, was put back to an older copy: no second drawing of it is added up."""

from __future__ import annotations

from collections.abc import Callable

from protocols import masking, messages
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.rounds.requests import another_key

Besiege = Callable[[Stage], Siege]
DRAWN = ("drawing", "drawn")


def agreed_before(siege: Siege, request: messages.Contribute) -> None:
    """What the coordinator can do with a second drawing of alpha's: make a roster to which nobody else agrees."""
    o = request.occasion
    offer = siege.say("alpha", siege.prepare(o)).reply
    assert isinstance(offer, messages.MaskOffer)
    assert offer.key != request.roster["alpha"]
    reason = "the roster shows another mask key for this party than the one it offered"
    assert siege.say("alpha", request).refusal == ("round", reason)
    roster = {**request.roster, "alpha": offer.key}
    agreed = {"alpha": siege.agreement("alpha", o, roster)}
    for party in ("beta", "gamma"):
        code, said = siege.say(party, messages.Agree(occasion=o, roster=roster)).refusal
        assert (code, "another roster of mask keys was agreed to before" in said) == ("round", True)
    asked = request.model_copy(update={"roster": roster, "agreements": {**request.agreements, **agreed}})
    assert siege.say("alpha", asked).refusal == ("round", "the agreement signature of beta does not verify")


def test_state_and_accounts_put_back_to_before_the_drawing(besiege: Besiege, stages: Stages) -> None:
    siege = besiege(stages.before(messages.Prepare))
    siege.guests["alpha"].copy("older")
    request = siege.contribute(siege.occasion())
    assert isinstance(siege.say("alpha", request).reply, messages.Share)
    siege.put_back("alpha", "older")
    assert siege.guests["alpha"].node.store.sent_share(request.occasion.round, "rfm-cuts") is None
    with siege.nothing_changes("agreement", *DRAWN):
        code, reason = siege.say("alpha", request).refusal
        assert (code, "this node has offered no mask key for it" in reason) == ("round", True)
        agreed_before(siege, request)


def test_state_and_accounts_put_back_to_between_the_drawing_and_the_share(
    besiege: Besiege, stages: Stages, computed: list[str]
) -> None:
    """What was drawn is on its disk: to any question it has the same answer as before, and to others none."""
    siege = besiege(stages.before(messages.Prepare))
    occasion = siege.occasion()
    roster = siege.roster(occasion)
    siege.guests["alpha"].copy("older")
    request = siege.contribute(occasion)
    assert request.roster == roster
    first = siege.say("alpha", request)
    assert isinstance(first.reply, messages.Share)
    siege.put_back("alpha", "older")
    assert siege.roster(occasion) == roster
    again = siege.say("alpha", request)
    assert (again.reply, again.payload) == (first.reply, first.payload)
    assert computed == ["rfm-cuts"] * 3


def test_state_and_accounts_put_back_to_before_the_reserve(besiege: Besiege, stages: Stages) -> None:
    """It says that it does not hold what it is charged; told that it was restored it takes the ledger again and is
    charged again; it still gets no second roster."""
    siege = besiege(stages.before(messages.Reserve))
    siege.guests["alpha"].copy("older")
    draft = siege.caught["alpha"].draft
    held = {party: siege.say(party, siege.caught[party]).reply for party in PARTIES}
    holds = {party: one.signature for party, one in held.items() if isinstance(one, messages.Held)}
    siege.ledger.append([{**draft, "holds": holds}])
    siege.ledger.countersign(siege.ask, PARTIES, 10.0)
    request = siege.contribute(siege.occasion())
    assert isinstance(siege.say("alpha", request).reply, messages.Share)
    siege.put_back("alpha", "older")
    old = siege.guests["alpha"].node.book.size
    assert old < siege.ledger.book.size
    with siege.nothing_changes():
        assert "which it does not hold" in siege.say("alpha", histories.growth(siege.ledger, old)).refusal[1]
    siege.guests["alpha"].node.restored = True
    assert isinstance(siege.say("alpha", histories.growth(siege.ledger, old)).reply, messages.Cosigned)
    with siege.nothing_changes("agreement", *DRAWN):
        assert siege.say("alpha", request).refusal[0] == "round"
        agreed_before(siege, request)


def test_state_alone_put_back_where_everybody_else_is_in_league(
    besiege: Besiege, stages: Stages, computed: list[str]
) -> None:
    """Beta and gamma sign whatever the coordinator wants. The accounts say that noise was drawn for this step: nothing
    is computed, whose duration would show.
    """
    siege = besiege(stages.before(messages.Prepare))
    siege.guests["alpha"].copy("older")
    request = siege.contribute(siege.occasion())
    assert isinstance(siege.say("alpha", request).reply, messages.Share)
    siege.put_back("alpha", "older", but="accounts.db")
    computed.clear()
    o, signing = request.occasion, {party: siege.guests[party].config.signing for party in PARTIES}
    roster = {**request.roster, "alpha": another_key(signing["alpha"], "alpha", o)}
    signed = {party: masking.agree(key, party, o, roster) for party, key in signing.items()}
    with siege.nothing_changes():
        code, reason = siege.say("alpha", siege.prepare(o)).refusal
        assert (code, "noise was drawn for it before, not here" in reason) == ("round", True), reason
        for asked in (request, request.model_copy(update={"roster": roster, "agreements": signed})):
            code, reason = siege.say("alpha", asked).refusal
            assert (code, "this node has offered no mask key for it" in reason) == ("round", True), reason
    assert computed == []


def test_a_second_process_from_a_copy_of_a_nodes_disk(besiege: Besiege, stages: Stages) -> None:
    """The copy does not have what the first one drew; a roster with a third key is none."""
    siege = besiege(stages.before(messages.Prepare))
    siege.guests["alpha"].copy("older")
    request = siege.contribute(siege.occasion())
    assert isinstance(siege.say("alpha", request).reply, messages.Share)
    siege.put_back("alpha", "older")
    own = another_key(siege.guests["alpha"].config.signing, "alpha", request.occasion)
    roster = {**request.roster, "alpha": own}
    with siege.nothing_changes(*DRAWN):
        siege.say("alpha", siege.prepare(request.occasion))
        reason = "the roster shows another mask key for this party than the one it offered"
        assert siege.say("alpha", messages.Agree(occasion=request.occasion, roster=roster)).refusal == ("round", reason)
        assert siege.say("alpha", request).refusal == ("round", reason)
