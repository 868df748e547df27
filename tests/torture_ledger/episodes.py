"""Episodes of the two-phase spend: who dies where, who starts them again, and what must hold when all are at rest."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from protocols.errors import SumroomError
from protocols.ledger import entries
from protocols.ledger.entries import Commit, Forfeit, Reserve
from protocols.logbook import Logbook
from tests.ledger import builder
from tests.ledger.builder import PARTIES, ROOM
from tests.torture_ledger import points, spend
from tests.torture_ledger.kills import Tally
from tests.torture_ledger.points import Ended, Order, Process
from tests.torture_ledger.room import Member, Room, checkpoint_of, faults_of
from tests.torture_ledger.spend import COORDINATOR

ROUNDS_IN_CAP = 14
AGAIN = 0.3  # how often who was killed is killed once more while it recovers
ROLES = (COORDINATOR, *PARTIES)


def small_room() -> Room:
    """Whose budget bears so many rounds and no more."""
    charge = sum(step["charge"] for step in Room().steps("any"))
    cap, person = ROUNDS_IN_CAP * charge, 10**14
    caps = {
        "record": {party: dict.fromkeys(builder.BLOCKS, cap) for party in PARTIES},
        "person": dict.fromkeys(builder.BLOCKS, person),
    }
    return Room({"lifetime_record": dict.fromkeys(PARTIES, person), "lifetime_person": person, **caps})


class Episodes:
    """One folder after the other; a folder's room lives until its budget is spent."""

    def __init__(self, folder: Path, random: Random, tally: Tally) -> None:
        self.folder, self.random, self.tally = folder, random, tally
        self.room = small_room()
        self.told: list[list[Any]] = []
        self.ended = Counter[str]()
        self.begin()

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.told = []

    def torture(self, kills: int) -> None:
        """Episodes until so many were killed, or something is wrong."""
        found = self.rehearse()
        self.tally.points["spend"] = {f"{role}: {order.point}" for role, order in found}
        self.random.shuffle(found)
        for role, order in itertools.cycle(found):
            if self.tally.kills["spend"] >= kills or self.tally.violations:
                return
            self.one({role: order})

    def rehearse(self) -> list[tuple[str, Order]]:
        """Every point that the coordinator passes, and those that one witness passes; they are all alike."""
        found = []
        for layer in (False, True):
            passed = self.one({}, layer=layer)
            for role in (COORDINATOR, PARTIES[0]):
                found += [(role, order) for order in points.orders(passed.get(role, {}), layer)]
        return [(self.random.choice(PARTIES) if role != COORDINATOR else role, order) for role, order in found]

    def one(self, told: dict[str, Order], *, layer: bool = False) -> dict[str, dict[str, int]]:
        """All four live until the coordinator has done its rounds; the points that each passed."""
        running = {name: self._start(name, told.get(name), layer) for name in (*PARTIES, COORDINATOR)}
        where = ", ".join(f"{name} at {order.point} {order.nth}" for name, order in told.items()) or "nothing"
        passed: dict[str, Counter[str]] = {name: Counter() for name in ROLES}
        full = False
        while COORDINATOR in running:
            pid, status = os.wait()
            name = next(name for name, process in running.items() if process.pid == pid)
            ended = running.pop(name).ended(status)
            full = self._heard(name, where, ended) or full
            passed[name].update(ended.passed)
            if ended.killed:
                self.tally.kills["spend"] += 1
                again = told[name] if self.random.random() < AGAIN else None
                running[name] = self._start(name, again and Order(again.point, 1, again.layer), layer)
            elif name != COORDINATOR:
                running[name] = self._start(name, None, layer)
        for name, process in running.items():
            os.kill(process.pid, signal.SIGTERM)
            ended = process.wait()
            passed[name].update(ended.passed)
            self._heard(name, where, Ended(ended.killed, ended.told, {}, ""))
        try:
            self.tally.violations += [f"{where}: {what}" for what in violations(self.folder, self.told)]
        except SumroomError as exc:
            self.tally.violations.append(f"{where}: {exc.message}")
        if full and not self.tally.violations:
            self.begin()
        return {name: dict(counts) for name, counts in passed.items()}

    def _start(self, name: str, order: Order | None, layer: bool) -> Process:
        folder, room = self.folder, self.room
        if name == COORDINATOR:
            return Process(lambda watcher: spend.coordinator_process(folder, room, watcher), order, layer=layer)
        return Process(lambda watcher: spend.witness_process(folder, name, room, watcher), order, layer=layer)

    def _heard(self, name: str, where: str, ended: Ended) -> bool:
        self.told += ended.told
        self.ended.update(line[2] for line in ended.told if line[0] == "ended")
        self.tally.acknowledged += len(ended.told)
        if ended.failed:
            self.tally.violations.append(f"{where}: {name}: {ended.failed}")
        return any(line[0] == "full" for line in ended.told)


def violations(folder: Path, told: list[list[Any]]) -> Iterator[str]:
    """What must not be, of a room at rest."""
    path = folder / f"{COORDINATOR}.ledger"
    yield from faults_of(path)
    with Logbook(path) as book:
        bodies = [entries.decode(body) for body in book.entries()]
        reserves = {entry.round: entry for entry in bodies if isinstance(entry, Reserve)}
        commits = {entry.round: entry for entry in bodies if isinstance(entry, Commit)}
        ended = dict.fromkeys(commits, "done") | {e.round: "forfeited" for e in bodies if isinstance(e, Forfeit)}
        yield from _acknowledged(book, told, reserves, ended)
        yield from _overspent(bodies[0].body(), list(reserves.values()))
        for name in PARTIES:
            yield from _copy(folder, name, book, reserves, set(commits))
        yield from _effects(folder, reserves, commits)


def _acknowledged(
    book: Logbook, told: list[list[Any]], reserves: dict[str, Reserve], ended: dict[str, str]
) -> Iterator[str]:
    for what, *about in told:
        if what == "reserved" and (about[0] not in reserves or reserves[about[0]].seq != about[1]):
            yield f"lost: the reserve of round {about[0][:8]} was acknowledged as entry {about[1]}"
        if what == "ended" and ended.get(about[0]) != about[1]:
            yield f"lost: round {about[0][:8]} was {about[1]}, and is {ended.get(about[0])}"
        if what == "note":
            size, root = checkpoint_of(about[1])
            if size > book.size or root != book.root(size):
                yield f"contradicted: {about[0]} had seen a checkpoint of {size} entries"


def _overspent(genesis: dict[str, Any], reserves: list[Reserve]) -> Iterator[str]:
    """Sums anew."""
    if len({entry.round for entry in reserves}) != len(reserves):
        yield "double spend: two reserves of one round"
    for party, row in genesis["caps"]["record"].items():
        for block, cap in row.items():
            spent = sum(entry.charge[party].get(block, 0) for entry in reserves)
            if spent > cap:
                yield f"over the cap: {party} in {block}: {spent} of {cap}"


def _copy(folder: Path, name: str, book: Logbook, reserves: dict[str, Reserve], done: set[str]) -> Iterator[str]:
    """A party's copy begins the coordinator's; each of its rounds is paid for once, and no other."""
    member = Member.at(folder, name)
    size = member.book.size
    if size > book.size or member.book.entries() != book.entries(0, size):
        yield f"forked: the copy of {name} is not the beginning of the coordinator's"
    for at, note in member.book.checkpoints():
        if at > book.size or checkpoint_of(note) != (at, book.root(at)):
            yield f"contradicted: the checkpoint of {at} entries that {name} has"
    spent = member.filter.spent_rounds(ROOM)
    if strange := spent - set(reserves):
        yield f"double spend: {name} paid for round {min(strange)[:8]}, which is in no ledger"
    if unpaid := done - spent:
        yield f"released, and not paid for by {name}: round {min(unpaid)[:8]}"
    paid = member.filter.used_by(ROOM, 0, spent_only=True)
    owed = sum(max(reserves[each].charge[name].values()) for each in spent & set(reserves))
    if paid != owed:
        yield f"{name} has paid {paid} for rounds of {owed} in all"
    member.close()


def _effects(folder: Path, reserves: dict[str, Reserve], commits: dict[str, Commit]) -> Iterator[str]:
    """What cannot be taken back: noise that was drawn, releases that were sent."""
    drawn = Counter(map(tuple, _lines(folder / "drawn")))
    for (party, round_id, step), often in drawn.items():
        if often > 1:
            yield f"double noise: {party} drew {often} times for step {step} of round {round_id[:8]}"
        if round_id not in reserves:
            yield f"noise without a reserve: {party}, round {round_id[:8]}"
    for round_id, sent in set(map(tuple, _lines(folder / "sent"))):
        if round_id not in commits or commits[round_id].digest != sent:
            yield f"sent otherwise than committed: round {round_id[:8]}"


def _lines(path: Path) -> list[list[str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
