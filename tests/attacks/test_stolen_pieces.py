"""Boxes and words that would bring out a secret, or fill a party's disk: neither does."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from protocols import keys, messages, recovery
from protocols.masking import Occasion, Secrets
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.attacks.words import FIVE, Step

Besiege = Callable[[Stage], Siege]
CLOSED = "the pieces that {} dealt cannot be opened"


@pytest.fixture(scope="module")
def step(stages_of_five: Stages, besiege_all: Besiege) -> Step:
    """Everybody has settled that everybody survived."""
    step = Step(besiege_all(stages_of_five.before(messages.Prepare))).masked()
    for party in FIVE:
        assert isinstance(step.siege.say(party, step.settle()).reply, messages.Settled)
    return step


def unmask(step: Step, **boxes: str) -> messages.Unmask:
    """Alpha is asked, with all signatures that it takes."""
    asked = step.unmask("alpha", step.signed(*FIVE))
    return asked.model_copy(update={"boxes": {**asked.boxes, **boxes}})


def refused(step: Step, request: messages.Request, reason: str) -> None:
    with step.siege.nothing_changes():
        code, said = step.siege.say("alpha", request).refusal
        assert (code, said) == ("round", reason)


def secrets_of(step: Step, party: str) -> Secrets:
    drawn = step.siege.guests[party].node.store.drawn(step.occasion.round, step.occasion.step)
    assert drawn is not None
    return Secrets(drawn[1], step.occasion, True)


def test_what_is_sealed_for_the_right_one_opens(step: Step) -> None:
    assert isinstance(step.siege.say("alpha", unmask(step)).reply, messages.Unmasked)


def test_boxes_of_two_dealers_swapped(step: Step) -> None:
    """Else alpha would give out what belongs to gamma as a piece of beta's, of the other kind if beta is lost."""
    boxes = step.boxes("alpha")
    refused(step, unmask(step, beta=boxes["gamma"], gamma=boxes["beta"]), CLOSED.format("beta"))


def test_a_box_that_was_sealed_for_another(step: Step) -> None:
    refused(step, unmask(step, beta=step.boxes("gamma")["beta"]), CLOSED.format("beta"))


def test_a_box_that_was_altered(step: Step) -> None:
    raw = bytearray(keys.unbase64(step.boxes("alpha")["beta"]))
    raw[0] ^= 1
    refused(step, unmask(step, beta=keys.base64_text(bytes(raw))), CLOSED.format("beta"))


def test_a_box_that_is_missing(step: Step) -> None:
    whole = unmask(step)
    without = {dealer: box for dealer, box in whole.boxes.items() if dealer != "beta"}
    refused(step, whole.model_copy(update={"boxes": without}), CLOSED.format("beta"))


@pytest.mark.parametrize("bent", ["occasion", "roster"])
def test_a_box_of_another_step_or_roster(step: Step, bent: str) -> None:
    """Dealt by beta with its true secrets, for a step with another nonce, or for a roster without gamma."""
    occasion, roster = step.occasion, step.roster
    if bent == "occasion":
        occasion = Occasion.model_validate({**occasion.body(), "nonce": "0" * 32})
    else:
        roster = {party: key for party, key in roster.items() if party != "gamma"}
    circle = recovery.Circle(occasion, roster, FIVE, step.circle().threshold)
    box = recovery.Dealer(circle, "beta", secrets_of(step, "beta")).deal()["alpha"]
    refused(step, unmask(step, beta=box), CLOSED.format("beta"))


def test_pieces_of_another_length(step: Step) -> None:
    """Beta is in league, and seals for alpha one byte too many."""
    dealer = recovery.Dealer(step.circle(), "beta", secrets_of(step, "beta"))
    refused(step, unmask(step, beta=dealer._seal("alpha", bytes(65))), "beta dealt pieces of another length")


# -- too much ----------------------------------------------------------------------------------------------------------


def names(count: int) -> list[str]:
    return [f"n{at}" for at in range(count)]


def too_much(step: Step) -> list[messages.Request]:
    o, some = step.occasion, "A" * 8192
    key = step.roster["beta"]
    return [
        messages.Settle(occasion=o, survivors=names(50_000)),
        messages.Settle(occasion=o, survivors=["alpha"] * 50_000),
        messages.Unmask(occasion=o, survivors=list(FIVE), signatures=dict.fromkeys(names(300), some), boxes={}),
        messages.Unmask(occasion=o, survivors=names(50_000), signatures={}, boxes={}),
        messages.Agree(occasion=o, roster=dict.fromkeys(names(4_000), key)),
        messages.Contribute(occasion=o, roster=dict.fromkeys(names(4_000), key), agreements={}),
        messages.Contribute(occasion=o, roster=step.roster, agreements=dict.fromkeys(names(300), some)),
    ]


def test_thousands_of_names_keys_and_signatures(step: Step) -> None:
    """Each is answered with a short refusal, and nothing of it is kept."""
    for request in too_much(step):
        with step.siege.nothing_changes():
            heard = step.siege.say("alpha", request)
            code, said = heard.refusal
            assert code == "round"
            assert len(said) < 200, said


def test_thousands_of_boxes(step: Step) -> None:
    """Those of the group are opened, the others not looked at; what is given out is five pieces."""
    more = dict.fromkeys(names(400), "A" * 8192)
    with step.siege.nothing_changes():
        reply = step.siege.say("alpha", unmask(step, **more)).reply
    assert isinstance(reply, messages.Unmasked)
    assert sorted(reply.pieces) == list(FIVE)


def test_a_text_that_is_longer_than_any(step: Step) -> None:
    """It is no request: the carrier says so in a constant word."""
    whole = messages.encode(unmask(step))
    longer = whole.replace(step.boxes("alpha")["beta"].encode(), b"A" * 8196)
    assert longer != whole
    with step.siege.nothing_changes():
        assert step.siege.say("alpha", longer).error == (2, "failed")


def test_floods_of_settling_and_unmasking(step: Step) -> None:
    """The same answer each time; a node's memory does not grow with their number."""
    node, settle, asked = step.siege.guests["alpha"].node, step.settle(), unmask(step)
    first = node.answer(settle).reply, node.answer(asked).reply
    with step.siege.nothing_changes():
        tracemalloc.start()
        try:
            for _ in range(20):
                node.answer(settle), node.answer(asked)
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(200):
                assert (node.answer(settle).reply, node.answer(asked).reply) == first
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 200_000
