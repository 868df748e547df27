"""What the ledger does in a second, and what it costs to open and to audit a long one.

Durable means: on the disk when the call returns (SQLite's WAL, `synchronous=FULL`). A reserve carries the hold of every
party, and each is verified. Beside it, in turns with it: transactions of one row of as many bytes in bare SQLite.
Prints a table with what is required, and as its last line one JSON object. QUICK=1: a tenth of everything, no others.

    --no-others   not beside other logs, which pip installs into environments of their own
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from other_logs import LOGS, Missing, appends_a_second

from protocols import bundle
from protocols.ledger import entries
from protocols.ledger.tree import Tree, leaf_hash
from protocols.ledger.trust import parse, render
from protocols.logbook import Logbook
from tests.ledger import builder, long_history
from tests.torture_ledger.room import NOW, Member, Room, growth

QUICK = os.environ.get("QUICK") == "1"
SCALE = 10 if QUICK else 1
RESERVES = 4000 // SCALE
ROUNDS = 7143 // SCALE  # of fourteen entries each
SLICES = 20
GROUP = 200
CHECKPOINTS = 300 // SCALE
CACHE = Path(tempfile.gettempdir()) / f"sumroom-bench-ledger-{os.getuid()}"


class Table:
    """Rows as they come: what, the figure, what is required, and whether it holds."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'':<58}{'measured':>14}   {'required':<12}")

    def add(self, what: str, value: float, unit: str, *, least: float = 0, most: float = 0, note: str = "") -> None:
        required = f"≥ {least:,g}" if least else f"≤ {most:,g}" if most else ""
        holds = value >= least if least else value <= most if most else None
        said = {True: "holds", False: "DOES NOT HOLD", None: ""}[holds]
        digits = 0 if value >= 100 else 2
        print(f"{what:<58}{value:>10,.{digits}f} {unit:<6}{required:<10}{said} {note}".rstrip(), flush=True)
        self.rows.append({"what": what, "value": round(value, 3), "unit": unit, "required": required, "holds": holds})


@contextmanager
def timed() -> Iterator[Callable[[], tuple[float, float]]]:
    """(wall, CPU) seconds so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda: (time.perf_counter() - wall, time.process_time() - cpu)


# -- writing -----------------------------------------------------------------------------------------------------------


class Bare:
    """One row a transaction, as durable as ours, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE entry(seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
        self.seq = 0

    def append(self, bodies: list[bytes]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        for body in bodies:
            self.db.execute("INSERT INTO entry VALUES(?, ?)", (self.seq, body))
            self.seq += 1
        self.db.execute("COMMIT")


def prepared(room: builder.Room, count: int) -> list[entries.Entry]:
    """Ready reserves, signed by all, that stand after the opening."""
    first = len(room.opening())
    return [room.reserve(first + i, f"round {i}") for i in range(count)]


def writing(table: Table, folder: Path, parties: tuple[str, ...], group: int, required: float) -> None:
    """Reserves a second, `group` in a transaction; in slices by turns with bare SQLite."""
    few = len(parties)
    plan = {"collusion": few - 1, "quorum": few}
    caps = {
        "record": {party: dict.fromkeys(builder.BLOCKS, long_history.EVERYTHING) for party in parties},
        "person": dict.fromkeys(builder.BLOCKS, long_history.EVERYTHING),
        "lifetime_record": dict.fromkeys(parties, long_history.EVERYTHING),
        "lifetime_person": long_history.EVERYTHING,
    }
    room = _OneStep(parties, caps, **plan)
    count = RESERVES if group == 1 else max(RESERVES, 2 * group)
    drafts = prepared(room, count)
    bodies = [entries.encode(entry) for entry in drafts]
    ours, bare, cpu = list[float](), list[float](), 0.0
    name = f"{few}-{group}"
    plain = Bare(folder / f"bare-{name}.db")
    with Logbook(folder / f"ours-{name}.db") as book:
        book.append(room.opening())
        step = max(group, count // SLICES // group * group)
        for start in range(0, count, step):
            part = range(start, min(start + step, count), group)
            with timed() as spent:
                for at in part:
                    book.append(drafts[at : at + group])
            ours.append(spent()[0] / len(drafts[start : start + step]))
            cpu += spent()[1]
            with timed() as spent:
                for at in part:
                    plain.append(bodies[at : at + group])
            bare.append(spent()[0] / len(drafts[start : start + step]))
    plain.db.close()
    of = f"reserves, {few} {'parties' if few > 1 else 'party'}, {'one' if group == 1 else group} a transaction"
    table.add(of, 1 / statistics.median(ours), "/s", least=required)
    table.add("    in the fastest of the slices", 1 / min(ours), "/s")
    table.add("    CPU of each", 1000 * cpu / count, "ms")
    table.add("    the same rows in bare SQLite", 1 / statistics.median(bare), "/s")
    table.add("    ratio", statistics.median(ours) / statistics.median(bare), "×")


class _OneStep(builder.Room):
    """Rounds of one step."""

    def genesis(self, **changes: Any) -> entries.Entry:
        return super().genesis(cosign_quorum=min(2, len(self.parties)), **changes)

    def steps(self, round_label: str) -> list[dict[str, Any]]:
        return super().steps(round_label)[:1]


def others(table: Table) -> None:
    for name in LOGS:
        try:
            rate = appends_a_second(name, 1000 // SCALE, 1000, CACHE / "environments")
        except Missing as exc:
            print(f"{'appends of ' + name:<58}{'-':>10}       {exc}")
        else:
            table.add(f"appends of {name}, one entry of 1,000 bytes at a time", rate, "/s")


# -- a long ledger -----------------------------------------------------------------------------------------------------


def long_ledger() -> Path:
    """The bundle of a ledger of 14 × ROUNDS + 5 entries, without releases, and its policy; made once."""
    path = CACHE / f"long-{ROUNDS}.tar"
    policy = path.with_suffix(".policy.txt")
    made = long_history.room()
    if not path.exists() or not policy.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        written = long_history.bodies(made, ROUNDS)
        path.with_suffix(".part").write_bytes(bundle.pack(long_history.members(made, written)))
        policy.write_text(render(made.policy()), encoding="utf-8")
        path.with_suffix(".part").rename(path)
    return path


def opening(table: Table, folder: Path) -> None:
    """A logbook of so many entries is opened: entries, rules, every signature, tree."""
    bodies = bundle.split_entries(bundle.unpack(long_ledger().read_bytes())[bundle.ENTRIES])
    path, tree = folder / "long.ledger", Tree()
    for body in bodies:
        tree.append(leaf_hash(body))
    with Logbook(path) as book, timed() as spent:
        book.extend(0, bodies, tree.root())
    table.add(f"take over {len(bodies):,} entries, in one transaction", spent()[1], "s CPU")
    wall, cpu, peak = in_a_child("open", path)
    table.add(f"open a ledger of {len(bodies):,} entries", wall, "s")
    table.add("    CPU", cpu, "s CPU")
    table.add("    memory, at most", peak, "MB")


def auditing(table: Table) -> None:
    """The verdict over a bundle of so many entries, in a process of its own."""
    path = long_ledger()
    wall, cpu, peak = in_a_child("audit", path)
    most = {"most": 5.0} if ROUNDS >= 7143 else {}
    table.add(f"audit of {14 * ROUNDS + 5:,} entries, without releases", cpu, "s CPU", **most)
    table.add("    wall", wall, "s")
    table.add("    memory, at most", peak, "MB", **({"most": 200.0} if most else {}))


def in_a_child(what: str, path: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MB, those of a whole process, with Python and all imports."""
    command = [sys.executable, __file__, "--child", what, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    wall, cpu, peak = map(float, done.stdout.split())
    return wall, cpu, peak


def child(what: str, path: Path) -> None:
    began = time.perf_counter()
    if what == "open":
        Logbook(path).close()
    else:
        from protocols import audit

        policy = parse(path.with_suffix(".policy.txt").read_text(encoding="utf-8"))
        with bundle.mapped(str(path)) as data:  # as the auditor's command does
            found = audit.verify(data, policy, releases=False)
        assert not found.violations, found.violations[:3]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss, which begins with what the process had that started this one.
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, int(peak) / 1024)


# -- a witness ---------------------------------------------------------------------------------------------------------


def cosigning(table: Table, folder: Path) -> None:
    """What a node does for a checkpoint over one new reserve: its own rules, the ledger's, its accounts, two files."""
    room = Room()
    member = Member.at(folder, "alpha")
    witness_room = room.file
    with Logbook(folder / "coordinator.ledger") as book:
        book.append(room.opening())
        member.cosign(witness_room, growth(book, room, 0), NOW)
        spent_ = list[float]()
        for number in range(CHECKPOINTS):
            book.append([lambda seq, number=number: room.reserve(seq, f"round {number}", time=NOW, expires=NOW + 60)])
            request = growth(book, room, member.book.size)
            member.hold_all(witness_room, book.entries(book.size - 1), NOW)
            with timed() as spent:
                member.cosign(witness_room, request, NOW)
            spent_.append(spent()[1])
    member.close()
    table.add("a witness's CPU for a checkpoint over one reserve", 1000 * statistics.median(spent_), "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", action=argparse.BooleanOptionalAction, default=not QUICK, help="beside other logs")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]))
        return
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as folder:
        place = Path(folder)
        writing(table, place, builder.PARTIES, 1, required=1000)
        writing(table, place, ("alpha",), 1, required=0)
        writing(table, place, builder.PARTIES, GROUP, required=0)
        if asked.others:
            others(table)
        cosigning(table, place)
        opening(table, place)
        auditing(table)
    print(json.dumps({"rows": table.rows, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
