"""k-means under differential privacy by others, on the same rows, at the same ε and δ, by one curator who sees all.

FastLloyd         Diaa, Humphries & Kerschbaum 2025, "FastLloyd: Federated, Accurate, Secure, and Tunable k-Means
                  Clustering with Differential Privacy", USENIX Security 25: written anew from the paper and the
                  constants of its published code: α = .8, `diagonal_then_frac`, folding, two to seven iterations
Google            Chang & Kamath 2021, "Practical Differentially Private Clustering": a tree of random hyperplanes of
                  depth 20, noised averages of its leaves, k-means on these. Written anew from its published code,
                  which no package index has: its thresholds, its multipliers 1 and 20, calibrated by dp-accounting
diffprivlib       IBM's own code, in an environment of its own below build/ (its KMeans: Su et al. 2016, pure ε)

    python tests/benchmarks/other_clusterings.py ROWS.npy K EPSILON RUNS     inside that environment: one line of JSON

Noise here is numpy's: fair for a comparison, no way to protect anybody.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

DIFFPRIVLIB = ("diffprivlib==0.6.6", "scikit-learn<1.7")  # what it imports of scikit-learn is gone later

Reals = Any  # (n, d) float64; this file runs where neither mypy nor this project is


# -- FastLloyd ---------------------------------------------------------------------------------------------------------

ALPHA, MOST_ROUNDS, LEAST_ROUNDS, PROXIMITY_TRIES = 0.8, 7, 2, 100


def fastlloyd(rows: Reals, k: int, epsilon: float, delta: float, draw: np.random.Generator) -> Reals:
    """(k, d) centres of rows in [−1, 1]^d."""
    n, d = rows.shape
    diagonal = 2 * math.sqrt(d)
    fraction = ALPHA / (2 * k ** (1 / d))
    sigma = analytic_gaussian(epsilon, delta)
    wanted = 0.016 * n**2 / (k**3 * (diagonal * fraction) ** 2 * (1 + diagonal) ** 2 * sigma**2)
    rounds = int(max(min(wanted, MOST_ROUNDS), LEAST_ROUNDS))
    sum_scale = math.sqrt(1 + diagonal) / (4 * d) ** 0.25 * math.sqrt(rounds) * sigma
    count_scale = math.sqrt(1 + diagonal) * math.sqrt(rounds) * sigma
    centres = _packed(k, d, draw)
    for at in range(rounds):
        reach = diagonal / 2 if at == 0 else diagonal * fraction
        nearest, squared = assigned(rows, centres)
        held = squared <= reach**2
        count = np.bincount(nearest[held], minlength=k).astype(np.float64)
        sums = _sums(rows[held], nearest[held], k) - centres * count[:, None]
        count = np.maximum(count, 1.0)  # an empty cluster counts one at its own centre
        count = np.rint(count + draw.normal(0, count_scale, k))
        sums = sums + draw.normal(0, sum_scale * min(diagonal, reach), (k, d))
        moved = (sums + centres * count[:, None]) / (count[:, None] + 1e-9)
        step = moved - centres
        length = np.linalg.norm(step, axis=1)
        far = length > reach
        moved[far] = centres[far] + reach * step[far] / length[far, None]
        folded = (moved + 1) % 4
        centres = np.where(folded > 2, 4 - folded, folded) - 1
    return centres


def _packed(k: int, d: int, draw: np.random.Generator) -> Reals:
    """Centres far from each other and from the border: the distance is halved until so many fit (diffprivlib's way)."""
    near = 1.0
    while True:
        found, tries = [draw.random(d) * (2 - 2 * near) - 1 + near], 0
        while len(found) < k and tries < PROXIMITY_TRIES:
            one = draw.random(d) * (2 - 2 * near) - 1 + near
            far = min(float(((one - other) ** 2).sum()) for other in found) >= (2 * near) ** 2
            found, tries = ([*found, one], 0) if far else (found, tries + 1)
        if len(found) == k:
            return np.array(found)
        near /= 2


def analytic_gaussian(epsilon: float, delta: float) -> float:
    """The least σ at sensitivity 1 that gives (ε, δ)-DP (Balle & Wang 2018, Theorem 8)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    def leaks(sigma: float) -> float:
        half = 1 / (2 * sigma)
        return phi(half - epsilon * sigma) - math.exp(epsilon) * phi(-half - epsilon * sigma)

    low, high = 1e-3, 1e4
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if leaks(middle) > delta else (low, middle)
    return high


# -- Google's ----------------------------------------------------------------------------------------------------------

DEPTH, GAUSSIAN, LAPLACE = 20, 1.0, 20.0


def google(rows: Reals, k: int, epsilon: float, delta: float, draw: np.random.Generator) -> Reals:
    """(k, d) centres of rows in the ball of radius √d, in which the box [−1, 1]^d lies."""
    from sklearn.cluster import KMeans

    n, d = rows.shape
    radius, noise = math.sqrt(d), _google_noise(epsilon, delta)
    laplace = 1 / (LAPLACE * noise)

    def noised(count: int) -> int:
        """With discrete Laplace noise: the difference of two geometric draws."""
        p = 1 - math.exp(-laplace)
        return int(count + draw.geometric(p) - draw.geometric(p))

    whole = noised(n)
    least = max(1, min(int(10 * math.sqrt(d) * noise * GAUSSIAN), whole // (2 * k)))
    planes = draw.normal(size=(DEPTH, d))
    leaves, level = [], [(np.arange(n), max(1, whole))]
    for plane in planes:
        below = []
        for members, count in level:
            children = []
            if count >= 3 * least:
                side = rows[members] @ plane >= 0
                parts = [(part, noised(len(part))) for part in (members[side], members[~side])]
                children = [part for part in parts if part[1] >= least]
            below += children
            if not children:
                leaves.append((members, count))
        level = below
    leaves += level
    points = np.array(
        [
            (rows[members].sum(axis=0) + draw.normal(0, noise * GAUSSIAN * radius, d)) / count
            for members, count in leaves
        ]
    )
    points = points * (radius / np.maximum(np.linalg.norm(points, axis=1), radius))[:, None]
    fit = KMeans(min(k, len(points)), n_init=10, random_state=int(draw.integers(2**31)))
    return fit.fit(points, sample_weight=[float(count) for _, count in leaves]).cluster_centers_


@lru_cache
def _google_noise(epsilon: float, delta: float) -> float:
    """Their α: σ of sums over their sensitivity, and 1/20 of the scale of each of 21 counts."""
    from dp_accounting import dp_event, dp_event_builder, mechanism_calibration
    from dp_accounting.pld import pld_privacy_accountant

    def event(alpha: float) -> Any:
        builder = dp_event_builder.DpEventBuilder()
        builder.compose(dp_event.GaussianDpEvent(GAUSSIAN * alpha))
        builder.compose(dp_event.LaplaceDpEvent(LAPLACE * alpha), DEPTH + 1)
        return builder.build()

    least = analytic_gaussian(epsilon, delta)
    interval = mechanism_calibration.LowerEndpointAndGuess(least, 2 * least)
    accountant = pld_privacy_accountant.PLDAccountant
    return float(mechanism_calibration.calibrate_dp_mechanism(accountant, event, epsilon, delta, interval))


# -- what they share ---------------------------------------------------------------------------------------------------


def assigned(rows: Reals, centres: Reals) -> tuple[Reals, Reals]:
    """((n,) nearest centre, (n,) squared distance)."""
    best, least = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), np.inf)
    for index, centre in enumerate(centres):
        squared = ((rows - centre) ** 2).sum(axis=1)
        nearer = squared < least
        best[nearer], least[nearer] = index, squared[nearer]
    return best, least


def _sums(rows: Reals, at: Reals, k: int) -> Reals:
    return np.stack([np.bincount(at, weights=column, minlength=k) for column in rows.T], axis=1)


# -- diffprivlib -------------------------------------------------------------------------------------------------------


def diffprivlib(python: Path, rows: Reals, k: int, epsilon: float, runs: int) -> list[dict[str, Any]]:
    """Centres and CPU seconds of each of so many runs, in that environment. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="other-clusterings-") as folder:
        np.save(Path(folder) / "rows.npy", rows)
        command = [str(python), __file__, f"{folder}/rows.npy", str(k), str(epsilon), str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    import warnings

    from diffprivlib.models import KMeans

    warnings.simplefilter("ignore")
    rows, k, epsilon, runs = np.load(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    found = []
    for _ in range(runs):
        busy = time.process_time()
        centres = KMeans(n_clusters=k, epsilon=epsilon, bounds=(-1, 1)).fit(rows).cluster_centers_
        found.append({"centres": centres.tolist(), "cpu_s": time.process_time() - busy})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
