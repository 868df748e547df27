"""Who survived a step is settled once, after one's own share; then one piece of each party is given out."""

from __future__ import annotations

from typing import Any

import pytest

from protocols import messages, recovery
from tests.rounds import lab as rooms

ALL = sorted(rooms.FIVE)
MOST = [party for party in ALL if party != "delta"]
LESS = [party for party in ALL if party != "beta"]


@pytest.fixture
def room(five: rooms.Room) -> rooms.Room:
    """In this file a room is one of five."""
    return five


def signatures(room: rooms.Room, contribute: messages.Contribute, survivors: list[str]) -> dict[str, str]:
    """Of all survivors, by their keys, whatever their nodes would sign."""
    o, group = contribute.occasion, contribute.roster
    return {p: recovery.settle(room.nodes[p].signing, p, o, group, survivors) for p in survivors}


def unmask(room: rooms.Room, contribute: messages.Contribute, survivors: list[str]) -> messages.Unmask:
    """What alpha would be asked: with its true boxes and true signatures."""
    boxes = {}
    for party in ALL:
        agreed = room.say(party, messages.Agree(occasion=contribute.occasion, roster=contribute.roster))
        assert isinstance(agreed, messages.Agreed)
        boxes[party] = agreed.boxes
    return messages.Unmask(
        occasion=contribute.occasion,
        survivors=survivors,
        signatures=signatures(room, contribute, survivors),
        boxes={party: dealt["alpha"] for party, dealt in boxes.items() if party != "alpha"},
    )


def refused(reply: messages.Reply, words: str) -> None:
    assert isinstance(reply, messages.Refusal), reply
    assert words in reply.reason


def settle(contribute: messages.Contribute, survivors: list[str]) -> messages.Settle:
    return messages.Settle(occasion=contribute.occasion, survivors=survivors)


def test_nobody_settles_survivors_or_gives_out_a_piece_before_its_own_share(room: rooms.Room) -> None:
    asked = room.stopped_at(messages.Contribute)["alpha"]
    for request in (settle(asked, MOST), unmask(room, asked, MOST)):
        refused(room.say("alpha", request), "this node has sent no share for it")
    room.share("alpha", asked)
    assert isinstance(room.say("alpha", settle(asked, MOST)), messages.Settled)


def test_survivors_are_settled_once_for_a_step_and_the_same_again(room: rooms.Room) -> None:
    asked = room.stopped_at(messages.Contribute)["alpha"]
    room.share("alpha", asked)
    first = room.say("alpha", settle(asked, MOST))
    room.restart("alpha")
    for other in (LESS, ALL):
        refused(room.say("alpha", settle(asked, other)), "other survivors were settled before")
        refused(room.say("alpha", unmask(room, asked, other)), "other survivors were settled before")
    assert room.say("alpha", settle(asked, MOST)) == first


def test_what_was_given_out_settles_the_survivors_too_and_is_given_out_the_same_again(room: rooms.Room) -> None:
    """Asked to unmask without ever having been asked to settle: then others cannot be settled any more."""
    asked = room.stopped_at(messages.Contribute)["alpha"]
    room.share("alpha", asked)
    request: Any = unmask(room, asked, MOST)
    first: Any = room.say("alpha", request)
    assert sorted(first.pieces) == ALL
    room.restart("alpha")
    assert room.say("alpha", request) == first
    for later in (settle(asked, LESS), unmask(room, asked, LESS)):
        refused(room.say("alpha", later), "other survivors were settled before")


def test_no_piece_is_given_out_for_too_few_signatures_and_nothing_is_settled_by_them(room: rooms.Room) -> None:
    asked = room.stopped_at(messages.Contribute)["alpha"]
    room.share("alpha", asked)
    request = unmask(room, asked, MOST)
    few = {party: request.signatures[party] for party in MOST[:3]}
    refused(room.say("alpha", request.model_copy(update={"signatures": few})), "settled by 3 of them, fewer than 4")
    assert isinstance(room.say("alpha", settle(asked, LESS)), messages.Settled)


def test_a_commit_that_names_other_survivors_than_were_settled_is_not_cosigned(room: rooms.Room) -> None:
    """Alpha has settled the step without delta; the others all five: theirs is released, and alpha does not sign it."""

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if isinstance(request, messages.Settle) and party == "alpha" and request.occasion.step == "rfm-cuts":
            assert isinstance(room.say("alpha", request.model_copy(update={"survivors": MOST})), messages.Settled)
        return request

    room.meddle = meddle
    assert room.run()[0].body_.survivors == ALL
    (last, *_) = [one for one in room.sent(messages.Witness) if one.party == "alpha" and b"commit@v1" in one.request]
    refused(messages.read_reply(last.reply), "the commit of step rfm-cuts names other survivors than were settled")
