"""A party's own customers in segments of its own: for its own eyes, without noise, sent nowhere.

The features, transforms and bounds are those of a plan's segments question, so that what is seen here can be held
beside what the room releases; the clustering is scikit-learn's k-means over this party's rows alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from protocols.errors import UsageError
from protocols.plan import Plan
from protocols.questions import segments
from protocols.questions.segments.states import Reals
from protocols.statistic import Integers

from .assignment import Assigned, write
from .features import people, window_of
from .records import check_snapshot
from .store import Dataset

STARTS = 10
SEED = 0  # the same rows, the same segments


def own_segments(
    plan: Plan, dataset: Dataset, state: Path, clusters: int | None, out: Path
) -> tuple[list[dict[str, float]], Assigned]:
    """Cluster, describe, and write who is where: two files as of released segments, whole or not at all.

    clusters: how many; None: as many as the plan asks for. Returned for each segment, the largest first: `people`, and
    the mean of each feature on the plan's scale, in the feature's unit. Distances are in the public box, where each
    feature runs from −1 to 1. Raises UsageError where the plan asks for no segments, or there are too
    few customers.
    """
    from sklearn.cluster import KMeans  # a second to load, which no other command needs to wait for
    from sklearn.exceptions import ConvergenceWarning

    question = next((q for q in plan.questions if isinstance(q, segments.Plan)), None)
    if question is None:
        raise UsageError("this plan asks for no segments", "name another with --plan")
    k = question.clusters if clusters is None else clusters
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    lacking = [feature.name for feature in question.features if feature.name not in found.columns]
    if lacking:
        raise UsageError(f"the registered data have no feature {lacking[0]}", "sumroom-party register --plan PLAN")
    usable = found.columns["usable"] == 1
    x = segments.scaled(question, found.columns)
    few = UsageError(f"fewer than {k} customers that differ: too few for {k} segments", "ask for fewer: --clusters 2")
    if len(np.unique(x[usable], axis=0)) < k:
        raise few
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it found fewer, for some hardly differ: see below
        centres = KMeans(k, n_init=STARTS, random_state=SEED).fit(x[usable]).cluster_centers_
    people_of = np.bincount(segments.nearest(x[usable], centres)[0], minlength=k)
    if people_of.min() == 0:
        raise few
    at, squared = segments.nearest(x, centres[np.argsort(-people_of, kind="stable")])
    described = [_typical(question, x[usable & (at == i)]) for i in range(k)]
    number: Integers = np.where(usable, at + 1, 0)
    distance = np.where(usable, np.sqrt(squared), np.nan)
    return described, write(out, found.customers, number, distance, state / dataset.snapshot)


def _typical(question: segments.Plan, x: Reals) -> dict[str, float]:
    means = zip(question.features, x.mean(axis=0), strict=True)
    return {"people": len(x)} | {feature.name: feature.unit(float(mean)) for feature, mean in means}
