"""The ledger under torture: `python -m tests.torture_ledger.run`, or `make torture-ledger`.

Prints a line for each part and ends with 1 at a violation. What is done, and what must hold: docs/torture.md.
QUICK=1: a sample of everything, in less than a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.torture_ledger import episodes, faults, forks, kills, powerloss, race, tamper

SHOWN = 8
LONG = 100  # kills in which some round is certain to have been interrupted
WORKERS = max(2, min(8, os.cpu_count() or 2))


@dataclass(frozen=True)
class Size:
    """How much of each part."""

    kills: int
    spend_kills: int
    images: int
    control: int
    fault_step: int
    racers: int
    reserves: int
    bears: int
    every_bit: int
    bits: int
    length: int
    forks: int
    fork_step: int


FULL = Size(
    kills=700, spend_kills=500, images=10_000, control=1_000, fault_step=1, racers=8, reserves=1000, bears=3000,
    every_bit=1, bits=20_000, length=200, forks=200, fork_step=1,
)  # fmt: skip
QUICK = Size(
    kills=77, spend_kills=12, images=600, control=300, fault_step=7, racers=4, reserves=25, bears=40,
    every_bit=1009, bits=40, length=30, forks=40, fork_step=8,
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A line of the report, and what must not be."""

    said: str
    violations: Sequence[str]


def part_kills(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    tally = kills.Tally()
    kills.torture(folder, size.kills, tally)
    few = {name: len(found) for name, found in tally.points.items() if len(found) < kills.LEAST_POINTS}
    if few:
        tally.violations.append(f"fewer than {kills.LEAST_POINTS} points: {few}")
    each = ", ".join(f"{name} {tally.kills[name]} at {len(found)} points" for name, found in tally.points.items())
    if sum(tally.kills.values()) < size.kills and not tally.violations:
        tally.violations.append(f"{sum(tally.kills.values())} kills only")
    said = f"{sum(tally.kills.values())} kills ({each}), {tally.acknowledged} acknowledgements"
    return Outcome(said, tally.violations)


def part_spend(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    tally = kills.Tally()
    room = episodes.Episodes(folder / "room", Random(seed), tally)
    room.torture(size.spend_kills)
    if len(tally.points["spend"]) < kills.LEAST_POINTS:
        tally.violations.append("hardly a point")
    rounds = f"{room.ended['done']} rounds released, {room.ended['forfeited']} forfeited"
    if not room.ended["done"] or (size.spend_kills > LONG and not room.ended["forfeited"]):
        tally.violations.append(f"not both: {rounds}")
    said = (
        f"{tally.kills['spend']} kills at {len(tally.points['spend'])} points of a coordinator and three witnesses,"
        f" {rounds}, {tally.acknowledged} acknowledgements"
    )
    return Outcome(said, tally.violations)


def part_powerloss(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    found = powerloss.torture(size.images, seed, normal=False, workers=WORKERS)
    control = powerloss.torture(size.control, seed, normal=True, workers=WORKERS)
    violations = [f"{what}: {often} images" for what, often in found.lost.items()]
    if not control.lost:
        violations.append("the control with synchronous=NORMAL lost nothing: the images cannot tell")
    ways = ", ".join(f"{number} {way}" for way, number in found.looked_at.items())
    said = (
        f"{found.looked_at.total()} images ({ways}), {found.lost.total()} that lack something;"
        f" control with synchronous=NORMAL: {control.lost.total()} of {control.looked_at.total()} lack something"
    )
    return Outcome(said, violations)


def part_faults(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    found = faults.torture(size.fault_step, WORKERS)
    kinds = {kind: sum(n for name, n in found.failed.items() if name.startswith(kind)) for kind in faults.KINDS}
    said = f"{found.failed.total()} calls failed ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})"
    words = ", ".join(f"{n} × {what!r}" for what, n in found.said.items())
    return Outcome(f"{said}; said: {words}", found.violations)


def part_race(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    found = race.torture(folder, size.racers, size.reserves, size.bears)
    said = (
        f"{size.racers} processes × {size.reserves}, {found.granted} granted, {found.refused} refused,"
        f" {found.granted - size.bears} too many, in {found.seconds:.1f} s"
    )
    if found.granted != size.bears:
        found.violations.append(f"the budget bears {size.bears}, and {found.granted} were granted")
    return Outcome(said, found.violations)


def part_tamper(size: Size, seed: int, folder: Path, judge: str) -> Outcome:
    found = tamper.torture(
        judge, seed, every=size.every_bit, bits=size.bits, length=size.length, workers=WORKERS
    )  # fmt: skip
    kinds = ", ".join(f"{n} × {kind}" for kind, n in sorted(found.judged.items()))
    said = f"{found.judged.total()} changes judged by {judge} ({kinds}); statuses {dict(found.statuses)}"
    return Outcome(said, found.violations)


def part_forks(size: Size, seed: int, folder: Path, _: str) -> Outcome:
    found = forks.torture(folder, size.forks, size.fork_step)
    said = f"{found.splits} splits of histories of up to {size.forks} entries, {found.asked} requests"
    return Outcome(f"{said}, {found.asked - len(found.violations)} refused", found.violations)


PARTS: dict[str, Callable[[Size, int, Path, str], Outcome]] = {
    "kills": part_kills,
    "spend": part_spend,
    "powerloss": part_powerloss,
    "faults": part_faults,
    "race": part_race,
    "tamper": part_tamper,
    "forks": part_forks,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices of a run")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="these parts")
    parser.add_argument("--judge", choices=list(tamper.JUDGES), default="audit", help="who judges tampered bundles")
    asked = parser.parse_args(arguments)
    size = QUICK if os.environ.get("QUICK") == "1" else FULL
    print(f"seed {asked.seed}", flush=True)
    count = 0
    for name in asked.only or PARTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="torture-ledger-") as folder:
            outcome = PARTS[name](size, asked.seed, Path(folder), asked.judge)
        print(f"{name:<10}{time.monotonic() - began:6.0f} s  {outcome.said}", flush=True)
        for violation in outcome.violations[:SHOWN]:
            print(f"    VIOLATION {violation}", flush=True)
        count += len(outcome.violations)
    print(f"violations: {count}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
