"""A logbook signs one note a size, with the key of its genesis, and keeps the first cosignature of each witness."""

from __future__ import annotations

import pytest

from protocols.errors import Refused, UsageError
from protocols.ledger import notes
from protocols.logbook import Logbook
from tests.protocols.logbook.contents import content


def test_one_size_has_one_note_which_is_stored_before_it_is_seen(log, room, path) -> None:
    note = log.sign_checkpoint("room.example/demo", room.identity)
    assert content(path)["checkpoint"] == [(5, note)]
    assert log.sign_checkpoint("room.example/demo", room.identity) == note
    checkpoint, signed = notes.open_note(note, room.policy().log)
    assert (checkpoint.size, checkpoint.root, signed) == (5, log.root(), {"room.example/demo": None})


def test_only_the_key_and_origin_of_the_genesis_sign(log, room, built, path, tmp_path) -> None:
    for origin, key in (("room.example/other", room.identity), ("room.example/demo", built.identity("alpha"))):
        with pytest.raises(UsageError, match="only the coordinator's keys in force"):
            log.sign_checkpoint(origin, key)
    assert content(path)["checkpoint"] == []
    with Logbook(tmp_path / "empty.db") as empty, pytest.raises(Refused, match="empty"):
        empty.sign_checkpoint("room.example/demo", room.identity)


def test_a_note_comes_with_its_cosignatures_and_keeps_the_first_of_each_witness(log, room, built) -> None:
    note = log.sign_checkpoint("room.example/demo", room.identity)
    checkpoint, _ = notes.split(note)
    first = notes.cosign(checkpoint, "beta", built.identity("beta"), 1_700_000_000)
    for line in (first, first, notes.cosign(checkpoint, "beta", built.identity("beta"), 1_700_000_001)):
        log.add_cosignature(5, "beta", line)
    assert log.checkpoint() == log.checkpoint(5) == note + first
    assert log.checkpoints() == [(5, note + first)]
    log.append([room.reserve(5)])
    room.cosigned(log)
    _, signed = notes.open_note(log.checkpoint(), room.policy().log, room.policy().witnesses.values())
    assert set(signed) == {"room.example/demo", *built.PARTIES}
    assert [size for size, _ in log.checkpoints()] == [5, 6]
