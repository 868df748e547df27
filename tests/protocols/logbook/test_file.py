"""The logbook's file: its owner's alone, durable, closed to every change, and looked through when it is opened."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from protocols.errors import IntegrityError, UsageError
from protocols.ledger import entries
from protocols.logbook import Logbook
from tests.protocols.logbook.contents import content


def test_the_file_is_readable_by_its_owner_only(log, path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.name in modes


def test_every_connection_is_durable(log) -> None:
    assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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


def test_a_trigger_of_the_file_speaks_as_an_integrity_error(log, room, built, monkeypatch) -> None:
    room.cosigned(log, ("alpha",))
    monkeypatch.setattr(log, "_rows", lambda query, *_: [(1, log.checkpoint)] if "note" in query else [])
    monkeypatch.setattr(log, "checkpoint", lambda _: "")
    with pytest.raises(IntegrityError, match="cosignature: written once"):
        log.add_cosignature(5, "alpha", "line")


# --- the self-check at opening ----------------------------------------------------------------------------------------


def tamper(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


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
    log.sign_checkpoint("room.example/demo", room.identity)
    log.close()
    tamper(path, statement)
    with pytest.raises(IntegrityError, match=match):
        Logbook(path)


def test_opening_finds_another_history_that_the_rules_allow(log, room, path) -> None:
    log.sign_checkpoint("room.example/demo", room.identity)
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
