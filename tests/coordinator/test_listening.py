"""What a coordinator that listens does of itself: what could not be handed out at a round's end goes out later."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator import afterwards, delivery, listening, rounds, service
from coordinator import app as flower
from coordinator.config import Config
from coordinator.conversation import Answer
from protocols import messages
from protocols.errors import Refused


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


def test_a_forfeited_round_is_refunded_by_the_operators_word(
    room: Any, at_work: _Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the socket brings it; the round is named by the beginning of its id."""
    room.stopped_at(messages.Prepare)
    monkeypatch.setattr(flower, "held_ledger", lambda _: room.ledger)
    monkeypatch.setattr(flower, "refund", lambda _, __, name, ___: afterwards.refund(room.ledger, room.ask, name))
    (round_id,) = room.book.accounts.rounds
    asked = {"do": "refund", "round": round_id[:8], "wait_s": 1.0}
    for name, why in ((round_id[:8], "is open"), ("0" * 8, "no round of the ledger"), ("", "begins with nothing")):
        with pytest.raises(Refused, match=why):
            service.carry_out(at_work, {**asked, "round": name}, lambda _: None)
    room.ledger.forfeit(round_id, "coordinator-restart")
    assert service.carry_out(at_work, asked, lambda _: None) == {"round": round_id, "fresh": True}
    assert service.carry_out(at_work, asked, lambda _: None) == {"round": round_id, "fresh": False}
    assert room.book.accounts.rounds[round_id].state == "refunded"


def test_while_it_listens_each_party_states_once_a_day_what_it_sent(
    room: Any, at_work: _Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tend(_: Any, __: Any, only: Any) -> None:
        afterwards.tend(room.ledger, room.ask, only)

    monkeypatch.setattr(flower, "tend", tend)
    at_work.launch(room.plan, again=False, wait_s=1.0, progress=lambda _: None)
    at_work.tend(lambda _: None)
    assert room.sent(messages.Egress) == []  # the room was not there yesterday
    for days in (1, 2):
        room.clock.now += 86_400
        for _ in range(2):
            at_work._rest = at_work._state_from = 0.0
            at_work.tend(lambda _: None)
        assert len(room.sent(messages.Egress)) == 3 * days
    assert set(room.book.accounts.egress) == set(room.nodes)


def test_a_party_that_was_away_when_a_round_was_forfeited_cosigns_it_when_it_is_back(
    room: Any, at_work: _Listening
) -> None:
    room.stopped_at(messages.Contribute)
    (open_,) = room.book.accounts.rounds
    room.clock.now += room.plan.deadline_s
    room.away = {"gamma"}
    rounds.end(room.plan, open_, room.ledger, room.ask)
    assert not delivery.unfinished(room.ledger)
    assert not delivery.at_rest(room.ledger)
    room.away = set()
    at_work._unsure, at_work._rest = True, 0.0
    at_work.tend(lambda _: None)
    assert delivery.at_rest(room.ledger)
    assert {node.book.size for node in room.nodes.values()} == {room.book.size}
