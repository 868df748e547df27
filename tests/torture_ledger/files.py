"""SQLite's own reads and writes of a file, seen and meddled with from below: the product's connection over a file layer
(VFS) of ours.

The product opens its files with the standard library's `sqlite3`, which lets nobody see single writes. For a test that
has to, `replaced` puts a connection of `apsw` in its place, which says and raises what `sqlite3` would.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import apsw

# What `sqlite3` raises for SQLite's codes: `get_exception_class` in CPython's Modules/_sqlite/util.c.
_CLASSES: dict[type[sqlite3.Error], str] = {
    sqlite3.InternalError: "INTERNAL NOTFOUND",
    sqlite3.OperationalError: "ERROR PERM ABORT BUSY LOCKED READONLY INTERRUPT IOERR FULL CANTOPEN PROTOCOL SCHEMA",
    sqlite3.DataError: "TOOBIG",
    sqlite3.IntegrityError: "CONSTRAINT MISMATCH",
    sqlite3.InterfaceError: "MISUSE RANGE",
}
_CLASS_OF = {getattr(apsw, f"SQLITE_{name}"): kind for kind, names in _CLASSES.items() for name in names.split()}


class Layer(apsw.VFS):
    """The system's own file layer under a name. Subclasses say in `passing` what happens at each call.

    With it a call is (file name, what, arguments): "open", "write", "sync", "truncate", "read", "size", "lock",
    "delete", "exists"; `passing` is called before the call takes place, `passed` after it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name, "")

    def passing(self, file: str, what: str, *about: Any) -> None:
        """Before a call. May raise an error of apsw, which then is what SQLite gets."""

    def passed(self, file: str, what: str, *about: Any) -> None:
        """After a call that did what it should."""

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        file = os.path.basename(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        new = not (name and os.path.exists(name.filename() if isinstance(name, apsw.URIFilename) else name))
        self.passing(file, "open", new)
        opened = _File(self, file, name, flags)
        self.passed(file, "open", new)
        return opened

    def xDelete(self, name: str, sync: bool) -> None:
        file = os.path.basename(name)
        self.passing(file, "delete")
        super().xDelete(name, sync)
        self.passed(file, "delete")

    def xAccess(self, path: str, flags: int) -> bool:
        self.passing(os.path.basename(path), "exists")
        return super().xAccess(path, flags)


class _File(apsw.VFSFile):
    def __init__(self, layer: Layer, file: str, name: Any, flags: list[int]) -> None:
        self._layer, self._file = layer, file
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._layer.passing(self._file, "write", offset, bytes(data))
        super().xWrite(data, offset)
        self._layer.passed(self._file, "write", offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        self._layer.passing(self._file, "truncate", size)
        super().xTruncate(size)
        self._layer.passed(self._file, "truncate", size)

    def xSync(self, flags: int) -> None:
        self._layer.passing(self._file, "sync")
        super().xSync(flags)
        self._layer.passed(self._file, "sync")

    def xRead(self, amount: int, offset: int) -> Any:
        self._layer.passing(self._file, "read", offset, amount)
        return super().xRead(amount, offset)

    def xFileSize(self) -> int:
        self._layer.passing(self._file, "size")
        return super().xFileSize()

    def xLock(self, level: int) -> None:
        self._layer.passing(self._file, "lock", level)
        super().xLock(level)


class Connection:
    """As much of `sqlite3.Connection` as the product uses. Statements end when they have given all their rows."""

    def __init__(
        self, path: Path | str, layer: Layer, timeout: float, checkpoint_at: int, instead: dict[str, str]
    ) -> None:
        self._checkpoint_at, self._instead = checkpoint_at, instead
        with _as_sqlite3():
            self._db = apsw.Connection(str(path), vfs=layer.name)
            self._db.set_busy_timeout(int(1000 * timeout))
            self._db.set_wal_hook(self._committed)

    def _committed(self, db: apsw.Connection, name: str, pages: int) -> int:
        """SQLite's own hook (`sqlite3WalDefaultHook`), which passes over faults: the transaction is durable already.
        Why not that one: apsw raises what a file layer raised, also where SQLite itself passes over it."""
        if pages >= self._checkpoint_at:
            with suppress(apsw.Error):
                db.wal_checkpoint(name, apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    def execute(self, query: str, values: Iterable[Any] = ()) -> _Rows:
        with _as_sqlite3():
            return _Rows(list(self._db.execute(self._instead.get(query, query), tuple(values))))

    def executescript(self, script: str) -> None:
        self.execute(script)

    @property
    def in_transaction(self) -> bool:
        with _as_sqlite3():
            return bool(self._db.in_transaction)

    def close(self) -> None:
        """Whatever the disk says: so does `sqlite3_close_v2`."""
        with suppress(apsw.IOError, apsw.FullError):
            self._db.close(force=True)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK" if kind else "COMMIT")


class _Rows:
    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows


@contextmanager
def replaced(layer: Layer, *, checkpoint_at: int = 1000, instead: dict[str, str] | None = None) -> Iterator[None]:
    """Within it, `sqlite3.connect` opens files through this layer.

    checkpoint_at   pages in SQLite's log after which they are written into the file itself
    instead         statements of the product → what is run in their place
    """

    def connect(path: Path | str, *, timeout: float = 5.0, **_: Any) -> Connection:
        return Connection(path, layer, timeout, checkpoint_at, instead or {})

    with mock.patch.object(sqlite3, "connect", connect):
        yield


@contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.ConnectionClosedError as exc:
        raise sqlite3.ProgrammingError(str(exc)) from None
    except apsw.Error as exc:
        if isinstance(exc, apsw.NoMemError):
            raise MemoryError from None
        found = _CLASS_OF.get(exc.result, sqlite3.DatabaseError)(str(exc))
        found.sqlite_errorcode = exc.extendedresult
        raise found from None
