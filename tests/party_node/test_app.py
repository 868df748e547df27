"""When an answer leaves a party: at the plan's second, whatever it computed, or not at all where the node stops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from party_node import app as party_app
from party_node.participation import Answered
from protocols import messages
from protocols.carrier import codec
from protocols.carrier.frames import Unanswered

# isort: split
from flwr.app import Message, RecordDict

AFTER_S = 5


def asked(monkeypatch: pytest.MonkeyPatch, took: float, after_s: int, *, stops: bool = False) -> list[float]:
    """Ask a node that computes for `took` seconds; for how long it then waits before it answers."""
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return stops

    answered = Answered(messages.Refusal(code="round", reason="failed"), after_s=after_s)
    node: Any = SimpleNamespace(answer=lambda _, payload: answered)
    moments = iter([100.0, 100.0 + took])
    monkeypatch.setattr(party_app, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(party_app, "_stopping", SimpleNamespace(wait=wait))
    monkeypatch.setattr(party_app, "open_node", lambda _: node)
    monkeypatch.setattr(party_app, "_request", lambda _: None)
    codec.prepare_process()
    context: Any = SimpleNamespace(node_config={})
    reply = party_app.ask(Message(RecordDict(), 7, "query.ask"), context)
    assert reply.has_content()
    return waits


@pytest.mark.parametrize(("took", "waited"), [(0.0, 5.0), (3.0, 2.0), (7.0, 3.0)])
def test_an_answer_leaves_at_the_plans_second_or_at_a_multiple_of_it(
    monkeypatch: pytest.MonkeyPatch, took: float, waited: float
) -> None:
    assert asked(monkeypatch, took, AFTER_S) == [pytest.approx(waited)]


def test_an_answer_that_no_data_went_into_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, 3.0, 0) == []


def test_a_node_that_stops_before_the_plans_second_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unanswered):
        asked(monkeypatch, 3.0, AFTER_S, stops=True)
