"""Everybody by released sums: the space, and φ's mean and covariance, against what the rows themselves say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from coordinator import population
from protocols.feature import Feature, Reals
from protocols.noise import add_noise
from protocols.questions.lookalike import background, space
from protocols.statistic import Integers, Noise, People, tally

FEATURES = [
    Feature(name="recency", transform="identity", low=0, high=365),
    Feature(name="spend", transform="log1p", low=0, high=10**6),
    Feature(name="baskets", transform="log1p", low=1, high=500),
    Feature(name="member", transform="identity", low=0, high=1),
]
VARIANCE_MICRO = 10**8 * 2**32 // 10**6 * 10**6  # σ = 10 people in the background


@cache
def people(n: int = 20_000) -> dict[str, Integers]:
    draw = np.random.default_rng(5)
    rate = draw.gamma(1.5, 1.0, n)
    baskets = 1 + draw.poisson(8 * rate)
    found = {
        "recency": np.minimum(draw.exponential(300 / (1 + rate * 4)), 365),
        "spend": baskets * draw.lognormal(7, 0.6, n),
        "baskets": baskets,
        "member": draw.random(n) < 0.2 + 0.5 * (rate > 2),
    }
    return {name: values.astype(np.int64) for name, values in found.items()} | {"usable": np.ones(n, dtype=np.int64)}


def exact_edges(everybody: People) -> Integers:
    return tally(space.edges_statistic(FEATURES), everybody, lambda part: space.edges_rows(FEATURES, part)).total


def noised(total: Integers, sigma: float, seed: int = 1) -> Integers:
    found: Integers = total + np.rint(np.random.default_rng(seed).normal(0, sigma, len(total))).astype(np.int64)
    return found


def noise_of(sigma: float) -> Noise:
    return Noise(1, round(sigma**2 * 1e6))


# -- the space ---------------------------------------------------------------------------------------------------------


def test_margins_are_the_counts_themselves_where_there_is_no_noise() -> None:
    total = exact_edges(people())
    assert np.allclose(np.concatenate(population.margins(FEATURES, total, noise_of(0.0))), total[:-1])


def test_margins_have_no_negative_cell_and_everybody_in_each_feature() -> None:
    found = population.margins(FEATURES, noised(exact_edges(people()), 60.0), noise_of(60.0))
    assert all(np.all(one >= 0) for one in found)
    sums = [float(one.sum()) for one in found]
    assert max(sums) == pytest.approx(min(sums))
    assert sums[0] == pytest.approx(20_000, rel=0.02)


def test_empty_cells_do_not_fill_with_noise() -> None:
    """Half of noise is above zero: clipped at zero alone, each of 200 empty cells would hold 24 people."""
    late = people() | {"recency": 300 + people()["recency"] // 6}
    found = population.margins(FEATURES, noised(exact_edges(late), 60.0), noise_of(60.0))[0]
    assert found[:200].mean() < 4
    assert found[205:].sum() > 19_000


@pytest.mark.parametrize(("sigma", "off"), [(0.0, 0.05), (40.0, 0.15)])
def test_scores_are_normal_and_bins_hold_tenths(sigma: float, off: float) -> None:
    edges = noised(exact_edges(people()), sigma)
    made = population.space(FEATURES, population.margins(FEATURES, edges, noise_of(sigma)))
    space.Space.read(made.write(), FEATURES)
    z = made.z(list(space.cells(FEATURES, people())))
    for one in z[:3]:
        assert abs(one.mean() / space.ONE) < off
        assert one.std() / space.ONE == pytest.approx(1.0, abs=off)
    for own in list(made.binned(list(space.cells(FEATURES, people()))))[:2]:
        shares = np.bincount(own - own.min()) / len(own)
        assert len(shares) == 10
        assert shares.max() < 0.2
    assert [len(firsts) for firsts in made.bins][3] == 2


def test_nobody_at_all_still_makes_a_space() -> None:
    nobody = np.zeros(len(space.edges_statistic(FEATURES).slots), dtype=np.int64)
    margins = population.margins(FEATURES, nobody, noise_of(60.0))
    made = population.space(FEATURES, margins)
    space.Space.read(made.write(), FEATURES)
    flat = np.zeros(len(background.statistic(FEATURES).slots), dtype=np.int64)
    everybody, _ = population.everybody(made, margins, flat, Noise(1, VARIANCE_MICRO))
    assert np.all(np.isfinite(everybody.covariance))


def test_people_who_are_all_alike_have_a_covariance_too() -> None:
    alike = {name: np.full(2_000, column[0]) for name, column in people(10).items()}
    margins = population.margins(FEATURES, exact_edges(alike), noise_of(0.0))
    made = population.space(FEATURES, margins)
    total = tally(background.statistic(FEATURES), alike, lambda part: background.rows(made, part)).total
    everybody, _ = population.everybody(made, margins, total, Noise(1, VARIANCE_MICRO))
    assert np.all(np.isfinite(everybody.covariance))
    assert np.trace(everybody.covariance) < 0.05


# -- mean and covariance -----------------------------------------------------------------------------------------------


@cache
def released() -> tuple[space.Space, list[Reals], Integers, Noise, Reals]:
    """(space, people in cells, background with noise of three parties, that noise, exact φ)."""
    margins = population.margins(FEATURES, noised(exact_edges(people()), 60.0), noise_of(60.0))
    made = population.space(FEATURES, margins)
    statistic = background.statistic(FEATURES)
    total = tally(statistic, people(), lambda part: background.rows(made, part)).total
    for _ in range(3):
        total = add_noise(total, bound_sq=statistic.bound_sq, variance_micro=VARIANCE_MICRO)
    phi = made.rows(people()) / float(space.SCALE)
    return made, margins, total, Noise(3, VARIANCE_MICRO), phi


def test_the_number_of_people_and_the_mean_are_within_their_noise() -> None:
    made, _, total, noise, phi = released()
    found = population.Moments.of(made.d, total, noise)
    assert found.people == pytest.approx(20_000, rel=0.02)
    everybody, _ = population.everybody(*released()[:2], total, noise)
    off = (everybody.mean - phi.mean(axis=0) * 20_000 / found.people)[:-1] / np.sqrt(everybody.error[:-1])
    assert np.abs(off).max() < 5
    assert 0.5 < off.std() < 1.2


def test_the_covariance_is_near_that_of_the_rows() -> None:
    everybody, _ = population.everybody(*released()[:4])
    exact = np.cov(released()[4].T)
    k = 2 * len(FEATURES) + 1
    moments, others = everybody.covariance[:k, :k] - exact[:k, :k], everybody.covariance - exact
    assert np.linalg.norm(moments) < 0.1 * np.linalg.norm(exact[:k, :k])
    assert np.linalg.norm(others) < 0.15 * np.linalg.norm(exact)


def test_released_moments_make_the_covariance_better_than_the_copula_alone() -> None:
    made, margins, total, noise, phi = released()
    everybody, drawn = population.everybody(made, margins, total, noise)
    exact = np.cov(phi.T)
    assert np.linalg.norm(everybody.covariance - exact) < np.linalg.norm(np.cov(drawn.T) - exact)


def test_the_covariance_is_positive_and_the_constant_does_not_vary() -> None:
    everybody, _ = population.everybody(*released()[:4])
    assert np.linalg.eigvalsh(everybody.covariance).min() > -1e-9
    assert abs(everybody.covariance[-1]).max() < 1e-9


def test_the_same_release_gives_the_same_bytes() -> None:
    first, second = (population.everybody(*released()[:4]) for _ in range(2))
    assert first[0].covariance.tobytes() == second[0].covariance.tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_what_stands_within_the_noises_spectrum_is_dropped_and_what_stands_out_is_kept() -> None:
    draw = np.random.default_rng(3)
    noise = draw.normal(0, 0.01, (40, 40))
    noise = (noise + noise.T) / np.sqrt(2)
    direction = np.full(40, 40**-0.5)
    kept = population._shrunk(noise + np.outer(direction, direction), 0.01)
    assert abs(direction @ kept @ direction - 1) < 0.05
    assert np.linalg.norm(kept - np.outer(direction, direction)) < 0.3 * np.linalg.norm(noise)
