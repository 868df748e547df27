"""A consent policy that cannot be read, because somebody writes it, costs no round and lets nothing more through."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from party_node.policy import Decision
from protocols import messages
from protocols.errors import RoundEnded

HALF = "[[allow]\nplan ="


def broken(room: Any) -> None:
    (room.base / "alpha" / "consent.toml").write_text(HALF)


def test_a_round_under_way_is_not_lost_to_a_policy_that_is_half_written(room: Any) -> None:
    def meddle(party: str, request: messages.Request) -> messages.Request:
        if isinstance(request, messages.Prepare):
            broken(room)
        return request

    room.meddle = meddle
    assert len(room.run()) == 2
    assert isinstance(room.say("alpha", messages.Propose(plan=room.plan.body())), messages.Refusal)  # but no new one


def test_what_a_person_denies_is_not_answered_either_while_the_policy_cannot_be_read(
    room: Any, computed: list[str]
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    broken(room)
    room.nodes["alpha"].requests.decide(Decision(room.plan.digest, 0), int(room.clock.now))
    for asked in (prepare, messages.Contribute(occasion=prepare.occasion, roster={}, agreements={})):
        reply = room.say("alpha", asked)
        assert isinstance(reply, messages.Refusal)
        assert "a person has denied" in reply.reason
    assert computed == []


def test_a_decision_that_cannot_be_read_stops_a_step_and_its_file_is_not_named(
    room: Any, computed: list[str], tmp_path: Path
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    requests = room.nodes["alpha"].requests
    requests._do("DROP TABLE decision")
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "not set up for that" in reply.reason
    assert computed == []


def test_a_node_that_has_read_no_policy_since_it_started_answers_no_step(room: Any, computed: list[str]) -> None:
    room.stopped_at(messages.Prepare)
    broken(room)
    room.restart("alpha")
    with pytest.raises(RoundEnded, match="alpha refused: this node is not set up for that"):
        room.run()
    assert len(computed) == 2  # beta's and gamma's
    shutil.copy(room.base / "beta" / "consent.toml", room.base / "alpha" / "consent.toml")
    assert len(room.run()) == 2
