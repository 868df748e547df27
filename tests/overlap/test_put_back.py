"""A node of an overlap whose disk was put back, or that was killed: nothing is drawn, laid out or finished twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.conversation import Parcel
from party_node import overlap as node_overlap
from party_node.engine import WorkerLost
from party_node.overlap_lists import Between
from protocols import messages
from protocols.overlap import layout, words
from tests.overlap import cheats, meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, NORMALISER, Watched, instead, refusal, signed


def put_back(watched: Watched, party: str, older: Path) -> None:
    """The party's state, but not its accounts, is what it was."""
    room = watched.room
    room.nodes[party].close()
    shutil.rmtree(room.base / party / "state")
    shutil.copytree(older, room.base / party / "state")
    room.nodes[party] = room._node(party)


def test_state_put_back_to_before_it_drew_does_not_draw_again(watched: Watched, tmp_path: Path) -> None:
    room = watched.room
    older = Path(shutil.copytree(room.base / HONEST / "state", tmp_path / "older"))
    room.stopped_at(words.Lay)
    first = _offers(watched)
    put_back(watched, HONEST, older)

    def meet_again(request: words.Lay) -> Any:
        (asked,) = {x.request for x in room.sent(words.Meet) if x.party == HONEST}
        return messages.read_request(asked)

    instead(watched, words.Lay, meet_again)
    watched.forfeited("noise was drawn for it before, not here")
    assert _offers(watched) == first


def _offers(watched: Watched) -> set[bytes]:
    return {x.reply for x in watched.room.sent(words.Meet) if x.party == HONEST and b'"met"' in x.reply}


def test_state_put_back_to_before_it_agreed_lays_nothing_out_for_a_second_roster(
    watched: Watched, tmp_path: Path
) -> None:
    """Whoever has the lists for both would know the dummies and canaries: they are the same bytes in both."""
    room = watched.room
    caught = room.stopped_at(words.Lay)
    older = Path(shutil.copytree(room.base / HONEST / "state", tmp_path / "older"))
    laid = room.say(HONEST, caught[HONEST])
    assert isinstance(laid, words.Laid)
    put_back(watched, HONEST, older)
    other = {**caught[HONEST].roster, CHEAT: cheats.another_offer(watched, CHEAT, NORMALISER)}
    reply = room.say(HONEST, caught[HONEST].model_copy(update={"roster": other}))
    assert "something else was stated before, not here" in refusal(reply)


def test_state_put_back_to_before_it_agreed_goes_on_with_the_same_roster(watched: Watched, tmp_path: Path) -> None:
    room = watched.room
    caught = room.stopped_at(words.Lay)
    older = Path(shutil.copytree(room.base / HONEST / "state", tmp_path / "older"))
    laid = room.say(HONEST, caught[HONEST])
    put_back(watched, HONEST, older)
    assert room.say(HONEST, caught[HONEST]) == laid
    assert room.run()


def test_state_put_back_to_before_it_took_a_list_finishes_no_second_one(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that signs for two lists would have both finished with the same dummies, which are then known."""
    room = watched.room
    room.stopped_at(words.Take)
    older = Path(shutil.copytree(room.base / HONEST / "state", tmp_path / "older"))
    room.stopped_at(words.Reveal)
    put_back(watched, HONEST, older)
    meeting, o = watched.cheat, watched.occasion()
    path = meeting._file(o, HONEST, "list")
    cheats.with_points(lambda points: points.reverse())(None, path)  # type: ignore[arg-type]
    second = meeting._state("list", o, HONEST, tuple(watched_sizes(watched)), path)
    chunk, payload = room._exchange(CHEAT, words.Fetch(occasion=o, peer=HONEST, kind="list", index=0))
    assert isinstance(chunk, words.Chunk)
    take = words.Take(occasion=o, head=second, index=0, size=chunk.size)
    assert isinstance(room._exchange(HONEST, Parcel(take, payload))[0], words.Taken)
    assert "something else was stated before, not here" in refusal(room.say(HONEST, words.Finish(occasion=o)))
    assert isinstance(room.say(HONEST, words.Fetch(occasion=o, peer=CHEAT, kind="final", index=0)), messages.Refusal)


def watched_sizes(watched: Watched) -> list[int]:
    (laid, *_) = [messages.read_reply(x.reply) for x in watched.room.sent(words.Lay) if x.party == CHEAT]
    assert isinstance(laid, words.Laid)
    return list(laid.heads[HONEST].sizes)


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 4097, 10_000])
def test_a_part_file_of_any_length_is_gone_on_with(
    left: int, in_small_parts: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was killed while it wrote, or a disk that lost the end of what was written."""
    draws = meeting_lab.Draws(monkeypatch)
    room, done = watched.room, list[int]()

    def cut(request: Any) -> Any:
        if request.request.index == 2 and not done:
            (path,) = (room.base / HONEST / "state" / "overlap").rglob("*.part")
            path.write_bytes(path.read_bytes()[:left].ljust(left, b"\xff"))
            room.restart(HONEST)
            done.append(left)
        return request

    instead(watched, words.Take, cut)
    if left >= 2 * in_small_parts:
        *_, overlap = room.run()
        cells = meeting_lab.matrices(overlap.body_.noised, room.plan.parties)[HONEST, CHEAT]
        assert (cells - draws.noise(HONEST, CHEAT) == meeting_lab.truth(HONEST, CHEAT)).all()
    else:  # what was there and acknowledged is gone: the coordinator starts no list anew
        watched.forfeited(f"{HONEST} does not take the lists of {CHEAT}")


def test_a_node_killed_between_the_last_part_and_its_name_takes_the_last_part_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of a whole number of parts: all bytes are there, and nobody has checked them."""
    draws = meeting_lab.Draws(monkeypatch)
    room = watched.room
    (parcel,) = (p for party, p in room.stopped_at(words.Take).items() if party == HONEST)
    whole = 32 * sum(parcel.request.head.sizes)
    for module in (layout, node_overlap):
        monkeypatch.setattr(module, "CHUNK_BYTES", whole)
    path = room.nodes[HONEST].meeting._file(watched.occasion(), CHEAT, "received.part")
    path.write_bytes(bytes(whole))
    *_, overlap = room.run()
    cells = meeting_lab.matrices(overlap.body_.noised, room.plan.parties)[HONEST, CHEAT]
    assert (cells - draws.noise(HONEST, CHEAT) == meeting_lab.truth(HONEST, CHEAT)).all()


def test_a_list_that_is_refused_is_not_kept(watched: Watched) -> None:
    room = watched.room
    caught = room.stopped_at(words.Take)
    parcel = caught[HONEST]
    head = signed(watched, parcel.request.head, sha256="0" * 64)
    bent = Parcel(parcel.request.model_copy(update={"head": head}), parcel.payload)
    assert "not what it said they are" in refusal(room._exchange(HONEST, bent)[0])
    assert not list((room.base / HONEST / "state" / "overlap").rglob("*received*"))
    assert isinstance(room._exchange(HONEST, parcel)[0], words.Taken)
    assert room.run()


def test_a_fault_of_the_data_shows_to_the_operator_alone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The party's lists are of nobody, of the same sizes, dummies and all; and it answers at the same second."""
    draws = meeting_lab.Draws(monkeypatch)
    real = Between.write_lists

    def write(between: Between, people: Any, to: Path) -> None:
        def broken() -> Any:
            yield next(iter(people))
            raise ValueError("person-7 is the one")

        real(between, broken() if between.me == CHEAT and not hasattr(people, "__length_hint__") else people, to)

    monkeypatch.setattr(Between, "write_lists", write)
    *_, overlap = watched.room.run()
    cells = meeting_lab.matrices(overlap.body_.noised, watched.room.plan.parties)[HONEST, CHEAT]
    assert (cells == draws.noise(HONEST, CHEAT)).all()
    assert "for this operator only: step overlap: ValueError; this party's lists are of nobody" in caplog.text
    assert "person-7" not in caplog.text
    assert np.any(draws.noise(HONEST, CHEAT))


@pytest.mark.parametrize("name", ["write_lists", "finish", "canaries"])
def test_a_process_that_is_lost_costs_no_round_and_no_people(
    name: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at each party, in the middle of it: the party is asked again, and its lists are of its people."""
    draws = meeting_lab.Draws(monkeypatch)
    real, lost = getattr(Between, name), set[str]()

    def once(between: Between, *given: Any) -> Any:
        if between.me not in lost:
            lost.add(between.me)
            raise WorkerLost("a process of this node ended")
        return real(between, *given)

    monkeypatch.setattr(Between, name, once)
    *_, overlap = watched.room.run()
    cells = meeting_lab.matrices(overlap.body_.noised, watched.room.plan.parties)[HONEST, CHEAT]
    assert (cells - draws.noise(HONEST, CHEAT) == meeting_lab.truth(HONEST, CHEAT)).all()
    assert lost == set(cheats.MEMBERS)


def test_a_disk_that_is_full_where_finished_lists_are_counted_ends_no_round(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator puts them aside, in files. When there is room again, the same round is released."""
    with pytest.MonkeyPatch.context() as full:

        def no_room(**_: Any) -> Any:
            raise OSError(28, "No space left on device")

        full.setattr("coordinator.overlap.TemporaryFile", no_room)
        with pytest.raises(OSError, match="No space"):
            watched.room.run()
    assert watched.room.ledger.book.accounts.rounds[watched.round].state == "open"
    watched.room.run()
    assert watched.room.ledger.book.accounts.rounds[watched.round].state == "done"
    assert not [path for path in (watched.room.base / "coordinator" / "state").iterdir() if "tmp" in path.name]
