"""How like a released seed an owner's people are, by its own rows exactly: for its own list and no more.

The score that labels what leaves is the released one (`protocols/questions/lookalike/scorer.py`). This one rests on the
exact mean and covariance of the owner's rows, so that one person's absence moves others: it must not label anything
that leaves, and no released lift describes its ranking.
"""

from __future__ import annotations

import math

import numpy as np

from protocols.errors import UsageError
from protocols.feature import Reals
from protocols.questions.lookalike.likeness import Everybody, Seed, bin_scores, fit
from protocols.questions.lookalike.scorer import scores, whole_weights
from protocols.questions.lookalike.space import SCALE, Space, cells, starts
from protocols.statistic import Integers, Noise, People

MOST = 1 << 14  # people whose mean and covariance stand for those of all: more make no ranking better


def own_scores(space: Space, seed: Integers, noise: Noise, people: People) -> Integers:
    """(n,) scores, the higher the likelier; those of people who are not usable mean nothing.

    seed: (slots,) the released noised sum of the step `look-seed`; noise: what is in it
    Raises UsageError where there are fewer than two people to compare with.
    """
    usable = np.flatnonzero(people["usable"] == 1)
    if len(usable) < 2:
        raise UsageError("fewer than two usable customers: nobody to compare with")
    chosen = usable[np.linspace(0, len(usable) - 1, min(MOST, len(usable))).astype(np.int64)]
    names = [feature.name for feature in space.features]
    rows = space.rows({name: people[name][chosen] for name in names}) / float(SCALE)
    covariance: Reals = np.cov(rows.T)
    everybody = Everybody(rows.mean(axis=0), covariance, np.diag(covariance) / len(rows))
    at = cells(space.features, {name: people[name][usable] for name in names})
    many = [
        np.bincount(own, minlength=len(starts(feature))).astype(np.float64)
        for own, feature in zip(at, space.features, strict=True)
    ]
    total = np.asarray(seed[: space.places.length], dtype=np.float64) / SCALE
    found = fit(Seed(space, total, math.sqrt(noise.variance) / SCALE), everybody, bin_scores(space, many))
    return scores(space, whole_weights(found.weights), people)
