"""The file of a logbook: its tables, the triggers that keep them append-only, and SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import IntegrityError, SumroomError, UsageError

FORMAT = 1
BUSY_SECONDS = 30

_TABLES = """
CREATE TABLE entry(seq INTEGER PRIMARY KEY CHECK(seq >= 0), body BLOB NOT NULL) STRICT;
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY CHECK(size > 0), note TEXT NOT NULL) STRICT;
CREATE TABLE cosignature(
    size INTEGER NOT NULL REFERENCES checkpoint(size), name TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY(size, name)
) STRICT;
CREATE TABLE blob(key TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TRIGGER entry_gapless BEFORE INSERT ON entry WHEN NEW.seq <> (SELECT COALESCE(MAX(seq) + 1, 0) FROM entry)
BEGIN SELECT RAISE(ABORT, 'entry: the next number only'); END;
CREATE TRIGGER checkpoint_once BEFORE INSERT ON checkpoint
WHEN EXISTS(SELECT 1 FROM checkpoint WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'checkpoint: written once'); END;
CREATE TRIGGER cosignature_once BEFORE INSERT ON cosignature
WHEN EXISTS(SELECT 1 FROM cosignature WHERE size = NEW.size AND name = NEW.name)
BEGIN SELECT RAISE(ABORT, 'cosignature: written once'); END;
CREATE TRIGGER blob_once BEFORE INSERT ON blob WHEN EXISTS(SELECT 1 FROM blob WHERE key = NEW.key)
BEGIN SELECT RAISE(ABORT, 'blob: written once'); END;
"""
_SCHEMA = _TABLES + "".join(
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}\n"
    f"BEGIN SELECT RAISE(ABORT, '{table}: append only'); END;\n"
    for table in ("entry", "checkpoint", "cosignature", "blob")
    for verb in ("update", "delete")
)


@contextmanager
def plain_errors(name: str = "the file") -> Iterator[None]:
    """SQLite's errors in our words: a full or failing disk, a lock held too long, a file that is something else."""
    try:
        yield
    except sqlite3.IntegrityError as exc:
        raise IntegrityError(f"the logbook refuses: {exc}") from None
    except sqlite3.OperationalError as exc:
        raise SumroomError(f"the logbook cannot be used now: {exc}", "nothing was changed; see to the disk") from None
    except sqlite3.ProgrammingError:
        raise  # ours, not the file's: a closed logbook, a wrong query
    except sqlite3.Error as exc:
        hint = "move it away and put a sound copy back; a party gets its entries again from the coordinator"
        raise IntegrityError(f"{name} is not a sound logbook: {exc}", hint) from None


def open_file(path: Path) -> sqlite3.Connection:
    try:
        # Readable by its owner only, from its first byte on: SQLite's own files take over these rights.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as exc:
        raise UsageError(f"cannot open the logbook {path.name}: {exc.strerror}") from None
    with plain_errors(path.name):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise UsageError("not a logbook, but somebody's database", "name another file")
        for statement in _statements(_SCHEMA):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={FORMAT}")
    db.execute("COMMIT")
    if version not in (0, FORMAT):
        raise UsageError(f"a logbook of format {version}; this program knows format {FORMAT}")


def _statements(script: str) -> Iterator[str]:
    """The script's statements; `executescript` would end our transaction."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""
