"""The logbook keeps what it was given byte for byte, in one transaction or not at all, and loses nobody's entry."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocols.errors import Refused, SumroomError, UsageError
from protocols.ledger import entries, proofs
from protocols.ledger.tree import Tree, leaf_hash
from protocols.logbook import Logbook
from tests.protocols.logbook.contents import content, everything

ROOT = Path(__file__).parents[3]

# --- what it keeps ----------------------------------------------------------------------------------------------------


def test_entries_come_back_byte_for_byte_with_the_root_of_their_tree(log, room) -> None:
    tree = Tree()
    for body in map(entries.encode, room.opening()):
        tree.append(leaf_hash(body))
    assert log.entries() == [entries.encode(entry) for entry in room.opening()]
    assert log.entries(1, 3) == log.entries()[1:3]
    assert (log.size, log.root()) == (5, tree.root())
    assert log.root(3) == tree.root(3)


def test_a_reopened_log_has_the_same_root_accounts_checkpoints_and_blobs(log, room, path) -> None:
    log.append([room.reserve(5)], blobs={"release/one": b"bytes"})
    room.cosigned(log)
    with Logbook(path) as again:
        assert everything(again) == everything(log)
        assert again.checkpoints() == log.checkpoints()
        assert again.blob("release/one") == b"bytes"


def test_append_returns_the_first_number_and_gives_a_factory_its_own(log, room) -> None:
    assert log.append([lambda seq: room.reserve(seq), lambda seq: room.commit(seq)]) == 5
    assert log.append([room.forfeit(7)]) == 7
    assert log.append([], blobs={"k": b""}) == 8


def test_proofs_of_the_log_verify(log, room) -> None:
    log.append([room.reserve(5), room.commit(6)])
    proofs.verify_consistency(5, 7, log.consistency(5, 7), log.root(5), log.root(7))
    for index, body in enumerate(log.entries()):
        proofs.verify_inclusion(leaf_hash(body), index, 7, log.inclusion(index, 7), log.root())


def test_blobs_are_found_by_the_beginning_of_their_key(log) -> None:
    log.append([], blobs={"plan/b": b"2", "plan/a": b"1", "plan%": b"3", "release/a": b"4"})
    assert log.blobs("plan/") == {"plan/a": b"1", "plan/b": b"2"}
    assert set(log.blobs()) == {"plan/a", "plan/b", "plan%", "release/a"}
    assert log.blob("plan") is None


def test_asking_beyond_the_end_is_wrong_usage(log) -> None:
    for ask in (
        lambda: log.entries(0, 6),
        lambda: log.entries(3, 2),
        lambda: log.root(6),
        lambda: log.checkpoint(),
        lambda: log.checkpoint(3),
        lambda: log.add_cosignature(5, "alpha", "x"),
    ):
        with pytest.raises(UsageError):
            ask()


def test_a_closed_logbook_is_the_programs_own_fault(log) -> None:
    log.close()
    with pytest.raises(sqlite3.ProgrammingError):
        log.blob("k")


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_a_refused_entry_takes_the_entries_and_blobs_before_it_along(log, room, path) -> None:
    before, state = content(path), everything(log)
    with pytest.raises(Refused, match="no round"):
        log.append([room.reserve(5), room.commit(6), room.forfeit(7, "two")], blobs={"k": b"v"})
    assert (content(path), everything(log)) == (before, state)
    log.append([room.reserve(5)])


def test_a_blob_is_never_overwritten_and_takes_its_entries_along(log, room, path) -> None:
    log.append([], blobs={"k": b"first"})
    before, state = content(path), everything(log)
    for data in (b"second", b"first"):
        with pytest.raises(Refused, match="never overwritten"):
            log.append([room.reserve(5)], blobs={"new": b"", "k": data})
    assert (content(path), everything(log)) == (before, state)


def test_a_failure_between_entry_and_blob_leaves_neither(log, room, path) -> None:
    class Broken(dict):
        def items(self):
            yield "k", b"v"
            raise KeyboardInterrupt

    before, state = content(path), everything(log)
    with pytest.raises(KeyboardInterrupt):
        log.append([room.reserve(5)], blobs=Broken())
    assert (content(path), everything(log)) == (before, state)
    assert log.append([room.reserve(5)], blobs={"k": b"v"}) == 5


KILLED = """
import os, signal, sys
from protocols.logbook import Logbook
from tests.ledger import builder
log, room = Logbook(sys.argv[1]), builder.Room()
class Killing(dict):
    def items(self):
        yield "k", b"v"
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "inside":
    log.append([room.reserve(5)], blobs=Killing())
log.append([room.reserve(5)], blobs={"k": b"v"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.processes
@pytest.mark.parametrize(("where", "size"), [("inside", 5), ("after", 6)])
def test_a_killed_process_leaves_a_whole_transaction_or_none(log, path, where, size) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, path, where], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    with Logbook(path) as again:
        assert (again.size, again.blob("k")) == (size, b"v" if size == 6 else None)


def test_an_error_of_the_disk_is_told_and_changes_nothing(log, room, path, monkeypatch) -> None:
    class Full:
        in_transaction = True

        def __init__(self, db) -> None:
            self.db = db

        def execute(self, statement, *values):
            if statement == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return self.db.execute(statement, *values)

    before, state = content(path), everything(log)
    monkeypatch.setattr(log, "_db", Full(log._db))
    with pytest.raises(SumroomError, match="disk is full"):
        log.append([room.reserve(5)])
    monkeypatch.undo()
    assert (content(path), everything(log)) == (before, state)
    log.append([room.reserve(5)])


def test_a_transaction_that_sqlite_itself_gave_up_is_undone_in_memory_too(log, room, path) -> None:
    class GivesUp(dict):
        def items(self):
            log._db.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    before, state = content(path), everything(log)
    with pytest.raises(SumroomError, match="disk I/O error"):
        log.append([room.reserve(5)], blobs=GivesUp())
    assert (content(path), everything(log)) == (before, state)


# --- two writers ------------------------------------------------------------------------------------------------------


def test_a_second_writer_first_takes_in_what_the_first_wrote(log, room, path) -> None:
    with Logbook(path) as other:
        log.append([room.reserve(5)])
        assert other.size == 5
        with pytest.raises(Refused, match="entry 5 where 6 is next"):
            other.append([room.forfeit(5)])
        assert other.append([lambda seq: room.forfeit(seq)]) == 6
        log.refresh()
        assert everything(log) == everything(other)


def test_a_refusal_keeps_in_memory_what_another_process_wrote(log, room, path) -> None:
    with Logbook(path) as other:
        log.append([room.reserve(5)])
        with pytest.raises(Refused, match="in the ledger already"):
            other.append([lambda seq: room.reserve(seq)])
        assert everything(other) == everything(log)
        assert other.append([room.commit(6)]) == 6


def test_what_another_wrote_is_checked_before_the_file_is_locked(log, room, path, monkeypatch) -> None:
    """So that nobody waits while somebody else checks a thousand signatures."""
    with Logbook(path) as other:
        log.append([room.reserve(5)])
        at_once = sqlite3.connect(path, timeout=0, isolation_level=None)
        checked = []

        def watched(body: bytes) -> entries.Entry:
            at_once.execute("BEGIN IMMEDIATE")
            at_once.execute("ROLLBACK")
            checked.append(body)
            return entries.decode(body)

        monkeypatch.setattr("protocols.ledger.decoding.decode", watched)
        other.refresh()
        assert checked == log.entries(5)
        at_once.close()


def test_a_long_ledger_is_read_in_parts(log, room, path, monkeypatch) -> None:
    log.append([room.reserve(5), room.commit(6), room.forfeit(7)])
    monkeypatch.setattr("protocols.logbook.ROWS_AT_ONCE", 3)
    with Logbook(path) as again:
        assert everything(again) == everything(log)


def test_threads_and_connections_race_without_a_gap_or_a_loss(log, room, path) -> None:
    def write(number: int) -> None:
        with Logbook(path) as other:
            for i in range(5):
                plan = f"{number:02x}{i:02x}" * 16
                (other if i % 2 else log).append([lambda seq, p=plan: room.plan_entry(seq, p, time=1_700_000_900)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    log.refresh()
    assert log.size == 25
    with Logbook(path) as again:
        assert everything(again) == everything(log)
