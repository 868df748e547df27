"""How this party opens a SQLite file of its own: readable by its owner only, durable when a call returns."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from protocols.errors import IntegrityError, SumroomError, UsageError

BUSY_S = 30
_PERMISSION = "is there room and permission? its owner is whoever started the node"


def opened(path: Path, schema: str, hint: str | None = None) -> sqlite3.Connection:
    """The file with these tables, made where there is none; every statement is a transaction of its own.

    hint   what to do with a damaged one
    Raises UsageError where it cannot be read or written, IntegrityError where it is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as exc:
        raise UsageError(f"cannot open {path}: {exc.strerror}", _PERMISSION) from None
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
    try:
        _prepare(db, schema)
    except sqlite3.DatabaseError as exc:
        db.close()
        raise fault(path, exc, hint) from None
    return db


def _prepare(db: sqlite3.Connection, schema: str) -> None:
    """Why again and again: SQLite does not always wait by itself for another process that makes the same file at this
    moment, whatever its timeout, and two nodes of a party may start at once."""
    ends = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(schema)
            return
        except sqlite3.OperationalError as exc:
            busy = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte is the kind, the rest its shade
            if not busy or time.monotonic() > ends:
                raise
            time.sleep(0.02)


def fault(path: Path, exc: sqlite3.DatabaseError, hint: str | None = None) -> SumroomError:
    """What SQLite says of a file, in our words."""
    if isinstance(exc, sqlite3.OperationalError):  # a full disk, a folder that cannot be written to
        return UsageError(f"cannot use {path}: {exc}", _PERMISSION)
    return IntegrityError(f"{path} is damaged or is none of a node's: {exc}", hint)
