"""What a coordinator that listens does of itself: what could not be handed out at a round's end goes out later."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator import app as flower
from coordinator import delivery, listening, rounds
from coordinator.config import Config
from coordinator.conversation import Answer
from protocols import messages


class _Listening(listening.Listening):
    """Without a door: everybody is here, and is asked in this process."""

    def online(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.room.parties))


@pytest.fixture
def at_work(room: Any, monkeypatch: pytest.MonkeyPatch) -> _Listening:
    """The lab's coordinator, listening, with the lab's nodes in place of streams."""

    def run(app: Any, hub: Any, run_id: int, config: Mapping[str, Any], **_: Any) -> None:
        rounds.run(room.plan, room.ledger, room.ask, go_on_with=config["go-on"] or None)

    settings = Config.load(room.base / "coordinator" / "coordinator.toml")
    coordinator = _Listening(settings)
    coordinator._hub = SimpleNamespace(admit=lambda *_: None)  # type: ignore[assignment]
    coordinator._journal = type("Journal", (), {"forget": lambda *_: None})()
    monkeypatch.setattr(listening, "run_server_app", run)
    monkeypatch.setattr(flower, "held_ledger", lambda _: room.ledger)
    monkeypatch.setattr(flower, "finish", lambda grid, settings, wait_s: delivery.finish(room.ledger, room.ask, wait_s))
    monkeypatch.setattr(coordinator, "_with_grid", lambda plan, do: do(None))
    return coordinator


def _releases(room: Any, party: str) -> int:
    store = room.nodes[party].store
    found = [c for r in room.book.accounts.rounds.values() for c in r.commits]
    return sum(store.release(c.round, c.step) is not None for c in found)


def test_a_party_that_was_away_at_the_end_of_a_round_gets_its_last_release_when_it_is_back(
    room: Any, at_work: _Listening, lab: Any
) -> None:
    everybody, deliveries = room.ask, 0

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        nonlocal deliveries
        deliveries += isinstance(next(iter(requests.values())), messages.Deliver)
        room.away = {"beta"} if deliveries == 2 else set()
        answers: dict[str, Answer] = everybody(requests, timeout)
        return answers

    room.ask = ask
    assert at_work.launch(room.plan, again=False, wait_s=1.0, progress=lambda _: None).fresh
    assert [_releases(room, party) for party in lab.PARTIES] == [2, 1, 2]
    at_work.tend(lambda _: None)
    assert [_releases(room, party) for party in lab.PARTIES] == [2, 2, 2]
    before = deliveries
    at_work._rest = 0.0
    at_work.tend(lambda _: None)
    assert deliveries == before
