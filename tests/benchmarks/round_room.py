"""One room on loopback, measured: `round_room.py PARTIES PROCESSES MB ROUNDS`; prints one JSON object.

This process is the coordinator; the parties are so many other processes, journals on disk with fsync on both sides.
Every party gets an array of MB MiB and sends it back. Memory is the peak of a process's resident set, mapped files
included, above what it had after two rounds that carry nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "carrier"))

import numpy as np
from proc import cpu, forget_peak, status
from room_lab import Lab, until

from coordinator.grid import RoomGrid
from protocols.carrier.journal import Journal

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict


def carrying(mb: int) -> RecordDict:
    records = RecordDict({"told": ConfigRecord({})})
    if mb:
        words = np.frombuffer(os.urandom(mb << 20), dtype="<u8")
        records["array"] = ArrayRecord({"x": Array(words)})
    return records


def one_round(grid: RoomGrid, content: RecordDict, number: int) -> float:
    """Milliseconds until all replies are journalled and checked. Then each is read, one at a time."""
    start = time.perf_counter()
    messages = [Message(content, node, "query.stats", group_id=str(number)) for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages, timeout=300))
    taken = 1000 * (time.perf_counter() - start)
    assert len(replies) == len(messages)
    while replies:
        assert sha256(replies.pop().content) == sha256(content)
    return taken


def sha256(content: RecordDict) -> str:
    array = content.get("array")  # not `.array_records`: that makes a cycle, and keeps the mapped file until collected
    if not isinstance(array, ArrayRecord):
        return ""
    return hashlib.sha256(getattr(array["x"], "view", None) or array["x"].data).hexdigest()


def in_room(grid: RoomGrid, pids: list[int], mb: int, rounds: int) -> dict[str, Any]:
    """The figures of `rounds` rounds; `pids` are the coordinator and then the parties' processes."""
    for number in range(2):
        one_round(grid, carrying(0), number)
    idle = [status(pid, "VmRSS") for pid in pids]
    content = carrying(mb)
    for pid in pids:
        forget_peak(pid)
    before = [cpu(pid) for pid in pids]
    taken = [one_round(grid, content, number) for number in range(2, rounds + 2)]
    used = [1000 * (cpu(pid) - start) / rounds for pid, start in zip(pids, before, strict=True)]
    above = [(status(pid, "VmHWM") - start) / 2**20 for pid, start in zip(pids, idle, strict=True)]
    return {
        "median_ms": round(statistics.median(taken), 1),
        "p95_ms": round(sorted(taken)[int(0.95 * rounds)], 1),
        "coordinator_cpu_ms": round(used[0], 1),
        "party_cpu_ms": round(max(used[1:]), 1),
        "coordinator_idle_mb": round(idle[0] / 2**20),
        "coordinator_above_idle_mb": round(above[0]),
        "party_above_idle_mb": round(max(above[1:])),
    }


def main() -> None:
    parties, processes, mb, rounds = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory), parties)
        journal = Journal(lab.directory / "coordinator.db")
        hub = lab.hub(journal)
        port = lab.start(hub)
        try:
            started = [lab.party(",".join(lab.names[at::processes]), port) for at in range(processes)]
            until(lambda: len(hub.online()) == parties, 120)
            pids = [os.getpid(), *(process.pid for process in started)]
            found = in_room(RoomGrid(hub, 1), pids, mb, rounds)
        finally:
            lab.close()
            hub.stop()
            journal.close()
    print(json.dumps({"parties": parties, "processes": processes, "mb": mb, "rounds": rounds, **found}))


if __name__ == "__main__":
    main()
