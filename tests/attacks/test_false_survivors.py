"""Survivors that are none: whoever is told so gives out no piece, and of each party one kind of pieces at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import masking, messages, recovery
from protocols.masking import Occasion, Streams
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.attacks.words import FIVE, THRESHOLD, Step, but

Besiege = Callable[[Stage], Siege]
NONE = "the survivors are not some of those who masked, this party among them"
FEW = f"fewer than {THRESHOLD}"
BEFORE = "other survivors were settled before"


@pytest.fixture(scope="module")
def step(stages_of_five: Stages, besiege_all: Besiege) -> Step:
    """Everybody has sent its share; nothing is settled."""
    return Step(besiege_all(stages_of_five.before(messages.Prepare))).masked()


@pytest.fixture
def own(stages_of_five: Stages, besiege: Besiege) -> Step:
    """The same, for one test to settle."""
    return Step(besiege(stages_of_five.before(messages.Prepare))).masked()


def refused(step: Step, party: str, request: messages.Request, reason: str) -> None:
    """Refused, and nothing was kept of it."""
    with step.siege.nothing_changes():
        code, said = step.siege.say(party, request).refusal
        assert (code, reason in said) == ("round", True), said


# -- who the survivors are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("survivors", "reason"),
    [
        (but("beta", "gamma"), "3 survivors, fewer than the quorum of 4"),
        (["alpha"], "1 survivors, fewer than the quorum of 4"),
        ([], NONE),
        (but("alpha"), NONE),
        ([*FIVE, "zeta"], NONE),
        (["alpha", "alpha", "beta", "delta", "epsilon"], NONE),
        ([*reversed(FIVE)], NONE),
    ],
    ids=["three", "one", "none", "not the one asked", "a stranger", "one twice", "in another order"],
)
def test_survivors_that_cannot_be(step: Step, survivors: list[str], reason: str) -> None:
    """Whoever signed them: everybody else is in league."""
    signers = [party for party in FIVE if party in survivors]
    signatures = step.signed(*signers, survivors=sorted(set(survivors)))
    for request in (step.settle(survivors), step.unmask("alpha", signatures, survivors)):
        refused(step, "alpha", request, reason)


def test_a_survivor_that_never_masked(stages_of_five: Stages, besiege: Besiege) -> None:
    """Gamma was lost before it agreed; the coordinator would like a piece of its seed, or of its key."""
    step = Step(besiege(stages_of_five.before(messages.Prepare))).masked(*but("gamma"))
    group = but("gamma")
    for survivors in (FIVE, but("alpha"), but("delta")):
        signatures = step.signed(*survivors, survivors=survivors, group=group)
        for party in set(survivors) - {"gamma"}:
            refused(step, party, step.settle(survivors), NONE)
            refused(step, party, step.unmask(party, signatures, survivors), NONE)
    signatures = {party: settled(step, party, group) for party in group}
    given = step.siege.say("alpha", step.unmask("alpha", signatures, group)).reply
    assert isinstance(given, messages.Unmasked)
    assert sorted(given.pieces) == group  # of gamma nothing at all


def settled(step: Step, party: str, survivors: Sequence[str] = FIVE) -> str:
    reply = step.siege.say(party, step.settle(survivors)).reply
    assert isinstance(reply, messages.Settled), reply
    return reply.signature


# -- who signed them ---------------------------------------------------------------------------------------------------


def test_survivors_that_too_few_have_signed(step: Step) -> None:
    for signers in ((), ("epsilon",), FIVE[: THRESHOLD - 1]):
        refused(step, "alpha", step.unmask("alpha", step.signed(*signers)), FEW)


@pytest.mark.parametrize(
    "bent", ["another step", "other survivors", "another group", "another party", "the room's key"]
)
def test_a_signature_of_something_else(step: Step, bent: str) -> None:
    good = step.signed("alpha", "beta", "delta")
    other = Occasion.model_validate({**step.occasion.body(), "nonce": "0" * 32})
    bad = {
        "another step": lambda: step.signed("gamma", occasion=other),
        "other survivors": lambda: step.signed("gamma", survivors=but("beta")),
        "another group": lambda: step.signed("gamma", group=but("beta")),
        "another party": lambda: {"gamma": step.signed("epsilon")["epsilon"]},
        "the room's key": lambda: {"gamma": by_coordinator(step)},
    }[bent]()
    reason = "the survivors signature of gamma does not verify"
    refused(step, "alpha", step.unmask("alpha", good | bad), reason)


def by_coordinator(step: Step) -> str:
    return recovery.settle(step.siege.signing, "gamma", step.occasion, step.group(), FIVE)


def test_the_signature_of_a_party_that_is_said_to_be_lost(step: Step) -> None:
    signatures = step.signed("alpha", "beta", "delta", "gamma", survivors=but("gamma"))
    refused(step, "alpha", step.unmask("alpha", signatures, but("gamma")), "others than the survivors signed")


def test_the_signature_of_a_stranger(step: Step) -> None:
    signatures = step.signed(*FIVE)
    refused(
        step,
        "alpha",
        step.unmask("alpha", signatures | {"zeta": signatures["beta"]}),
        "others than the survivors signed",
    )


# -- before its share --------------------------------------------------------------------------------------------------


def test_settled_or_unmasked_before_the_share(stages_of_five: Stages, besiege: Besiege) -> None:
    """Whoever has sent no share has masked nothing with anybody: it knows no group."""
    step = Step(besiege(stages_of_five.before(messages.Prepare)))
    for request in (step.settle(), step.unmask("alpha", step.signed(*FIVE))):
        refused(step, "alpha", request, "this node has sent no share for it")


# -- two sets ----------------------------------------------------------------------------------------------------------


def test_a_second_set_of_survivors_to_the_same_party(own: Step) -> None:
    first = settled(own, "alpha")
    assert settled(own, "alpha") == first
    for lost in but("alpha"):
        survivors = but(lost)
        refused(own, "alpha", own.settle(survivors), BEFORE)
        signatures = own.signed(*survivors, survivors=survivors)
        refused(own, "alpha", own.unmask("alpha", signatures, survivors), BEFORE)


def test_different_survivors_to_different_parties(own: Step) -> None:
    """Epsilon is in league. Neither set finds so many signatures that anybody gives out a piece."""
    one, other = FIVE, but("gamma")
    have = {tuple(one): {"alpha": settled(own, "alpha", one), "gamma": settled(own, "gamma", one)}}
    have[tuple(other)] = {"beta": settled(own, "beta", other), "delta": settled(own, "delta", other)}
    for survivors in (one, other):
        signatures = {**have[tuple(survivors)], **own.signed("epsilon", survivors=survivors)}
        for party in sorted(set(survivors) - {"epsilon"}):
            refused(own, party, own.unmask(party, signatures, survivors), FEW)


def test_pieces_asked_for_twice_are_the_same(own: Step) -> None:
    request = own.unmask("alpha", {party: settled(own, party) for party in FIVE})
    first = own.siege.say("alpha", request)
    assert isinstance(first.reply, messages.Unmasked)
    with own.siege.nothing_changes():
        assert own.siege.say("alpha", request) == first
    fewer = request.model_copy(update={"signatures": dict([*request.signatures.items()][:THRESHOLD])})
    assert own.siege.say("alpha", fewer) == first


# -- what can be learnt ------------------------------------------------------------------------------------------------


def looks_uniform(words: masking.Words) -> bool:
    """No word is near zero, as a noised count would be."""
    return bool((np.minimum(words, np.uint64(0) - words) > np.uint64(2**48)).all())


def test_a_share_that_comes_late_stays_masked(stages_of_five: Stages, besiege: Besiege) -> None:
    """Delta's share is withheld, all others settle that it is lost, and its key is put together from their pieces: with
    the key all pairs' streams of its share are known, and the share still looks like nothing."""
    step = Step(besiege(stages_of_five.before(messages.Prepare)))
    shares = {party: step.siege.say(party, step.contribute()) for party in FIVE}
    survivors = but("delta")
    signatures = {party: settled(step, party, survivors) for party in survivors}
    given = {}
    for party in survivors:
        reply = step.siege.say(party, step.unmask(party, signatures, survivors)).reply
        assert isinstance(reply, messages.Unmasked)
        given[party] = reply.pieces
    total = sum_of(shares[party].payload for party in survivors)
    noised = recovery.unmask(total, step.group(), survivors, given, step.circle())
    assert not looks_uniform(noised)
    entry = step.roster["delta"]
    raw = recovery._Together(step.circle(), given).secret("delta", lambda made: recovery._is_key(entry, made))
    late, streams = words_of(shares["delta"].payload), Streams(step.group(), step.occasion, len(total))
    for peer in survivors:
        place = np.subtract if peer > "delta" else np.add
        place(late, streams.of_pair(X25519PrivateKey.from_private_bytes(raw), "delta", peer), out=late)
    assert looks_uniform(late)
    # nor does delta, asked itself, give out anything of what the others said was lost
    for request in (step.settle(survivors), step.unmask("delta", signatures, survivors)):
        refused(step, "delta", request, NONE)
    assert isinstance(step.siege.say("delta", step.settle()).reply, messages.Settled)
    refused(step, "delta", step.unmask("delta", step.signed("epsilon")), FEW)
    # its own mask, if somebody knew it, would have been all that was left
    drawn = step.siege.guests["delta"].node.store.drawn(step.occasion.round, step.occasion.step)
    assert drawn is not None
    seed = masking.Secrets(drawn[1], step.occasion, True).seed
    assert seed is not None
    assert not looks_uniform(late - streams.of_seed(seed, "delta"))


def words_of(payload: bytes) -> masking.Words:
    return np.frombuffer(payload, dtype="<u8").astype(np.uint64)


def sum_of(payloads: object) -> masking.Words:
    return masking.add_up({str(at): words_of(one) for at, one in enumerate(payloads)})  # type: ignore[call-overload]


def test_several_sequences_bring_out_one_kind_of_pieces_of_each_party(own: Step) -> None:
    """Epsilon's keys are the coordinator's. It asks everybody for everything, for each set in turn."""
    out: dict[str, set[str]] = {}
    have: dict[tuple[str, ...], dict[str, str]] = {}
    for survivors in (but("beta"), FIVE, but("gamma"), but("beta"), but("delta"), FIVE):
        signatures = have.setdefault(tuple(survivors), own.signed("epsilon", survivors=survivors))
        for party in but("epsilon"):
            said = own.siege.say(party, own.settle(survivors)).reply
            if isinstance(said, messages.Settled):
                signatures[party] = said.signature
        for party in but("epsilon"):
            given = own.siege.say(party, own.unmask(party, signatures, survivors)).reply
            if isinstance(given, messages.Unmasked):
                for peer, piece in given.pieces.items():
                    out.setdefault(f"{peer} by {party}", set()).add(piece)
    assert {len(pieces) for pieces in out.values()} == {1}
    assert sorted({name.split(" by ")[1] for name in out}) == but("beta", "epsilon")
