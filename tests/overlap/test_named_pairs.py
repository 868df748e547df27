"""A step that names its pairs: these are counted, with the noise of the two, and nobody lays lists out for others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import messages
from protocols.errors import Refused, RoundEnded
from protocols.overlap import words
from protocols.overlap.layout import Layout
from protocols.questions import REGISTRY, overlap
from protocols.statistic import Facts, Statistic, Step
from tests.overlap import meeting_lab
from tests.rounds import lab

PAIR = ("alpha", "gamma")


def steps(question: overlap.Plan, facts: Facts) -> list[tuple[Step, int]]:
    """The overlap's two steps, the second of one pair only."""
    first, (second, rho) = overlap.steps(question, facts)
    assert second.between is not None
    slots = tuple(slot for slot in second.statistic.slots if slot.startswith(f"{overlap.pair_name(*PAIR)}/"))
    one = replace(
        second,
        statistic=Statistic(slots, scale=1, bound_sq=1, tallied=False),
        between=replace(second.between, pairs=(PAIR,)),
        answer=lambda *_: {},
    )
    return [first, (one, rho // 4)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return meeting_lab.make(tmp_path_factory.mktemp("room") / "trial")


@pytest.fixture
def room(template: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[lab.Room]:
    monkeypatch.setitem(REGISTRY, "overlap", (overlap.Plan, steps))
    plan = type(template[1]).from_bytes(template[1].canonical)
    with lab.Room(lab.copy(template[0], tmp_path / "room"), plan) as made:
        yield made


def test_the_pairs_that_a_step_names_are_counted_with_the_noise_of_the_two_and_no_others(
    room: lab.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = meeting_lab.Draws(monkeypatch)
    _, release = room.run()
    cells = np.asarray(release.body_.noised).reshape(len(meeting_lab.TIERS), -1)
    assert np.array_equal(cells, meeting_lab.truth(*PAIR) + draws.noise(*PAIR))
    assert release.body_.survivors == ["alpha", "beta", "gamma"]


def test_a_party_of_no_pair_takes_part_and_lays_out_finishes_and_shows_nothing(room: lab.Room) -> None:
    room.run()
    (laid,) = (messages.read_reply(one.reply) for one in room.sent(words.Lay) if one.party == "beta")
    (finished,) = (messages.read_reply(one.reply) for one in room.sent(words.Finish) if one.party == "beta")
    (shown,) = (messages.read_reply(one.reply) for one in room.sent(words.Reveal) if one.party == "beta")
    assert isinstance(laid, words.Laid)
    assert isinstance(finished, words.Finished)
    assert isinstance(shown, words.Revealed)
    assert (laid.heads, finished.heads, shown.canaries) == ({}, {}, {})
    asked = [messages.read_request(one.request) for one in (*room.sent(words.Fetch), *room.sent(words.Take))]
    assert asked
    assert not [one for one in room.wire if one.party == "beta" and b'"fetch"' in one.request]


def test_lists_of_a_pair_that_the_step_does_not_name_are_not_taken(room: lab.Room) -> None:
    ((party, asked),) = room.stopped_at(words.Take).items()
    taken = asked.request
    strange = taken.model_copy(update={"head": taken.head.model_copy(update={"party": "beta"})})
    reply = room.nodes[party].answer(strange, asked.payload).reply
    assert isinstance(reply, messages.Refusal)
    assert reply.reason == "beta is no peer of this party"


def test_a_roster_in_which_a_party_has_a_half_for_another_than_its_peers_is_refused(room: lab.Room) -> None:
    def meddle(party: str, request: Any) -> Any:
        if not isinstance(request, words.Lay):
            return request
        offer = request.roster["alpha"]
        other = offer.model_copy(update={"halves": {**offer.halves, "beta": offer.halves["gamma"]}})
        return request.model_copy(update={"roster": {**request.roster, "alpha": other}})

    room.meddle = meddle
    with pytest.raises(RoundEnded, match="offered twice|not for exactly its peers"):
        room.run()


def test_a_layout_knows_its_pairs_and_peers() -> None:
    three = {"alpha": (1,), "beta": (2,), "gamma": (3,)}
    assert Layout(three, 1).all_pairs == (("alpha", "beta"), ("alpha", "gamma"), ("beta", "gamma"))
    named = Layout(three, 1, (PAIR,))
    assert (named.peers("alpha"), named.peers("beta"), named.peers("gamma")) == (["gamma"], [], ["alpha"])


def test_a_step_that_is_a_sum_has_no_layout() -> None:
    with pytest.raises(Refused, match="step rfm-cuts is no overlap"):
        Layout.of(lab.plan(), "rfm-cuts", {})
