"""The fits between the steps of the lookalike question: noised sums in, the shared space and the public scorer out.

Nothing here sees a row. The scorer is the same bytes everywhere, and so is every figure that rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.feature import Feature, Reals
from protocols.questions.lookalike.likeness import Fit, Seed, bin_scores, fit
from protocols.questions.lookalike.scorer import CELLS, FARTHEST, REACHES, UNIT, WEIGHT, Scorer, whole_weights
from protocols.questions.lookalike.space import SCALE, Space
from protocols.statistic import Integers, Noise

from . import population

MOST_RATIO = 10**6


@dataclass(frozen=True, eq=False)
class Released:
    """noised: (slots,) a step's sum, as it was released; noise: what is in it."""

    noised: Integers
    noise: Noise


def shared_space(features: Sequence[Feature], edges: Released) -> Space:
    """After the step `look-edges`."""
    return population.space(features, population.margins(features, edges.noised, edges.noise))


def public_scorer(space: Space, edges: Released, background: Released, seed: Released) -> Scorer:
    """After the step `look-seed`: from the sums of all three steps."""
    people = population.margins(space.features, edges.noised, edges.noise)
    everybody, drawn = population.everybody(space, people, background.noised, background.noise)
    sigma = math.sqrt(seed.noise.variance) / SCALE
    given = Seed(space, np.asarray(seed.noised[: space.places.length], dtype=np.float64) / SCALE, sigma)
    found = fit(given, everybody, bin_scores(space, people))
    weights = whole_weights(found.weights)
    scores = np.sort(drawn @ (weights / WEIGHT))
    return Scorer(
        space,
        weights,
        _edges(scores),
        _preview(drawn, weights / WEIGHT, found, everybody.mean),
        min(round(1000 * found.evidence), 2**53),
        round(given.people),
        _drivers(space, drawn, weights / WEIGHT),
    )


def _edges(scores: Reals) -> Integers:
    """Between cells, so that each has the share of everybody that it should."""
    places = np.quantile(scores, 1 - _shares()[:-1][::-1])
    return np.clip(np.rint(places * UNIT), -FARTHEST, FARTHEST).astype(np.int64)


def _shares() -> Reals:
    """(64,) of everybody who is in a cell or a likelier one: the narrower the likelier, down to six tenths."""
    parts = [(0.1, 18), (0.25, 18), (0.25, 18), (0.4, CELLS - 54)]
    return np.cumsum([share / many for share, many in parts for _ in range(many)])


def _preview(drawn: Reals, weights: Reals, found: Fit, mean: Reals) -> tuple[int, ...]:
    """What the model expects: the density ratio of those drawn within each reach over that of all."""
    ratio = np.clip(1 + (drawn - mean) @ found.ratio, 0.0, MOST_RATIO)
    order = np.argsort(-(drawn @ weights), kind="stable")
    held = np.cumsum(ratio[order]) / max(float(ratio.sum()), 1e-12)
    return tuple(round(1e6 * float(held[max(len(held) * reach // 100, 1) - 1])) for reach in REACHES)


def _drivers(space: Space, drawn: Reals, weights: Reals) -> tuple[int, ...]:
    moved = drawn - drawn.mean(axis=0)
    score = moved @ weights
    spread = np.sqrt((score**2).sum() * (moved[:, : space.d] ** 2).sum(axis=0))
    found = np.divide(score @ moved[:, : space.d], spread, out=np.zeros(space.d), where=spread > 0)
    return tuple(round(1e6 * float(x)) for x in np.clip(found, -1, 1))
