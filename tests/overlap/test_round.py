"""An overlap through real nodes: what is released is the truth and both parties' noise, and nothing is a byte more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from party_node import share
from protocols import messages
from protocols.errors import RoundEnded
from protocols.overlap import words
from protocols.overlap.layout import Layout
from tests.overlap import meeting_lab
from tests.rounds import lab


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return meeting_lab.make(tmp_path_factory.mktemp("meeting") / "room")


def test_what_is_released_is_the_truth_and_the_noise_of_both(
    template: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = meeting_lab.Draws(monkeypatch)
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        sizes, overlap = room.run()
        found = meeting_lab.matrices(overlap.body_.noised, plan.parties)
        for (a, b), cells in found.items():
            assert (cells - draws.noise(a, b) == meeting_lab.truth(a, b)).all()
            assert draws.noise(a, b).any()
        assert overlap.body_.survivors == plan.parties
        assert sizes.body_.step == "overlap-sizes"


def test_a_node_that_is_killed_at_any_message_goes_on_with_the_same_lists(
    template: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = meeting_lab.Draws(monkeypatch)
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        told = set()

        def restart_first(party: str, request: Any) -> Any:
            asked = getattr(request, "request", request)
            if isinstance(asked, words.Requests) and (party, asked.type) not in told:
                told.add((party, asked.type))
                room.restart(party)
            return request

        room.meddle = restart_first
        *_, overlap = room.run()
        found = meeting_lab.matrices(overlap.body_.noised, plan.parties)
        assert all((cells - draws.noise(*pair) == meeting_lab.truth(*pair)).all() for pair, cells in found.items())
        assert len(told) == 6 * len(plan.parties)


@pytest.mark.parametrize("kind", [words.Meet, words.Lay, words.Take, words.Finish, words.Reveal])
def test_a_coordinator_that_is_killed_goes_on_with_the_round(
    template: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    draws = meeting_lab.Draws(monkeypatch)
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        room.stopped_at(kind)
        *_, overlap = room.run()
        found = meeting_lab.matrices(overlap.body_.noised, plan.parties)
        assert all((cells - draws.noise(*pair) == meeting_lab.truth(*pair)).all() for pair, cells in found.items())


def test_every_list_that_travels_has_the_size_that_the_plan_gives_it(
    template: tuple[Path, Any], tmp_path: Path
) -> None:
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        sizes, _ = room.run()
        layout = Layout.of(plan, "overlap", {"overlap-sizes": sizes.body_.released})
        for exchange in room.sent(words.Fetch):
            asked, chunk = messages.read_request(exchange.request), messages.read_reply(exchange.reply)
            own = layout.sent(exchange.party, asked.peer)
            whole = 32 * sum(own) + 16 if asked.kind == "list" else 8 * sum(layout.final(asked.peer, exchange.party))
            assert chunk.size == whole


def test_nothing_of_a_round_that_has_ended_stays_on_disk(template: tuple[Path, Any], tmp_path: Path) -> None:
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        room.run()
        for party in plan.parties:
            assert not list((base / party / "state" / "overlap").glob("*"))
            assert not room.nodes[party].store.drawn_rounds()


def test_what_lies_on_disk_of_a_round_is_its_owners_alone(template: tuple[Path, Any], tmp_path: Path) -> None:
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    with lab.Room(base, plan) as room:
        room.stopped_at(words.Reveal)
        kept = [path for party in plan.parties for path in (base / party / "state" / "overlap").rglob("*")]
        assert len([path for path in kept if path.is_file()]) == 3 * 2 * 3  # own, received, finished; for each peer
        assert all(path.stat().st_mode & 0o077 == 0 for path in kept)


def test_a_peer_that_takes_from_the_size_of_anothers_list_ends_the_round(
    template: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too small a cap people would be left out, and one person's absence would let another in."""
    base, plan = lab.copy(template[0], tmp_path / "room"), template[1]
    real = share.draw

    def draw(total: Any, *how: Any) -> Any:
        noised = real(total, *how)
        if total[:3].any() == 0 and total[3:6].any():  # beta's sum of `overlap-sizes`: alpha's lists come first
            noised[0] -= 200
        return noised

    with lab.Room(base, plan) as room:
        monkeypatch.setattr(share, "draw", draw)
        with pytest.raises(RoundEnded, match="alpha refused: the released sizes of the lists of alpha are smaller"):
            room.run()
        (round_,) = room.book.accounts.rounds.values()
        assert round_.state == "forfeited"
        assert [commit.step for commit in round_.commits] == ["overlap-sizes"]
