"""Power loss: the files as they may lie on the disk afterwards, at every write and sync of a real logbook's life.

SQLite's writes, truncations, deletions and syncs are recorded from below, and what the logbook acknowledged among them.
Then the power fails after each of them, in many ways: what was synced is there, and of what was not each write is

    kept      all of it arrived
    dropped   nothing of it
    some      each write by itself, or not
    torn      each sector of each write by itself, or not

Each image is opened by the product as it is. Everything acknowledged must be in it. The same with `synchronous=NORMAL`,
which does not sync before it answers, must fail: that shows that the images can tell.

What is assumed of disks: a sector is written or not, never half; a sync of a file makes it durable; the name of a file
is durable once SQLite has synced its log for the first time, for it then syncs the folder. A deletion may come back.
"""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from protocols.encoding import digest
from protocols.errors import SumroomError
from protocols.keys import unbase64
from protocols.ledger import notes
from protocols.logbook import Logbook
from tests.ledger.builder import PARTIES, identity, log_keys
from tests.torture_ledger import files
from tests.torture_ledger.kills import not_borne_out
from tests.torture_ledger.room import NOW, Room, growth, release_of

SECTOR = 512
FULL, NORMAL = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"
CHECKPOINT_AT = 12  # pages, so that SQLite writes its log into the file again and again
NAME = "room.ledger"
ROUNDS = 12

Step = tuple[str, str, Any]  # file, what, about


@dataclass
class Images:
    """How many were looked at, by way; in how many something was lost, by way and by what was."""

    looked_at: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


class Recorder(files.Layer):
    """All that changes files, in its order, and acknowledgements between."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        super().__init__("recorder")

    def passed(self, file: str, what: str, *about: Any) -> None:
        if file.endswith("-shm") or what not in ("write", "truncate", "sync", "delete", "open"):
            return
        self.steps.append((file, what, about))

    def tell(self, *about: Any) -> None:
        self.steps.append(("", "acknowledged", about))


def recorded(folder: Path, *, normal: bool) -> list[Step]:
    """The life of a coordinator's ledger and of a witness's copy: opened, written, closed and opened again."""
    recorder = Recorder()
    instead = {FULL: NORMAL} if normal else {}
    try:
        with files.replaced(recorder, checkpoint_at=CHECKPOINT_AT, instead=instead):
            _live(folder, recorder)
    finally:
        recorder.unregister()
    return recorder.steps


def _live(folder: Path, told: Recorder) -> None:
    room = Room()
    log = log_keys()
    with Logbook(folder / "coordinator.ledger") as mine:
        for part in range(2):
            with Logbook(folder / NAME) as copy:
                told.tell("size", copy.size)
                for number in range(part * ROUNDS // 2, (part + 1) * ROUNDS // 2):
                    _grow(mine, room, number)
                    request = growth(mine, room, copy.size)
                    proof = [unbase64(part) for part in request.proof]
                    copy.follow(request.checkpoint, log, copy.size, proof, [text.encode() for text in request.entries])
                    told.tell("entry", copy.size - 1, digest(copy.entries(copy.size - 1)[0]))
                    told.tell("note", request.checkpoint)
                    _keep(copy, request.checkpoint, f"release/{number}", told)


def _grow(mine: Logbook, room: Room, number: int) -> None:
    if number == 0:
        mine.append(room.opening())
    mine.append([lambda seq: room.reserve(seq, f"round {number}")])
    mine.append([lambda seq: room.ended(seq, f"round {number}")])


def _keep(copy: Logbook, note: str, name: str, told: Recorder) -> None:
    """Cosignatures, and the bytes of a release, by themselves."""
    checkpoint, _ = notes.split(note)
    for party in PARTIES:
        line = notes.cosign(checkpoint, party, identity(party), NOW)
        copy.add_cosignature(checkpoint.size, party, line)
        told.tell("line", checkpoint.size, line)
    copy.append([], blobs={name: release_of(name)})
    told.tell("blob", name, digest(release_of(name)))


# -- what a disk may hold ----------------------------------------------------------------------------------------------


class Disk:
    """The files of one folder: what is durable, and what is on its way."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.under_way: list[Step] = []
        self._new: set[str] = set()

    def take(self, step: Step) -> None:
        file, what, about = step
        if what == "open":
            if about[0]:  # a new file of this name: an older one's deletion has arrived before it
                self.under_way = [each for each in self.under_way if each[0] != file]
                self.durable[file] = bytearray()
                self._new.add(file)
        elif what == "sync":
            names = file in self._new  # SQLite syncs the folder with a new log or journal: deletions are durable too
            self._new.discard(file)
            for each in [*self.under_way]:
                if each[0] == file or (names and each[1] == "delete"):
                    _apply(self.durable, each)
                    self.under_way.remove(each)
        elif what in ("write", "truncate", "delete"):
            self.under_way.append(step)

    def after(self, way: str, random: Random) -> dict[str, bytes]:
        """What lies there once the power has failed, in one of the ways."""
        found = {name: bytearray(data) for name, data in self.durable.items()}
        for step in self.under_way:
            parts = _sectors(step) if way == "torn" and step[1] == "write" else [step]
            for part in parts:
                if way == "kept" or (way != "dropped" and random.random() < 0.5):
                    _apply(found, part)
        return {name: bytes(data) for name, data in found.items()}


def _apply(to: dict[str, bytearray], step: Step) -> None:
    file, what, about = step
    if what == "delete":
        to.pop(file, None)
        return
    data = to.setdefault(file, bytearray())
    if what == "truncate":
        del data[about[0] :]
        data.extend(bytes(max(0, about[0] - len(data))))
    else:
        at, written = about
        data.extend(bytes(max(0, at - len(data))))
        data[at : at + len(written)] = written


def _sectors(step: Step) -> Iterator[Step]:
    file, what, (at, written) = step
    cuts = [0, *range(SECTOR - at % SECTOR, len(written), SECTOR), len(written)]
    for low, high in itertools.pairwise(cuts):
        yield file, what, (at + low, written[low:high])


# -- looking at images -------------------------------------------------------------------------------------------------


def torture(images: int, seed: int, *, normal: bool, workers: int) -> Images:
    """So many images or a few more, of power that fails after every recorded step."""
    place = Path(tempfile.mkdtemp(prefix="powerloss-"))
    try:
        steps = recorded(place, normal=normal)
    finally:
        shutil.rmtree(place)
    cuts = [at for at, step in enumerate(steps) if step[0].startswith(NAME) or step[1] == "acknowledged"]
    chances = -(-(images - 2 * len(cuts)) // (2 * len(cuts)))  # "some" and "torn" are never the same twice
    ways = ["kept", "dropped", *(["some", "torn"] * max(1, chances))]
    cuts = cuts[:: max(1, len(cuts) * len(ways) // images)]
    jobs = [(steps, cuts[i::workers], ways, seed + i) for i in range(workers)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.starmap(_look, jobs)
    found = Images()
    for part in parts:
        found.looked_at += part.looked_at
        found.lost += part.lost
    return found


def _look(steps: Sequence[Step], cuts: Sequence[int], ways: Sequence[str], seed: int) -> Images:
    found, random = Images(), Random(seed)
    disk, told, done = Disk(), list[list[Any]](), 0
    place = Path(tempfile.mkdtemp(prefix="powerloss-"))
    try:
        for cut in cuts:
            for step in steps[done : cut + 1]:
                if step[1] == "acknowledged":
                    told.append([*step[2]])
                elif step[0].startswith(NAME):
                    disk.take(step)
            done = cut + 1
            for way in ways:
                found.looked_at[way] += 1
                found.lost.update(f"{way}: {what}" for what in lost(disk.after(way, random), told, place / "image")[:1])
    finally:
        shutil.rmtree(place)
    return found


def lost(image: dict[str, bytes], told: Sequence[Sequence[Any]], place: Path) -> list[str]:
    """What this image lacks of what was acknowledged."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, data in image.items():
        (place / name).write_bytes(data)
    try:
        with closing(Logbook(place / NAME)) as book:
            found = [f"lost: {what}" for what, *about in told if [*not_borne_out(book, what, about)]]
            book.append([], blobs={"afterwards": b"it can be written to again"})
            if book._rows("PRAGMA integrity_check") != [("ok",)]:
                found.append("SQLite finds the file damaged")
    except SumroomError as exc:
        return [f"cannot be opened: {exc.message}"]
    return found
