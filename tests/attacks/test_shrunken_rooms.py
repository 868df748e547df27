"""Fewer parties than a plan asks for, or others for each: a small circle hides nobody, masks must hold together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols import masking, messages
from protocols.masking import MaskKey, Occasion
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.attacks.test_false_survivors import looks_uniform, sum_of
from tests.attacks.words import FIVE, Step, but
from tests.rounds.requests import another_key

Besiege = Callable[[Stage], Siege]
NOT_THOSE = "the roster of mask keys does not name exactly the contributing parties"


@pytest.fixture(scope="module")
def agreed(stages_of_five: Stages, besiege_all: Besiege) -> Step:
    """Everybody has agreed to the roster of all."""
    return Step(besiege_all(stages_of_five.before(messages.Prepare)))


@pytest.fixture(scope="module")
def offered(stages_of_five: Stages, besiege_all: Besiege) -> Siege:
    """Everybody has offered a mask key, and agreed to nothing."""
    siege = besiege_all(stages_of_five.before(messages.Prepare))
    siege.ready = siege.roster(siege.occasion())
    return siege


def refused(siege: Siege, party: str, request: messages.Request, reason: str) -> None:
    with siege.nothing_changes():
        code, said = siege.say(party, request).refusal
        assert (code, reason in said) == ("round", True), said


def signed(siege: Siege, occasion: Occasion, roster: dict[str, MaskKey], *parties: str) -> dict[str, str]:
    signing = {party: siege.guests[party].config.signing for party in parties or roster}
    return {party: masking.agree(key, party, occasion, roster) for party, key in signing.items()}


@pytest.mark.parametrize("named", [("alpha",), ("alpha", "beta"), ("alpha", "beta", "delta")])
def test_a_roster_below_the_quorum(offered: Siege, named: tuple[str, ...]) -> None:
    """The others 'dropped out', says the coordinator."""
    occasion, roster = offered.occasion(), {party: offered.ready[party] for party in named}
    refused(offered, "alpha", messages.Agree(occasion=occasion, roster=roster), NOT_THOSE)
    agreements = signed(offered, occasion, roster)
    refused(offered, "alpha", messages.Contribute(occasion=occasion, roster=roster, agreements=agreements), NOT_THOSE)


def test_a_roster_without_the_party_that_is_asked(offered: Siege) -> None:
    occasion, roster = offered.occasion(), {party: offered.ready[party] for party in but("alpha")}
    refused(offered, "alpha", messages.Agree(occasion=occasion, roster=roster), "does not ask this party")
    contribute = messages.Contribute(occasion=occasion, roster=roster, agreements=signed(offered, occasion, roster))
    refused(offered, "alpha", contribute, "this party is not among those who agreed")


def test_a_mask_key_that_nobody_could_recover(offered: Siege) -> None:
    """Gamma is in league and offers no sealing key: were it lost, the others' sum would be lost too."""
    occasion = offered.occasion()
    plain = another_key(offered.guests["gamma"].config.signing, "gamma", occasion)
    roster = {**offered.ready, "gamma": plain}
    reason = "the mask key of gamma is not of the kind that this plan needs"
    refused(offered, "alpha", messages.Agree(occasion=occasion, roster=roster), reason)


@pytest.mark.parametrize("kind", ["sealing", "public"])
def test_a_key_of_anothers_to_have_its_pieces_sealed_for(offered: Siege, kind: str) -> None:
    """Gamma is in league and shows alpha's mask key, or its sealing key, as its own sealing key."""
    occasion = offered.occasion()
    own = another_key(offered.guests["gamma"].config.signing, "gamma", occasion, recoverable=True)
    copied = own.model_copy(update={"sealing": getattr(offered.ready["alpha"], kind)})
    roster = {**offered.ready, "gamma": copied}
    refused(
        offered,
        "alpha",
        messages.Agree(occasion=occasion, roster=roster),
        "two parties are shown with the same mask key",
    )


@pytest.mark.parametrize("group", [("alpha",), ("alpha", "beta"), ("alpha", "beta", "delta")])
def test_a_group_below_the_quorum(agreed: Step, group: tuple[str, ...]) -> None:
    """All agreed; the coordinator shows few of these agreements, as if the others had been lost since."""
    refused(agreed.siege, "alpha", agreed.contribute(*group), NOT_THOSE)


def test_a_group_without_the_party_that_is_asked(agreed: Step) -> None:
    refused(agreed.siege, "alpha", agreed.contribute(*but("alpha")), "this party is not among those who agreed")


def test_a_stranger_in_the_group(agreed: Step) -> None:
    asked = agreed.contribute()
    more = {**asked.agreements, "zeta": asked.agreements["beta"]}
    reason = "the roster of mask keys is not agreed to by exactly the parties that must"
    refused(agreed.siege, "alpha", asked.model_copy(update={"agreements": more}), reason)


def test_keys_of_two_steps_mixed(stages_of_five: Stages, besiege: Besiege) -> None:
    """In the second step the coordinator shows the first step's key of one party, whose secret it may have learnt."""
    siege = besiege(stages_of_five.before(messages.Prepare, nth=2))
    old = {one.party: one.key for one in offers_of(siege)}
    occasion = siege.occasion()
    roster = siege.roster(occasion)
    for party in ("alpha", "gamma"):
        mixed = {**roster, party: old[party]}
        reason = f"the mask-key signature of {party} does not verify"
        refused(siege, "alpha", messages.Agree(occasion=occasion, roster=mixed), reason)


def offers_of(siege: Siege) -> list[messages.MaskOffer]:
    """Other keys of these parties, truly offered for a step that is over."""
    done = Occasion.model_validate({**siege.occasion().body(), "step": "rfm-cuts"})
    return [
        messages.MaskOffer(party=party, key=another_key(guest.config.signing, party, done, recoverable=True))
        for party, guest in siege.guests.items()
    ]


def test_another_group_to_each_party(stages_of_five: Stages, besiege: Besiege) -> None:
    """Alpha and beta mask with all, the others with all but epsilon: the sum of what comes is noise, and no pieces are
    given out for either group."""
    siege = besiege(stages_of_five.before(messages.Prepare))
    step, four = Step(siege), but("epsilon")
    shares = {party: siege.say(party, step.contribute()) for party in ("alpha", "beta")}
    shares |= {party: siege.say(party, step.contribute(*four)) for party in ("delta", "gamma")}
    assert looks_uniform(sum_of(heard.payload for heard in shares.values()))
    for party, request in (("alpha", step.contribute(*four)), ("delta", step.contribute())):
        refused(siege, party, request, "was answered, to another request")
    for survivors in (FIVE, four):
        for group in (FIVE, tuple(four)):
            have = step.signed("epsilon", survivors=survivors, group=group) if "epsilon" in survivors else {}
            for party in four:
                said = siege.say(party, step.settle(survivors)).reply
                if isinstance(said, messages.Settled):
                    have[party] = said.signature
            for party in four:
                assert isinstance(siege.say(party, step.unmask(party, have, survivors)).reply, messages.Refusal)


def test_a_commit_that_names_others_than_were_settled(stages_of_five: Stages, besiege: Besiege) -> None:
    """Everybody settled that all survived; the coordinator writes that delta did not."""
    siege = besiege(stages_of_five.before(messages.Prepare))
    step = Step(siege).masked()
    for party in FIVE:
        assert isinstance(siege.say(party, step.settle()).reply, messages.Settled)
    entry, _, _ = histories.committed(siege, step.occasion, survivors=but("delta"))
    for party in FIVE:
        with siege.nothing_changes():
            request = histories.lawless(siege, siege.guests[party].node.book, [entry])
            code, said = siege.say(party, request).refusal
            assert (code, "names other survivors than were settled" in said) == ("ledger", True), said
