"""A party that cheats in an overlap over real sockets: the honest coordinator, or its peer's node, ends the round.

One room, a new round for each cheat. Every message that anybody gets says which party, and nothing of any person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.overlap import OverlapUnderWay
from protocols.encoding import digest
from protocols.errors import RoundEnded
from protocols.overlap import words
from protocols.overlap.agreement import Halves
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.overlap import cheats, meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, MISSING, NO_POINT, NORMALISER, TWICE

Besiege = Callable[[Stage], Siege]
Cheat = Callable[[Siege, pytest.MonkeyPatch], None]
P = 2**255 - 19
OF_ORDER_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
PLACE = f"a part of the lists of {CHEAT} has another size than its place"
SIZES = f"the lists of {CHEAT} have other sizes than the plan gives them"
EMAIL = "sumroom/email/v1"


@pytest.fixture(scope="module")
def siege(besiege_all: Besiege, tmp_path_factory: pytest.TempPathFactory) -> Siege:
    """Two companies that share customers; a round costs so little that there can be one for each cheat."""
    changes = meeting_lab.of_two()
    changes["questions"] = [meeting_lab.QUESTION | {"rho": {"sizes": 10_000_000, "pairs": 20_000_000}}]
    csv = {party: meeting_lab.csv_of(meeting_lab.customers(party)) for party in cheats.MEMBERS}
    place = tmp_path_factory.mktemp("stages-of-two")
    return besiege_all(Stages(place, cheats.MEMBERS, csv=csv, more='tier = "tier"\n', **changes).fresh)


def only_sizes(siege: Siege, reason: str, *public: str) -> None:
    """The round ends as a forfeit with these words: sizes were released before, and nothing of the overlap is."""
    raised = siege.launch()
    assert isinstance(raised, RoundEnded), raised
    *_, round_ = siege.ledger.book.accounts.rounds.values()
    known = round_.reserve.round
    assert f"round {known[:8]} is forfeited: {reason}" in raised.message
    cheats.names_nobody(raised.message, known, *public)
    assert round_.state == "forfeited"
    assert [commit.step for commit in round_.commits] == ["overlap-sizes"]
    for party in cheats.MEMBERS:
        rows = siege.dump()[party]
        assert [row[1] for row in rows["node.db"]["release"] if row[0] == known] == ["overlap-sizes"]
        assert {row[6] for row in rows["accounts.db"]["charge"]} == {"spent"}
        assert rows["node.db"]["drawing"] == []
        assert not list((siege.base / party / "state" / "overlap").glob("*"))


# -- cheats ------------------------------------------------------------------------------------------------------------


def two_scalars(siege: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
    """It offers [b*]G, and masks its own lists and its peer's with b."""
    cheats.mask_otherwise(siege.guests[CHEAT].node.meeting, monkeypatch)


def listing(change: Callable[[list[bytes]], None]) -> Cheat:
    """Its lists are written as usual, and then changed, point by point, before it signs what they are."""
    return lambda _, monkeypatch: cheats.after(monkeypatch, "write_lists", cheats.with_points(change))


def many_times(points: list[bytes]) -> None:
    points[:] = (points[:100] * (len(points) // 100 + 1))[: len(points)]


def with_another(spelled: Callable[[int], int]) -> Cheat:
    """A second entry in place of one, that follows from the first."""

    def change(points: list[bytes]) -> None:
        points[1] = spelled(int.from_bytes(points[0], "little")).to_bytes(32, "little")

    return listing(change)


def another_size(siege: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting: Any = siege.guests[CHEAT].node.meeting
    real = meeting._state

    def state(kind: str, o: Any, peer: str, sizes: tuple[int, ...], path: Any) -> Any:
        return real(kind, o, peer, (sizes[0] + 1, *sizes[1:]), path)

    monkeypatch.setattr(meeting, "_state", state)


def parts_cut(*, says_so: bool) -> Cheat:
    """A part of its lists travels without its last entry."""

    def cheat(siege: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
        node: Any = siege.guests[CHEAT].node
        real = node.answer

        def answer(request: Any, payload: Any = b"") -> Any:
            answered = real(request, payload)
            if not isinstance(answered.reply, words.Chunk):
                return answered
            part = bytes(answered.payload)[: answered.reply.size - 32]
            said = {"size": len(part), "sha256": digest(part)} if says_so else {}
            cut = part + bytes(-len(part) % 8)
            return dataclasses.replace(answered, reply=answered.reply.model_copy(update=said), payload=cut)

        monkeypatch.setattr(node, "answer", answer)

    return cheat


def another_normaliser(_: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Halves.offer

    def offer(own: Halves, signing: Any, party: str, peers: Any, normaliser: str) -> Any:
        return real(own, signing, party, peers, EMAIL if party == CHEAT else normaliser)

    monkeypatch.setattr(Halves, "offer", offer)


@pytest.mark.parametrize(
    ("cheat", "said"),
    [
        pytest.param(two_scalars, MISSING, id="another-scalar"),
        pytest.param(listing(many_times), f"{HONEST} refused: {TWICE}", id="everybody-many-times"),
        pytest.param(with_another(lambda u: u), f"{HONEST} refused: {TWICE}", id="duplicate"),
        pytest.param(with_another(lambda u: pow(u, -1, P)), f"{HONEST} refused: {TWICE}", id="inverse"),
        pytest.param(with_another(lambda u: u + 2**255), f"{HONEST} refused: {NO_POINT}", id="top-bit"),
        pytest.param(with_another(lambda _: P + 9), f"{HONEST} refused: {NO_POINT}", id="not-canonical"),
        pytest.param(with_another(lambda _: 0), f"{HONEST} refused: {NO_POINT}", id="order-2"),
        pytest.param(with_another(lambda _: 1), f"{HONEST} refused: {NO_POINT}", id="order-4"),
        pytest.param(with_another(lambda _: OF_ORDER_8), f"{HONEST} refused: {NO_POINT}", id="order-8"),
        pytest.param(with_another(lambda _: 2), f"{HONEST} refused: {NO_POINT}", id="off-the-curve"),
        pytest.param(listing(lambda p: p.pop()), f"{HONEST} refused: {PLACE}", id="short"),  # type: ignore[func-returns-value]
        pytest.param(listing(lambda p: p.append(bytes(32))), f"{HONEST} refused: {PLACE}", id="oversized"),
        pytest.param(parts_cut(says_so=False), f"{CHEAT}: a part of its lists is not what it says", id="truncated"),
        pytest.param(
            parts_cut(says_so=True),
            f"{HONEST} refused: a part of the lists of {CHEAT} is not what it sent",
            id="truncated-and-says-so",
        ),
        pytest.param(another_size, SIZES, id="another-size"),
        pytest.param(
            another_normaliser, f"{CHEAT} turns identifiers into keys as {EMAIL}, the plan as", id="normaliser"
        ),
    ],
)
def test_a_party_that_cheats_ends_the_round(
    cheat: Cheat, said: str, siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat(siege, monkeypatch)
    only_sizes(siege, said, EMAIL, NORMALISER)


def test_a_party_whose_lists_are_others_when_the_coordinator_comes_back(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sent the first ones, whole; the coordinator's disk is full for a moment; it signs and sends other ones."""
    with pytest.MonkeyPatch.context() as full:
        real = OverlapUnderWay._heads

        def heads(way: Any, asked: Any, kind: type, roster: Any) -> Any:
            if kind is words.Finished:
                raise OSError
            return real(way, asked, kind, roster)  # type: ignore[arg-type]

        full.setattr(OverlapUnderWay, "_heads", heads)
        assert isinstance(siege.launch(), OSError)
    (left,) = siege.ledger.open_rounds()
    meeting: Any = siege.guests[CHEAT].node.meeting
    laid = meeting._laid

    def other(o: Any, *rest: Any) -> Any:
        cheats.with_points(lambda points: points.reverse())(None, meeting._file(o, HONEST, "list"))  # type: ignore[arg-type]
        return laid(o, *rest)

    monkeypatch.setattr(meeting, "_laid", other)
    monkeypatch.setattr(meeting, "_keep_once", lambda *_: None)
    only_sizes(siege, f"{HONEST} refused: {CHEAT} says something else of its lists than before")
    *_, round_ = siege.ledger.book.accounts.rounds.values()
    assert round_.reserve.round == left


def test_without_a_cheat_the_overlap_is_released(siege: Siege) -> None:
    """So that the rounds above end for what they say."""
    assert siege.launch() is None
    *_, round_ = siege.ledger.book.accounts.rounds.values()
    assert [commit.step for commit in round_.commits] == ["overlap-sizes", "overlap"]
