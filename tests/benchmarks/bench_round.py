"""What a round costs: empty, with 8, 64 and 200 MB to every party and back, with 50 parties, and beside stock Flower.

Prints a table and, as its last line, one JSON object. QUICK=1: fewer rounds, no 200 MB.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import stock_flower

QUICK = os.environ.get("QUICK") == "1"
# Parties, in how many processes, MiB to each and back, rounds.
ROOMS = [(3, 3, 0, 30), (3, 3, 8, 3), (3, 3, 64, 1), (1, 1, 64, 1), (50, 5, 0, 5)]
if not QUICK:
    ROOMS = [(3, 3, 0, 100), (3, 3, 8, 10), (3, 3, 64, 5), (1, 1, 64, 5), (6, 6, 64, 3), (3, 3, 200, 3), (50, 5, 0, 20)]
STOCK_ROUNDS = 2 if QUICK else 5
STOCK_TIMEOUT_S = 180.0
COLUMNS = ("parties", "MB", "rounds", "median", "p95", "CPU coordinator", "CPU party", "MB coordinator", "MB party")


def measured(parties: int, processes: int, mb: int, rounds: int) -> dict[str, Any]:
    """One room in a process of its own, so that no figure holds the memory of the one before."""
    script = Path(__file__).with_name("round_room.py")
    command = [sys.executable, str(script), *map(str, (parties, processes, mb, rounds))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(found: dict[str, Any]) -> list[str]:
    def memory(role: str) -> str:
        mb = found[f"{role}_above_idle_mb"]
        return f"{mb} ({mb / found['mb']:.2f} ×)" if found["mb"] else str(mb)

    times = [found[name] for name in ("median_ms", "p95_ms", "coordinator_cpu_ms", "party_cpu_ms")]
    counts = [str(found[name]) for name in ("parties", "mb", "rounds")]
    return [*counts, *(f"{ms:.1f} ms" for ms in times), memory("coordinator"), memory("party")]


def stock(parties: int) -> tuple[list[float], str]:
    """Milliseconds of stock Flower's rounds, or none and why."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        try:
            return stock_flower.measure(Path(directory), parties, STOCK_ROUNDS, STOCK_TIMEOUT_S), ""
        except stock_flower.NotMeasured as exc:
            return [], str(exc)


def show(line: list[str]) -> None:
    print("  ".join(text.rjust(max(len(name), 10)) for text, name in zip(line, COLUMNS, strict=True)), flush=True)


def main() -> None:
    print("a round, payload to every party and back; CPU of a round; memory: the peak above idle (× payload)")
    show(list(COLUMNS))
    rooms = []
    for room in ROOMS:
        rooms.append(measured(*room))
        show(row(rooms[-1]))
    empty = rooms[0]
    taken, why = stock(empty["parties"])
    beside: dict[str, Any] = {"not_measured": why}
    if taken:
        median = statistics.median(taken)
        ratio = median / empty["median_ms"]
        beside = {"rounds": len(taken), "median_ms": round(median, 1), "times_ours": round(ratio)}
        print(f"stock Flower, {empty['parties']} SuperNodes, empty round: median {median:.0f} ms: {ratio:.0f} × ours")
    else:
        print(f"stock Flower was not measured: {why}")
    print(json.dumps({"rooms": rooms, "stock_flower": beside, "quick": QUICK, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
