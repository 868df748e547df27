"""Other ways to rank people by their likeness to a seed, on the same rows.

Without privacy, all rows in one place: gradient boosting and logistic regression of seed against everybody (the half of
people that is ranked is never the half that was trained on), and the cosine to the seed's mean.

With the same ρ for the seed's owner, everything else exact, which favours them:

DP logistic      logistic regression by 15 steps of noised gradients (Bassily, Smith & Thakurta 2014; Abadi et al. 2016)
micro-clusters   k-means of the ranked people into 64; noised counts of the seed in each, over the cluster's size

Noise here is numpy's: fair for a comparison, no way to protect anybody.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Reals = Any
STEPS, RATE = 15, 4.0
CLUSTERS = 64

# (rows (n, d) standardised, seed's numbers, ranked people's numbers, draws) → (ranked,) scores
Plain = Callable[[Reals, Reals, Reals, np.random.Generator], Reals]


def _crossed(make: Callable[[], Any]) -> Plain:
    """Each half of the ranked people is scored by a model of the other half and the seed."""

    def scores(rows: Reals, seed: Reals, ranked: Reals, draw: np.random.Generator) -> Reals:
        half, found = draw.integers(0, 2, len(ranked)), np.empty(len(ranked))
        for side in (0, 1):
            others = ranked[half == side]
            kind = np.repeat([1, 0], [len(seed), len(others)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = make().fit(rows[np.concatenate([seed, others])], kind)
            found[half != side] = model.decision_function(rows[ranked[half != side]])
        return found

    return scores


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=20, random_state=0
    )


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500)


def _cosine(rows: Reals, seed: Reals, ranked: Reals, _: np.random.Generator) -> Reals:
    mean = rows[seed].mean(axis=0)
    return rows[ranked] @ mean / np.maximum(np.linalg.norm(rows[ranked], axis=1), 1e-9)


PLAIN: dict[str, Plain] = {
    "gradient boosting": _crossed(_boosting),
    "logistic": _crossed(_logistic),
    "cosine": _cosine,
}


# -- with noise --------------------------------------------------------------------------------------------------------


def dp_logistic(rows: Reals, seed: Reals, ranked: Reals, rho: float, draw: np.random.Generator) -> Reals:
    """The seed's part of each gradient is clipped to 1 and noised; everybody's part is exact."""
    wide = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    wide = wide / np.maximum(1.0, np.linalg.norm(wide, axis=1) / math.sqrt(wide.shape[1]))[:, None]
    wide = wide / math.sqrt(wide.shape[1])
    sigma, weights = math.sqrt(STEPS / (2 * rho)), np.zeros(wide.shape[1])
    for _ in range(STEPS):
        own = ((1 - _chance(wide[seed] @ weights))[:, None] * wide[seed]).sum(axis=0)
        own = (own + draw.normal(0, sigma, len(own))) / len(seed)
        other = (_chance(wide[ranked] @ weights)[:, None] * wide[ranked]).mean(axis=0)
        weights = weights + RATE * (own - other)
    return wide[ranked] @ weights


def micro_clusters(rows: Reals, seed: Reals, ranked: Reals, rho: float, draw: np.random.Generator) -> Reals:
    from sklearn.cluster import MiniBatchKMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MiniBatchKMeans(CLUSTERS, n_init=1, random_state=0).fit(rows[ranked])
    own, everybody = fit.predict(rows[seed]), fit.labels_
    count = np.bincount(own, minlength=CLUSTERS) + draw.normal(0, 1 / math.sqrt(2 * rho), CLUSTERS)
    return (count / np.maximum(np.bincount(everybody, minlength=CLUSTERS), 1))[everybody]


def _chance(x: Reals) -> Reals:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


NOISED = {"DP logistic": dp_logistic, "micro-clusters": micro_clusters}
