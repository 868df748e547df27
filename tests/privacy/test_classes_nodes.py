"""A round of latent classes among real nodes: one step, whose figures rest on a state that every node checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import coordinator.release
from coordinator import outputs
from protocols import audit, messages, release, verify
from protocols.errors import Refused
from protocols.ledger import trust
from protocols.release import Body

ITEMS = [
    {"feature": "recency_days", "cuts": [30]},
    {"feature": "baskets", "cuts": [2, 4]},
    {"feature": "spend_cents", "cuts": [2000]},
    {"feature": "promo_share_ppm", "cuts": [1, 500_000]},
]
QUESTION = {"kind": "classes", "rho": {"patterns": 50_000_000}, "items": ITEMS, "classes": {"least": 2, "most": 3}}


@pytest.fixture
def room(lab: ModuleType, template: Path, tmp_path: Path) -> Iterator[Any]:
    with lab.Room(lab.copy(template, tmp_path / "room"), lab.plan(questions=[QUESTION])) as room:
        yield room


def test_a_round_of_classes_is_released_with_its_state_and_both_auditors_find_nothing_wrong(room: Any) -> None:
    (released,) = room.run()
    assert released.body_.step == "classes-patterns"
    assert set(released.body_.state) == {"sizes", "levels"}
    bundle, policy = outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room)
    assert audit.verify(bundle, policy).violations == ()
    assert [problems for _, _, problems in verify.Audit(bundle, trust.render(policy).encode()).checks] == [[]] * 5


def test_without_noise_every_person_is_in_one_pattern(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    (released,) = room.run()
    assert sum(released.body_.noised) == 3 * lab.PEOPLE
    assert min(released.body_.noised) >= 0


def test_a_node_knows_the_classes_released_last_and_no_segments(room: Any) -> None:
    (released,) = room.run()
    node = room.nodes["alpha"]
    plan, seen, dataset = node.last_released("classes-patterns", "classes")
    assert plan.digest == released.body_.plan
    assert seen["classes-patterns"]["state"] == released.body_.state
    assert dataset == node.store.dataset()
    with pytest.raises(Refused, match="no segments have been released to this party yet"):
        node.last_released("seg-profile", "segments")


def test_a_round_whose_releases_have_not_come_to_a_party_is_named_when_it_looks_for_the_last(
    room: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (released,) = room.run()
    node = room.nodes["alpha"]
    monkeypatch.setattr(node.store, "release", lambda *_: None)
    with pytest.raises(Refused, match="no classes have been released to this party yet"):
        node.last_released("classes-patterns", "classes")
    assert f"round {released.body_.round[:8]} is left out: what it released has not come to this party" in caplog.text


class Bent:
    """`protocols.release` as a dishonest coordinator has it: the state is another than the fit's, unchecked."""

    def __init__(self, bend: Callable[[Any], Any]) -> None:
        self.bend = bend

    def __getattr__(self, name: str) -> Any:
        return getattr(release, name)

    def compose(self, *arguments: Any, **named: Any) -> Body:
        body = release.compose(*arguments, **named)
        return body.model_copy(update={"state": self.bend(body.state)})


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda _: None, "a state is there and should not be"),
        (lambda state: {**state, "sizes": [0] * len(state["sizes"])}, "sizes: not 1 to 3 positive integers"),
        (lambda state: {**state, "levels": [one[:-1] for one in state["levels"]]}, "not one list for each item"),
    ],
    ids=["missing", "of nobody", "of fewer items"],
)
def test_a_state_that_is_none_of_classes_is_refused_by_every_node(
    bend: Callable[[Any], Any], said: str, room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator.release, "releases", Bent(bend))
    room.run()
    replies = [messages.read_reply(one.reply) for one in room.sent(messages.Deliver)]
    refused = [reply.reason for reply in replies if isinstance(reply, messages.Refusal)]
    assert len(refused) == 3
    assert all(said in reason for reason in refused)
