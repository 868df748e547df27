"""Rounds of five that finish without a party, whenever it is lost, and end clearly without two."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest

from coordinator import rounds
from coordinator.conversation import Answer
from protocols import keys, messages
from protocols.errors import PartyUnavailable, RoundEnded, UsageError
from tests.rounds import lab as rooms

KINDS = (messages.Prepare, messages.Agree, messages.Contribute, messages.Settle, messages.Unmask)


@pytest.fixture
def room(five: rooms.Room) -> rooms.Room:
    """In this file a room is one of five."""
    return five


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch, lab: ModuleType) -> None:
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())


def lose_at(room: rooms.Room, kind: type, *parties: str) -> None:
    """From its first request of this kind on, these parties say nothing."""

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if isinstance(request, kind) and party in parties:
            room.away.add(party)
        return request

    room.meddle = meddle


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("exact")
def test_a_round_finishes_without_a_party_lost_at_any_word_of_a_step(room: rooms.Room, kind: type) -> None:
    lose_at(room, kind, "delta")
    releases = room.run()
    assert [r.body_.step for r in releases] == ["rfm-cuts", "rfm-cohorts"]
    first = releases[0].body_
    survived = kind in (messages.Settle, messages.Unmask)  # its share had come
    assert first.survivors == sorted(set(rooms.FIVE) - (set() if survived else {"delta"}))
    assert np.array_equal(first.noised, rooms.pooled_cuts(first.survivors))
    assert releases[1].body_.survivors == sorted(set(rooms.FIVE) - {"delta"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_that_loses_more_than_its_quorum_allows_is_forfeited(room: rooms.Room, kind: type) -> None:
    lose_at(room, kind, "delta", "alpha")
    with pytest.raises(RoundEnded, match="forfeited"):
        room.run()
    (round_,) = room.book.accounts.rounds.values()
    assert (round_.state, round_.commits) == ("forfeited", ())


@pytest.mark.usefixtures("exact")
def test_a_party_that_comes_back_contributes_to_the_next_step(room: rooms.Room) -> None:
    def meddle(party: str, request: messages.Request) -> messages.Request:
        step = getattr(getattr(request, "occasion", None), "step", None)
        room.away = {"delta"} if step == "rfm-cuts" else set()
        return request

    room.meddle = meddle
    first, second = (release.body_ for release in room.run())
    assert first.survivors == sorted(set(rooms.FIVE) - {"delta"})
    assert second.survivors == sorted(rooms.FIVE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("exact")
def test_a_coordinator_that_was_killed_at_any_word_goes_on_without_a_lost_party(room: rooms.Room, kind: type) -> None:
    room.stopped_at(kind)
    room.away = {"delta"} if kind in (messages.Prepare, messages.Agree, messages.Contribute) else set()
    first, _ = (release.body_ for release in room.run())
    assert np.array_equal(first.noised, rooms.pooled_cuts(first.survivors))
    assert len(room.book.accounts.rounds) == 1


@pytest.mark.parametrize(
    ("lost", "kind"), [(a, b) for a in KINDS[:3] for b in KINDS[1:] if KINDS.index(a) < KINDS.index(b)]
)
@pytest.mark.usefixtures("exact")
def test_a_party_that_is_back_when_the_next_coordinator_goes_on_makes_no_other_roster_and_no_other_survivors(
    room: rooms.Room, lost: type, kind: type
) -> None:
    """Whatever was asked of some before: the others would not agree, mask or settle a second time."""
    lose_at(room, lost, "delta")
    caught = room.stopped_at(kind)
    room.meddle = lambda _, request: request
    for party in sorted(caught)[:3]:
        room.say(party, caught[party])
    room.away = set()
    first, _ = (release.body_ for release in room.run())
    assert first.survivors == sorted(set(rooms.FIVE) - {"delta"})
    assert np.array_equal(first.noised, rooms.pooled_cuts(first.survivors))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("exact")
def test_nodes_that_were_killed_at_any_word_go_on_with_the_same_words(room: rooms.Room, kind: type) -> None:
    seen: set[str] = set()

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if isinstance(request, kind) and party not in seen:
            seen.add(party)
            room.nodes[party].answer(request)
            room.restart(party)
        return request

    room.meddle = meddle
    first, _ = (release.body_ for release in room.run())
    assert first.survivors == sorted(rooms.FIVE)
    assert np.array_equal(first.noised, rooms.pooled_cuts(first.survivors))


def test_the_operator_is_told_who_was_lost_and_whose_clock_is_wrong(room: rooms.Room) -> None:
    lose_at(room, messages.Prepare, "delta")
    said: list[str] = []
    real = room.ask

    def skewed(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(real(requests, timeout))
        reply = answers["gamma"].reply if "gamma" in answers else None
        if isinstance(reply, messages.Approval):
            answers["gamma"] = Answer(reply.model_copy(update={"time": reply.time + 77}))
        return answers

    rounds.run(room.plan, room.ledger, skewed, said.append)
    assert "the clock of gamma is 77 s ahead" in said
    assert "rfm-cuts: releasing, without delta" in said


def _other(text: str) -> str:
    """Base64 of as many other bytes."""
    return keys.base64_text(bytes(byte ^ 1 for byte in keys.unbase64(text)))


def lying(reply: messages.Reply) -> messages.Reply:
    """The same reply with something wrong in it that its party could have done on purpose."""
    match reply:
        case messages.MaskOffer():
            return reply.model_copy(
                update={"key": reply.key.model_copy(update={"signature": _other(reply.key.signature)})}
            )
        case messages.Unmasked():
            return reply.model_copy(update={"pieces": {party: _other(piece) for party, piece in reply.pieces.items()}})
        case messages.Agreed() | messages.Share() | messages.Settled():
            return reply.model_copy(update={"signature": _other(reply.signature)})
    return reply


@pytest.mark.parametrize(
    "kind", [messages.MaskOffer, messages.Agreed, messages.Share, messages.Settled, messages.Unmasked]
)
@pytest.mark.usefixtures("exact")
def test_a_party_that_lies_in_a_step_is_left_out_of_it(room: rooms.Room, kind: type) -> None:
    """It could as well have said nothing: it cannot burn the others' budget."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if "delta" in answers and isinstance(answers["delta"].reply, kind):
            answers["delta"] = Answer(lying(answers["delta"].reply), answers["delta"].payload)
        return answers

    first, second = (release.body_ for release in rounds.run(room.plan, room.ledger, ask))
    late = kind in (messages.Settled, messages.Unmasked)  # its share had come, and counts
    for body in (first, second):
        assert body.survivors == sorted(set(rooms.FIVE) - (set() if late else {"delta"}))
    assert np.array_equal(first.noised, rooms.pooled_cuts(first.survivors))


def test_a_party_that_deals_to_too_few_is_left_out(room: rooms.Room) -> None:
    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        reply = answers["delta"].reply if "delta" in answers else None
        if isinstance(reply, messages.Agreed):
            answers["delta"] = Answer(reply.model_copy(update={"boxes": dict(list(reply.boxes.items())[:3])}))
        return answers

    first, _ = (release.body_ for release in rounds.run(room.plan, room.ledger, ask))
    assert first.survivors == sorted(set(rooms.FIVE) - {"delta"})


def test_survivors_that_were_settled_are_all_waited_for(room: rooms.Room) -> None:
    """The next coordinator needs the words of each of them again: a sum over fewer nobody would unmask."""
    room.stopped_at(messages.Unmask)
    asked: list[int] = []

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        contributing = isinstance(next(iter(requests.values())), messages.Contribute)
        asked.extend([len(requests)] if contributing else [])
        room.away = {"delta"} if contributing and len(asked) < 3 else set()
        return room.ask(requests, timeout)

    goes_on = rounds.left_open(room.plan, room.ledger)
    first, _ = (release.body_ for release in rounds.run(room.plan, room.ledger, ask, go_on_with=goes_on))
    assert first.survivors == sorted(rooms.FIVE)
    assert asked[:3] == [5, 1, 1]


@pytest.mark.usefixtures("exact")
def test_a_round_is_not_gone_on_with_before_its_quorum_is_back(room: rooms.Room) -> None:
    room.stopped_at(messages.Contribute)
    room.away = {"delta", "alpha"}
    with pytest.raises(PartyUnavailable, match="nobody knows whether this ledger is the newest"):
        room.run()
    assert [round_.state for round_ in room.book.accounts.rounds.values()] == ["open"]
    room.away = {"delta"}
    assert len(room.run()) == 2


@pytest.mark.parametrize("kind", [messages.Witness, messages.Deliver])
@pytest.mark.usefixtures("exact")
def test_parties_that_are_away_for_a_while_when_a_step_is_committed_do_not_end_the_round(
    room: rooms.Room, kind: type
) -> None:
    asked = 0

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        nonlocal asked
        committed = any(round_.commits for round_ in room.book.accounts.rounds.values())
        if committed and isinstance(next(iter(requests.values())), kind):
            asked += 1
            room.away = {"delta", "alpha"} if asked < 3 else set()
        answers = room.ask(requests, timeout)
        room.away = set()
        return answers

    first, second = (release.body_ for release in rounds.run(room.plan, room.ledger, ask))
    assert first.survivors == second.survivors == sorted(rooms.FIVE)
    assert asked >= 3


def test_a_release_that_too_many_refuse_ends_the_round_at_once(room: rooms.Room) -> None:
    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        for party in {"delta", "alpha"} & set(answers):
            if isinstance(answers[party].reply, messages.Received):
                answers[party] = Answer(messages.Refusal(code="ledger", reason="not today"))
        return answers

    with pytest.raises(RoundEnded, match="alpha, delta did not take the release"):
        rounds.run(room.plan, room.ledger, ask)
    assert room.waited < room.plan.deadline_s


@pytest.mark.parametrize("shown", ["too-few", "unsigned"])
def test_a_party_that_says_it_holds_more_entries_and_shows_none_is_left_out(room: rooms.Room, shown: str) -> None:
    """A word of one party must not stop the room."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        committed = any(round_.commits for round_ in room.book.accounts.rounds.values())
        if committed and "delta" in answers and isinstance(requests["delta"], messages.Witness):
            origin, size, rest = room.book.checkpoint().split("\n", 2)
            note = "\n".join([origin, str(10**6) if shown == "unsigned" else size, rest])
            answers["delta"] = Answer(messages.Behind(size=10**6, checkpoint=note))
        return answers

    assert len(rounds.run(room.plan, room.ledger, ask)) == 2


@pytest.mark.parametrize("where", ["coordinator.delivery.countersign", "coordinator.steps.StepUnderWay._keep"])
@pytest.mark.parametrize("fault", [UsageError("the disk is full"), OSError("no space left on device")])
@pytest.mark.usefixtures("exact")
def test_a_fault_of_the_coordinators_disk_leaves_the_round_open_and_it_goes_on(
    room: rooms.Room, fault: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(where, full)
        with pytest.raises(type(fault)):
            room.run()
    assert [round_.state for round_ in room.book.accounts.rounds.values()] == ["open"]
    assert len(room.run()) == 2
    assert [round_.state for round_ in room.book.accounts.rounds.values()] == ["done"]
