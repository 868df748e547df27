"""How good joint segments are, against scikit-learn's k-means on all rows at once, and against others' private k-means.

    make bench-segments [QUICK=1] [DATA=folder of the public sets]
    .venv/bin/python tests/benchmarks/bench_segments.py --runs 60 --sets s1 "10k × 10" --epsilon 1 --no-others

Ours is a rehearsal: the rows, noise, fits and figures of a real round of three parties (`coordinator/rehearsal.py`), at
`collusion` 0, where the noise of all parties together is that of one curator, as the others count it, and at 2, where
each party adds all of it. ε at δ = 1e-6 pays for everything that a round releases, the profile's twentieth included.

The figure is the inertia of the released centres on the exact rows over that of the best of 20 single starts of
scikit-learn. Rows have fixed seeds; noise has none, so figures move a little from call to call. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
from other_clusterings import DIFFPRIVLIB, Reals, assigned, diffprivlib, fastlloyd, google
from other_logs import Missing, environment
from segment_sets import CLUSTER_WIDTH, OVERLAPPING, SETS, NoFile, Set, named, planted
from sklearn.cluster import KMeans

from coordinator import drafts, rehearsal
from protocols.accuracy import rho_within
from protocols.budget import honest_shares

QUICK = os.environ.get("QUICK") == "1"
QUICK_SETS = ("complete journey", "s1", "unbalance", "10k × 10", "cdnow")
PLACE = ROOT / "build" / "other-clusterings"
DELTA, PARTIES, STARTS, PROFILE = 1e-6, 3, 20, Fraction(1, 20)
OURS, CAREFUL = "ours, collusion 0", "ours, collusion 2"
PEERS = ("FastLloyd", "Google", "diffprivlib")
# Of the medians: ours at collusion 0, geometric mean over the sets, by ε; and over each peer's, over all sets and ε.
AT_MOST = {0.25: 1.13, 0.5: 1.055, 1.0: 1.025, 2.0: 1.010}
OF_PEERS = {"FastLloyd": 0.80, "Google": 0.66, "diffprivlib": 0.54}
LOST = 1.02


@dataclass(frozen=True)
class Reference:
    """scikit-learn on all rows: the best mean squared distance of single starts, CPU seconds of `n_init=10`."""

    best: float
    cpu_s: float


@dataclass(frozen=True)
class Line:
    """Inertia over the reference's: median, mean and worst of so many runs; CPU seconds of one."""

    set: str
    epsilon: float
    method: str
    median: float
    mean: float
    worst: float
    cpu_s: float


def reference(data: Set) -> Reference:
    busy = time.process_time()
    KMeans(data.k, n_init=10, random_state=0).fit(data.rows)
    cpu = time.process_time() - busy
    single = [KMeans(data.k, n_init=1, random_state=seed).fit(data.rows).inertia_ for seed in range(STARTS)]
    return Reference(min(single) / len(data.rows), cpu)


def ours(data: Set, epsilon: float, collusion: int, runs: int) -> Iterator[tuple[Reals, float]]:
    """(centres, CPU seconds) of each run: all parties, the coordinator, and the profile."""
    table = rehearsal.Table.within(data.rows, -1, 1)
    honest, rho = honest_shares(PARTIES, collusion), rho_within(epsilon, DELTA)
    question = drafts.segments_question(table.features, data.k, rho, PROFILE, table.people, PARTIES, honest)
    asked = rehearsal.Asked.of(question, PARTIES, collusion)
    for _ in range(runs):
        run = rehearsal.run(asked, table)
        yield run.centres, run.cpu_s


def theirs(name: str, data: Set, epsilon: float, runs: int) -> Iterator[tuple[Reals, float]]:
    """The same of another's. Raises Missing."""
    if name == "diffprivlib":
        python = environment(DIFFPRIVLIB[0], PLACE, *DIFFPRIVLIB[1:])
        try:
            found = diffprivlib(python, data.rows, data.k, epsilon, runs)
        except RuntimeError as exc:
            raise Missing(str(exc)) from None
        yield from ((np.array(run["centres"]), run["cpu_s"]) for run in found)
        return
    for seed in range(runs):
        busy = time.process_time()
        method = fastlloyd if name == "FastLloyd" else google
        centres = method(data.rows, data.k, epsilon, DELTA, np.random.default_rng(seed))
        yield centres, time.process_time() - busy


def measured(data: Set, epsilon: float, method: str, runs: int, best: float) -> Line:
    if method in (OURS, CAREFUL):
        found = list(ours(data, epsilon, 0 if method == OURS else PARTIES - 1, runs))
    else:
        found = list(theirs(method, data, epsilon, runs))
    ratios = [float(assigned(data.rows, centres)[1].mean()) / best for centres, _ in found]
    cpu = statistics.median(seconds for _, seconds in found)
    return Line(
        data.name, epsilon, method, statistics.median(ratios), statistics.fmean(ratios), max(ratios), round(cpu, 3)
    )


# -- over all sets -----------------------------------------------------------------------------------------------------


def geometric(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def by_set(lines: Sequence[Line], method: str, epsilon: float) -> dict[str, Line]:
    return {line.set: line for line in lines if (line.method, line.epsilon) == (method, epsilon)}


def summary(lines: Sequence[Line], epsilons: Sequence[float]) -> Iterator[tuple[str, bool]]:
    """(what was found against what is required, whether it holds)."""
    for epsilon in epsilons:
        own = by_set(lines, OURS, epsilon)
        if not own:
            yield f"ε = {epsilon:g}: NO SET WAS MEASURED", False
            continue
        found = geometric([line.median for line in own.values()])
        limit = AT_MOST.get(epsilon)
        told = "" if limit is None else f", required ≤ {limit:.3f}"
        means = geometric([line.mean for line in own.values()])
        worst = geometric([line.worst for line in own.values()])
        told = (
            f"ε = {epsilon:g}: geometric mean over {len(own)} sets {found:.3f}{told}; of means {means:.3f}, of worst "
        )
        yield f"{told}{worst:.3f}", limit is None or found <= limit
    for peer in PEERS:
        every, lost = [], []
        for epsilon in epsilons:
            own, other = by_set(lines, OURS, epsilon), by_set(lines, peer, epsilon)
            ratios = {name: own[name].median / line.median for name, line in other.items() if name in own}
            every += ratios.values()
            lost += [f"{name} at ε = {epsilon:g} by {ratio:.3f}" for name, ratio in ratios.items() if ratio > LOST]
            if ratios:
                theirs_ = geometric([line.median for line in other.values()])
                yield (
                    f"ε = {epsilon:g}: {peer} {theirs_:.3f}, ours over it {geometric(list(ratios.values())):.3f}",
                    True,
                )
        if every:
            found, limit = geometric(every), OF_PEERS[peer]
            yield f"ours over {peer}, all ε: {found:.3f}, required ≤ {limit:.2f}", found <= limit
            yield f"lost to {peer} by more than 2 %: {', '.join(lost) or 'nothing'}", not lost


def page(lines: Sequence[Line], epsilons: Sequence[float]) -> Iterator[str]:
    """The rows of the table in docs/benchmarks.md: of ours median / mean / worst, of the peers the median."""
    for name in SETS:
        for epsilon in epsilons:
            cells = [name, f"{epsilon:g}"]
            for method in (OURS, CAREFUL, *PEERS):
                line = by_set(lines, method, epsilon).get(name)
                three = method not in PEERS and line is not None
                told = "–" if line is None else f"{line.median:.3f}" if three else f"{line.median:.2f}"
                cells.append(f"{told} / {line.mean:.3f} / {line.worst:.3f}" if three and line else told)
            if cells[2] != "–":
                yield f"| {' | '.join(cells)} |"


def million(n: int, width: float) -> dict[str, float]:
    """CPU seconds at n × 10 rows, k = 8, ε = 1: ours, all parties and the coordinator together, and scikit-learn's."""
    data = Set(f"{n:,} × 10, clusters of width {width:g}", planted(n, 10, 8, seed=15, width=width), 8)
    against = reference(data)
    line = measured(data, 1.0, CAREFUL, 1, against.best)
    told = f"{data.name}: ours {line.cpu_s:.1f} s CPU, scikit-learn's n_init=10 {against.cpu_s:.1f} s"
    print(f"{told}; ratio {line.median:.4f}", flush=True)
    return {"rows": n, "width": width, "cpu_s": line.cpu_s, "sklearn_cpu_s": against.cpu_s, "ratio": line.median}


# -- the whole ---------------------------------------------------------------------------------------------------------


def folder() -> Path | None:
    return Path(os.environ["DATA"]) if os.environ.get("DATA") else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=folder(), help="the folder of the public sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=QUICK_SETS if QUICK else list(SETS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.5, 1.0] if QUICK else list(AT_MOST))
    parser.add_argument("--runs", type=int, default=5 if QUICK else 20)
    parser.add_argument("--no-others", action="store_true", help="ours alone")
    parser.add_argument("--page", action="store_true", help="print the rows of the table in docs/benchmarks.md too")
    parser.add_argument("--million", type=int, default=100_000 if QUICK else 1_000_000, help="rows; 0: not at all")
    given = parser.parse_args()
    methods = (OURS, CAREFUL, *(() if given.no_others else PEERS))
    lines, held, cpus = list[Line](), True, dict[str, float]()
    print(f"inertia over that of the best of {STARTS} scikit-learn starts, {given.runs} runs, δ = {DELTA:g}")
    print(f"{'set':<17}{'rows':>8}{'d':>3}{'k':>3}{'ε':>6}  {'':<18}{'median':>8}{'mean':>8}{'worst':>8}{'CPU s':>8}")
    for name in given.sets:
        try:
            data = named(name, given.data)
        except NoFile as exc:
            print(f"{name:<17}SKIPPED: {exc}", flush=True)
            continue
        against = reference(data)
        cpus[name] = against.cpu_s
        for epsilon in given.epsilon:
            for method in methods:
                try:
                    line = measured(data, epsilon, method, given.runs, against.best)
                except Missing as exc:
                    print(f"{name:<17}{method}: {exc}", flush=True)
                    continue
                lines.append(line)
                n, d = data.rows.shape
                told = f"{name:<17}{n:>8,}{d:>3}{data.k:>3}{epsilon:>6g}  {method:<18}{line.median:>8.3f}"
                print(f"{told}{line.mean:>8.3f}{line.worst:>8.3f}{line.cpu_s:>8.2f}", flush=True)
        print(f"{name:<17}{'':>20}  {'scikit-learn, n_init=10':<42}{against.cpu_s:>8.2f}", flush=True)
    large = [million(given.million, width) for width in (CLUSTER_WIDTH, OVERLAPPING)] if given.million else None
    print(*(page(lines, given.epsilon) if given.page else ()), "", sep="\n")
    for told, holds in summary(lines, given.epsilon):
        print(told + ("" if holds else "  DOES NOT HOLD"))
        held &= holds
    print(json.dumps({
        "runs": given.runs, "delta": DELTA, "parties": PARTIES, "lines": [asdict(line) for line in lines],
        "sklearn_cpu_s": cpus, "million": large, "cores": os.cpu_count(),
    }))  # fmt: skip
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
