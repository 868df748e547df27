"""A disk that fails: at every single call that SQLite makes of its files, in turn.

    io        this call fails (SQLITE_IOERR), and none after it
    full      from this call on nothing can be written (SQLITE_FULL) until there is room again
    dead      from this call on nothing can be read, written, synced or opened until the disk is back

What the logbook is then asked must end in an error of ours or be done; nothing acknowledged may be lost; and once the
disk works again the same logbook, asked again, does it.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from protocols.encoding import digest
from protocols.errors import IntegrityError, Refused, SumroomError
from protocols.keys import unbase64
from protocols.ledger import notes
from protocols.logbook import Logbook
from tests.ledger.builder import ORIGIN, identity, log_keys
from tests.torture_ledger import files
from tests.torture_ledger.kills import not_borne_out
from tests.torture_ledger.room import NOW, Room, faults_of, growth, release_of

KINDS = ("io", "full", "dead")
CHECKPOINT_AT = 6  # pages, so that SQLite writes its log into the file again and again
_WRITES = ("write", "truncate")
_ALL = ("open", "read", "write", "truncate", "sync", "size", "lock", "delete", "exists")


@dataclass
class Found:
    """Calls that failed by kind and call, errors of ours by their kind, and what must not be."""

    failed: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Failing(files.Layer):
    """Fails at its nth call, counted from when it was armed."""

    def __init__(self, kind: str, nth: int) -> None:
        self.kind, self.nth, self.calls = kind, nth, 0
        self.hit = ""
        self.well = True
        super().__init__("failing")

    def passing(self, file: str, what: str, *_: Any) -> None:
        if what not in (_WRITES if self.kind == "full" else _ALL):
            return
        self.calls += 1
        if self.calls == self.nth:
            self.hit, self.well = f"{what} of {file}", False
        if self.well:
            return
        if self.kind == "io":
            self.well = True
        raise fault(apsw.FullError if self.kind == "full" else apsw.IOError, what)

    def heal(self) -> None:
        self.well = True


def fault(kind: type[apsw.Error], what: str) -> apsw.Error:
    """What SQLite says of a disk that fails."""
    exc = kind(f"disk I/O error, made up for a {what}")
    exc.result = exc.extendedresult = apsw.SQLITE_FULL if kind is apsw.FullError else apsw.SQLITE_IOERR
    return exc


Told = list[list[Any]]


class Life:
    """A coordinator's ledger from its opening to its end, each operation asked again until it is done."""

    def __init__(self, folder: Path, disk: Failing, whole: Logbook, found: Found) -> None:
        self.path, self.disk, self.found = folder / "room.ledger", disk, found
        self.whole, self.room = whole, Room()
        self.told: Told = []
        self.book: Logbook | None = None

    def live(self) -> None:
        self._until_done(self._open)
        for work in (self._extend, self._follow, self._reserve, self._commit, self._sign, self._cosign, self._blob):
            self._until_done(work)
        self._until_done(self._close)
        self._until_done(self._open)
        self._until_done(self._close)

    def _until_done(self, work: Callable[[Logbook], None]) -> None:
        """Once; and if the disk fails in it, once more when it works again."""
        try:
            work(self.book)  # type: ignore[arg-type] - only to open it, nobody looks at it
            return
        except IntegrityError as exc:
            self._violation(f"{work.__name__}: a disk that fails was taken for a damaged file: {exc.message}")
        except SumroomError as exc:
            self.found.said[f"{type(exc).__name__}: {exc.message.split(':')[0]}"] += 1
        except Exception as exc:  # noqa: BLE001 - whatever else comes is what this is about
            self._violation(f"{work.__name__}: {type(exc).__name__}: {exc}")
        self._look_in_memory(work.__name__)
        self.disk.heal()
        try:
            work(self.book)  # type: ignore[arg-type]
        except Exception as exc:  # noqa: BLE001
            self._violation(f"{work.__name__} once the disk worked again: {type(exc).__name__}: {exc}")

    def _look_in_memory(self, doing: str) -> None:
        """After a fault the logbook says what it said before it."""
        if self.book is not None:
            for what, *about in self.told:
                if what in ("entry", "size") and self.book.size < about[0] + (what == "entry"):
                    self._violation(f"{doing}: it forgot entry {about[0]} in memory")

    def _violation(self, what: str) -> None:
        self.found.violations.append(f"{self.disk.kind} at call {self.disk.nth}, {self.disk.hit}: {what}")

    # -- the operations; each can be asked again

    def _open(self, _: Logbook) -> None:
        if self.book is None:
            self.book = Logbook(self.path)
            self.told.append(["size", self.book.size])

    def _close(self, book: Logbook) -> None:
        if self.book is not None:
            self.book.close()
            self.book = None

    def _entry(self, book: Logbook, seq: int) -> None:
        self.told.append(["entry", seq, digest(book.entries(seq, seq + 1)[0])])

    def _extend(self, book: Logbook) -> None:
        if book.size < 5:
            book.extend(0, self.whole.entries(0, 5), self.whole.root(5))
        self._entry(book, 4)

    def _follow(self, book: Logbook) -> None:
        request = growth(self.whole, self.room, 5)
        if book.size == 5:
            proof = [unbase64(part) for part in request.proof]
            book.follow(request.checkpoint, log_keys(), 5, proof, [text.encode() for text in request.entries])
        self._entry(book, 6)
        self.told.append(["note", request.checkpoint])

    def _reserve(self, book: Logbook) -> None:
        if book.size == 7:
            book.append([lambda seq: self.room.reserve(seq, "one more")])
        self._entry(book, 7)

    def _commit(self, book: Logbook) -> None:
        if book.size == 8:
            blob = release_of("one more")
            book.append([lambda seq: self.room.ended(seq, "one more")], blobs={"release/one more": blob})
        self._entry(book, 8)
        self.told.append(["blob", "release/one more", digest(release_of("one more"))])

    def _sign(self, book: Logbook) -> None:
        self.told.append(["note", book.sign_checkpoint(ORIGIN, self.room.identity)])

    def _cosign(self, book: Logbook) -> None:
        checkpoint, _ = notes.split(book.checkpoint())
        line = notes.cosign(checkpoint, "alpha", identity("alpha"), NOW)
        book.add_cosignature(checkpoint.size, "alpha", line)
        self.told.append(["line", checkpoint.size, line])

    def _blob(self, book: Logbook) -> None:
        try:
            book.append([], blobs={"note/x": b"x" * 9000})
        except Refused:
            assert book.blob("note/x") is not None
        self.told.append(["blob", "note/x", digest(b"x" * 9000)])


def one(kind: str, nth: int, whole: Logbook, found: Found) -> bool:
    """A life whose nth call fails; whether there were so many."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    disk = Failing(kind, nth)
    life = Life(folder, disk, whole, found)
    try:
        with files.replaced(disk, checkpoint_at=CHECKPOINT_AT):
            life.live()
        if disk.hit:
            found.failed[f"{kind}: {disk.hit.split(' ')[0]}"] += 1
        for what in at_rest(life.path, life.told):
            found.violations.append(f"{kind} at call {nth}, {disk.hit}: {what}")
    finally:
        disk.unregister()
        shutil.rmtree(folder)
    return bool(disk.hit)


def at_rest(path: Path, told: Told) -> Iterator[str]:
    """What the file, opened by the product as it is, does not bear out."""
    try:
        yield from (what for what in faults_of(path) if "never committed" in what)
        with closing(Logbook(path)) as book:
            for what, *about in told:
                yield from not_borne_out(book, what, about)
    except SumroomError as exc:
        yield exc.message


def torture(step: int, workers: int) -> Found:
    """Every `step`th call of each kind."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.starmap(
            _every, [(kind, i, step * workers) for kind in KINDS for i in range(1, step * workers + 1, step)]
        )
    found = Found()
    for part in parts:
        found.failed += part.failed
        found.said += part.said
        found.violations += part.violations
    return found


def _every(kind: str, first: int, step: int) -> Found:
    found, nth = Found(), first
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        room = Room()
        with Logbook(folder / "whole.ledger") as whole:
            whole.append(room.opening())
            whole.append([room.reserve(5, "round 0"), room.ended(6, "round 0")])
            while one(kind, nth, whole, found):
                nth += step
    finally:
        shutil.rmtree(folder)
    return found
