"""The coordinator's ledger: it writes alone, but nothing counts until the parties have cosigned."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from coordinator.conversation import Answer
from coordinator.ledger import RoomLedger
from coordinator.store import Store
from protocols import messages
from protocols.errors import IntegrityError, Refused, RoundEnded, SumroomError, UsageError
from protocols.keys import Identity
from protocols.ledger.entries import decode

EVERYBODY = ["alpha", "beta", "gamma"]


def signers(room: Any, size: int | None = None) -> set[str]:
    """Who has signed the checkpoint of this size, verified."""
    ledger = room.ledger
    signed = ledger._signers(room.book.checkpoint(size))
    return set(signed) - {ledger.room.origin}


def test_the_first_entry_is_the_room_of_the_settings_and_is_written_once(room: Any) -> None:
    for _ in range(3):
        room.ledger.open_room()
    assert room.book.size == 1
    written = room.book.accounts.genesis.body()
    assert {**written, "seq": 0, "time": 0} == {**room.ledger.room.genesis(), "seq": 0, "time": 0}


def test_a_ledger_of_another_room_is_refused(room: Any) -> None:
    room.ledger.open_room()
    other = room.ledger.room.model_copy(update={"cosign_quorum": 3})
    with pytest.raises(IntegrityError, match="not the room of the settings"):
        RoomLedger(other, room.book, room.ledger.identity, room.clock).open_room()


def test_every_party_checks_and_cosigns_and_gets_only_what_is_new_to_it(room: Any) -> None:
    room.ledger.open_room()
    room.ledger.countersign(room.ask, EVERYBODY, 5.0)
    assert signers(room) == set(EVERYBODY)
    room.run()
    for one in room.sent(messages.Witness)[3:]:
        request = messages.read_request(one.request)
        assert isinstance(request, messages.Witness)
        assert request.old_size > 0
    assert {node.book.root() for node in room.nodes.values()} == {room.book.root()}


def test_a_strong_entry_needs_every_party_and_asking_again_loses_nothing(room: Any) -> None:
    room.ledger.open_room()
    room.away = {"gamma"}
    with pytest.raises(RoundEnded, match=r"the cosignature of gamma is missing.*gamma: away"):
        room.ledger.countersign(room.ask, EVERYBODY, 5.0)
    assert signers(room) == {"alpha", "beta"}
    first = {line for line in room.book.checkpoint().splitlines() if line.startswith("— alpha")}
    room.away = set()
    room.clock.now += 100
    room.ledger.countersign(room.ask, EVERYBODY, 5.0)
    assert signers(room) == set(EVERYBODY)
    assert first <= set(room.book.checkpoint().splitlines())


def test_a_party_whose_copy_is_shorter_than_remembered_gets_the_whole_growth(room: Any) -> None:
    state = room.base / "beta" / "state"
    room.nodes.pop("beta").close()
    shutil.copytree(state, room.base / "saved")
    room.nodes["beta"] = room._node("beta")
    room.ledger.open_room()
    room.ledger.countersign(room.ask, EVERYBODY, 5.0)
    room.nodes.pop("beta").close()
    shutil.rmtree(state)
    shutil.move(room.base / "saved", state)
    room.nodes["beta"] = room._node("beta")
    assert room.nodes["beta"].book.size == 0
    room.ledger.countersign(room.ask, EVERYBODY, 5.0)
    assert room.nodes["beta"].book.size == 1


def test_a_coordinator_whose_ledger_is_an_older_copy_runs_nothing(room: Any) -> None:
    room.run()
    saved, state = room.base / "saved", room.base / "coordinator" / "state"
    room.store.close()
    shutil.copytree(state, saved)
    room.open_coordinator()
    room.run()
    room.store.close()
    shutil.rmtree(state)
    shutil.move(saved, state)
    room.open_coordinator()
    (size,), shares = {node.book.size for node in room.nodes.values()}, len(room.sent(messages.Contribute))
    for _ in range(2):
        with pytest.raises(SumroomError):
            room.run()
    for node in room.nodes.values():  # no consent is left for a third round: that is all that is new
        assert [entry.type for entry in map(decode, node.book.entries(size))] == ["deny@v1"]
    assert len(room.sent(messages.Contribute)) == shares


def test_an_older_copy_is_named_as_what_it_is(room: Any) -> None:
    room.run()
    older = Store(room.base / "older")
    ledger = RoomLedger(room.ledger.room, older.book, room.ledger.identity, room.clock)
    ledger.open_room()
    with pytest.raises(IntegrityError, match="restored from an older copy") as caught:
        ledger.countersign(room.ask, EVERYBODY, 5.0)
    older.close()
    assert caught.value.hint is not None
    assert caught.value.exit_code == 3


def test_a_line_that_is_not_the_partys_cosignature_of_this_checkpoint_is_not_kept(room: Any) -> None:
    room.ledger.open_room()

    def swap(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if "alpha" in answers and "beta" in answers:
            answers["beta"] = answers["alpha"]
        return answers

    with pytest.raises(SumroomError):
        room.ledger.countersign(swap, EVERYBODY, 5.0)
    assert "beta" not in signers(room)


def test_only_the_rooms_own_key_signs_its_checkpoints(room: Any) -> None:
    room.ledger.open_room()
    other = RoomLedger(room.ledger.room, room.book, Identity.generate(), room.clock)
    with pytest.raises(UsageError, match="files.signing_key has not the keys that the room knows the coordinator by"):
        other.countersign(room.ask, EVERYBODY, 5.0)


def test_time_in_the_ledger_does_not_go_back_when_the_clock_does(room: Any) -> None:
    room.ledger.open_room()
    before = room.book.accounts.time
    room.clock.now -= 200
    room.run()
    assert room.book.accounts.time == before


def test_an_unknown_round_cannot_be_forfeited(room: Any) -> None:
    room.ledger.open_room()
    with pytest.raises(Refused, match="no round"):
        room.ledger.forfeit("0" * 32, "deadline")
    assert room.book.size == 1


def test_a_second_coordinator_on_the_same_ledger_is_refused(room: Any) -> None:
    with pytest.raises(Refused, match="another coordinator is using"):
        Store(room.base / "coordinator" / "state")
