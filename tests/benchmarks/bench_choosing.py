"""How often the number of segments is found, where it is known: planted groups of several kinds at ε = 1.

    python tests/benchmarks/bench_choosing.py [--runs 10] [--kinds …] [--dimensions 2 … 10] [--groups 2 … 10] [--small]

Each run plants k groups in d dimensions (100,000 people), takes the product's own rows, states and fits up to
`seg-over` with the noise of three parties, each adding all of it (numpy's Gaussian, rounded: nothing private is here),
and lets the product choose among 2 to 20. Right is the planted number; "cannot tell" is right only where the two best
silhouettes of the people themselves differ by less than .02. --small: 10,000 people and a tenth of the noise, which
has the same ratio of noise to people and takes a tenth of the time.

kinds: round (one width, at least five widths apart), unequal (sizes 1 : 2 : … : k), long (each with axes of its own,
up to three to one), widths (up to three to one), heavy (Student's t, five degrees), near (4.2 widths apart), mixed (all
of unequal, long, widths and heavy at once), blobs (scikit-learn's make_blobs: centres anywhere, they may overlap).
The first six were used while the choice was made, with other seeds; mixed and blobs were not.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from coordinator.segments import next_state
from protocols.budget import variance_for
from protocols.questions import segments
from protocols.questions.segments.choice import Choice
from protocols.questions.segments.states import Clusters, Reals
from protocols.statistic import Noise, tally

RHO = 0.02436  # ε = 1 at δ = 1e-6
PARTIES = 3
SHARES = {"moments": 0.05, "covariance": 0.08, "coarse": 0.105, "fine": 0.195, "over": 0.15, "lloyd": 0.084}
RANGE = {"least": 2, "most": 20}
PEOPLE, SMALL = 100_000, 10_000
MILLION = 1_000_000
APART = {"round": 5.0, "unequal": 5.0, "long": 6.5, "widths": 6.0, "heavy": 5.0, "near": 4.2, "mixed": 7.0}
KINDS = (*APART, "blobs")
CLOSE = 0.02


def planted(kind: str, count: int, d: int, k: int, seed: int) -> Reals:
    """(count, d) in the box. Widths are .1, in two dimensions .06: there is no room for ten wider ones."""
    draw = np.random.default_rng([seed, d, k, KINDS.index(kind)])
    if kind == "blobs":
        x, _ = make_blobs(count, d, centers=k, random_state=int(draw.integers(2**31)))
        return np.clip(x / 14, -1, 1)
    width = 0.06 if d == 2 else 0.1
    centres = _apart(draw, d, k, APART[kind] * width)
    sizes = np.arange(1, k + 1.0) if kind in ("unequal", "mixed") else np.ones(k)
    which = draw.choice(k, count, p=sizes / sizes.sum())
    away = draw.normal(size=(count, d))
    if kind in ("heavy", "mixed"):
        away *= np.sqrt(3 / draw.chisquare(5, (count, 1)))
    if kind in ("widths", "mixed"):
        away *= draw.uniform(0.5, 1.4, k)[which][:, None]
    if kind in ("long", "mixed"):
        for j in range(k):
            axes, _ = np.linalg.qr(draw.normal(size=(d, d)))
            away[which == j] = (
                away[which == j] @ (axes * np.exp(draw.uniform(math.log(0.5), math.log(1.5), d))) @ axes.T
            )
    return np.clip(centres[which] + width * away, -1, 1)


def _apart(draw: np.random.Generator, d: int, k: int, least: float) -> Reals:
    centres = np.zeros((0, d))
    for attempt in range(10**6):
        at = draw.uniform(-0.75, 0.75, (1, d))
        if np.all(((centres - at) ** 2).sum(axis=1) >= least**2):
            centres = np.concatenate([centres, at])
        if len(centres) == k:
            return centres
        if attempt % 500 == 499:
            centres = np.zeros((0, d))
    raise RuntimeError("there is no room for so many groups so far apart")


def chosen(x: Reals, rho: float, seed: int) -> Choice:
    """What the product chooses, by a round up to its over-clusters."""
    plan, draw = _question(x.shape[1], rho), np.random.default_rng(seed)
    people = {f"f{j}": np.rint(x[:, j] * MILLION).astype(np.int64) for j in range(x.shape[1])}
    people["usable"] = np.ones(len(x), dtype=np.int64)
    variance = {step.name: variance_for(part, step.statistic.bound_sq, 1) for step, part in segments.steps(plan)}
    earlier: dict[str, Any] = {}
    for step, _ in segments.steps(plan):
        total = tally(step.statistic, people, lambda batch, step=step: step.contribute(batch, earlier)).total
        noise = Noise(PARTIES, variance[step.name])
        noised = total + np.rint(draw.normal(0, math.sqrt(noise.variance), len(total))).astype(np.int64)
        state = next_state(
            plan, step.name, noised, noise, earlier, lambda s: math.sqrt(PARTIES * variance[s] / MILLION)
        )
        if state is None or step.check_state is None:
            break
        step.check_state(state, earlier)
        earlier[step.name] = {"state": state, "noised": noised.tolist()}
        if step.name == "seg-over":
            choice = Clusters.read(state, plan.clusters, plan.dimensions).choice
            if choice is not None:
                return choice
    raise RuntimeError("the round chose nothing")


def _question(d: int, rho: float) -> segments.Plan:
    shares = dict(SHARES)
    if d <= 2:
        spare = shares.pop("covariance")
        shares["coarse"], shares["fine"] = shares["coarse"] + 0.35 * spare, shares["fine"] + 0.65 * spare
    features = [{"name": f"f{j}", "transform": "identity", "low": -MILLION, "high": MILLION} for j in range(d)]
    return segments.Plan.model_validate(
        {
            "rho": {name: int(share * rho * 1e9) for name, share in (shares | {"profile": 0.1}).items()},
            "features": features,
            "clusters": RANGE,
            "lloyd_rounds": 5,
            "coarse_cells": 1024,
            "fine_cells": 8192,
        }
    )


def undecidable(x: Reals, most: int) -> bool:
    """Whether the two best silhouettes of (4,000 of) the people themselves are as good as one another."""
    sample = x[np.random.default_rng(0).choice(len(x), 4000, replace=False)]
    scores = sorted(
        silhouette_score(sample, KMeans(k, n_init=5, random_state=0).fit_predict(sample)) for k in range(2, most + 1)
    )
    return bool(scores[-1] - scores[-2] < CLOSE)


def verdict(choice: Choice, x: Reals, k: int) -> str:
    if choice.told:
        return "right" if choice.chosen == k else "wrong"
    return "untold, as it should be" if undecidable(x, k + 3) else "untold"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--dimensions", nargs="+", type=int, default=range(2, 11))
    parser.add_argument("--groups", nargs="+", type=int, default=range(2, 11))
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    count, rho = (SMALL, RHO * (PEOPLE / SMALL) ** 2) if asked.small else (PEOPLE, RHO)
    found, began = defaultdict[str, list[str]](list), time.process_time()
    for kind in asked.kinds:
        for d in asked.dimensions:
            for k in asked.groups:
                for run in range(asked.runs):
                    x = planted(kind, count, d, k, asked.first_seed + run)
                    choice = chosen(x, rho, run)
                    found[kind].append(verdict(choice, x, k))
                    if not found[kind][-1].startswith("right"):
                        print(f"    {kind} d {d} k {k} run {run}: {found[kind][-1]}, {choice.chosen}", flush=True)
        counts = {name: found[kind].count(name) for name in sorted(set(found[kind]))}
        print(
            f"{kind:10}{counts.get('right', 0) / len(found[kind]):7.1%} of {len(found[kind])} right  {counts}",
            flush=True,
        )
    totals = {kind: {name: words.count(name) for name in sorted(set(words))} for kind, words in found.items()}
    print(json.dumps({"people": count, "rho": rho, "parties": PARTIES, "found": totals,
                      "cpu_s": round(time.process_time() - began)}))  # fmt: skip


if __name__ == "__main__":
    main()
