"""Everybody agrees to one roster of mask keys for a step, once: so no node can be led to draw noise twice, whatever
copy of its disk it was put back to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from party_node.config import Config
from party_node.node import Node
from protocols import messages
from protocols.errors import IntegrityError
from protocols.masking import agreeing, check_agreements
from tests.rounds.requests import another_key, contribution


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time that noise is drawn."""
    from party_node import share

    real, times = share.add_noise, list[int]()

    def watched(total: Any, **named: int) -> Any:
        times.append(len(total))
        return real(total, **named)

    monkeypatch.setattr("party_node.share.add_noise", watched)
    return times


def refused(reply: messages.Reply, words: str) -> None:
    assert isinstance(reply, messages.Refusal), reply
    assert words in reply.reason


def other_roster(room: Any, request: messages.Contribute, party: str) -> dict[str, Any]:
    return {**request.roster, party: another_key(room.nodes[party].signing, party, request.occasion)}


def test_a_party_agrees_to_one_roster_and_to_the_same_again(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    agree = messages.Agree(occasion=request.occasion, roster=request.roster)
    assert room.say("alpha", agree).signature == request.agreements["alpha"]
    second = messages.Agree(occasion=request.occasion, roster=other_roster(room, request, "beta"))
    refused(room.say("alpha", second), "another roster of mask keys was agreed to before")
    room.restart("gamma")
    assert room.say("gamma", agree).signature == request.agreements["gamma"]
    refused(room.say("gamma", second), "another roster of mask keys was agreed to before")


def test_a_party_does_not_agree_to_a_roster_that_shows_another_key_as_its_own(room: Any) -> None:
    request = room.stopped_at(messages.Agree)["alpha"]
    false = messages.Agree(occasion=request.occasion, roster=other_roster(room, request, "alpha"))
    refused(room.say("alpha", false), "shows another mask key for this party")
    assert isinstance(room.say("alpha", request), messages.Agreed)


@pytest.mark.parametrize("spoil", ["missing", "strange", "of-another-occasion", "of-another-roster", "swapped"])
def test_nobody_contributes_without_everybodys_agreement_to_this_roster(
    room: Any, drawn: list[int], spoil: str
) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    agreements = dict(request.agreements)
    beta = room.nodes["beta"]
    from protocols.masking import agree

    if spoil == "missing":
        del agreements["beta"]
    elif spoil == "strange":
        agreements["delta"] = agreements["beta"]
    elif spoil == "of-another-occasion":
        other = request.occasion.model_copy(update={"nonce": "0" * 32})
        agreements["beta"] = agree(beta.signing, "beta", other, request.roster)
    elif spoil == "of-another-roster":
        agreements["beta"] = agree(beta.signing, "beta", request.occasion, other_roster(room, request, "gamma"))
    else:
        agreements["beta"], agreements["gamma"] = agreements["gamma"], agreements["beta"]
    reply, payload = room.share("alpha", request.model_copy(update={"agreements": agreements}))
    assert isinstance(reply, messages.Refusal)
    assert "agree" in reply.reason
    assert payload == b""
    assert room.nodes["alpha"].store.sent_share(request.occasion.round, request.occasion.step) is None
    assert len(drawn) == len(room.nodes)  # when they were asked for their keys


def put_back(room: Any, party: str, older: Path) -> None:
    """This party's disk, accounts and all, as it was."""
    room.nodes[party].close()
    shutil.rmtree(room.base / party)
    shutil.copytree(older, room.base / party)
    room.nodes[party] = Node(Config.load(room.base / party / "node.toml"), room.clock)


def test_a_node_put_back_to_before_it_drew_does_not_get_a_second_drawing_added_up(
    room: Any, tmp_path: Path, drawn: list[int]
) -> None:
    """Disk, accounts, all: it draws again, makes other keys, and the others have agreed to the old ones."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    shutil.copytree(room.base / "alpha", tmp_path / "older")
    request = contribution(room, prepare)
    first, _ = room.share("alpha", request)
    assert isinstance(first, messages.Share)
    put_back(room, "alpha", tmp_path / "older")
    assert room.nodes["alpha"].store.sent_share(prepare.occasion.round, prepare.occasion.step) is None
    # the very same request: it has forgotten what it drew
    refused(room.say("alpha", request), "has offered no mask key")
    # a new drawing, with a new key: nobody agrees to it any more
    roster = {**request.roster, "alpha": room.say("alpha", prepare).key}
    assert roster != request.roster
    refused(room.say("alpha", request), "another mask key for this party")
    agree = messages.Agree(occasion=prepare.occasion, roster=roster)
    mine = room.say("alpha", agree).signature
    for other in ("beta", "gamma"):
        refused(room.say(other, agree), "another roster")
    for agreements in ({**request.agreements, "alpha": mine}, {"alpha": mine}, request.agreements):
        again = messages.Contribute(occasion=prepare.occasion, roster=roster, agreements=agreements)
        assert isinstance(room.say("alpha", again), messages.Refusal)
    assert len(drawn) == 4  # alpha's second one has left its disk in no form
    assert room.nodes["alpha"].store.sent_share(prepare.occasion.round, prepare.occasion.step) is None


@pytest.mark.parametrize("moment", ["offered", "agreed"])
def test_a_node_put_back_to_after_it_drew_goes_on_with_the_same_words(
    room: Any, tmp_path: Path, drawn: list[int], moment: str
) -> None:
    """Nothing is drawn again: what comes is what came, or would have come."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    if moment == "offered":
        offered = room.say("alpha", prepare)
        shutil.copytree(room.base / "alpha", tmp_path / "older")
    request = contribution(room, prepare)
    if moment == "agreed":
        shutil.copytree(room.base / "alpha", tmp_path / "older")
        offered = room.say("alpha", prepare)
    first = room.share("alpha", request)
    put_back(room, "alpha", tmp_path / "older")
    assert room.say("alpha", prepare) == offered
    assert room.share("alpha", request) == first
    assert len(drawn) == len(room.nodes)


def test_of_two_copies_of_a_node_that_run_at_once_one_contributes(room: Any, tmp_path: Path, drawn: list[int]) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    with twin_of(room, "alpha", tmp_path) as twin:
        request = contribution(room, prepare)
        assert isinstance(room.share("alpha", request)[0], messages.Share)
        refused(twin.answer(request).reply, "has offered no mask key")
        offered = twin.answer(prepare).reply
        assert isinstance(offered, messages.MaskOffer)
        refused(twin.answer(request).reply, "shows another mask key for this party")
        roster = {**request.roster, "alpha": offered.key}
        agree = messages.Agree(occasion=prepare.occasion, roster=roster)
        refused(room.say("beta", agree), "another roster")
        agreed = twin.answer(agree).reply
        assert isinstance(agreed, messages.Agreed)
        signed = {**request.agreements, "alpha": agreed.signature}
        again = messages.Contribute(occasion=prepare.occasion, roster=roster, agreements=signed)
        refused(twin.answer(again).reply, "the agreement signature of beta does not verify")
    assert len(drawn) == 4


def test_two_copies_made_after_the_drawing_send_the_same_words(room: Any, tmp_path: Path, drawn: list[int]) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    room.say("alpha", prepare)
    with twin_of(room, "alpha", tmp_path) as twin:
        request = contribution(room, prepare)
        shared, payload = room.share("alpha", request)
        answered = twin.answer(request)
        assert (answered.reply, answered.payload) == (shared, payload)
        assert isinstance(shared, messages.Share)
    assert len(drawn) == 3


@contextmanager
def twin_of(room: Any, party: str, place: Path) -> Iterator[Node]:
    """A second node on a copy of this party's disk, accounts and all."""
    home = place / "twin"
    shutil.copytree(room.base / party, home / party)
    for name in ("room.toml", "authority.pem"):
        if (room.base / name).exists():
            shutil.copy(room.base / name, home / name)
    with closing(Node(Config.load(home / party / "node.toml"), room.clock)) as twin:
        yield twin


def test_a_contributor_alone_needs_the_agreement_of_the_whole_room() -> None:
    assert agreeing(["beta"], ["gamma", "alpha", "beta"]) == ["alpha", "beta", "gamma"]
    assert agreeing(["beta", "alpha"], ["gamma", "alpha", "beta"]) == ["alpha", "beta"]


def test_agreements_of_other_parties_than_those_asked_are_refused(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    identities = room.nodes["alpha"].room.identities
    check_agreements(request.agreements, identities, request.occasion, request.roster)
    with pytest.raises(IntegrityError, match="exactly the parties that must"):
        check_agreements(request.agreements, {"alpha": identities["alpha"]}, request.occasion, request.roster)
