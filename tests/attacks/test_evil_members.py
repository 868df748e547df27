"""A party of five that lies to an honest coordinator while secrets are dealt and given out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.store import agreements_key
from party_node.participation import Answered
from protocols import keys, messages
from protocols.encoding import parse
from protocols.errors import RoundEnded
from tests.attacks.siege import Bend, Siege
from tests.attacks.stages import Stage, Stages
from tests.attacks.words import FIVE
from tests.rounds.requests import another_key

Besiege = Callable[[Stage], Siege]
FALSE = keys.base64_text(bytes(32))
BOX = keys.base64_text(bytes(80))
STRANGERS = [f"n{at}" for at in range(300)]


@pytest.fixture
def siege(stages_of_five: Stages, besiege: Besiege) -> Siege:
    """A round is reserved; the honest coordinator goes on with it."""
    return besiege(stages_of_five.before(messages.Prepare))


def bending(kind: type, bend: Callable[[Any], dict[str, Any]]) -> Bend:
    """Alpha's true answer of this kind, with other fields."""

    def bent(_: messages.Request, answered: Answered) -> Answered:
        if not isinstance(answered.reply, kind):
            return answered
        return Answered(answered.reply.model_copy(update=bend(answered.reply)), answered.payload, answered.after_s)

    return bent


def left_out(siege: Siege, bend: Bend) -> None:
    """It could as well have been silent: the round is released, and its first step is not with alpha's."""
    siege.betray("alpha", bend)
    assert siege.launch() is None
    (round_,) = siege.ledger.book.accounts.rounds.values()
    assert [list(commit.survivors) for commit in round_.commits] == [list(FIVE[1:])] * 2


def only_forfeited(siege: Siege, bend: Bend, reason: str) -> None:
    """The round ends, names who lied, and nothing was released."""
    siege.betray("alpha", bend)
    raised = siege.launch()
    assert isinstance(raised, RoundEnded), raised
    assert f"is forfeited: {reason}" in raised.message, raised.message
    (round_,) = siege.ledger.book.accounts.rounds.values()
    assert (round_.state, round_.commits) == ("forfeited", ())
    assert all(siege.dump()[party]["node.db"]["release"] == [] for party in FIVE)


def released(siege: Siege) -> None:
    """The round finished as if alpha had been honest."""
    assert siege.launch() is None
    (round_,) = siege.ledger.book.accounts.rounds.values()
    assert [list(commit.survivors) for commit in round_.commits] == [list(FIVE)] * 2


def test_an_offer_without_a_sealing_key(siege: Siege) -> None:
    signing = siege.guests["alpha"].config.signing
    plain = another_key(signing, "alpha", siege.occasion())
    bend = bending(messages.MaskOffer, lambda _: {"key": plain})
    left_out(siege, bend)


def test_boxes_that_nobody_can_open(siege: Siege) -> None:
    """Found when they are needed: nobody but those they are for could tell before."""
    bend = bending(messages.Agreed, lambda said: {"boxes": dict.fromkeys(said.boxes, BOX)})
    only_forfeited(siege, bend, "beta refused: the pieces that alpha dealt cannot be opened")


@pytest.mark.parametrize(
    "boxes",
    [{}, {"beta": BOX}, dict.fromkeys(FIVE, BOX), dict.fromkeys(FIVE[1:], FALSE), dict.fromkeys(STRANGERS, BOX)],
    ids=["none", "one", "for itself", "of another size", "for strangers"],
)
def test_boxes_for_others_than_the_others(siege: Siege, boxes: dict[str, str]) -> None:
    """None of it is kept."""
    left_out(siege, bending(messages.Agreed, lambda _: {"boxes": boxes}))
    (round_id,) = siege.ledger.book.accounts.rounds
    kept = siege.ledger.book.blob(agreements_key(round_id, "rfm-cuts"))
    assert kept is not None
    assert sorted(parse(kept)["boxes"]) == list(FIVE[1:])


def test_a_signature_under_other_survivors(siege: Siege) -> None:
    signature = keys.sign(siege.guests["alpha"].config.signing, "survivors", {"any": "thing"})
    bend = bending(messages.Settled, lambda _: {"signature": signature})
    siege.betray("alpha", bend)
    released(siege)


def test_survivors_settled_in_anothers_name(siege: Siege) -> None:
    siege.betray("alpha", bending(messages.Settled, lambda _: {"party": "beta"}))
    released(siege)


@pytest.mark.parametrize("pieces", [{}, dict.fromkeys(FIVE, FALSE), dict.fromkeys(FIVE, "AAAA"), {"zeta": FALSE}],
                         ids=["none", "false", "short", "a stranger's"])  # fmt: skip
def test_wrong_pieces_do_not_stop_the_others(siege: Siege, pieces: dict[str, str]) -> None:
    """Four others are enough, and the secrets that come out are those that were dealt."""
    siege.betray("alpha", bending(messages.Unmasked, lambda _: {"pieces": pieces}))
    released(siege)


def test_pieces_that_another_was_given(siege: Siege) -> None:
    """Alpha gives out what belongs to other parties: each piece lies at another place than it says."""
    siege.betray("alpha", bending(messages.Unmasked, lambda said: {"pieces": _rotated(said.pieces)}))
    released(siege)


def _rotated(pieces: dict[str, str]) -> dict[str, str]:
    named = sorted(pieces)
    return {party: pieces[named[at - 1]] for at, party in enumerate(named)}


def test_pieces_in_anothers_name(siege: Siege) -> None:
    siege.betray("alpha", bending(messages.Unmasked, lambda _: {"party": "beta"}))
    released(siege)
