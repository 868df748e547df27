"""What it costs to count the people whom two lists share: ours, openmined-psi and SecretFlow's spu, on the same lists.

Two lists of n people, half of each in the other, one segment a side, no noise, no padding, no network. Ours is all that
both parties and the coordinator compute: points, masks, checks, second masks, the look for equal values, the shuffles,
8-byte finals, the match; processes of the engine included. CPU is that of both sides together over n, bytes are all
that the two sides send, in both directions and to whoever counts, over n. Every method runs alone, one after the other,
in a process of its own; the others in environments of their own below build/, which pip fills.

    QUICK=1         n = 2^14 instead of 2^16 and 2^20
    --sizes N …     other sizes
    --no-others     ours alone

Prints a table, what is required, and as its last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray
from other_logs import Missing, environment
from other_overlaps import OTHERS, cpu, peak_mb, people

from party_node.engine import open_engine
from protocols.overlap.points import Plain

QUICK = os.environ.get("QUICK") == "1"
SIZES = (2**14,) if QUICK else (2**16, 2**20)
PLACE = ROOT / "build" / "other-overlaps"
RIVAL = "openmined-psi, raw"
CPU_AT_MOST, BYTES_AT_MOST = 0.55, 0.80  # of the rival's
FROM = 2**16  # people: with fewer, the start of the engine's processes weighs


# -- ours --------------------------------------------------------------------------------------------------------------


def rows(points: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(points, np.uint8).reshape(-1, 32)


def ours(n: int) -> dict[str, Any]:
    lists = [[person.encode() for person in people(n, side)] for side in (0, 1)]
    began, before, sent = time.perf_counter(), cpu(), 0
    order = np.random.Generator(np.random.PCG64(secrets.randbits(128)))  # here only: a round shuffles by other means
    domain, scalars = secrets.token_bytes(64), [secrets.token_bytes(32) for _ in lists]
    finals = []
    with open_engine() as engine:
        for side, keys in enumerate(lists):
            masked = engine.mask(scalars[side], engine.points(domain, keys))
            travels = order.permutation(rows(masked)).tobytes()
            sent += len(travels)
            engine.check(travels)  # from here on, the peer
            twice = engine.mask(scalars[1 - side], travels)
            final = order.permutation(np.ascontiguousarray(rows(twice)[:, :8]).view("<u8").ravel())
            assert len(np.unique(final)) == n, "somebody stands in a list twice"
            sent += final.nbytes
            finals.append(final)
    found = len(np.intersect1d(*finals, assume_unique=True))  # the coordinator
    return {
        "found": found,
        "cpu": cpu() - before,
        "bytes": sent,
        "peak_mb": peak_mb(),
        "s": time.perf_counter() - began,
    }


def one_point(n: int = 2**14) -> dict[str, float]:
    """CPU µs of each operation on one point, in one process."""
    plain, keys, scalar, best = Plain(), [person.encode() for person in people(n, 0)], bytes(range(32)), {}
    points = plain.points(b"a benchmark", keys)
    for name, work in {
        "hash to the curve": lambda: plain.points(b"a benchmark", keys),
        "mask": lambda: plain.mask(scalar, points),
        "check": lambda: plain.check(points),
        "[r]G": lambda: plain.base(points),
    }.items():
        best[name] = float("inf")
        for _ in range(3):
            before = time.process_time()
            work()
            best[name] = min(best[name], (time.process_time() - before) / n * 1e6)
    return best


# -- all, side by side -------------------------------------------------------------------------------------------------


def in_a_child(python: Path, *arguments: str) -> dict[str, Any]:
    """What another process prints as its last line. Raises Missing. Its temporary files go when it ends."""
    with tempfile.TemporaryDirectory(prefix="bench-overlap-") as folder:
        surroundings = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            [str(python), *arguments], cwd=folder, env=surroundings, capture_output=True, text=True, check=False
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        raise Missing((done.stderr.strip().splitlines() or ["it failed"])[-1])
    answer: dict[str, Any] = json.loads(found[-1])
    return answer


def measure(name: str, n: int) -> dict[str, Any]:
    if name == "ours":
        return in_a_child(Path(sys.executable), __file__, "--ours", str(n))
    return in_a_child(
        environment(OTHERS[name], PLACE), str(Path(__file__).with_name("other_overlaps.py")), name, str(n)
    )


def line(name: str, n: int, row: dict[str, Any]) -> str:
    sent = "-" if row["bytes"] is None else f"{row['bytes'] / n:.1f}"
    return f"{name:<22}{n:>10,}{row['cpu'] / n * 1e6:>16.1f}{sent:>12}{row['peak_mb']:>10.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--no-others", action="store_true")
    parser.add_argument("--ours", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        print(json.dumps(ours(given.ours)))
        return 0
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    single = one_point()
    print("CPU µs a point: " + ", ".join(f"{name} {value:.1f}" for name, value in single.items()))
    print(f"{'':<22}{'people':>10}{'CPU µs/person':>16}{'B/person':>12}{'peak MB':>10}")
    held, measured = True, []
    for n in given.sizes:
        here = dict[str, dict[str, Any]]()
        for name in ("ours", *(() if given.no_others else OTHERS)):
            try:
                here[name] = measure(name, n)
            except Missing as exc:
                print(f"{name:<22}{n:>10,}{'-':>16}   {exc}", flush=True)
                continue
            assert here[name]["found"] == n // 2, f"{name} found {here[name]['found']}"
            print(line(name, n, here[name]), flush=True)
        ratios = dict[str, float]()
        if "ours" in here and RIVAL in here:
            for what, most in (("cpu", CPU_AT_MOST), ("bytes", BYTES_AT_MOST)):
                ratios[what] = here["ours"][what] / here[RIVAL][what]
                print(f"    {what} of ours over {RIVAL}: {ratios[what]:.3f}", end="")
                holds = ratios[what] <= most or n < FROM
                held &= holds
                required = f", required ≤ {most:.2f}: {'holds' if holds else 'DOES NOT HOLD'}"
                print(required if n >= FROM else f" (≤ {most:.2f} is required from {FROM:,} on)", flush=True)
        measured.append({"people": n, "methods": here, "ratios": ratios})
    print(json.dumps({"a_point": single, "sizes": measured}))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
