"""Everybody agrees to one roster of mask keys for a step, once: so no node can be led to draw noise twice, whatever
copy of its disk it was put back to."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from party_node.config import Config
from party_node.node import Node
from protocols import messages
from protocols.errors import IntegrityError, RoundEnded
from protocols.masking import agreeing, check_agreements, offer


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
    key = offer(X25519PrivateKey.generate(), room.nodes[party].signing, party, request.occasion)
    return {**request.roster, party: key}


def test_a_party_agrees_to_one_roster_and_to_the_same_again(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    agree = messages.Agree(occasion=request.occasion, roster=request.roster)
    assert room.say("alpha", agree).signature == request.agreements["alpha"]
    second = messages.Agree(occasion=request.occasion, roster=other_roster(room, request, "beta"))
    refused(room.say("alpha", second), "another roster of mask keys was agreed to before")
    room.restart("gamma")
    refused(room.say("gamma", agree), "has offered no mask key for this occasion")


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
    assert drawn == []


def test_a_node_put_back_to_an_older_copy_of_everything_does_not_draw_noise_again(
    room: Any, lab: ModuleType, tmp_path: Path, drawn: list[int]
) -> None:
    """Disk, accounts, all: it asks for agreement to a new mask key, and the others have agreed to the old one."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    copy = tmp_path / "older"
    shutil.copytree(room.base / "alpha", copy)
    request = lab.contribution(room, prepare, room.book.checkpoint())
    first, _ = room.share("alpha", request)
    assert isinstance(first, messages.Share)
    assert len(drawn) == 1
    room.nodes["alpha"].close()
    shutil.rmtree(room.base / "alpha")
    shutil.copytree(copy, room.base / "alpha")
    room.nodes["alpha"] = Node(Config.load(room.base / "alpha" / "node.toml"), room.clock)
    assert room.nodes["alpha"].store.share(prepare.occasion.round, prepare.occasion.step) is None  # it has forgotten
    # the very same request: its key is gone
    refused(room.say("alpha", request), "has offered no mask key")
    # a new key: nobody agrees to it any more
    roster = {**request.roster, "alpha": room.say("alpha", prepare).key}
    agree = messages.Agree(occasion=prepare.occasion, roster=roster)
    mine = room.say("alpha", agree).signature
    for other in ("beta", "gamma"):
        refused(room.say(other, agree), "another roster")
    for agreements in ({**request.agreements, "alpha": mine}, {"alpha": mine}, request.agreements):
        again = messages.Contribute(
            occasion=prepare.occasion, roster=roster, agreements=agreements, checkpoint=request.checkpoint
        )
        assert isinstance(room.say("alpha", again), messages.Refusal)
    assert len(drawn) == 1


def test_of_two_copies_of_a_node_that_run_at_once_one_contributes(
    room: Any, lab: ModuleType, tmp_path: Path, drawn: list[int]
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    twin_home = tmp_path / "twin"
    shutil.copytree(room.base / "alpha", twin_home / "alpha")
    for name in ("room.toml", "authority.pem"):
        if (room.base / name).exists():
            shutil.copy(room.base / name, twin_home / name)
    twin = Node(Config.load(twin_home / "alpha" / "node.toml"), room.clock)
    try:
        request = lab.contribution(room, prepare, room.book.checkpoint())
        assert isinstance(room.share("alpha", request)[0], messages.Share)
        offered = twin.answer(prepare).reply
        assert isinstance(offered, messages.MaskOffer)
        refused(twin.answer(request).reply, "shows another mask key for this party")
        roster = {**request.roster, "alpha": offered.key}
        refused(room.say("beta", messages.Agree(occasion=prepare.occasion, roster=roster)), "another roster")
    finally:
        twin.close()
    assert len(drawn) == 1


def test_a_node_that_starts_again_between_its_key_and_its_share_ends_the_round_clearly(
    room: Any, drawn: list[int]
) -> None:
    def meddle(party: str, request: messages.Request) -> messages.Request:
        if party == "beta" and isinstance(request, messages.Contribute):
            room.restart("beta")
        return request

    room.meddle = meddle
    with pytest.raises(RoundEnded, match="is forfeited: beta refused: .* since it started"):
        room.run()
    assert len(drawn) == 2
    room.meddle = lambda _, request: request
    assert len(room.run()) == 2  # and the next round is none the worse


def test_a_contributor_alone_needs_the_agreement_of_the_whole_room() -> None:
    assert agreeing(["beta"], ["gamma", "alpha", "beta"]) == ["alpha", "beta", "gamma"]
    assert agreeing(["beta", "alpha"], ["gamma", "alpha", "beta"]) == ["alpha", "beta"]


def test_agreements_of_other_parties_than_those_asked_are_refused(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    identities = room.nodes["alpha"].room.identities
    check_agreements(request.agreements, identities, request.occasion, request.roster)
    with pytest.raises(IntegrityError, match="exactly the parties that must"):
        check_agreements(request.agreements, {"alpha": identities["alpha"]}, request.occasion, request.roster)
