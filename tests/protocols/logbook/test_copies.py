"""A node's copy follows from checkpoint to checkpoint; what does not continue it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.errors import IntegrityError, Refused
from protocols.ledger import entries, notes
from protocols.ledger.tree import EMPTY_ROOT, Tree, leaf_hash
from protocols.logbook import Logbook
from tests.protocols.logbook.contents import everything


@pytest.fixture
def copy(tmp_path):
    with Logbook(tmp_path / "copy.db") as copy:
        yield copy


def growth(log: Logbook, room, old: int) -> tuple[Any, ...]:
    note = log.sign_checkpoint("room.example/demo", room.identity)
    return note, room.policy().log, old, log.consistency(old, log.size), log.entries(old)


def test_a_copy_follows_from_checkpoint_to_checkpoint(log, room, copy, built) -> None:
    assert copy.follow(*growth(log, room, 0)).size == 5
    log.append([room.reserve(5), room.commit(6)])
    checkpoint = copy.follow(*growth(log, room, 5))
    assert (checkpoint.root, everything(copy)) == (log.root(), everything(log))
    assert copy.follow(*growth(log, room, 7)) == checkpoint
    line = notes.cosign(checkpoint, "alpha", built.identity("alpha"), 1_700_000_000)
    copy.add_cosignature(7, "alpha", line)
    assert notes.split(copy.checkpoint())[1][1:] == [line]


def test_a_copy_refuses_the_wrong_old_size_and_keeps_its_own(log, room, copy) -> None:
    with pytest.raises(Refused, match="growth from 5; this copy holds 0"):
        copy.follow(*growth(log, room, 5))
    copy.follow(*growth(log, room, 0))
    with pytest.raises(Refused, match="growth from 0; this copy holds 5"):
        copy.follow(*growth(log, room, 0))
    with pytest.raises(Refused, match="growth from 4"):
        copy.extend(4, [], log.root())
    assert copy.size == 5


def test_a_copy_never_goes_back(log, room, copy) -> None:
    note, key, *_ = growth(log, room, 0)
    log.append([room.reserve(5)])
    copy.follow(*growth(log, room, 0))
    with pytest.raises(Refused, match="holds 6 already"):
        copy.follow(note, key, 6, [], [])


def test_a_copy_refuses_a_fork_a_false_proof_and_missing_entries(log, room, copy, tmp_path) -> None:
    copy.follow(*growth(log, room, 0))
    with Logbook(tmp_path / "fork.db") as fork:
        fork.append([*room.opening()[:4], room.plan_entry(4, "ab" * 32), room.plan_entry(5)])
        with pytest.raises(IntegrityError, match="does not continue"):
            copy.follow(*growth(fork, room, 5))
        with Logbook(tmp_path / "same.db") as same:
            same.append([*room.opening()[:4], room.plan_entry(4, "ab" * 32)])
            with pytest.raises(IntegrityError, match="two different ledgers"):
                copy.follow(*growth(same, room, 5))
    log.append([room.reserve(5), room.commit(6)])
    note, key, old, proof, new = growth(log, room, 5)
    before = everything(copy)
    for bad_proof, bad_entries in (
        (proof[:-1], new),
        (proof, new[:-1]),
        (proof, new[::-1]),
        (proof, [*new, entries.encode(room.forfeit(7))]),
        (proof, []),
    ):
        with pytest.raises((IntegrityError, Refused)):
            copy.follow(note, key, old, bad_proof, bad_entries)
        assert everything(copy) == before
        assert [size for size, _ in copy.checkpoints()] == [5]
    copy.follow(note, key, old, proof, new)


def test_a_copy_refuses_what_the_rules_refuse_even_under_a_signed_checkpoint(room, copy, built) -> None:
    copy.extend(0, [entries.encode(e) for e in room.opening()], _root([entries.encode(e) for e in room.opening()]))
    bad = entries.encode(room.commit(5))
    bodies = [*copy.entries(), bad]
    tree = Tree()
    for body in bodies:
        tree.append(leaf_hash(body))
    checkpoint = notes.Checkpoint("room.example/demo", 6, tree.root())
    note = notes.assemble(checkpoint, notes.sign(checkpoint, room.identity, built.START))
    with pytest.raises(Refused, match="no round"):
        copy.follow(note, room.policy().log, 5, tree.consistency(5, 6), [bad])
    assert copy.size == 5


def test_a_copy_follows_only_the_log_that_it_knows_by_its_first_keys(log, copy, room, built) -> None:
    note, _, old, proof, new = growth(log, room, 0)
    with pytest.raises(IntegrityError, match="not the ledger of room.example/demo, or not by its keys"):
        copy.follow(note, built.log_keys("x"), old, proof, new)
    checkpoint, _ = notes.split(note)
    forged = notes.assemble(checkpoint, notes.sign(checkpoint, built.identity("x"), built.START))
    with pytest.raises(IntegrityError, match="unknown key"):
        copy.follow(forged, room.policy().log, old, proof, new)
    assert copy.size == 0


def test_extend_wants_the_root_it_was_promised(room, copy) -> None:
    bodies = [entries.encode(entry) for entry in room.opening()]
    with pytest.raises(IntegrityError, match="do not lead to the root"):
        copy.extend(0, bodies, EMPTY_ROOT)
    assert (copy.size, copy.root()) == (0, EMPTY_ROOT)
    copy.extend(0, bodies, _root(bodies))
    assert copy.size == 5


def _root(bodies: list[bytes]) -> bytes:
    tree = Tree()
    for body in bodies:
        tree.append(leaf_hash(body))
    return tree.root()


def test_a_promised_size_that_the_entries_do_not_reach_is_refused_even_with_the_right_root(
    log, room, copy, built
) -> None:
    # The coordinator signs 7 with the root of 6: consistency and replay are of one root, and the size still counts.
    log.append([room.reserve(5)])
    lying = notes.Checkpoint("room.example/demo", 7, log.root())
    note = notes.assemble(lying, notes.sign(lying, room.identity, built.START))
    with pytest.raises(IntegrityError, match="6 entries for a checkpoint of 7"):
        copy.follow(note, room.policy().log, 0, [], log.entries())
    assert copy.size == 0
