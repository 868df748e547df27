"""Rounds of real processes under kill -9, bad networks and full disks: `python -m tests.torture.run`.

Prints a line for each round and a table; ends with 1 at a violation, whose room's folder it keeps and names. What is
done, and what is checked: docs/torture.md. QUICK=1: few rounds, for a machine that looks at every change.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.torture import checks, disks, report
from tests.torture import room as rooms
from tests.torture.faults import FAULTS, Scene
from tests.torture.points import POINTS
from tests.torture.processes import COORDINATOR, Nest, Room, until
from tests.torture.proxy import Loop

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_S = 110.0  # a launch that takes longer hangs: waiting for parties, approval, and the round itself
REST_S = 45.0  # after it, with everybody back: a coordinator that has just come back may still have to end the round
BACK_S = 15.0  # until everybody is connected
GRACE_S = (1, 1, 6)


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line. point: of `points.py`, in every round that kills, stops or fills."""

    seed: int
    rounds: int
    minutes: float
    only: str
    point: str
    sizes: tuple[int, ...]
    rounds_a_room: int
    keep: bool


class Run:
    """Rooms, one after the other, and what became of their rounds."""

    def __init__(self, wanted: Wanted, place: Path, *, mounts: bool) -> None:
        self.wanted, self.place, self.mounts = wanted, place, mounts
        self.lines: list[report.Line] = []
        self.kept: list[Path] = []
        self._ends = time.monotonic() + 60 * wanted.minutes

    @property
    def over(self) -> bool:
        return len(self.lines) >= self.wanted.rounds or time.monotonic() > self._ends

    @property
    def violations(self) -> int:
        return sum(len(line.violations) for line in self.lines)

    def all(self) -> None:
        number = 0
        with Nest() as nest, Loop() as loop:
            while not self.over:
                self.one_room(number, nest, loop)
                number += 1

    def one_room(self, number: int, nest: Nest, loop: Loop) -> None:
        """A room, and so many rounds in it; its folder stays where something was found."""
        random = Random(f"{self.wanted.seed}/room/{number}")
        n = self.wanted.sizes[number % len(self.wanted.sizes)]
        place, small = self.place / f"room-{number}", self.mounts and number % 2 == 0
        made = rooms.make(place, n, random, grace_s=GRACE_S[number % 3], noise=number % 3 != 1, small_disks=small)
        before = self.violations
        with ExitStack() as stack:
            if small:
                for name in (*made.parties, COORDINATOR):
                    stack.callback(disks.put_away, place / name)
            with Room(made, nest, loop, ballast=small) as room:
                for _ in range(self.wanted.rounds_a_room):
                    if self.over:
                        break
                    self.one_round(room)
                self.add(n, "end of the room", "", "", 0.0, tuple(_caught(at_the_end(room))))
            if self.violations > before or self.wanted.keep:
                kept = self.place / f"kept-{number}"
                shutil.copytree(place, kept, ignore=shutil.ignore_patterns("control.sock", "ballast"))
                self.kept.append(kept)
        shutil.rmtree(place, ignore_errors=True)

    def one_round(self, room: Room) -> None:
        number = len(self.lines)
        random = Random(f"{self.wanted.seed}/{number}")
        names = [self.wanted.only] if self.wanted.only else list(FAULTS)
        name = random.choices(names, [FAULTS[each][1] for each in names])[0]
        scene = Scene(room, random, point=self.wanted.point or None)
        began = time.monotonic()
        violations = list(_caught(rounds_end(room, scene, name)))
        if not violations:
            outcome, found = what_became(room, scene)
        else:
            outcome, found = "hangs", []
        self.add(len(room.parties), name, " ".join(scene.said), outcome, time.monotonic() - began,
                 (*violations, *found))  # fmt: skip

    def add(self, n: int, fault: str, detail: str, outcome: str, seconds: float, violations: tuple[str, ...]) -> None:
        if outcome or violations:
            line = report.Line(len(self.lines) + 1, n, fault, detail, outcome or "-", seconds, violations)
            self.lines.append(line)
            print(line, flush=True)


def rounds_end(room: Room, scene: Scene, name: str) -> Iterator[str]:
    """Run one round, do the fault to it, start again who died. Yields what kept it from coming to rest."""
    if not until(lambda: kept(room) and not checks.restless(room), BACK_S):
        yield f"before the round: {checks.restless(room)}"
        return
    scene.before = set(checks.rounds_of(checks.copy_of(room, COORDINATOR)))
    fault = FAULTS[name][0](scene)
    next(fault)
    scene.launch = room.launch(LAUNCH_S, wait_s=scene.wait_s)
    for _ in fault:
        pass
    for each in room.names:
        room.take_back(each)
    if not until(lambda: kept(room) and scene.launch.over, LAUNCH_S + 5):
        yield "the launch does not come back"
    if scene.launch.outcome[0] == "gone" and "kill" not in name and COORDINATOR not in " ".join(scene.said):
        yield f"the coordinator did not answer the launch: {scene.launch.outcome[1]}"
    if not until(lambda: kept(room) and not checks.restless(room), REST_S, 0.1):
        yield f"not at rest after {REST_S:g} s: {checks.restless(room)}"
        yield from checks.logs(room)


def _caught(found: Iterator[str]) -> Iterator[str]:
    """The violations, and what kept the checks from going on: that is one too."""
    try:
        yield from found
    except (AssertionError, OSError, sqlite3.Error) as exc:
        yield f"cannot go on: {type(exc).__name__}: {exc}"


def kept(room: Room) -> bool:
    """Whether everybody runs; who did not is started again."""
    dead = room.dead()
    for name in dead:
        room.start(name)
    return not dead


def what_became(room: Room, scene: Scene) -> tuple[str, list[str]]:
    """The round's outcome by the ledger, and all violations."""
    rounds = checks.rounds_of(checks.copy_of(room, COORDINATOR))
    fresh = [round_.state for name, round_ in rounds.items() if name not in scene.before]
    outcome = fresh[0] if fresh else "refused"
    found = list(checks.after_round(room, scene.before))
    kind, text = scene.launch.outcome
    if kind == "done" and outcome != "released":
        found.append(f"the launch said that the round is done, and it is {outcome}")
    fair = ("are not all out", "the coordinator was stopped", "cannot be used now")
    if kind == "error" and outcome == "released" and not any(each in text for each in fair):
        found.append(f"the launch said {text!r}, and the round is released")
    if "internal fault" in text:
        found.append(f"the launch said {text!r}")
    if scene.released and outcome != "released":
        found.append(f"nothing kept the round from its release, and it is {outcome}: {text}")
    if kind == "error" and outcome != "released":
        scene.say(f"· {text[:110]}")
    return outcome, found


def at_the_end(room: Room) -> Iterator[str]:
    """The tools' own word over the whole room; and everybody ends when told to."""
    out = room.place / "out"
    for words in (
        ("coordinator", "export", "--config", str(room.made.settings(COORDINATOR)), "--out", str(out)),
        ("protocols", "verify", str(out / "room.tar"), "--policy", str(out / "policy.txt")),
    ):
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode and checks.rounds_of(checks.copy_of(room, COORDINATOR)):
            yield f"{words[1]} ends with {done.returncode}: {done.stderr.strip()[-200:]}"
    for name in room.names:
        if room.alive(name):
            room.members[name].killed = True
            room.signal(name, signal.SIGTERM)
    if not until(lambda: len(room.dead()) == len(room.names), 15):
        yield f"{', '.join(set(room.names) - set(room.dead()))} did not end within 15 s of SIGTERM"
    room.hear()
    for name in room.names:
        if room.events[name][-1]["what"] != "ended":
            yield f"{name} ended otherwise than by its command's end"


def wanted(arguments: Sequence[str] | None) -> Wanted:
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="repeats the choices of a run, not its times"
    )
    parser.add_argument("--rounds", type=int, default=14 if quick else 350, help="how many in all")
    parser.add_argument("--minutes", type=float, default=1.3 if quick else 40.0, help="begin no round after so many")
    parser.add_argument("--only", choices=list(FAULTS), default="", help="this fault in every round")
    parser.add_argument(
        "--point", choices=list(POINTS), default="", metavar="POINT", help="of points.py: there, every time"
    )
    parser.add_argument("--sizes", default="3,5,7" if quick else "3,5,3,7,3,10", help="parties of the rooms, in turn")
    parser.add_argument("--rounds-a-room", type=int, default=5 if quick else 20, help="then a new one")
    parser.add_argument("--keep", action="store_true", help="keep every room's folder")
    told = parser.parse_args(arguments)
    sizes = tuple(int(text) for text in told.sizes.split(","))
    return Wanted(told.seed, told.rounds, told.minutes, told.only, told.point, sizes, told.rounds_a_room, told.keep)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = wanted(arguments)
    mounts = disks.own_mounts()
    place = Path(tempfile.mkdtemp(prefix="torture-"))
    disk = "small disks of their own" if mounts else "limits on the size of files"
    print(f"seed {asked.seed}; full disks by {disk}; in {place}", flush=True)
    run = Run(asked, place, mounts=mounts)
    try:
        run.all()
    finally:
        print(report.table(run.lines))
        for kept in run.kept:
            print(f"kept: {kept}")
        if not run.kept:
            shutil.rmtree(place, ignore_errors=True)
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
