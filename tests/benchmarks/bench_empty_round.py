"""How long an empty round takes: 3 party processes, 100 rounds, replies journalled with fsync. Last line JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "carrier"))

from room_lab import Lab, until

from coordinator.grid import RoomGrid
from protocols.carrier.journal import Journal

# isort: split
from flwr.app import ConfigRecord, Message, RecordDict

ROUNDS, PARTIES = 100, 3


def measure(grid: RoomGrid) -> tuple[list[float], list[float]]:
    """Milliseconds, and milliseconds of this process's CPU, of each round."""
    taken, cpu = [], []
    ids = grid.get_node_ids()
    for number in range(ROUNDS + 1):
        content = RecordDict({"told": ConfigRecord({"round": number})})
        start, busy = time.perf_counter(), time.process_time()
        messages = [Message(content, node, "query.stats", group_id=str(number)) for node in ids]
        replies = grid.send_and_receive(messages, timeout=60)
        taken.append(1000 * (time.perf_counter() - start))
        cpu.append(1000 * (time.process_time() - busy))
        assert len(replies) == PARTIES
        assert all(reply.has_content() for reply in replies)
    return taken[1:], cpu[1:]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory), PARTIES)
        journal = Journal(lab.directory / "coordinator.db")
        hub = lab.hub(journal)
        port = lab.start(hub)
        try:
            for name in lab.names:
                lab.party(name, port)
            until(lambda: len(hub.online()) == PARTIES, 60)
            taken, cpu = measure(RoomGrid(hub, 1))
        finally:
            lab.close()
            hub.stop()
            journal.close()
    result = {
        "parties": PARTIES,
        "rounds": ROUNDS,
        "median_ms": round(statistics.median(taken), 2),
        "p95_ms": round(sorted(taken)[int(0.95 * ROUNDS)], 2),
        "coordinator_cpu_ms": round(statistics.median(cpu), 2),
        "cores": os.cpu_count(),
    }
    print(f"empty round of {PARTIES} parties: median {result['median_ms']} ms of {ROUNDS}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
