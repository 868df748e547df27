"""What a node has answered, or been answered: SQLite, with large payloads in files beside it. One class for both sides.

A reply is stored, durably, before it is sent (a party) or believed (the coordinator). So what was drawn once is sent
again and never drawn again, and a run goes on after either side was killed.

A party's is not trusted: an attacker who can modify these files can at most make replies invalid, since each is signed
and hashed, or, by restoring an old copy, make a party answer anew. The coordinator's is trusted for the sums: a large
share is checked when it is read and added up from its file, and whoever changes it in between changes the sum.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import mmap
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import IntegrityError, SumroomError, UsageError

SPOOL = 1 << 20
_STEP = 1 << 23
_ID = re.compile(r"[0-9a-f]{64}")
_TABLES = """
CREATE TABLE IF NOT EXISTS reply(message_id TEXT PRIMARY KEY, run TEXT NOT NULL, sealed BLOB NOT NULL, payload BLOB)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen(run TEXT, src TEXT, seq INTEGER, message_id TEXT NOT NULL, PRIMARY KEY(run, src, seq))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun(number INTEGER PRIMARY KEY, run TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten(run TEXT, src TEXT, highest INTEGER NOT NULL, PRIMARY KEY(run, src)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Stored:
    """A journalled reply: the bytes of its Sealed message, and its payload (a mapped file when large)."""

    sealed: bytes
    payload: bytes | memoryview

    def digest(self) -> tuple[int, bytes]:
        """Size in bytes and SHA-256 of the payload. What this reads of a mapped file does not stay in memory, so that
        checking many replies takes no more of it than checking one."""
        view, sha = memoryview(self.payload), hashlib.sha256()
        for at in range(0, len(view), _STEP):
            piece = view[at : at + _STEP]
            sha.update(piece)
            if isinstance(view.obj, mmap.mmap):
                view.obj.madvise(mmap.MADV_DONTNEED, at, len(piece))
        return len(view), sha.digest()


class Inbox:
    """A payload on its way in: in memory when small, in a temporary file of the journal when large."""

    def __init__(self, directory: Path | None, size: int) -> None:
        self._path: Path | None = None
        self._file: IO[bytes] = io.BytesIO()
        if directory is not None and size >= SPOOL:
            handle, name = tempfile.mkstemp(suffix=".tmp", dir=directory)
            self._path, self._file = Path(name), os.fdopen(handle, "w+b")

    def write(self, data: bytes | memoryview, /) -> None:
        """Append `data`."""
        self._file.write(data)

    def in_memory(self) -> bytes | None:
        """The payload, or None when it is in the file."""
        return self._file.getvalue() if isinstance(self._file, io.BytesIO) else None

    def taken(self) -> bytes | memoryview:
        """The payload, for whoever reads it once: the file is mapped, and has no name from now on; it is gone with the
        last view of it, or with the process."""
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()
        try:
            self._file.flush()
            return _map(self._file)
        finally:
            self.drop()

    def settle(self, place: Path) -> None:
        """Make the file durable under its final name."""
        if self._path is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(place)
        self._path = None
        _sync_directory(place.parent)

    def drop(self) -> None:
        """Remove what was not settled."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        with suppress(OSError):  # a full disk: what could not be written is not wanted any more
            self._file.close()


class Journal:
    """Replies by message id, and sequence numbers by (run, sender). Safe for any number of threads of one process.

    With a path, `<path>` is the database, `<path>.d` the payloads, and `<path>.lock` keeps a second process out;
    without, all is in memory and lost. Raises UsageError when another process has it, IntegrityError when damaged;
    every method SumroomError where the disk is full or fails, and then nothing was changed.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self._directory: Path | None = None
        self._lock_file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._one_put = threading.Lock()
        if path is not None:
            self._lock_file = _exclusive(Path(f"{path}.lock"))
            self._directory = Path(f"{path}.d")
            self._directory.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        try:
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_TABLES}")
            self._sweep()
        except sqlite3.DatabaseError as exc:
            self.close()
            raise IntegrityError(f"the journal {path} is damaged: {exc}") from None

    def claim(self, run: int, seq: int, src: str, message_id: str) -> bool:
        """Take (run, seq, src) for this message. False when it was another's, or belongs to a forgotten run."""
        key = (str(run), src, seq)
        with self._transaction() as db:
            row = db.execute("SELECT message_id FROM seen WHERE run=? AND src=? AND seq=?", key).fetchone()
            if row is not None:
                return bool(row[0] == message_id)
            past = db.execute("SELECT highest FROM forgotten WHERE run=? AND src=?", key[:2]).fetchone()
            if past is not None and seq <= past[0]:
                return False
            db.execute("INSERT INTO seen VALUES(?,?,?,?)", (*key, message_id))
            db.execute("INSERT OR IGNORE INTO begun(run) VALUES(?)", (str(run),))
        return True

    def keep_latest(self, runs: int) -> None:
        """Forget all but the runs of which a message was claimed last for the first time."""
        with self._lock, _plain_errors():
            old = self._db.execute("SELECT run FROM begun ORDER BY number DESC LIMIT -1 OFFSET ?", (runs,)).fetchall()
        for (run,) in old:
            self.forget(int(run))

    def inbox(self, size: int) -> Inbox:
        """A place for a payload of `size` bytes, for `put_reply`; the caller drops it when it does not come to that."""
        return Inbox(self._directory, size)

    def put_reply(
        self, message_id: str, run: int, sealed: bytes, payload: Inbox | Iterable[bytes | memoryview]
    ) -> None:
        """Store the reply to `message_id`, durably; the very same again is nothing new.

        Raises IntegrityError when another reply is stored already.
        """
        place = self._place(message_id)
        inbox = payload if isinstance(payload, Inbox) else self._filled(tuple(payload))
        try:
            # Why one at a time: of two different replies at once, the second must not replace the first one's file.
            with self._one_put:
                if self._same(message_id, sealed):
                    return
                if place is not None:
                    inbox.settle(place)
                with self._transaction() as db:
                    db.execute("INSERT INTO reply VALUES(?,?,?,?)", (message_id, str(run), sealed, inbox.in_memory()))
        finally:
            inbox.drop()

    def reply(self, message_id: str) -> Stored | None:
        """The reply to `message_id`, or None. Raises IntegrityError when its file is gone."""
        with self._lock, _plain_errors():
            row = self._db.execute("SELECT sealed, payload FROM reply WHERE message_id=?", (message_id,)).fetchone()
        if row is None:
            return None
        return Stored(row[0], self._mapped(message_id) if row[1] is None else row[1])

    def forget(self, run: int) -> None:
        """Drop a finished run's replies. Its sequence numbers stay refused: the highest of each sender is kept."""
        key = (str(run),)
        with self._transaction() as db:
            spooled = db.execute("SELECT message_id FROM reply WHERE run=? AND payload IS NULL", key).fetchall()
            db.execute("DELETE FROM reply WHERE run=?", key)
            db.execute(
                "INSERT INTO forgotten SELECT run, src, max(seq) FROM seen WHERE run=? GROUP BY run, src "
                "ON CONFLICT(run, src) DO UPDATE SET highest=max(highest, excluded.highest)",
                key,
            )
            db.execute("DELETE FROM seen WHERE run=?", key)
            db.execute("DELETE FROM begun WHERE run=?", key)
        for (message_id,) in spooled:
            if (place := self._place(message_id)) is not None:
                place.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._db.close()
        if self._lock_file is not None:
            self._lock_file.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _plain_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _same(self, message_id: str, sealed: bytes) -> bool:
        with self._lock, _plain_errors():
            row = self._db.execute("SELECT sealed FROM reply WHERE message_id=?", (message_id,)).fetchone()
        if row is not None and row[0] != sealed:
            raise IntegrityError("a second, different reply to the same message")
        return row is not None

    def _filled(self, buffers: tuple[bytes | memoryview, ...]) -> Inbox:
        inbox = self.inbox(sum(map(len, buffers)))
        try:
            for buffer in buffers:
                inbox.write(buffer)
        except BaseException:
            inbox.drop()
            raise
        return inbox

    def _place(self, message_id: str) -> Path | None:
        # Why checked: an id becomes the name of a file.
        if not _ID.fullmatch(message_id):
            raise IntegrityError("a message id is 64 hex characters")
        return None if self._directory is None else self._directory / message_id

    def _mapped(self, message_id: str) -> memoryview:
        place = self._place(message_id)
        try:
            with open(place or "", "rb") as file:
                return _map(file)
        except (OSError, ValueError):
            raise IntegrityError(f"the journal has lost the payload of {message_id[:12]}") from None

    def _sweep(self) -> None:
        """Remove temporary files, and payloads whose row was never written, of a process that was killed."""
        if self._directory is None:
            return
        kept = {row[0] for row in self._db.execute("SELECT message_id FROM reply WHERE payload IS NULL")}
        for path in self._directory.iterdir():
            if path.name not in kept:
                path.unlink()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """A full or failing disk in our words: whoever uses the journal goes on, and says it to its operator."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise SumroomError(f"the journal cannot be used now: {exc}", "nothing was changed; see to the disk") from None


def _map(file: IO[bytes]) -> memoryview:
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _exclusive(path: Path) -> IO[bytes]:
    try:
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "wb")
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UsageError(f"{path} is locked by another process", "one process for each journal") from None
    return file


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
