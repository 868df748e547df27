"""Who is needed is asked again until the deadline; who is not is waited for a while; who lies is done without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from coordinator import conversation
from coordinator.conversation import Answer, Deadline, enough
from protocols import messages
from protocols.errors import IntegrityError, PartyUnavailable, RoundEnded

FINE = Answer(messages.Cancelled(party="a", round="0" * 32))
NO = Answer(messages.Refusal(code="round", reason="not today"))
GONE = Answer(None, missing="away")
REQUEST = messages.Cancel(round="0" * 32)


class Time:
    """A clock that only sleeping moves, and asking by as much as a script says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(conversation, "monotonic", lambda: made.now)
    monkeypatch.setattr(conversation, "sleep", made.sleep)
    return made


class Parties:
    """Each party's answers in turn, the last one for ever; and what was asked of whom, for how long."""

    def __init__(self, time: Time, **answers: list[Answer]) -> None:
        self.time, self.answers = time, answers
        self.asked: list[tuple[str, float]] = []

    def __call__(self, requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        self.asked.append((" ".join(requests), timeout))
        given = {party: self.answers[party].pop(0) if len(self.answers[party]) > 1 else self.answers[party][0]
                 for party in requests}  # fmt: skip
        if any(answer.reply is None for answer in given.values()):
            self.time.now += timeout
        return given


def heard(ask: Parties, least: int, check: Callable[[str, Answer], Any] = lambda party, _: party) -> Any:
    requests = dict.fromkeys(ask.answers, REQUEST)
    return enough(ask, requests, check, least=least, deadline=Deadline.after(60.0), patience=3.0)


def test_whoever_is_not_needed_is_waited_for_as_long_as_patience_lasts(time: Time) -> None:
    ask = Parties(time, a=[FINE], b=[FINE], c=[GONE])
    assert heard(ask, 2) == {"a": "a", "b": "b"}
    assert ask.asked == [("a b c", 3.0)]


def test_whoever_is_needed_may_take_until_the_deadline(time: Time) -> None:
    ask = Parties(time, a=[FINE], b=[FINE])
    assert heard(ask, 2) == {"a": "a", "b": "b"}
    assert ask.asked == [("a b", 60.0)]


def test_only_who_has_not_answered_is_asked_again_and_after_longer_and_longer_pauses(time: Time) -> None:
    ask = Parties(time, a=[FINE], b=[GONE, GONE, GONE, FINE], c=[GONE])
    assert set(heard(ask, 2)) == {"a", "b"}
    assert ask.asked == [("a b c", 3.0), ("b c", 6.0), ("b c", 12.0), ("b c", pytest.approx(24.0))]
    assert time.slept == sorted(time.slept)
    assert 0.05 <= time.slept[0] <= 0.1 < time.slept[-1] <= 0.4


def test_pauses_have_a_longest_and_end_at_the_deadline(time: Time) -> None:
    Deadline.after(1000.0).pause(100_000)  # a day of asking
    assert 1.0 <= time.slept[0] <= 2.0
    Deadline.after(0.01).pause(30)
    assert time.slept[1] == pytest.approx(0.01)


def test_silence_until_the_deadline_names_who_was_silent(time: Time) -> None:
    ask = Parties(time, a=[FINE], b=[GONE], c=[NO], d=[GONE])
    with pytest.raises(PartyUnavailable, match=r"^b did not answer \(away\); c refused: not today; d did not"):
        heard(ask, 3)
    assert time.now >= 60.0


def test_it_ends_as_soon_as_too_many_have_refused(time: Time) -> None:
    ask = Parties(time, a=[FINE], b=[NO], c=[GONE])
    with pytest.raises(RoundEnded, match="b refused: not today") as caught:
        heard(ask, 3)
    assert not isinstance(caught.value, PartyUnavailable)
    assert len(ask.asked) == 1


def test_a_party_in_which_something_failed_is_asked_again(time: Time) -> None:
    """A disk that is full now may have room in a second."""
    failed = Answer(messages.Refusal(code="round", reason="failed"))
    ask = Parties(time, a=[FINE], b=[failed, failed, FINE])
    assert set(heard(ask, 2)) == {"a", "b"}
    assert [who for who, _ in ask.asked] == ["a b", "b", "b"]
    with pytest.raises(PartyUnavailable, match="b refused: failed"):
        heard(Parties(time, a=[FINE], b=[failed]), 2)


def refuse_b(party: str, _: Answer) -> str:
    if party == "b":
        raise IntegrityError("b lies")
    return party


def test_whoever_lies_is_left_out_where_the_others_are_enough(time: Time) -> None:
    assert heard(Parties(time, a=[FINE], b=[FINE], c=[FINE]), 2, refuse_b) == {"a": "a", "c": "c"}


def test_a_lie_ends_it_where_everybody_is_needed(time: Time) -> None:
    with pytest.raises(IntegrityError, match="b lies"):
        heard(Parties(time, a=[FINE], b=[FINE], c=[FINE]), 3, refuse_b)


def test_lies_that_leave_too_few_end_it(time: Time) -> None:
    with pytest.raises(RoundEnded, match="b lies; c refused"):
        heard(Parties(time, a=[FINE], b=[FINE], c=[NO]), 2, refuse_b)


def test_nobody_is_asked_after_the_deadline(time: Time) -> None:
    ask = Parties(time, a=[FINE])
    with pytest.raises(PartyUnavailable, match="the deadline has passed"):
        enough(ask, {"a": REQUEST}, lambda party, _: party, least=1, deadline=Deadline.after(0.0), patience=1.0)
    assert ask.asked == []
