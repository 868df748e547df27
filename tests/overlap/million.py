"""An overlap of two parties with a million people and twenty lists each, between real processes: `make long-overlap`.

    python -m tests.overlap.million [--people 1000000] [--sizes 100000 1000000] [--register 4000000]

A coordinator and two nodes, each a process of the product's own command with TLS sockets on loopback. Every cell of the
released matrix, less what both parties drew for it, must be the number of people that are in both lists: 400 of 400.
It is run with a tenth of the people first, and then with all: with a million or more, what a process's memory grows by
with each person follows from both, and so what it needs for 10 million. Prints a line of JSON for each run and one for
each process. Exit status 1 where a cell differs, or where a process would need over 2 GB for 10 million.

    peak_mb     the most that the process itself had in memory (VmHWM), files that it has mapped among it
    registering the same of `sumroom-party register`, before the round; --register: of so many people, and no round. It
                does not grow for good: from a gigabyte of rows on the rest is on disk
    cpu_s       of the process and of its helpers        sent_mb   over its connections, TLS and all
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import numpy as np

from protocols import bundle, release
from protocols.questions import overlap
from tests.attacks.stages import certify
from tests.overlap import meeting_lab
from tests.overlap.meter import Meter
from tests.rounds import lab
from tests.torture.room import free_ports

ROOT = Path(__file__).resolve().parents[2]
LISTS = 20
NAMES = [*(f"tier-{i}" for i in range(LISTS - 1)), "other"]
PARTIES = ("alpha", "beta")
TEN_MILLION, MOST_MB = 10_000_000, 2_000
ENOUGH = 1_000_000  # with fewer, what everybody needs at the start outweighs what people need
READ_EVERY_S = 0.1
LEAST = 4_000  # with fewer, the plan is refused: a list would have more dummies than people


def list_of(person: int, at: int) -> int:
    """In which list of party number `at` a person is: at random, but the same in every run."""
    return ((person * 2_654_435_761 + at * 97) >> 7) % LISTS


def people_of(at: int, people: int) -> range:
    """Half of each party's people are the other's too."""
    return range(at * people // 2, at * people // 2 + people)


def write_csv(path: Path, at: int, people: int) -> None:
    with path.open("w") as file:
        file.write("customer,basket,bought_on,paid,discount,tier\n")
        for i in people_of(at, people):
            file.write(f"{i},{i},2017-06-01,10.00,0.00,{NAMES[list_of(i, at)]}\n")


def truth(people: int) -> Any:
    """(LISTS, LISTS) people of both parties."""
    both = np.arange(people // 2, people, dtype=np.int64)
    mine, theirs = (((both * 2_654_435_761 + at * 97) >> 7) % LISTS for at in range(2))
    return np.bincount(mine * LISTS + theirs, minlength=LISTS**2).reshape(LISTS, LISTS)


def plan_changes(people: int) -> dict[str, Any]:
    columns = {**lab.COLUMNS, "tier": {"type": "category", "values": NAMES}}
    cap = people + people // 10
    return {
        "table": {"name": "sales", "columns": columns},
        "people": {"column": "customer", "key": "id"},
        "questions": [meeting_lab.QUESTION | {"rho": {"sizes": 6_000_000, "pairs": 6_000_000}}],
        "people_cap": cap,
        "delta": f"0.{min(10**9, 10**15 // (10 * cap)):015d}",
        "parties": list(PARTIES),
        "recipients": list(PARTIES),
        "collusion": 1,
        "quorum": 2,
        "deadline_s": 86_400,
    }


@dataclass
class Process:
    """One process of the product, and what it needs: read from the system while it runs. A context manager."""

    words: Sequence[str]
    log: Path
    peak_mb: float = 0.0
    cpu_s: float = 0.0
    status: int | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", *self.words], stdout=log, stderr=log, cwd=ROOT)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        """Until it has ended."""
        if self.status is None:
            # By hand, and not by Popen: only so the kernel tells what this one used, with the helpers it waited for.
            _, status, used = os.wait4(self._process.pid, 0)
            self._process.returncode = self.status = os.waitstatus_to_exitcode(status)
            self.cpu_s = used.ru_utime + used.ru_stime
            self._over.set()
            self._reader.join()

    def ended_well(self) -> Self:
        self.wait()
        assert self.status == 0, self.log.read_text()
        return self

    def _read(self) -> None:
        """VmHWM and not ru_maxrss: into that the kernel counts what this process had when it started the other."""
        while not self._over.wait(READ_EVERY_S):
            try:
                lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            except OSError:
                return
            self.peak_mb = max([self.peak_mb, *(int(line.split()[1]) / 1e3 for line in lines if "VmHWM" in line)])


class Place:
    """The folders of a room with so many people, and its ports."""

    def __init__(self, base: Path, people: int, those: Sequence[str] = PARTIES) -> None:
        """those: who has all their people; the others have some."""
        changes = plan_changes(people)
        self.base, self.people, self.plan = base, people, lab.plan(**changes)
        few = {party: meeting_lab.csv_of(dict.fromkeys(map(str, range(100)), NAMES[0])) for party in PARTIES}
        with contextlib.redirect_stdout(io.StringIO()):  # what it says of these few
            lab.make(base, csv=few, members=PARTIES, more='tier = "tier"\n', **changes)
        certify(base, PARTIES)
        self.port, *ways = free_ports(1 + len(PARTIES), Random())
        self.ways = dict(zip(PARTIES, ways, strict=True))
        self._set("coordinator", "port = 0", f"port = {self.port}")
        for at, party in enumerate(PARTIES):
            lab.consent(base / party, self.plan)
            self._set(party, "localhost:1", f"localhost:{self.ways[party]}")
            if party in those:
                write_csv(base / party / "sales.csv", at, people)

    def _set(self, who: str, old: str, new: str) -> None:
        text = self.settings(who).read_text()
        assert old in text
        self.settings(who).write_text(text.replace(old, new))

    def settings(self, who: str) -> Path:
        return self.base / who / ("coordinator.toml" if who == "coordinator" else "node.toml")

    def register(self, party: str) -> Process:
        words = ["register", "--config", str(self.settings(party)), "--plan", str(self.base / "plan.toml")]
        with Process(["party_node", *words], self.base / party / "register.log") as registering:
            return registering.ended_well()

    def node(self, party: str) -> Process:
        words = ["start", "--config", str(self.settings(party)), "--verbose"]
        drawn = str(self.base / party / "drawn.npy")
        return Process(["tests.overlap.telling_node", drawn, *words], self.base / party / "node.log")

    def launch(self) -> Process:
        words = ["plan", "launch", str(self.base / "plan.toml"), "--config", str(self.settings("coordinator")),
                 "--out", str(self.base / "out"), "--wait", "600"]  # fmt: skip
        return Process(["coordinator", *words], self.base / "coordinator" / "launch.log")

    def right(self) -> int:
        """In how many cells the release, less what was drawn, is the truth; the public shift is off the release."""
        members = bundle.unpack((self.base / "out" / "room.tar").read_bytes())
        (name,) = (name for name in members if name.startswith(bundle.RELEASES) and name.endswith("-overlap.json"))
        noised = np.asarray(release.read(members[name]).body_.noised, dtype=np.int64).reshape(LISTS, LISTS)
        alpha, beta = (
            np.load(self.base / party / "drawn.npy").astype(np.int64).reshape(LISTS, LISTS) for party in PARTIES
        )
        shift = overlap.shift(self.plan.step("overlap")[1].variance_micro)
        return int(np.count_nonzero(noised - (alpha + beta.T - 2 * shift) == truth(self.people)))


def run(base: Path, people: int) -> tuple[int, dict[str, dict[str, float]]]:
    """(right cells, process → what it needed) of one round of so many people."""
    place = Place(base, people)
    registered = {party: place.register(party) for party in PARTIES}
    began = time.monotonic()
    with ExitStack() as opened:
        meters = {party: opened.enter_context(Meter(place.ways[party], place.port)) for party in PARTIES}
        members = {party: opened.enter_context(place.node(party)) for party in PARTIES}
        with place.launch() as launched:
            launched.ended_well()
    took = time.monotonic() - began
    right, used = place.right(), {}
    sent = {party: meter.up for party, meter in meters.items()}
    sent["coordinator"] = sum(meter.down for meter in meters.values())
    for name, process in {**members, "coordinator": launched}.items():
        used[name] = {"peak_mb": process.peak_mb, "cpu_s": process.cpu_s, "sent_mb": sent[name] / 1e6}
        if name in registered:
            used[name] |= {"registering_mb": registered[name].peak_mb}
    said = {"people": people, "right": right, "cells": LISTS**2, "seconds": took}
    print(json.dumps(_rounded(said)))
    for name, needed in used.items():
        print(json.dumps({"people": people, "process": name} | _rounded(needed)), flush=True)
    return right, used


def grown(sizes: Sequence[int], used: Sequence[dict[str, dict[str, float]]]) -> bool:
    """Print what every process's memory grows by; whether 10 million people fit."""
    fits = True
    for name, needed in used[-1].items():
        last = needed["peak_mb"]
        each = (last - used[0][name]["peak_mb"]) / (sizes[-1] - sizes[0])
        whole = last + each * (TEN_MILLION - sizes[-1])
        said = {"process": name, "bytes_a_person": round(1e6 * each), "mb_of_10_million": round(whole)}
        print(json.dumps(said), flush=True)
        fits &= whole <= MOST_MB
    return fits


def main() -> int:
    parser = argparse.ArgumentParser(description="An overlap of two parties with many people, against the truth.")
    parser.add_argument("--people", type=int, default=1_000_000, help="of each party; a tenth of them first")
    parser.add_argument("--sizes", type=int, nargs="+", help="other numbers of people")
    parser.add_argument("--register", type=int, metavar="PEOPLE", help="only register so many at one party")
    given = parser.parse_args()
    if given.register:
        with tempfile.TemporaryDirectory() as place:
            done = Place(Path(place) / "room", given.register, PARTIES[:1]).register(PARTIES[0])
        said = {"people": given.register, "registering_mb": done.peak_mb, "cpu_s": done.cpu_s}
        print(json.dumps(_rounded(said)))
        return int(done.peak_mb > MOST_MB)
    sizes = given.sizes or sorted({max(LEAST, given.people // 10), given.people})
    right, used = [], []
    for people in sizes:
        with tempfile.TemporaryDirectory() as place:
            found, needed = run(Path(place) / "room", people)
        right.append(found)
        used.append(needed)
    fits = grown(sizes, used) if len(sizes) > 1 and sizes[-1] >= ENOUGH else True
    return int(not fits or any(found != LISTS**2 for found in right))


def _rounded(said: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in said.items()}


if __name__ == "__main__":
    sys.exit(main())
