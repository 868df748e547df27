"""A coordinator that was killed, or stopped, goes on with its round: nothing is drawn, charged or released twice."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from party_node import share
from protocols import messages
from tests.coordinator.test_rounds import ends, findings

KILLED = [
    *((kind, 1) for kind in (messages.Prepare, messages.Agree, messages.Contribute, messages.Deliver)),
    *((kind, 2) for kind in (messages.Prepare, messages.Agree, messages.Contribute)),
    *((messages.Witness, nth) for nth in (2, 3)),
]


@pytest.mark.parametrize(("at", "nth"), KILLED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_coordinator_killed_anywhere_goes_on_with_the_round_at_no_further_cost_and_no_further_noise(
    room: Any, lab: ModuleType, at: type, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At `Witness` it is killed with its reserve, or a commit, written and cosigned by nobody."""
    drawn: list[int] = []
    real = share.add_noise

    def watched(total: Any, **named: int) -> Any:
        drawn.append(len(total))
        return real(total, **named)

    monkeypatch.setattr("party_node.share.add_noise", watched)
    room.stopped_at(at, nth=nth)
    assert ends(room) == ["open"]
    room.restart_coordinator()
    assert len(room.run()) == 2
    assert ends(room) == ["done"]
    assert len(drawn) == 2 * len(lab.PARTIES)
    assert {room.spent(party) for party in lab.PARTIES} == {lab.RHO}
    assert findings(room).violations == ()


def test_a_round_left_open_beyond_its_deadline_is_forfeited_and_the_next_one_is_new(room: Any, lab: ModuleType) -> None:
    room.stopped_at(messages.Contribute)
    room.clock.now += room.plan.deadline_s
    assert len(room.run()) == 2
    assert ends(room) == ["forfeited", "done"]
    assert b'"reason":"coordinator-restart"' in b"".join(room.book.entries())
    assert findings(room).violations == ()


def test_a_round_of_another_plan_left_open_is_forfeited(room: Any, lab: ModuleType) -> None:
    room.stopped_at(messages.Contribute)
    other = lab.plan(name="other")
    for party in room.nodes:
        lab.consent(room.base / party, other)
    room.run(other)
    assert ends(room) == ["forfeited", "done"]


def test_a_release_written_before_the_coordinator_was_killed_is_sent_afterwards_in_the_same_bytes(room: Any) -> None:
    room.stopped_at(messages.Witness, nth=3)
    (stored,) = room.book.blobs("body/").values()
    room.run()
    released = list(room.book.blobs("release/").values())
    assert len(released) == 2
    assert any(stored in document for document in released)
