"""What it costs an owner to rank its people: score, cells, order, cuts and both files, by the product's own path.

    make bench-ranking [QUICK=1]
    .venv/bin/python tests/benchmarks/bench_ranking.py --people 1000000 --features 8 16

Features are given (reading them from a snapshot is `register`'s and DuckDB's business). Each size runs in a process of
its own, whose peak memory is told beside what it holds before: people's features and names. CPU is of all threads.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np

from party_node import ranking
from party_node.features import People
from protocols.feature import Feature
from protocols.questions import lookalike
from protocols.questions.lookalike.scorer import CELLS, REACHES, UNIT, Scorer
from protocols.questions.lookalike.space import Space, bins_of, starts

MILLION, MOST_CPU_S = 1_000_000, 20.0
MOST_BYTES = 400  # a person, beyond features and names: a score, its order, a line of two files
HIGH = 1_000_000


def question(features: int) -> lookalike.Plan:
    each = [
        {"name": f"f{j}", "transform": "log1p" if j % 2 else "identity", "low": 0, "high": HIGH}
        for j in range(features)
    ]
    rho = dict.fromkeys(("edges", "background", "seed", "scores", "overlap"), 10_000_000)
    return lookalike.Plan.model_validate(
        {"rho": rho, "features": each, "seed": {"party": "a", "list": "l"}, "ranks": ["b"], "floor": 500, "reach": 50}
    )


def scorer(features: list[Feature]) -> Scorer:
    """Of weights in all coordinates, so that nothing is skipped."""
    scores = tuple((np.linspace(-2, 2, len(starts(one))) * 4096).astype(np.int64) for one in features)
    space = Space(tuple(features), scores, tuple(np.arange(bins_of(one)) * 25 for one in features))
    weights = np.random.default_rng(0).integers(-(1 << 22), 1 << 22, space.places.length)
    edges = (np.linspace(-0.5, 0.5, CELLS - 1) * UNIT).astype(np.int64)
    return Scorer(space, weights, edges, (0,) * len(REACHES), 0, 0, (0,) * len(features))


def peak() -> int:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def once(people: int, features: int) -> dict[str, float]:
    asked, draw = question(features), np.random.default_rng(1)
    judge = scorer(asked.features)
    columns = {one.name: draw.integers(0, HIGH, people) for one in asked.features}
    found = People(
        np.array([f"customer-{i:08}" for i in range(people)], dtype=np.object_),
        columns | {"usable": np.ones(people, dtype=np.int64)},
    )
    with tempfile.TemporaryDirectory() as out:
        few = People(found.customers[:1000], {name: column[:1000] for name, column in found.columns.items()})
        ranking.ranked(asked, (4, 8, 16, 24, 40), judge, few, Path(out))  # DuckDB and its threads, before it counts
        before, busy, began = peak(), time.process_time(), time.monotonic()
        done = ranking.ranked(asked, (4, 8, 16, 24, 40), judge, found, Path(out))
        cpu, wall = time.process_time() - busy, time.monotonic() - began
        assert done.customers == people
        lines = sum(1 for _ in done.csv.open())
    assert lines == people + 1
    beyond = peak() - before
    return {
        "people": people,
        "features": features,
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "before_mb": round(before / 1e6),
        "beyond_mb": round(beyond / 1e6),
        "bytes_a_person": round(beyond / people),
    }


def main() -> int:
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[100_000] if quick else [MILLION, 3 * MILLION])
    parser.add_argument("--features", type=int, nargs="+", default=[8] if quick else [8, 16])
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.people[0], given.features[0])))
        return 0
    heads = ("CPU s", 8), ("wall s", 8), ("MB before", 11), ("MB beyond", 11), ("bytes a person", 16)
    print(f"{'people':>10}{'features':>10}" + "".join(f"{head:>{width}}" for head, width in heads))
    found, held = [], True
    for people in given.people:
        for features in given.features:
            call = [sys.executable, __file__, "--once", "--people", str(people), "--features", str(features)]
            one = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
            holds = one["cpu_s"] <= MOST_CPU_S * people / MILLION and one["bytes_a_person"] <= MOST_BYTES
            found.append(one)
            held &= holds
            print(
                f"{people:>10,}{features:>10}{one['cpu_s']:>8.2f}{one['wall_s']:>8.2f}{one['before_mb']:>11,}"
                f"{one['beyond_mb']:>11,}{one['bytes_a_person']:>16,}{'' if holds else '  DOES NOT HOLD'}",
                flush=True,
            )
    print(f"required: {MOST_CPU_S:g} s CPU a million people, {MOST_BYTES} bytes a person")
    print(json.dumps({"lines": found, "cores": os.cpu_count()}))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
