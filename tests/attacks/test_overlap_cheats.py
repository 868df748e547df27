"""A party that cheats in an overlap over real sockets: the honest coordinator, or its peer's node, ends the round."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.errors import RoundEnded
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.overlap import cheats, meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, MISSING, NO_POINT, TWICE

Besiege = Callable[[Stage], Siege]
P = 2**255 - 19


@pytest.fixture(scope="session")
def stages_of_two(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Two companies that share customers."""
    place = tmp_path_factory.mktemp("stages-of-two")
    changes = meeting_lab.of_two()
    csv = {party: meeting_lab.csv_of(meeting_lab.customers(party)) for party in cheats.MEMBERS}
    return Stages(place, cheats.MEMBERS, csv=csv, more='tier = "tier"\n', **changes)


@pytest.fixture
def siege(besiege: Besiege, stages_of_two: Stages) -> Siege:
    """A room in which nothing has happened."""
    return besiege(stages_of_two.fresh)


def only_sizes(siege: Siege, reason: str) -> None:
    """The round ends as a forfeit with these words: sizes were released before, and nothing of the overlap is."""
    raised = siege.launch()
    assert isinstance(raised, RoundEnded), raised
    assert f"is forfeited: {reason}" in raised.message
    (round_,) = siege.ledger.book.accounts.rounds.values()
    assert round_.state == "forfeited"
    assert [commit.step for commit in round_.commits] == ["overlap-sizes"]
    for party in cheats.MEMBERS:
        rows = siege.dump()[party]
        assert [row[1] for row in rows["node.db"]["release"]] == ["overlap-sizes"]
        assert [row[6] for row in rows["accounts.db"]["charge"]] == ["spent"]
        assert rows["node.db"]["drawing"] == []
        assert not list((siege.base / party / "state" / "overlap").glob("*"))


def test_a_party_that_masks_with_another_scalar_than_it_published(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheats.mask_otherwise(siege.guests[CHEAT].node.meeting, monkeypatch)
    only_sizes(siege, MISSING)


def test_a_party_whose_list_has_everybody_many_times(siege: Siege, monkeypatch: pytest.MonkeyPatch) -> None:
    def bend(points: list[bytes]) -> None:
        points[:] = (points[:100] * (len(points) // 100 + 1))[: len(points)]

    cheats.after(monkeypatch, "write_lists", cheats.with_points(bend))
    only_sizes(siege, f"{HONEST} refused: {TWICE}")


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        pytest.param(lambda u: u + 2**255, NO_POINT, id="top-bit"),
        pytest.param(lambda u: pow(u, -1, P), TWICE, id="inverse"),
    ],
)
def test_a_party_that_lists_one_person_in_two_spellings(
    spelled: Callable[[int], int], said: str, siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bend(points: list[bytes]) -> None:
        points[1] = spelled(int.from_bytes(points[0], "little")).to_bytes(32, "little")

    cheats.after(monkeypatch, "write_lists", cheats.with_points(bend))
    only_sizes(siege, f"{HONEST} refused: {said}")


def test_without_a_cheat_the_overlap_is_released(siege: Siege) -> None:
    """So that the rounds above end for what they say."""
    assert siege.launch() is None
    (round_,) = siege.ledger.book.accounts.rounds.values()
    assert [commit.step for commit in round_.commits] == ["overlap-sizes", "overlap"]
