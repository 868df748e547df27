"""A round of segments among real nodes: what a coordinator may hand them as a step's state, and what it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import coordinator.release
from coordinator import outputs
from protocols import audit, messages, release
from protocols.errors import RoundEnded
from protocols.questions.segments.states import FIXED
from protocols.release import Body

FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "baskets", "transform": "log1p", "low": 1, "high": 20},
    {"name": "spend_cents", "transform": "log1p", "low": 100, "high": 50_000},
]
STEPS = ("seg-moments", "seg-covariance", "seg-coarse", "seg-fine", "seg-over", "seg-lloyd-1", "seg-profile")
RHO = dict.fromkeys(("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile"), 50_000_000)
QUESTION = {"kind": "segments", "rho": RHO, "features": FEATURES, "clusters": 3, "lloyd_rounds": 1}


@pytest.fixture
def room(lab: ModuleType, template: Path, tmp_path: Path) -> Iterator[Any]:
    agreed = lab.plan(questions=[{**QUESTION, "coarse_cells": 64, "fine_cells": 64}])
    with lab.Room(lab.copy(template, tmp_path / "room"), agreed) as room:
        yield room


def shares_of(room: Any, step: str) -> int:
    """How many nodes have answered this step with a share."""
    asked = [messages.read_request(one.request) for one in room.sent(messages.Contribute)]
    replies = [messages.read_reply(one.reply) for one in room.sent(messages.Contribute)]
    return sum(
        isinstance(request, messages.Contribute) and request.occasion.step == step and isinstance(reply, messages.Share)
        for request, reply in zip(asked, replies, strict=True)
    )


def refusals_of(room: Any, kind: type) -> list[str]:
    replies = [messages.read_reply(one.reply) for one in room.sent(kind)]
    return [reply.reason for reply in replies if isinstance(reply, messages.Refusal)]


def test_a_whole_round_of_segments_releases_every_step_and_its_bundle_holds(room: Any) -> None:
    released = room.run()
    assert [one.body_.step for one in released] == list(STEPS)
    assert [one.body_.state is None for one in released] == [False] * 6 + [True]
    found = audit.verify(outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room))
    assert found.violations == ()
    assert refusals_of(room, messages.Deliver) == []


def test_without_noise_the_steps_sums_count_everybody_once(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    sums = {one.body_.step: np.array(one.body_.noised) for one in room.run()}
    people = 3 * lab.PEOPLE
    assert sums["seg-coarse"].tolist()[-1] == 0
    assert sums["seg-coarse"].sum() == sums["seg-fine"].sum() == people
    counts = sums["seg-profile"][:-1].reshape(3, 4)[:, 3]
    assert counts.sum() == people * int(0.3**0.5 * 65536)


class Bent:
    """`protocols.release` as a dishonest coordinator has it: one step's state is another than the fit's, unchecked."""

    def __init__(self, step: str, bend: Callable[[Any], Any]) -> None:
        self.step, self.bend = step, bend

    def __getattr__(self, name: str) -> Any:
        return getattr(release, name)

    def compose(self, *arguments: Any, **named: Any) -> Body:
        body = release.compose(*arguments, **named)
        if body.step != self.step:
            return body
        return body.model_copy(update={"state": self.bend(body.state)})


def outside(state: Any) -> Any:
    if "split" in state:
        return {"split": [[row[0], row[1], *[100] * (len(row) - 2)] for row in state["split"]]}
    place = "mean" if "mean" in state else "centres"
    far = [FIXED + 1] * 3
    return {**state, place: far if place == "mean" else [far, *state["centres"][1:]]}


@pytest.mark.parametrize("step", STEPS[:-1])
@pytest.mark.parametrize("bend", [outside, lambda _: None], ids=["outside the box", "missing"])
def test_a_state_that_the_plan_does_not_allow_is_refused_by_every_node_and_the_next_step_is_not_answered(
    step: str, bend: Callable[[Any], Any], room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator.release, "releases", Bent(step, bend))
    following = STEPS[STEPS.index(step) + 1]
    with pytest.raises(RoundEnded):
        room.run()
    assert len(refusals_of(room, messages.Deliver)) == 3
    assert all("a state" in reason for reason in refusals_of(room, messages.Deliver))
    assert (shares_of(room, step), shares_of(room, following)) == (3, 0)


def test_a_state_that_comes_with_the_last_step_is_refused_by_every_node(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator.release, "releases", Bent("seg-profile", lambda _: {"centres": []}))
    room.run()
    refused = refusals_of(room, messages.Deliver)
    assert len(refused) == 3
    assert all("should not be" in reason for reason in refused)


def test_a_state_within_the_box_is_accepted_however_foolish_and_the_round_goes_on(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All centres in one corner, and the smallest radius there is: a node cannot know better, and need not."""

    def foolish(state: Any) -> Any:
        return {**state, "centres": [[FIXED] * 3 for _ in state["centres"]], "radius": 1}

    monkeypatch.setattr(coordinator.release, "releases", Bent("seg-over", foolish))
    released = room.run()
    assert [one.body_.step for one in released] == list(STEPS)
    assert refusals_of(room, messages.Deliver) == []
