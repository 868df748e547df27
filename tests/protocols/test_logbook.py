"""The store keeps what it was given, in one transaction or not at all, and finds out at opening what was changed."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from protocols.errors import IntegrityError, Refused, SumroomError, UsageError
from protocols.ledger import entries, notes, proofs
from protocols.ledger.tree import EMPTY_ROOT, Tree, leaf_hash
from protocols.logbook import Logbook

BUILDER = Path(__file__).parents[1] / "ledger" / "builder.py"


@pytest.fixture(scope="module")
def built() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sumroom_tests_logbook_builder", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def room(built):
    return built.Room()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def log(path, room):
    with Logbook(path) as log:
        log.append(room.opening())
        yield log


def content(path: Path) -> dict[str, list[Any]]:
    db = sqlite3.connect(path)
    try:
        return {
            table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("entry", "checkpoint", "cosignature", "blob")
        }
    finally:
        db.close()


def everything(log: Logbook) -> tuple[Any, ...]:
    return log.size, log.root(), log.accounts.balances(), log.accounts.size


def tamper(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


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


def test_the_file_is_readable_by_its_owner_only(log, path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.name in modes


def test_every_connection_is_durable(log) -> None:
    assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("builder", sys.argv[1])
built = importlib.util.module_from_spec(spec); spec.loader.exec_module(built)
from protocols.logbook import Logbook
log, room = Logbook(sys.argv[2]), built.Room()
class Killing(dict):
    def items(self):
        yield "k", b"v"
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "inside":
    log.append([room.reserve(5)], blobs=Killing())
log.append([room.reserve(5)], blobs={"k": b"v"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.processes
@pytest.mark.parametrize(("where", "size"), [("inside", 5), ("after", 6)])
def test_a_killed_process_leaves_a_whole_transaction_or_none(log, path, where, size) -> None:
    environment = {**os.environ, "PYTHONPATH": str(BUILDER.parents[2])}
    done = subprocess.run([sys.executable, "-c", KILLED, BUILDER, path, where], env=environment, check=False)
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


# --- append only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = x'00'",
        "DELETE FROM entry",
        "DELETE FROM entry WHERE seq = 4",
        "INSERT INTO entry VALUES(7, x'00')",
        "INSERT INTO entry VALUES(4, x'00')",
        "INSERT OR REPLACE INTO entry VALUES(4, x'00')",
        "UPDATE checkpoint SET note = ''",
        "DELETE FROM checkpoint",
        "INSERT OR REPLACE INTO checkpoint VALUES(5, '')",
        "UPDATE cosignature SET line = ''",
        "DELETE FROM cosignature",
        "INSERT OR REPLACE INTO cosignature VALUES(5, 'alpha', '')",
        "UPDATE blob SET data = x'00'",
        "DELETE FROM blob",
        "INSERT OR REPLACE INTO blob VALUES('k', x'00')",
        "INSERT INTO entry VALUES(5, 'text')",
    ],
)
def test_the_file_itself_refuses(log, room, path, statement) -> None:
    room.cosigned(log)
    log.append([], blobs={"k": b"v"})
    before = content(path)
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)
    db.close()
    assert content(path) == before


# --- the self-check at opening ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE entry SET body = x'7b7d' WHERE seq = 3", "entry 3 in the file"),
        (
            "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'q2', 'q3') AS BLOB) WHERE seq = 2",
            "entry 2 in the file breaks a rule: the dataset signature of beta",
        ),
        ("UPDATE entry SET body = (SELECT body FROM entry WHERE seq = 1) WHERE seq = 2", "entry 2 in the file"),
        ("DELETE FROM entry WHERE seq = 4", "entry 4 is missing"),
        ("DELETE FROM entry WHERE seq = 2", "entry 3 in the file"),
        ("UPDATE checkpoint SET size = 4", "entries 0 to 3 are not those of the checkpoint of size 4"),
        ("UPDATE checkpoint SET note = 'x'", "not a signed note"),
    ],
)
def test_opening_finds_what_was_changed_in_the_file(log, room, path, statement, match) -> None:
    log.sign_checkpoint("room.example/demo", room.coordinator)
    log.close()
    tamper(path, statement)
    with pytest.raises(IntegrityError, match=match):
        Logbook(path)


def test_opening_finds_another_history_that_the_rules_allow(log, room, path) -> None:
    log.sign_checkpoint("room.example/demo", room.coordinator)
    log.close()
    other = entries.encode(room.plan_entry(4, "ab" * 32))
    tamper(path, f"UPDATE entry SET body = x'{other.hex()}' WHERE seq = 4")
    with pytest.raises(IntegrityError, match="entries 0 to 4 are not those of the checkpoint of size 5"):
        Logbook(path)


def test_a_file_that_is_no_logbook_is_not_touched(tmp_path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"not a database, and longer than a header of one hundred bytes. " * 20)
    with pytest.raises(IntegrityError, match="not a sound logbook"):
        Logbook(text)
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE theirs(x)")
    db.commit()
    with pytest.raises(UsageError, match="somebody's database"):
        Logbook(other)
    db.execute("DROP TABLE theirs")
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(UsageError, match="format 9"):
        Logbook(other)
    with pytest.raises(UsageError, match="cannot open"):
        Logbook(tmp_path / "nowhere" / "ledger.db")


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


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_one_size_has_one_note_which_is_stored_before_it_is_seen(log, room, path) -> None:
    note = log.sign_checkpoint("room.example/demo", room.coordinator)
    assert content(path)["checkpoint"] == [(5, note)]
    assert log.sign_checkpoint("room.example/demo", room.coordinator) == note
    checkpoint, signed = notes.open_note(note, room.policy().log)
    assert (checkpoint.size, checkpoint.root, signed) == (5, log.root(), {"room.example/demo": None})


def test_only_the_key_and_origin_of_the_genesis_sign(log, room, built, path, tmp_path) -> None:
    for origin, key in (("room.example/other", room.coordinator), ("room.example/demo", built.key("alpha"))):
        with pytest.raises(UsageError, match="only the key in the genesis"):
            log.sign_checkpoint(origin, key)
    assert content(path)["checkpoint"] == []
    with Logbook(tmp_path / "empty.db") as empty, pytest.raises(Refused, match="empty"):
        empty.sign_checkpoint("room.example/demo", room.coordinator)


def test_a_note_comes_with_its_cosignatures_and_keeps_the_first_of_each_witness(log, room, built) -> None:
    note = log.sign_checkpoint("room.example/demo", room.coordinator)
    checkpoint, _ = notes.split(note)
    first = notes.cosign(checkpoint, "beta", built.key("beta"), 1_700_000_000)
    for line in (first, first, notes.cosign(checkpoint, "beta", built.key("beta"), 1_700_000_001)):
        log.add_cosignature(5, "beta", line)
    assert log.checkpoint() == log.checkpoint(5) == note + first
    assert log.checkpoints() == [(5, note + first)]
    log.append([room.reserve(5)])
    room.cosigned(log)
    _, signed = notes.open_note(log.checkpoint(), room.policy().log, room.policy().witnesses.values())
    assert set(signed) == {"room.example/demo", *built.PARTIES}
    assert [size for size, _ in log.checkpoints()] == [5, 6]


# --- a node's copy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    with Logbook(tmp_path / "copy.db") as copy:
        yield copy


def growth(log: Logbook, room, old: int) -> tuple[Any, ...]:
    note = log.sign_checkpoint("room.example/demo", room.coordinator)
    return note, room.policy().log, old, log.consistency(old, log.size), log.entries(old)


def test_a_copy_follows_from_checkpoint_to_checkpoint(log, room, copy, built) -> None:
    assert copy.follow(*growth(log, room, 0)).size == 5
    log.append([room.reserve(5), room.commit(6)])
    checkpoint = copy.follow(*growth(log, room, 5))
    assert (checkpoint.root, everything(copy)) == (log.root(), everything(log))
    assert copy.follow(*growth(log, room, 7)) == checkpoint
    line = notes.cosign(checkpoint, "alpha", built.key("alpha"), 1_700_000_000)
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
    note = notes.assemble(checkpoint, notes.sign(checkpoint, room.coordinator))
    with pytest.raises(Refused, match="no round"):
        copy.follow(note, room.policy().log, 5, tree.consistency(5, 6), [bad])
    assert copy.size == 5
    with pytest.raises(IntegrityError, match="unknown key"):
        copy.follow(note, notes.log_key("room.example/demo", built.key("x").public_key()), 5, [], [bad])


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


def test_a_promised_size_that_the_entries_do_not_reach_is_refused_even_with_the_right_root(log, room, copy) -> None:
    # The coordinator signs 7 with the root of 6: consistency and replay are of one root, and the size still counts.
    log.append([room.reserve(5)])
    lying = notes.Checkpoint("room.example/demo", 7, log.root())
    note = notes.assemble(lying, notes.sign(lying, room.coordinator))
    with pytest.raises(IntegrityError, match="6 entries for a checkpoint of 7"):
        copy.follow(note, room.policy().log, 0, [], log.entries())
    assert copy.size == 0


def test_a_trigger_of_the_file_speaks_as_an_integrity_error(log, room, built, monkeypatch) -> None:
    room.cosigned(log, ("alpha",))
    monkeypatch.setattr(log, "_rows", lambda query, *_: [(1, log.checkpoint)] if "note" in query else [])
    monkeypatch.setattr(log, "checkpoint", lambda _: "")
    with pytest.raises(IntegrityError, match="cosignature: written once"):
        log.add_cosignature(5, "alpha", "line")


def test_a_closed_logbook_is_the_programs_own_fault(log) -> None:
    log.close()
    with pytest.raises(sqlite3.ProgrammingError):
        log.blob("k")


def test_a_transaction_that_sqlite_itself_gave_up_is_undone_in_memory_too(log, room, path) -> None:
    class GivesUp(dict):
        def items(self):
            log._db.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    before, state = content(path), everything(log)
    with pytest.raises(SumroomError, match="disk I/O error"):
        log.append([room.reserve(5)], blobs=GivesUp())
    assert (content(path), everything(log)) == (before, state)
