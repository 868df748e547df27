"""Rosters of mask keys that would let somebody see through a mask, or have noise drawn twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols import keys, masking, messages
from protocols.masking import MaskKey, Occasion
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.rounds.requests import another_key

Besiege = Callable[[Stage], Siege]
LOW_ORDER = keys.base64_text(bytes(32))  # RFC 7748 section 6.1: the shared secret would be zero


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved, and every party has agreed to contribute to its first step."""
    made = besiege_all(stages.before(messages.Prepare))
    made.ready = made.contribute(made.occasion())
    return made


@pytest.fixture(scope="module")
def offered(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved; nobody has agreed to anything."""
    return besiege_all(stages.before(messages.Prepare))


def own_key(siege: Siege, party: str) -> Any:
    return siege.guests[party].config.signing


def key_of(siege: Siege, party: str, occasion: Occasion, public: str = "") -> MaskKey:
    """Another mask key, truly signed by this party: it is in league with the coordinator."""
    fresh = another_key(own_key(siege, party), party, occasion)
    if not public:
        return fresh
    signed = {"party": party, "public": public, "occasion": occasion.body()}
    return MaskKey(public=public, signature=keys.sign(own_key(siege, party), "mask-key", signed))


def agreed_by(siege: Siege, occasion: Occasion, roster: dict[str, MaskKey], *parties: str) -> dict[str, str]:
    return {party: masking.agree(own_key(siege, party), party, occasion, roster) for party in parties}


def refused(siege: Siege, roster: dict[str, MaskKey], reason: str, *parties: str) -> None:
    """No party agrees to this roster, and none contributes to it whatever the others signed."""
    occasion = siege.ready.occasion
    with siege.nothing_changes():
        for party in parties or PARTIES:
            others = agreed_by(siege, occasion, roster, *PARTIES)
            contribute = siege.ready.model_copy(update={"roster": roster, "agreements": others})
            for request in (messages.Agree(occasion=occasion, roster=roster), contribute):
                code, said = siege.say(party, request).refusal
                assert (code, reason in said) == ("round", True), said


def test_a_mask_key_of_the_coordinators_own_in_a_partys_place(siege: Siege, computed: list[str]) -> None:
    occasion = siege.ready.occasion
    own = another_key(siege.signing, "gamma", occasion)
    refused(siege, {**siege.ready.roster, "gamma": own}, "the mask-key signature of gamma does not verify")
    assert computed == []


def test_a_party_left_out_of_the_roster(siege: Siege, computed: list[str]) -> None:
    two = {party: siege.ready.roster[party] for party in ("alpha", "beta")}
    refused(siege, two, "does not name exactly the contributing parties", "alpha", "beta")
    assert computed == []


def test_a_stranger_in_the_roster(siege: Siege, computed: list[str]) -> None:
    stranger = {**siege.ready.roster, "delta": siege.ready.roster["gamma"]}
    refused(siege, stranger, "does not name exactly the contributing parties")
    assert computed == []


def test_a_partys_mask_key_shown_as_anothers_too(siege: Siege, computed: list[str]) -> None:
    copied = key_of(siege, "gamma", siege.ready.occasion, siege.ready.roster["alpha"].public)
    refused(siege, {**siege.ready.roster, "gamma": copied}, "shown with the same mask key")
    assert computed == []


def test_a_mask_key_that_was_offered_for_another_step(siege: Siege, computed: list[str]) -> None:
    other = Occasion.model_validate({**siege.ready.occasion.body(), "nonce": "0" * 32})
    old = key_of(siege, "gamma", other)
    refused(siege, {**siege.ready.roster, "gamma": old}, "the mask-key signature of gamma does not verify")
    assert computed == []


def test_a_second_roster_offered_to_a_party_that_has_agreed_to_one(siege: Siege, computed: list[str]) -> None:
    """Gamma is in league with the coordinator and signs two mask keys; the others know one roster for ever."""
    occasion = siege.ready.occasion
    second = {**siege.ready.roster, "gamma": key_of(siege, "gamma", occasion)}
    with siege.nothing_changes():
        for party in ("alpha", "beta"):
            said = siege.say(party, messages.Agree(occasion=occasion, roster=second)).refusal
            assert (said[0], "another roster of mask keys was agreed to before" in said[1]) == ("round", True)
    assert computed == []


def test_different_rosters_to_different_parties(offered: Siege) -> None:
    """Alpha agrees to one, beta to another, gamma to both: neither roster has all agreements, nobody contributes."""
    occasion = offered.occasion()
    first = offered.roster(occasion)
    second = {**first, "gamma": key_of(offered, "gamma", occasion)}
    given = {"alpha": offered.agreement("alpha", occasion, first), "beta": offered.agreement("beta", occasion, second)}
    with offered.nothing_changes():
        for party, roster, other in (("alpha", first, "beta"), ("beta", second, "alpha")):
            signed = {**given, **agreed_by(offered, occasion, roster, "gamma")}
            asked = contribution(occasion, roster, signed)
            reason = f"the agreement signature of {other} does not verify"
            assert offered.say(party, asked).refusal == ("round", reason)
    for party in PARTIES:
        assert offered.guests[party].node.store.sent_share(occasion.round, occasion.step) is None


def contribution(occasion: Occasion, roster: dict[str, MaskKey], agreements: dict[str, str]) -> messages.Contribute:
    return messages.Contribute(occasion=occasion, roster=roster, agreements=agreements)


@pytest.mark.parametrize("missing", PARTIES)
def test_a_share_asked_for_without_one_partys_agreement(siege: Siege, missing: str, computed: list[str]) -> None:
    two = {party: text for party, text in siege.ready.agreements.items() if party != missing}
    with siege.nothing_changes():
        for party in PARTIES:
            said = siege.say(party, siege.ready.model_copy(update={"agreements": two})).refusal
            assert said == ("round", "the roster of mask keys is not agreed to by exactly the parties that must")
    assert computed == []


def test_an_agreement_to_another_step(siege: Siege, computed: list[str]) -> None:
    """Beta's true signature, over the same roster, for an occasion with another nonce."""
    ready = siege.ready
    other = Occasion.model_validate({**ready.occasion.body(), "nonce": "0" * 32})
    old = agreed_by(siege, other, ready.roster, "beta")
    with siege.nothing_changes():
        said = siege.say("alpha", ready.model_copy(update={"agreements": {**ready.agreements, **old}})).refusal
        assert said == ("round", "the agreement signature of beta does not verify")
    assert computed == []


def test_an_agreement_in_anothers_name(siege: Siege, computed: list[str]) -> None:
    """Gamma signs for itself and for beta."""
    ready = siege.ready
    forged = masking.agree(own_key(siege, "gamma"), "beta", ready.occasion, ready.roster)
    with siege.nothing_changes():
        said = siege.say("alpha", ready.model_copy(update={"agreements": {**ready.agreements, "beta": forged}})).refusal
        assert said == ("round", "the agreement signature of beta does not verify")
    assert computed == []


@pytest.mark.parametrize(
    "public", [LOW_ORDER, keys.base64_text(bytes(31))], ids=["a low-order point", "of another length"]
)
def test_a_mask_key_that_is_none(besiege: Besiege, stages: Stages, public: str, computed: list[str]) -> None:
    """Gamma is in league and signs such a key. Nobody agrees to it, and nobody masks with it."""
    siege = besiege(stages.before(messages.Prepare))
    occasion = siege.occasion()
    roster = {**siege.roster(occasion), "gamma": key_of(siege, "gamma", occasion, public)}
    with siege.nothing_changes():
        for party in ("alpha", "beta"):
            said = siege.say(party, messages.Agree(occasion=occasion, roster=roster)).refusal
            assert said == ("round", "the mask key shown for gamma is not a usable X25519 key")
        asked = contribution(occasion, roster, agreed_by(siege, occasion, roster, *PARTIES))
        assert siege.say("alpha", asked).refusal == ("round", "the mask key shown for gamma is not a usable X25519 key")
    assert computed == ["rfm-cuts"] * 3  # for the mask keys


def test_a_second_roster_for_a_step_that_was_answered(besiege: Besiege, stages: Stages, computed: list[str]) -> None:
    """Everybody else is in league: beta and gamma agree to any roster. Alpha's share exists, and stays the only one."""
    siege = besiege(stages.before(messages.Prepare))
    first = siege.contribute(siege.occasion())
    o = first.occasion
    assert isinstance(siege.say("alpha", first).reply, messages.Share)
    second = {**first.roster, "beta": key_of(siege, "beta", o), "gamma": key_of(siege, "gamma", o)}
    with siege.nothing_changes():
        again = siege.say("alpha", siege.prepare(o)).reply
        assert again == messages.MaskOffer(party="alpha", key=first.roster["alpha"])
        assert siege.say("alpha", messages.Agree(occasion=o, roster=second)).refusal[0] == "round"
        said = siege.say("alpha", contribution(o, second, agreed_by(siege, o, second, *PARTIES))).refusal
        assert said == ("round", f"step {o.step} of round {o.round[:8]} was answered, to another request")
    assert computed == [o.step] * 3
