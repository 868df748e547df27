"""The noise is the discrete Gaussian that the charge is computed from, and nothing else is accepted or sent."""

from __future__ import annotations

import math

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from protocols import noise
from protocols.budget import MICRO, NANO, charge_for, honest_shares, variance_for
from protocols.errors import IntegrityError, UsageError
from protocols.noise import add_noise
from protocols.plan import Plan
from protocols.statistic import Integers

dp.enable_features("contrib")

ALPHA = 1e-6
DRAWS = 20_000
MODEST = settings(deadline=None, derandomize=True, max_examples=60)


def exact_pmf(variance: float) -> tuple[Integers, NDArray[np.float64]]:
    """Support and probabilities ∝ exp(−k²/2v), far beyond what can be drawn."""
    reach = math.ceil(14 * math.sqrt(variance)) + 5
    support = np.arange(-reach, reach + 1, dtype=np.int64)
    weights = np.exp(-(support.astype(np.float64) ** 2) / (2 * variance))
    return support, weights / weights.sum()


def p_value(noise_drawn: Integers, variance: float) -> float:
    """χ² of draws against the exact discrete Gaussian; neighbouring integers pooled until 10 draws are expected."""
    support, probability = exact_pmf(variance)
    tops: list[int] = []
    expected: list[float] = []
    pooled = 0.0
    for value, weight in zip(support, probability, strict=True):
        pooled += weight * len(noise_drawn)
        if pooled >= 10:
            tops.append(int(value))
            expected.append(pooled)
            pooled = 0.0
    expected[-1] += pooled
    tops[-1] = int(support[-1])
    bins = np.searchsorted(tops, np.clip(noise_drawn, support[0], support[-1]))
    found = np.bincount(bins, minlength=len(tops))
    wanted = np.array(expected)
    return float(chi2.sf(((found - wanted) ** 2 / wanted).sum(), len(tops) - 1))


def drawn(variance_micro: int, count: int) -> Integers:
    """`count` draws as they are added to sums of all sizes, negative ones too."""
    truth = np.arange(count, dtype=np.int64) * 1_000_003 - 10**9
    return add_noise(truth, bound_sq=3, variance_micro=variance_micro) - truth


# -- the distribution --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance_micro", [9 * MICRO, 9_700_001, 64 * MICRO, 208_333_334, 10**10])
def test_noise_has_exactly_the_distribution_it_is_charged_for(variance_micro: int) -> None:
    assert p_value(drawn(variance_micro, DRAWS), variance_micro / MICRO) > ALPHA


def test_both_steps_of_the_demo_get_the_noise_their_plan_states(demo_plan: Plan) -> None:
    for _, mechanism in demo_plan.steps():
        assert p_value(drawn(mechanism.variance_micro, DRAWS), mechanism.variance_micro / MICRO) > ALPHA


@pytest.mark.parametrize("variance", [36, 208])
def test_the_same_test_catches_half_the_noise_with_few_draws(variance: int) -> None:
    assert p_value(drawn(variance * MICRO // 4, 300), variance) < ALPHA


@pytest.mark.parametrize("variance", [36, 208])
def test_the_same_test_catches_noise_over_the_square_root_of_two(variance: int) -> None:
    assert p_value(drawn(variance * MICRO // 2, 2_000), variance) < ALPHA


def test_the_same_test_catches_noise_that_is_off_by_one() -> None:
    assert p_value(drawn(16 * MICRO, DRAWS) + 1, 16.0) < ALPHA


# -- independence ------------------------------------------------------------------------------------------------------


def test_slots_are_noised_independently_of_each_other_and_of_what_they_hold() -> None:
    truth = np.tile(np.array([0, 10**6], dtype=np.int64), DRAWS // 2)
    drew = (add_noise(truth, bound_sq=1, variance_micro=25 * MICRO) - truth).astype(np.float64)
    for lag in (1, 2, 3, 34, 43):
        assert abs(np.corrcoef(drew[:-lag], drew[lag:])[0, 1]) * math.sqrt(len(drew) - lag) < 5.5
    assert abs(np.corrcoef(drew, truth)[0, 1]) * math.sqrt(len(drew)) < 5.5


def test_no_vector_of_noise_ever_comes_again() -> None:
    zeros = np.zeros(34, dtype=np.int64)
    vectors = {tuple(add_noise(zeros, bound_sq=5, variance_micro=208 * MICRO).tolist()) for _ in range(300)}
    assert len(vectors) == 300


def test_the_sum_itself_is_left_as_it_was() -> None:
    truth = np.arange(34, dtype=np.int64)
    add_noise(truth, bound_sq=5, variance_micro=208 * MICRO)
    assert truth.tolist() == list(range(34))


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance_micro", [9 * MICRO - 1, MICRO, 0, -MICRO])
def test_a_variance_below_nine_is_refused(variance_micro: int) -> None:
    with pytest.raises(UsageError, match="below 9"):
        add_noise(np.zeros(4, dtype=np.int64), bound_sq=1, variance_micro=variance_micro)


@pytest.mark.parametrize(
    "total",
    [
        np.zeros(4, dtype=np.float64),
        np.array([np.nan]),
        np.zeros(4, dtype=np.int32),
        np.zeros(4, dtype=np.uint64),
        np.zeros((2, 2), dtype=np.int64),
        np.int64(7) * np.ones((), dtype=np.int64),
        np.array([0, 2**62 + 1], dtype=np.int64),
        np.array([-(2**62) - 1], dtype=np.int64),
        np.array([2**63 - 1], dtype=np.int64),
    ],
    ids=["floats", "nan", "int32", "uint64", "matrix", "scalar", "too large", "too small", "largest int64"],
)
def test_what_is_no_flat_vector_of_moderate_int64_is_refused(total: Integers) -> None:
    with pytest.raises(IntegrityError, match="flat vector"):
        add_noise(total, bound_sq=1, variance_micro=100 * MICRO)


def test_the_least_int64_is_refused_too() -> None:
    with pytest.raises(IntegrityError, match="flat vector"):
        add_noise(np.array([-(2**63)], dtype=np.int64), bound_sq=1, variance_micro=100 * MICRO)


def test_a_sum_at_the_limit_is_still_noised() -> None:
    limits = np.array([2**62, -(2**62)], dtype=np.int64)
    assert np.all(np.abs(add_noise(limits, bound_sq=1, variance_micro=9 * MICRO) - limits) < 40)


def test_nothing_leaves_when_opendp_reckons_more_than_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "charge_for", lambda *given: charge_for(*given) * 99 // 100)
    with pytest.raises(IntegrityError, match="above the charge"):
        add_noise(np.zeros(4, dtype=np.int64), bound_sq=3, variance_micro=250 * MICRO)


# -- the charge --------------------------------------------------------------------------------------------------------


@MODEST
@given(bound_sq=st.integers(1, 2**24), variance_micro=st.integers(9 * MICRO, 10**13))
def test_the_charge_is_opendps_privacy_map_rounded_up_to_the_next_billionth(bound_sq: int, variance_micro: int) -> None:
    mechanism = dp.m.make_noise(
        dp.vector_domain(dp.atom_domain(T="i64")),
        dp.l2_distance(T="f64"),
        dp.zero_concentrated_divergence(),
        math.sqrt(variance_micro / MICRO),
    )
    cost: float = mechanism.map(math.sqrt(bound_sq)) * NANO  # type: ignore[no-untyped-call]
    charge = charge_for(bound_sq, variance_micro, 1)
    assert cost * (1 - 1e-12) <= charge <= cost * (1 + 1e-12) + 1


@MODEST
@given(rho=st.integers(1, 10**9), bound_sq=st.integers(1, 2**32), honest=st.integers(1, 50))
def test_the_variance_of_a_plan_is_the_least_that_its_rho_pays_for(rho: int, bound_sq: int, honest: int) -> None:
    variance = variance_for(rho, bound_sq, honest)
    assert charge_for(bound_sq, variance, honest) <= rho
    assert variance == 1 or bound_sq * NANO * MICRO > 2 * honest * (variance - 1) * rho


def test_shares_that_colluders_know_or_that_never_come_are_not_counted_on() -> None:
    assert [honest_shares(3, collusion) for collusion in (0, 1, 2)] == [3, 2, 1]
    assert honest_shares(2, 4) == 1
