"""φ: what a cell, a bin and an angle are, and that the map is what its formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.feature import Feature
from protocols.questions.lookalike import background, space
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers, People

DAYS = Feature(name="days", transform="identity", low=0, high=365)
MEMBER = Feature(name="member", transform="identity", low=0, high=1)
SPEND = Feature(name="spend", transform="log1p", low=0, high=10**6)
FEATURES = [DAYS, MEMBER, SPEND]


def made() -> Space:
    scores = [np.linspace(-2.5, 2.5, len(space.starts(f))) * space.ONE for f in FEATURES]
    bins = [np.array([0, 40, 90, 200]), np.array([0, 1]), np.array([0, 7])]
    return Space(tuple(FEATURES), tuple(one.astype(np.int64) for one in scores), tuple(bins))


def people(n: int = 500, seed: int = 3) -> People:
    draw = np.random.default_rng(seed)
    found: dict[str, Integers] = {f.name: draw.integers(f.low, f.high + 1, n) for f in FEATURES}
    return found | {"usable": np.ones(n, dtype=np.int64)}


# -- cells -------------------------------------------------------------------------------------------------------------


def test_a_feature_of_few_whole_numbers_has_a_cell_for_each() -> None:
    assert space.starts(MEMBER).tolist() == [0, 1]
    months = Feature(name="months", transform="identity", low=1, high=12)
    assert space.starts(months).tolist() == list(range(1, 13))


def test_no_feature_has_more_than_256_cells_and_none_is_without_a_whole_number() -> None:
    for feature in (DAYS, SPEND, Feature(name="w", transform="identity", low=-(2**40), high=2**40)):
        starts = space.starts(feature)
        assert len(starts) <= space.CELLS
        assert starts[0] == feature.low
        assert starts[-1] <= feature.high
        assert np.all(np.diff(starts) > 0)


@pytest.mark.parametrize("feature", [DAYS, SPEND])
def test_a_cell_is_one_of_256_equal_stretches_of_the_features_own_scale(feature: Feature) -> None:
    values = np.random.default_rng(1).integers(feature.low, feature.high + 1, 5_000)
    (at,) = space.cells([feature], {feature.name: values})
    stretch = np.minimum(np.floor((feature.scaled(values) + 1) / 2 * 256), 255)
    assert [len(set(stretch[at == cell])) for cell in np.unique(at)] == [1] * len(np.unique(at))
    assert len(np.unique(at)) == len(np.unique(stretch))


def test_values_beyond_the_bounds_are_in_the_first_and_the_last_cell() -> None:
    values = np.array([-(2**63), -1, 0, 365, 366, 2**63 - 1])
    (at,) = space.cells([DAYS], {"days": values})
    assert at.tolist() == [0, 0, 0, 255, 255, 255]


def test_a_person_is_in_one_cell_of_each_feature() -> None:
    everybody = people()
    statistic = space.edges_statistic(FEATURES)
    dense = space.edges_rows(FEATURES, everybody).dense(len(statistic.slots) - 1)
    first = 0
    for feature in FEATURES:
        many = len(space.starts(feature))
        assert np.all(dense[:, first : first + many].sum(axis=1) == 1)
        first += many
    assert first == dense.shape[1]
    assert statistic.bound_sq == 3


# -- φ -----------------------------------------------------------------------------------------------------------------


def by_formula(shared: Space, everybody: People) -> np.ndarray:
    """φ in floats, straight from its definition; angles to a twelfth bit of a turn."""
    d = len(FEATURES)
    at = list(space.cells(FEATURES, everybody))
    z = np.stack([s[a] for s, a in zip(shared.scores, at, strict=True)], axis=1) / 4096
    u = np.concatenate([z, (z**2 - 1) / 2], axis=1) / (1.3 * math.sqrt(d))
    u = u / np.maximum(1, np.linalg.norm(u, axis=1))[:, None]
    rest = np.sqrt(np.maximum(0, 1 - (u**2).sum(axis=1)))[:, None]
    blocks = [math.sqrt(0.45) * u, math.sqrt(0.45) * rest]
    for feature, firsts, own in zip(FEATURES, shared.bins, at, strict=True):
        width = min(10, len(space.starts(feature)))
        blocks.append(math.sqrt(0.2 / d) * np.eye(width)[np.searchsorted(firsts, own, side="right") - 1])
    turns = space.frequencies(d).astype(np.int64)
    turns = np.where(turns >= 2**31, turns - 2**32, turns) / 2**32 * 4096
    angles = 2 * math.pi * z @ turns.T
    wave = math.sqrt(0.25 / 80)
    return np.concatenate(
        [*blocks, wave * np.cos(angles), wave * np.sin(angles), np.full((len(z), 1), math.sqrt(0.1))], 1
    )


def test_phi_is_what_its_formula_says() -> None:
    everybody, shared = people(), made()
    rows = shared.rows(everybody)
    assert rows.shape == (500, shared.places.length)
    assert len(space.names(FEATURES)) == shared.places.length
    assert np.abs(rows / 65536 - by_formula(shared, everybody)).max() < 2 * math.pi / 4096 * 0.06


def test_the_norm_of_phi_is_one_but_for_truncation_however_far_out_a_person_is() -> None:
    rows = made().rows(people())
    squares = (rows**2).sum(axis=1) / 2.0**32
    assert squares.max() <= 1
    assert squares.min() > 0.9995


def test_the_norm_of_the_background_is_one_but_for_truncation() -> None:
    statistic = background.statistic(FEATURES)
    rows = background.rows(made(), people())
    assert rows.shape == (500, len(statistic.slots) - 1)
    squares = (rows**2).sum(axis=1) / 2.0**32
    assert squares.max() <= 1
    assert squares.min() > 0.9995


def test_the_background_holds_the_second_moments_and_the_mean_of_phi() -> None:
    shared, everybody = made(), people()
    phi, v = shared.rows(everybody) / 65536, background.rows(shared, everybody) / 65536
    k = 2 * len(FEATURES) + 1
    m = np.concatenate([phi[:, :k] * math.sqrt(0.7 / 0.45), np.full((500, 1), math.sqrt(0.3))], axis=1)
    pairs = background.pairs(len(FEATURES))
    second = np.stack([m[:, i] * m[:, j] * math.sqrt(0.8) * (1 if i == j else math.sqrt(2)) for i, j in pairs], axis=1)
    assert np.abs(v[:, : len(pairs)] - second).max() < 1e-4
    assert np.abs(v[:, len(pairs) :] - phi[:, k:-1] * math.sqrt(0.2 / 0.45)).max() < 1e-4


# -- frequencies -------------------------------------------------------------------------------------------------------


def test_frequencies_never_change() -> None:
    """They are no part of a document: whoever makes them anew must find the same."""
    assert space.frequencies(3).shape == (80, 3)
    assert space.frequencies(3)[0].tolist() == FIRST
    assert np.array_equal(space.frequencies(3), space.frequencies.__wrapped__(3))


def test_frequencies_are_normal_draws_of_three_widths() -> None:
    d = 16
    turns = space.frequencies(d).astype(np.int64)
    turns = np.where(turns >= 2**31, turns - 2**32, turns) * (2 * math.pi * 4096 / 2**32) * math.sqrt(d)
    for k, width in enumerate((0.5, 1.0, 2.0)):
        own = turns[k::3] * width
        assert abs(own.mean()) < 4 / math.sqrt(own.size)
        assert abs(own.std() - 1) < 4 / math.sqrt(2 * own.size)


FIRST = [4294732108, 4294774094, 168733]
