"""How good latent classes are under noise, against stepmix on the rows of all companies put together.

    make bench-classes [QUICK=1]

Planted classes: 10,000 people with eight yes-or-no traits, ε = 1 (δ = 10⁻⁶) for one person's records at one party. The
first table: the adjusted Rand index of our classes to those of stepmix (which is told how many there are; ours finds
out, from 2 to 6), how often ours finds the number planted, the same index for stepmix on the noised histogram without
what is below two deviations, and for stepmix against the truth, which nobody can know. The second: how often a 95 %
interval holds what was planted. Noise is the discrete Gaussian of OpenDP: of three parties with the full noise each
(collusion N − 1), or of all together as much as one (collusion 0, which no plan of real data may have).
stepmix is in an environment of its own below build/, which pip fills.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

# isort: split
from coordinator.classes import fit
from protocols import noise
from protocols.figures import TOO_NOISY
from protocols.questions import classes as question
from protocols.questions.classes.model import Classes
from protocols.questions.classes.plan import Plan
from protocols.statistic import Integers, Noise

Reals = NDArray[np.float64]
RHO_NANO = 24_360_000
PEOPLE, ITEMS = 10_000, 8
PLACE = ROOT / "build" / "stepmix"
SHARES = {"0": 1, "N − 1": 3}  # collusion → how many times the full noise of one share is in the sum


@dataclass(frozen=True)
class Planted:
    """shares: (k,); chances: (k, items) of a yes; kinds: (n,) whose is whose; rows: (n, items) of 0 and 1."""

    shares: Reals
    chances: Reals
    kinds: Integers
    rows: Integers


def signs(k: int, rng: np.random.Generator) -> Reals:
    """Each trait likely (.75 to .95) or unlikely (.05 to .25) in a class; any two classes differ in three traits."""
    while True:
        yes = rng.integers(0, 2, (k, ITEMS))
        if all((yes[a] != yes[b]).sum() >= 3 for a in range(k) for b in range(a)):
            return np.where(yes == 1, rng.uniform(0.75, 0.95, yes.shape), rng.uniform(0.05, 0.25, yes.shape))


def spread(k: int, rng: np.random.Generator) -> Reals:
    """Any probabilities from .03 to .97, those near an end more often: classes may well be alike."""
    return np.clip(rng.beta(0.5, 0.5, (k, ITEMS)), 0.03, 0.97)


def graded(k: int, rng: np.random.Generator) -> Reals:
    """Classes in an order: from few traits to all."""
    return np.clip(np.linspace(0.1, 0.9, k)[:, None] + rng.uniform(-0.08, 0.08, (k, ITEMS)), 0.03, 0.97)


SETS: dict[str, Callable[[int, np.random.Generator], Reals]] = {"signs": signs, "spread": spread, "graded": graded}


def planted(name: str, k: int, seed: int) -> Planted:
    rng = np.random.default_rng([seed, k, list(SETS).index(name), 2026])
    chances = SETS[name](k, rng)
    shares = np.maximum(rng.dirichlet(np.full(k, 5.0)), 0.08)
    shares /= shares.sum()
    kinds = rng.choice(k, PEOPLE, p=shares)
    rows = (rng.random((PEOPLE, ITEMS)) < chances[kinds]).astype(np.int64)
    return Planted(shares, chances, kinds, rows)


def plan_of(least: int, most: int) -> Plan:
    many = least if least == most else {"least": least, "most": most}
    items = [{"feature": f"trait{j}", "cuts": [1]} for j in range(ITEMS)]
    return Plan.model_validate({"rho": {"patterns": RHO_NANO}, "classes": many, "items": items})


def noised_sum(exact: Integers, shares: int) -> tuple[Integers, Noise]:
    """The histogram and nobody unusable, with the full noise of so many shares."""
    micro = -(-(10**15) // (2 * RHO_NANO))
    total = np.append(exact, 0)
    for _ in range(shares):
        total = noise.add_noise(total, bound_sq=1, variance_micro=micro)
    return total, Noise(shares, micro)


class Stepmix:
    """The worker in its own environment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.all = np.stack(np.unravel_index(np.arange(2**ITEMS), (2,) * ITEMS), axis=1)

    def classes(self, weights: Reals, k: int) -> Integers:
        """(patterns,) the class of each pattern, fitted to so many people of each."""
        there = weights > 0
        asked = {"patterns": self.all[there].tolist(), "weights": weights[there].tolist(), "k": k,
                 "all": self.all.tolist()}  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return np.asarray(json.loads(self.process.stdout.readline())["at"])


@contextmanager
def stepmix() -> Iterator[Stepmix]:
    python = PLACE / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "stepmix==3.0.0"], check=True)
    command = [str(python), str(Path(__file__).with_name("stepmix_worker.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Stepmix(process)
        assert process.stdin is not None
        process.stdin.close()


# -- how alike ---------------------------------------------------------------------------------------------------------


def likeness(name: str, k: int, runs: int, other: Stepmix) -> dict[str, Any]:
    """One line of the first table, for both collusions."""
    index: dict[str, list[float]] = {what: [] for what in ("truth", *SHARES, *(f"cut {c}" for c in SHARES))}
    right, cpu = dict.fromkeys(SHARES, 0), list[float]()
    for seed in range(runs):
        data = planted(name, k, seed)
        at = np.ravel_multi_index(tuple(data.rows.T), (2,) * ITEMS)
        exact = np.bincount(at, minlength=2**ITEMS)
        theirs = other.classes(exact.astype(np.float64), k)[at]
        index["truth"].append(adjusted_rand_score(data.kinds, theirs))
        for collusion, shares in SHARES.items():
            total, drawn = noised_sum(exact, shares)
            busy = time.process_time()
            found = Classes.read(fit(plan_of(2, 6), total, drawn), plan_of(2, 6))
            cpu.append(time.process_time() - busy)
            right[collusion] += len(found.sizes) == k
            index[collusion].append(adjusted_rand_score(theirs, question.chances(found).argmax(axis=1)[at]))
            kept = np.where(total[:-1] >= 2 * drawn.variance**0.5, total[:-1], 0).astype(np.float64)
            index[f"cut {collusion}"].append(adjusted_rand_score(theirs, other.classes(kept, k)[at]))
    return {"set": name, "k": k, "runs": runs, "right": right, "index": index, "cpu_s": statistics.median(cpu)}


def show_likeness(found: dict[str, Any]) -> None:
    print(f"{found['set']:8} {found['k']}", end="")
    for collusion in SHARES:
        ours, cut = found["index"][collusion], found["index"][f"cut {collusion}"]
        print(f"   {statistics.median(ours):.3f} {statistics.fmean(ours):.3f} {min(ours):.3f}", end="")
        print(f"   {found['right'][collusion]:2}/{found['runs']}   {statistics.median(cut):.3f}", end="")
    print(f"   {statistics.median(found['index']['truth']):.3f}   {found['cpu_s']:.2f}", flush=True)


# -- how sure ----------------------------------------------------------------------------------------------------------


def coverage(name: str, k: int, runs: int, shares: int) -> dict[str, list[bool | None]]:
    """Of each kind of figure whether its interval holds what was planted; None where it is too noisy."""
    held: dict[str, list[bool | None]] = {"size": [], "share": [], "chance": []}
    for seed in range(runs):
        data = planted(name, k, 10_000 + seed)
        at = np.ravel_multi_index(tuple(data.rows.T), (2,) * ITEMS)
        total, drawn = noised_sum(np.bincount(at, minlength=2**ITEMS), shares)
        plan = plan_of(k, k)
        found = Classes.read(fit(plan, total, drawn), plan)
        if len(found.sizes) != k:  # fewer than were planted: nothing to compare with, and said so
            held["size"] += [None] * k
            held["share"] += [None] * k
            held["chance"] += [None] * (k * ITEMS)
            continue
        told = question.answer(plan, total, drawn, found)["classes"]
        yes = np.stack([one[:, 1] for one in found.chances], axis=1)
        _, same = linear_sum_assignment(((data.chances[:, None] - yes[None]) ** 2).sum(axis=2))
        for mine, its in enumerate(same):
            one, share = told[f"c{its + 1}"], float(data.shares[mine])
            held["size"].append(holds(one["size"], share * PEOPLE))
            held["share"].append(holds(one["share"], share))
            for j in range(ITEMS):
                held["chance"].append(holds(one["items"][f"trait{j}"]["1"], float(data.chances[mine, j])))
    return held


def holds(figure: dict[str, str], truth: float) -> bool | None:
    if figure["value"] == TOO_NOISY:
        return None
    return float(figure["low"]) <= truth <= float(figure["high"])


def show_coverage(name: str, k: int, collusion: str, runs: int, held: dict[str, list[bool | None]]) -> None:
    print(f"{name:8} {k}   {collusion:5}  {runs:4}", end="")
    for found in held.values():
        known = [one for one in found if one is not None]
        noisy = 1 - len(known) / len(found)
        print(f"   {sum(known) / max(1, len(known)):.3f} of {len(known):6,} ({noisy:4.0%} too noisy)", end="")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="latent classes under noise, against stepmix without")
    quick = os.environ.get("QUICK") == "1"
    parser.add_argument("--runs", type=int, default=3 if quick else 10, help="of each line of the first table")
    parser.add_argument("--releases", type=int, default=20 if quick else 100, help="of each line of the second")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    chosen = parser.parse_args()
    if chosen.runs:
        print("ARI to stepmix without noise; collusion 0: median mean worst, k right, stepmix cut; N − 1: the same;"
              "\nstepmix to the truth; CPU s of ours")  # fmt: skip
        with stepmix() as other:
            for name in chosen.sets:
                for k in (3, 4, 5):
                    show_likeness(likeness(name, k, chosen.runs, other))
    if chosen.releases:
        print("\n95 % intervals that hold what was planted: sizes, shares, probabilities")
        for name in chosen.sets:
            for k in (3, 4, 5):
                for collusion, shares in SHARES.items():
                    held = coverage(name, k, chosen.releases, shares)
                    show_coverage(name, k, collusion, chosen.releases, held)


if __name__ == "__main__":
    main()
