"""A party's own files: several processes may make one at the same moment; what cannot be used is said in words."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from party_node import database
from party_node.database import opened
from protocols.errors import IntegrityError, UsageError

SCHEMA = "CREATE TABLE IF NOT EXISTS thing(number INTEGER PRIMARY KEY) STRICT;"


def test_whoever_opens_a_file_that_is_just_being_made_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    try:
        db = opened(path, SCHEMA)
    finally:
        timer.join()
        other.close()
    assert db.execute("SELECT count(*) FROM thing").fetchall() == [(0,)]
    db.close()


def test_a_file_that_stays_locked_is_given_up_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    path = tmp_path / "own.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UsageError, match="cannot use .*own.db: database is locked"):
        opened(path, SCHEMA)
    other.close()


def test_a_damaged_file_is_called_damaged_and_what_to_do_is_said(tmp_path: Path) -> None:
    (tmp_path / "own.db").write_bytes(b"\xff" * 8192)
    with pytest.raises(IntegrityError, match="own.db is damaged") as caught:
        opened(tmp_path / "own.db", SCHEMA, "move it away")
    assert caught.value.hint == "move it away"


def test_a_file_is_its_owners_alone_from_the_first_byte(tmp_path: Path) -> None:
    db = opened(tmp_path / "new" / "own.db", SCHEMA)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (tmp_path / "new").iterdir())
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    db.close()
