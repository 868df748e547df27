"""The fit of a seed against everybody: what tells them apart, and the less of it the more noise there is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.feature import Feature, Reals
from protocols.questions.lookalike import likeness, space
from protocols.questions.lookalike.likeness import Everybody, Seed, fit
from protocols.questions.lookalike.scorer import EVIDENT
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers

FEATURES = [Feature(name=f"x{j}", transform="identity", low=-4_000, high=4_000) for j in range(3)]


def made() -> Space:
    """Of normal features of deviation 1,000."""
    scores, bins = [], []
    for feature in FEATURES:
        middle = (space.starts(feature) + 16) / 1_000
        scores.append(np.clip(np.rint(middle * space.ONE), -space.FARTHEST, space.FARTHEST).astype(np.int64))
        bins.append(np.array([0, *np.searchsorted(middle, [-1.28, -0.84, -0.52, -0.25, 0, 0.25, 0.52, 0.84, 1.28])]))
    return Space(tuple(FEATURES), tuple(scores), tuple(bins))


SHARED = made()
DRAW = np.random.default_rng(7)
PEOPLE = np.rint(DRAW.normal(0, 1_000, (20_000, 3))).astype(np.int64)


def phi(people: Integers) -> Reals:
    return SHARED.rows({f.name: people[:, j] for j, f in enumerate(FEATURES)}) / float(space.SCALE)


PHI = phi(PEOPLE)
ALL = Everybody(PHI.mean(axis=0), np.cov(PHI.T), np.full(PHI.shape[1], 1e-10))
MASS = [np.bincount(at, minlength=256).astype(float) for at in space.cells(FEATURES, dict(zip(
    [f.name for f in FEATURES], PEOPLE.T, strict=True)))]  # fmt: skip
BIN_SCORES = likeness.bin_scores(SHARED, MASS)


def seed_of(chance: Reals, sigma: float, people: int = 2_000, seed: int = 1) -> Seed:
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(PEOPLE), people, replace=False, p=chance / chance.sum())
    total = PHI[chosen].sum(axis=0)
    return Seed(SHARED, total + draw.normal(0, sigma, len(total)), sigma)


def auc(scores: Reals, chance: Reals) -> float:
    """How often somebody drawn by the chance is before another."""
    order = np.argsort(scores)
    likely = chance[order] / chance.sum()
    return float((likely * np.arange(len(order))).sum() / len(order))


Z = PEOPLE / 1_000
TREND = np.exp(0.8 * Z[:, 0])
WEAK = np.exp(0.2 * Z[:, 0])
CURVE = np.exp(-0.5 * Z[:, 1] ** 2)
STEP = np.where(np.abs(Z[:, 2] - 0.4) < 0.3, 6.0, 1.0)
BOTH = np.exp(0.8 * np.clip(Z[:, 0] * Z[:, 1], -2, 2))


@pytest.mark.parametrize(
    ("chance", "lost"),
    [(TREND, 0.01), (CURVE, 0.01), (STEP, 0.05), (BOTH, 0.03)],
    ids=["trend", "curve", "step", "product"],
)
def test_with_little_noise_the_score_is_nearly_as_good_as_the_chance_itself(chance: Reals, lost: float) -> None:
    found = fit(seed_of(chance, 1.0), ALL, BIN_SCORES)
    assert auc(PHI @ found.weights, chance) > auc(chance, chance) - lost


def test_the_score_has_deviation_one_among_everybody() -> None:
    found = fit(seed_of(TREND, 5.0), ALL, BIN_SCORES)
    assert math.isclose(float(found.weights @ ALL.covariance @ found.weights), 1.0, rel_tol=1e-9)


def test_the_more_noise_the_less_evidence_and_the_worse_the_score() -> None:
    found = [[fit(seed_of(WEAK, sigma, seed=s), ALL, BIN_SCORES) for s in range(5)] for sigma in (1.0, 20.0, 80.0)]
    evidence = [np.mean([one.evidence for one in each]) for each in found]
    good = [np.mean([auc(PHI @ one.weights, WEAK) for one in each]) for each in found]
    assert evidence[0] > evidence[1] > evidence[2]
    assert good[0] > good[1] > good[2]


def test_a_seed_drawn_from_everybody_has_little_evidence_and_one_that_is_not_has_much() -> None:
    evidence = [fit(seed_of(np.ones(len(PEOPLE)), 5.0, seed=s), ALL, BIN_SCORES).evidence for s in range(20)]
    assert sum(1_000 * one >= EVIDENT for one in evidence) <= 1
    assert 1_000 * fit(seed_of(TREND, 5.0), ALL, BIN_SCORES).evidence > 10 * EVIDENT


def test_the_seeds_size_is_estimated_without_bias() -> None:
    found = np.array([seed_of(TREND, 10.0, people=500, seed=s).people for s in range(300)])
    deviation = 10.0 / math.sqrt(0.1 + 0.2 * 3 / 30)
    assert abs(found.mean() - 500) < 4 * deviation / math.sqrt(300)
    assert abs(found.std() / deviation - 1) < 0.2


def test_a_wrong_count_of_everybody_moves_no_weight_by_much() -> None:
    """κ² μ μᵀ: a mean over 3 % too few people is 3 % too long, and that is not taken for likeness."""
    seed = seed_of(CURVE, 5.0)
    right = fit(seed, ALL, BIN_SCORES).ratio
    long = Everybody(ALL.mean * 1.03, ALL.covariance, ALL.error)
    apart = PHI @ (fit(seed, long, BIN_SCORES).ratio - right)
    assert apart.std() < 0.1 * (PHI @ right).std()


def test_people_alone_give_scores_to_bins() -> None:
    for scores in BIN_SCORES:
        assert len(scores) == 10
        assert np.all(np.diff(scores) > 0)
    assert BIN_SCORES[0][0] == pytest.approx(-1.75, abs=0.1)  # of the lowest tenth of a normal


def test_a_seed_in_which_there_is_nothing_but_noise_is_still_fitted() -> None:
    nothing = Seed(SHARED, np.zeros(SHARED.places.length), 5.0)
    found = fit(nothing, ALL, BIN_SCORES)
    assert np.all(np.isfinite(found.weights))
    flat = Everybody(ALL.mean, np.zeros_like(ALL.covariance), ALL.error)
    assert not np.any(fit(seed_of(TREND, 5.0), flat, BIN_SCORES).weights)
