"""A party that lies to an honest coordinator with its own true key: nobody else loses more than the reserved budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.conversation import Deadline
from party_node.participation import Answered
from protocols import keys, messages
from protocols.encoding import digest
from protocols.errors import IntegrityError, Refused, RoundEnded
from protocols.masking import MaskKey
from tests.attacks.siege import Bend, Siege
from tests.attacks.stages import PARTIES, Stage, Stages

Besiege = Callable[[Stage], Siege]


class Soon:
    """In place of a round's deadline: in a few seconds."""

    @staticmethod
    def after(seconds: float) -> Deadline:
        return Deadline.after(min(seconds, 4.0))


@pytest.fixture
def siege(besiege: Besiege, stages: Stages) -> Siege:
    """A room in which one round was released; the plan may run once more."""
    return besiege(stages.done())


def replacing(kind: type, **bent: Any) -> Bend:
    """Alpha's true answer of this kind, with other fields."""

    def bend(_: messages.Request, answered: Answered) -> Answered:
        if not isinstance(answered.reply, kind):
            return answered
        return Answered(answered.reply.model_copy(update=bent), answered.payload, answered.after_s)

    return bend


def nothing_spent(siege: Siege, bend: Bend, kind: type[Exception], reason: str) -> None:
    """The round ends before the reserve: every ledger is as it was, and no budget is spent."""
    siege.betray("alpha", bend)
    with siege.nothing_changes("charge", "noted"):
        raised = siege.launch()
        assert isinstance(raised, kind), raised
        assert reason in str(raised)
    for party in PARTIES:
        charges = siege.dump()[party]["accounts.db"]["charge"]
        assert sum(row[6] == "spent" for row in charges) == 1


def only_forfeited(siege: Siege, bend: Bend, reason: str) -> None:
    """The round ends as a forfeit: nothing is committed, nothing released, and nobody's share is anywhere but here."""
    before = {party: siege.dump()[party]["node.db"]["release"] for party in PARTIES}
    commits = sum(len(round_.commits) for round_ in siege.ledger.book.accounts.rounds.values())
    siege.betray("alpha", bend)
    raised = siege.launch()
    assert isinstance(raised, RoundEnded), raised
    assert f"is forfeited: {reason}" in raised.message  # the coordinator's own words, not a party's
    rounds = list(siege.ledger.book.accounts.rounds.values())
    assert rounds[-1].state == "forfeited"
    assert sum(len(round_.commits) for round_ in rounds) == commits
    assert {party: siege.dump()[party]["node.db"]["release"] for party in PARTIES} == before


def test_a_hold_in_anothers_name(siege: Siege) -> None:
    forged = keys.sign(siege.guests["alpha"].config.signing, "hold", {"round": "any"})
    reason = "the hold signature of alpha does not verify"
    nothing_spent(siege, replacing(messages.Held, party="beta", signature=forged), IntegrityError, reason)


def test_another_partys_dataset_declared(siege: Siege) -> None:
    beta = siege.guests["beta"].node
    declared = beta._declaration(beta.dataset_for(siege.plan))
    reason = "alpha declared a dataset of another party"
    nothing_spent(siege, replacing(messages.Approval, dataset=declared), IntegrityError, reason)


def test_a_clock_that_would_date_the_ledger_forward(siege: Siege) -> None:
    nothing_spent(siege, replacing(messages.Approval, time=2**40), Refused, "the clocks of alpha and here differ")


def test_a_party_that_claims_more_entries_than_there_are(siege: Siege) -> None:
    reason = "alpha: it says that it holds 9999 entries, and shows nothing"
    answer: Bend = lambda request, true: (  # noqa: E731
        Answered(messages.Behind(size=9999, checkpoint="no note")) if isinstance(request, messages.Witness) else true
    )
    siege.betray("alpha", answer)
    raised = siege.launch()
    assert isinstance(raised, RoundEnded | IntegrityError | Refused)
    assert reason in str(raised)
    assert {r.state for r in siege.ledger.book.accounts.rounds.values()} <= {"done", "forfeited"}


def beta_for_alpha(siege: Siege) -> str:
    """Beta's line on the last checkpoint."""
    lines = siege.ledger.book.checkpoint().splitlines()
    return next(line for line in lines if line.startswith("— beta "))


def test_a_cosignature_in_anothers_name(siege: Siege) -> None:
    forged = replacing(messages.Cosigned, party="beta", line=beta_for_alpha(siege))
    nothing_spent(siege, forged, IntegrityError, "not a cosignature by alpha")


def test_a_cosignature_in_anothers_name_on_a_reserve(siege: Siege, computed: list[str]) -> None:
    """Alpha waits with it until the budget is held."""
    forged = replacing(messages.Cosigned, party="beta", line=beta_for_alpha(siege))

    def bend(request: messages.Request, answered: Answered) -> Answered:
        reserve = isinstance(request, messages.Witness) and any("reserve@v1" in entry for entry in request.entries)
        return forged(request, answered) if reserve else answered

    only_forfeited(siege, bend, "not a cosignature by alpha")
    assert computed == []


def test_a_mask_key_in_anothers_name(siege: Siege) -> None:
    """Alpha answers for beta; found before anybody agrees to a roster."""
    only_forfeited(siege, replacing(messages.MaskOffer, party="beta"), "alpha gave another answer than was asked for")


def test_a_mask_key_that_another_signed(siege: Siege) -> None:
    signature = keys.sign(siege.guests["gamma"].config.signing, "mask-key", {"any": "thing"})
    key = MaskKey(public=keys.base64_text(bytes([9] + [0] * 31)), signature=signature)
    only_forfeited(siege, replacing(messages.MaskOffer, key=key), "the mask-key signature of alpha does not verify")


def test_an_agreement_in_anothers_name_from_a_party(siege: Siege) -> None:
    only_forfeited(siege, replacing(messages.Agreed, party="beta"), "alpha gave another answer than was asked for")


def test_an_agreement_to_nothing(siege: Siege) -> None:
    signature = keys.sign(siege.guests["alpha"].config.signing, "agreement", {"any": "thing"})
    only_forfeited(
        siege, replacing(messages.Agreed, signature=signature), "the agreement signature of alpha does not verify"
    )


def test_a_share_in_anothers_name(siege: Siege) -> None:
    reason = "alpha gave another answer than was asked for"
    only_forfeited(siege, replacing(messages.Share, party="beta"), reason)


def test_a_share_whose_words_were_altered(siege: Siege) -> None:
    def bend(_: messages.Request, answered: Answered) -> Answered:
        if not isinstance(answered.reply, messages.Share):
            return answered
        altered = bytes([answered.payload[0] ^ 1, *answered.payload[1:]])
        return Answered(answered.reply, altered, answered.after_s)

    only_forfeited(siege, bend, "alpha: the words are not those of its share")


def test_a_share_of_another_length(siege: Siege) -> None:
    """Alpha signs it truly: a thousand words where a handful were asked for."""

    def bend(_: messages.Request, answered: Answered) -> Answered:
        if not isinstance(answered.reply, messages.Share):
            return answered
        words = bytes(8000)
        body = messages.share_body("alpha", answered.reply.occasion, digest(words))
        signature = keys.sign(siege.guests["alpha"].config.signing, "share", body)
        share = answered.reply.model_copy(update={"payload": digest(words), "signature": signature})
        return Answered(share, words)

    only_forfeited(siege, bend, "alpha: the words are not those of its share")


def test_a_share_of_an_earlier_round_sent_again(siege: Siege) -> None:
    """The bytes that alpha sent for this very step in the round before, truly signed then."""
    (round_,) = siege.ledger.book.accounts.rounds
    step = siege.plan.steps()[0][0].name
    kept = siege.guests["alpha"].node.store.sent_share(round_, step)
    assert kept is not None
    old = Answered(messages.read_reply(kept[1]), bytes(8))
    bend: Bend = lambda _, answered: old if isinstance(answered.reply, messages.Share) else answered  # noqa: E731
    only_forfeited(siege, bend, "alpha answered for another party or another step")


def test_words_larger_than_the_room_allows(siege: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them come through; the others need alpha's, and wait for them until the deadline."""
    monkeypatch.setattr("coordinator.rounds.Deadline", Soon)

    def bend(_: messages.Request, answered: Answered) -> Answered:
        share = isinstance(answered.reply, messages.Share)
        return Answered(answered.reply, bytes(8 << 20)) if share else answered

    only_forfeited(siege, bend, "alpha did not answer")
