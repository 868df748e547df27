"""kill -9 at every point of every operation of the logbook; what was acknowledged before is there when it is reopened.

A process of its own does one operation a few times on a file, and says what it acknowledged; it dies at the point it
was told. Then the file is opened again, and must hold everything that was acknowledged, and nothing by halves; the next
process goes on with the same file.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.encoding import digest
from protocols.errors import SumroomError
from protocols.keys import unbase64
from protocols.ledger import notes
from protocols.ledger.tree import Tree, leaf_hash
from protocols.logbook import Logbook
from tests.ledger.builder import ORIGIN, PARTIES, identity, log_keys
from tests.torture_ledger import points
from tests.torture_ledger.points import Order, Process, Watcher
from tests.torture_ledger.room import NOW, Member, Room, checkpoint_of, faults_of, growth, release_of

OFTEN = 3  # times that an operation is done by a process
MOST = 60  # entries in a file before a new one is begun
LEAST_POINTS = 10


@dataclass
class Tally:
    """What happened: kills by operation, the named points of each, and what must not be."""

    kills: Counter[str] = field(default_factory=Counter)
    points: dict[str, set[str]] = field(default_factory=dict)
    acknowledged: int = 0
    violations: list[str] = field(default_factory=list)


class Place:
    """A folder with the coordinator's ledger, a witness's copy of it and its accounts, and the longest history they may
    come to hold."""

    def __init__(self, folder: Path, room: Room, history: list[bytes]) -> None:
        self.folder, self.room, self.history = folder, room, history
        self.mine, self.copy = folder / "coordinator.ledger", folder / "alpha.ledger"

    def begin(self) -> None:
        """Anew: the opening is in both copies."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        tree = Tree()
        for body in self.history[:5]:
            tree.append(leaf_hash(body))
        for path in (self.mine, self.copy):
            with Logbook(path) as book:
                book.extend(0, self.history[:5], tree.root())

    def grown(self, size: int) -> Logbook:
        """The whole history up to a size, in a ledger whose file does not matter."""
        path = self.folder / "whole.ledger"
        for file in self.folder.glob("whole.ledger*"):
            file.unlink()
        book, tree = Logbook(path), Tree()
        for body in self.history[:size]:
            tree.append(leaf_hash(body))
        book.extend(0, self.history[:size], tree.root())
        return book


Work = Callable[[Place, Watcher], None]


def _open(place: Place, told: Watcher) -> None:
    """Also for the first time: another file each time."""
    with Logbook(place.mine) as book:
        told.tell("size", "mine", book.size)
    for number in range(OFTEN - 1):
        path = place.folder / f"new {number}"
        for file in place.folder.glob(f"new {number}*"):
            file.unlink()
        with Logbook(path) as book:
            told.tell("size", "new", book.size)


def _append(place: Place, told: Watcher) -> None:
    """Rounds: each reserve, then its commit and the bytes of its release at once."""
    with Logbook(place.mine) as book:
        for _ in range(OFTEN):
            label = f"at {book.size}"
            seq = book.append([lambda seq, label=label: place.room.reserve(seq, label)])
            told.tell("entry", "mine", seq, digest(book.entries(seq)[0]))
            blob = release_of(label)
            seq = book.append([lambda seq, label=label: place.room.ended(seq, label)], blobs={f"release/{label}": blob})
            told.tell("entry", "mine", seq, digest(book.entries(seq)[0]))
            told.tell("blob", "mine", f"release/{label}", digest(blob))


def _extend(place: Place, told: Watcher) -> None:
    tree = Tree()
    with Logbook(place.copy) as book:
        for body in place.history[: book.size]:
            tree.append(leaf_hash(body))
        for _ in range(OFTEN):
            new = place.history[book.size : book.size + 2]
            for body in new:
                tree.append(leaf_hash(body))
            book.extend(book.size, new, tree.root())
            told.tell("entry", "copy", book.size - 1, digest(new[-1]))


def _follow(place: Place, told: Watcher) -> None:
    log = log_keys()
    with Logbook(place.copy) as book:
        for _ in range(OFTEN):
            with place.grown(book.size + 2) as whole:
                request = growth(whole, place.room, book.size)
            proof = [unbase64(part) for part in request.proof]
            new = [text.encode() for text in request.entries]
            book.follow(request.checkpoint, log, book.size, proof, new)
            told.tell("entry", "copy", book.size - 1, digest(new[-1]))
            told.tell("note", "copy", request.checkpoint)


def _sign_checkpoint(place: Place, told: Watcher) -> None:
    with Logbook(place.mine) as book:
        for _ in range(OFTEN):
            book.append([lambda seq: place.room.reserve(seq, f"at {seq}")])
            told.tell("note", "mine", book.sign_checkpoint(ORIGIN, place.room.identity))


def _add_cosignature(place: Place, told: Watcher) -> None:
    with Logbook(place.mine) as book:
        book.append([lambda seq: place.room.reserve(seq, f"at {seq}")])
        checkpoint, _ = notes.split(book.sign_checkpoint(ORIGIN, place.room.identity))
        for party in PARTIES:
            line = notes.cosign(checkpoint, party, identity(party), NOW)
            book.add_cosignature(checkpoint.size, party, line)
            told.tell("line", "mine", checkpoint.size, line)


def _cosign(place: Place, told: Watcher) -> None:
    """The whole of a witness's work, with its accounts in another file: reserves become spends in it."""
    member = Member.at(place.folder, "alpha")
    for _ in range(OFTEN):
        with place.grown(member.book.size + 2) as whole:
            request = growth(whole, place.room, member.book.size)
        new = [text.encode() for text in request.entries]
        member.hold_all(place.room.file, new, NOW)
        reply = member.cosign(place.room.file, request, NOW)
        told.tell("entry", "copy", member.book.size - 1, digest(new[-1]))
        told.tell("note", "copy", request.checkpoint)
        told.tell("line", "copy", reply.size, f"{getattr(reply, 'line', '')}\n")
    member.close()


WORK: dict[str, tuple[Work, tuple[str, ...]]] = {
    # name → (what a process does, the operations whose points it dies at)
    "open": (_open, ("open",)),
    "append": (_append, ("append",)),
    "extend": (_extend, ("extend",)),
    "follow": (_follow, ("follow",)),
    "sign_checkpoint": (_sign_checkpoint, ("sign_checkpoint",)),
    "add_cosignature": (_add_cosignature, ("add_cosignature",)),
    "cosign": (_cosign, ("follow", "spend", "hold", "add_cosignature")),
}


def torture(folder: Path, kills: int, tally: Tally) -> None:
    """So many kills in all, spread over all points of all operations."""
    room = Room()
    history = room.history(5 + MOST + 4 * OFTEN)
    shares = {name: kills // len(WORK) + 1 for name in WORK}
    for name, (work, operations) in WORK.items():
        place = Place(folder / name, room, history)
        place.begin()
        doing = _doing(place, work)
        found: list[Order] = []
        for layer in (False, True):
            rehearsal = Process(doing, layer=layer).wait()
            _look(place, name, "nothing", rehearsal, tally)
            passed = {p: n for p, n in rehearsal.passed.items() if p.split("/")[0] in operations}
            found += points.orders(passed, layer)
        tally.points[name] = {order.point for order in found}
        if tally.violations:
            return
        for order in itertools.islice(_spread(found), 3 * shares[name]):  # not every point is reached again
            if tally.kills[name] == shares[name]:
                break
            ended = Process(doing, order).wait()
            tally.kills[name] += ended.killed
            _look(place, name, order.point, ended, tally)


def _doing(place: Place, work: Work) -> Callable[[Watcher], None]:
    return lambda told: work(place, told)


def _spread(found: list[Order]) -> Iterator[Order]:
    """Every one, then again; neighbours far apart, so that a few are already of many kinds."""
    step = next(n for n in (7, 11, 13, 17) if len(found) % n)
    return (found[i * step % len(found)] for i in itertools.count())


def _look(place: Place, name: str, point: str, ended: points.Ended, tally: Tally) -> None:
    """What must hold after a process, of all that was ever acknowledged to it here."""
    where = f"{name} at {point}"
    tally.acknowledged += len(ended.told)
    tally.violations += [f"{where}: {ended.failed}"] if ended.failed else []
    try:
        tally.violations += [f"{where}: {what}" for what in broken(place, ended.told)]
        with Logbook(place.mine) as mine, Logbook(place.copy) as copy:
            sizes = mine.size, copy.size
    except SumroomError as exc:
        tally.violations.append(f"{where}: {exc.message}")
        sizes = (MOST, MOST)
    if max(sizes) >= MOST or tally.violations:
        place.begin()


def broken(place: Place, told: list[list[Any]]) -> Iterator[str]:
    """Acknowledgements that the files do not bear out."""
    paths = {"mine": place.mine, "copy": place.copy}
    for path in paths.values():
        yield from faults_of(path)
    with Logbook(place.mine) as mine, Logbook(place.copy) as copy:
        books = {"mine": mine, "copy": copy}
        for what, whose, *about in told:
            if whose in books:
                yield from not_borne_out(books[whose], what, about)


def not_borne_out(book: Logbook, what: str, about: list[Any]) -> Iterator[str]:
    if what == "size" and book.size < about[0]:
        yield f"{about[0]} entries were there, and {book.size} are"
    elif what == "entry" and (book.size <= about[0] or digest(book.entries(about[0], about[0] + 1)[0]) != about[1]):
        yield f"entry {about[0]} was acknowledged, and is not there"
    elif what == "blob" and digest(book.blob(about[0]) or b"") != about[1]:
        yield f"the bytes of {about[0]} were acknowledged, and are not there"
    elif what == "note":
        size, root = checkpoint_of(about[0])
        if book.size < size or book.root(size) != root:
            yield f"the checkpoint of {size} entries is contradicted"
        elif size not in dict(book.checkpoints()):
            yield f"the checkpoint of {size} entries was acknowledged, and is not there"
    elif what == "line" and about[1] not in dict(book.checkpoints()).get(about[0], ""):
        yield f"a cosignature of {about[0]} entries was acknowledged, and is not there"
