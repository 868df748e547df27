"""How good joint segments are, against scikit-learn's k-means on the rows of all companies put together.

    make bench-segments [QUICK=1]
    .venv/bin/python tests/benchmarks/bench_segments.py --rounds 3 4 5 --runs 60 --sets complete-journey

Each run is a whole round of three parties (`segment_round.py`), each with the full discrete Gaussian noise of OpenDP,
at ρ = .030 for one person's records at one party; the profile's ρ is not counted and moves no centre. The figure is
the inertia of the released centres on the exact rows over that of the best of 20 single starts of scikit-learn.
Data have fixed seeds; noise comes from the operating system, so figures move a little from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from sklearn.cluster import KMeans

# isort: split
from segment_round import find_centres, question_of
from segment_sets import Set, complete_journey, planted, shoppers

import coordinator.segments  # noqa: F401 - loaded here, so that no run pays for loading it
from protocols.questions import segments

RHO_NANO = 30_000_000
STARTS, RUNS, QUICK_RUNS = 20, 20, 5
SETS: dict[str, Callable[[], Set]] = {"complete-journey": complete_journey, "shoppers": shoppers, "planted": planted}
HEAD = ("set", "k", "T", "customers", "median", "mean", "worst", "sk worst", "CPU s", "sk CPU s")
WIDTHS = (16, 2, 2, 9, 6, 6, 6, 8, 6, 8)


@dataclass(frozen=True)
class Reference:
    """scikit-learn on all rows: best and worst mean squared distance of single starts, CPU seconds of `n_init=10`."""

    points: Any
    best: float
    worst_ratio: float
    cpu_s: float


def reference(data: Set, k: int) -> Reference:
    question = question_of(data.plan(k, RHO_NANO, 3))
    usable = [{name: values[p["usable"] == 1] for name, values in p.items()} for p in data.people.values()]
    busy = time.process_time()
    points = np.concatenate([segments.scaled(question, one) for one in usable])
    KMeans(k, n_init=10, random_state=0).fit(points)
    cpu = time.process_time() - busy
    single = [KMeans(k, n_init=1, random_state=seed).fit(points).inertia_ / len(points) for seed in range(STARTS)]
    return Reference(points, min(single), max(single) / min(single), cpu)


def measure(data: Set, k: int, rounds: int, against: Reference, runs: int) -> dict[str, Any]:
    """One line of the table: ratios to the reference over so many runs, and which targets they miss."""
    plan = data.plan(k, RHO_NANO, rounds)
    ratios, cpu = [], []
    for _ in range(runs):
        busy = time.process_time()
        centres = find_centres(plan, data.people)
        cpu.append(time.process_time() - busy)
        ratios.append(float(segments.nearest(against.points, centres)[1].mean()) / against.best)
    found = {
        "set": data.name,
        "k": k,
        "lloyd_rounds": rounds,
        "customers": len(against.points),
        "features": [feature["name"] for feature in data.features],
        "median": round(statistics.median(ratios), 4),
        "mean": round(statistics.fmean(ratios), 4),
        "worst": round(max(ratios), 4),
        "sklearn_worst_single_start": round(against.worst_ratio, 4),
        "cpu_s": round(statistics.median(cpu), 2),
        "sklearn_cpu_s": round(against.cpu_s, 2),
    }
    return found | {"missed": list(_missed(data, found))}


def _missed(data: Set, found: dict[str, Any]) -> Iterator[str]:
    where = f"{data.name}, k = {found['k']}, T = {found['lloyd_rounds']}"
    single = found["sklearn_worst_single_start"] if data.target.worst_single_start else None
    limits = (("median", data.target.median), ("worst", data.target.worst), ("worst", single))
    for what, limit in limits:
        if limit is not None and found[what] > limit:
            yield f"{where}: {what} {found[what]:.3f} is above {limit:.3f}"


def _line(cells: tuple[object, ...]) -> None:
    first, *rest = (str(cell) for cell in cells)
    print(first.ljust(WIDTHS[0]), *(c.rjust(w) for c, w in zip(rest, WIDTHS[1:], strict=True)), sep="  ", flush=True)


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    ratios = (f"{found[name]:.3f}" for name in ("median", "mean", "worst", "sklearn_worst_single_start"))
    seconds = (f"{found[name]:.1f}" for name in ("cpu_s", "sklearn_cpu_s"))
    return (found["set"], found["k"], found["lloyd_rounds"], f"{found['customers']:,}", *ratios, *seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, nargs="+", default=[5], help="how many of Lloyd's rounds; several: each")
    parser.add_argument("--runs", type=int, default=QUICK_RUNS if os.environ.get("QUICK") else RUNS)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    arguments = parser.parse_args()
    runs = arguments.runs
    print(f"inertia over that of the best of {STARTS} scikit-learn starts, {runs} runs, ρ = {RHO_NANO / 1e9:.3f}\n")
    _line(HEAD)
    results = []
    for name in arguments.sets:
        data = SETS[name]()
        for k in data.clusters:
            against = reference(data, k)
            for rounds in arguments.rounds:
                results.append(measure(data, k, rounds, against, runs))
                _line(_row(results[-1]))
    missed = [text for found in results for text in found["missed"]]
    print("\nmissed: " + ("; ".join(missed) if missed else "no target"))
    print(json.dumps({"rho_nano": RHO_NANO, "parties": 3, "runs": runs, "results": results, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
