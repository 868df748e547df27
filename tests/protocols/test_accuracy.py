"""Intervals and ε against other ways to compute them: summation, simulation, OpenDP, the published table."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from protocols.accuracy import (
    Z95,
    Interval,
    discrete_gaussian_accuracy,
    epsilon,
    fieller,
    rho_within,
    share_interval,
    z_for,
)
from protocols.budget import NANO

dp.enable_features("contrib")

MODEST = settings(deadline=None, derandomize=True, max_examples=80)

# -- counts ------------------------------------------------------------------------------------------------------------


def outside(a: int, variance: float) -> Decimal:
    """P(|X| > a) by summation in fifty digits."""
    getcontext().prec = 50
    reach = math.ceil(14 * math.sqrt(variance)) + 3
    weights = [(-Decimal(k * k) / (2 * Decimal(variance))).exp() for k in range(reach + 1)]
    return 2 * sum(weights[a + 1 :]) / (2 * sum(weights) - weights[0])


@pytest.mark.parametrize("variance", [0.3, 1.0, 9.0, 27.5, 208.333334, 750.0])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.001])
def test_the_half_width_of_a_count_is_the_least_integer_that_keeps_alpha(variance: float, alpha: float) -> None:
    a = discrete_gaussian_accuracy(variance, alpha)
    assert outside(a, variance) <= Decimal(alpha)
    assert a == 0 or outside(a - 1, variance) > Decimal(alpha)


@pytest.mark.parametrize("variance", [1.0, 9.0, 100.0, 208.333334, 625.0, 750.0, 10_000.0])
@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.01])
def test_the_half_width_of_a_count_is_opendps(variance: float, alpha: float) -> None:
    """OpenDP's accuracy a has P(|X| ≥ a) ≤ α, ours P(|X| > a) ≤ α."""
    theirs = dp.discrete_gaussian_scale_to_accuracy(math.sqrt(variance), alpha)
    assert discrete_gaussian_accuracy(variance, alpha) == theirs - 1


@pytest.mark.parametrize(("variance", "alpha"), [(0.0, 0.05), (-1.0, 0.05), (9.0, 0.0), (9.0, 1.0)])
def test_a_half_width_of_nonsense_is_refused(variance: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="variance must be positive"):
        discrete_gaussian_accuracy(variance, alpha)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.05 / 15, 1e-6])
def test_z_is_the_two_sided_normal_quantile(alpha: float) -> None:
    assert z_for(alpha) == pytest.approx(norm.ppf(1 - alpha / 2), abs=1e-9)


def test_z95_is_the_quantile_of_five_percent() -> None:
    assert z_for(0.05) == pytest.approx(Z95, abs=1e-12)


# -- ratios ------------------------------------------------------------------------------------------------------------

reals = st.floats(-1e4, 1e4)
variances = st.floats(0.1, 1e4)


@MODEST
@given(a=reals, b=reals, var_a=variances, var_b=variances, rho=st.floats(-0.95, 0.95))
def test_fiellers_set_holds_the_ratio_and_its_ends_solve_the_equation(
    a: float, b: float, var_a: float, var_b: float, rho: float
) -> None:
    cov = rho * math.sqrt(var_a * var_b)
    found = fieller(a, b, var_a, var_b, cov)
    if found is None:
        assert b * b <= Z95**2 * var_b
        return
    assume(b * b > 1.01 * Z95**2 * var_b)
    assert found.low <= a / b <= found.high
    for r in (found.low, found.high):
        right = Z95**2 * (var_a - 2 * r * cov + r * r * var_b)
        assert (a - r * b) ** 2 == pytest.approx(right, rel=1e-6, abs=1e-6 * (a * a + r * r * b * b))


@pytest.mark.parametrize(("a", "b", "cov"), [(40.0, 100.0, 0.0), (5.0, 60.0, 60.0), (-30.0, 80.0, -50.0)])
def test_fiellers_set_covers_the_true_ratio_95_times_in_100(a: float, b: float, cov: float) -> None:
    var_a, var_b = 100.0, 144.0
    draws = np.random.default_rng(20).multivariate_normal([a, b], [[var_a, cov], [cov, var_b]], 20_000)
    sets = [fieller(float(x), float(y), var_a, var_b, cov) for x, y in draws]
    held = [s is None or s.low <= a / b <= s.high for s in sets]
    assert 0.94 < np.mean(held) < 0.96


def test_fieller_is_none_where_the_denominator_could_be_zero() -> None:
    assert fieller(5.0, 19.5, 100.0, 100.0, 0.0) is None
    assert fieller(5.0, 19.7, 100.0, 100.0, 0.0) is not None


@MODEST
@given(
    below=st.integers(-50, 4000), above=st.integers(300, 4000), k=st.integers(1, 15), m=st.integers(1, 15), v=variances
)
def test_the_interval_of_a_share_counts_the_noise_of_all_its_cells(
    below: int, above: int, k: int, m: int, v: float
) -> None:
    """below − r·total has variance (k(1−r)² + m·r²)·v, since below is part of the total."""
    found = share_interval(below, above, k, m, v)
    if found is None:
        assert (below + above) ** 2 <= Z95**2 * (k + m) * v
        return
    assume((below + above) ** 2 > 1.01 * Z95**2 * (k + m) * v)
    assert found.low <= below / (below + above) <= found.high
    for r in (found.low, found.high):
        left = (below * (1 - r) - r * above) ** 2
        right = Z95**2 * v * (k * (1 - r) ** 2 + m * r * r)
        assert left == pytest.approx(right, rel=1e-6, abs=1e-3)


def test_the_interval_of_a_share_covers_the_exact_share() -> None:
    below, above, k, m, v = 900, 2100, 6, 10, 750.0
    noise = np.random.default_rng(21).normal(0, math.sqrt(v), (10_000, k + m))
    held = []
    for row in noise:
        found = share_interval(below + row[:k].sum(), above + row[k:].sum(), k, m, v)
        assert found is not None
        held.append(found.low <= below / (below + above) <= found.high)
    assert 0.943 < np.mean(held) < 0.957


def test_a_half_width_is_half_the_interval() -> None:
    assert Interval(-1.0, 4.0).half_width == 2.5


# -- ε for people ------------------------------------------------------------------------------------------------------

TABLE = [(0.25, "0.00180"), (0.5, "0.00664"), (1.0, "0.02436"), (2.0, "0.08815"), (4.0, "0.31106")]


@pytest.mark.parametrize(("expected", "rho"), TABLE)
def test_epsilon_at_a_millionth_is_that_of_the_published_table(expected: float, rho: str) -> None:
    assert epsilon(int(Decimal(rho) * NANO), 1e-6) == pytest.approx(expected, abs=1e-3)


@MODEST
@given(rho_nano=st.integers(1000, 100 * NANO), exponent=st.integers(3, 15))
def test_epsilon_is_opendps(rho_nano: int, exponent: int) -> None:
    delta = 10.0**-exponent
    noise = dp.m.make_noise(
        dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64"), dp.zero_concentrated_divergence(), 1.0
    )
    profile = dp.c.make_zCDP_to_approxDP(noise).map(math.sqrt(2 * rho_nano / NANO))  # type: ignore[no-untyped-call]
    assert epsilon(rho_nano, delta) == pytest.approx(profile.epsilon(delta), rel=1e-9)


@MODEST
@given(rho_nano=st.integers(1, NANO), more=st.integers(1, NANO))
def test_epsilon_grows_with_rho_and_no_order_gives_less(rho_nano: int, more: int) -> None:
    least = epsilon(rho_nano, 1e-6)
    assert 0 <= least < epsilon(rho_nano + more, 1e-6)
    for alpha in np.geomspace(1e-4, 1e6, 200) + 1:
        over = alpha - 1
        bound = alpha * rho_nano / NANO + (math.log(1e6) + over * math.log(over / alpha) - math.log(alpha)) / over
        assert least <= bound + 1e-12


def test_nothing_spent_is_no_epsilon() -> None:
    assert epsilon(0, 1e-6) == 0.0


@pytest.mark.parametrize(("rho_nano", "delta"), [(-1, 1e-6), (1, 0.0), (1, 1.0), (1, -0.1)])
def test_epsilon_of_nonsense_is_refused(rho_nano: int, delta: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        epsilon(rho_nano, delta)


@MODEST
@given(st.floats(1e-4, 50), st.integers(5, 12))
def test_the_most_rho_within_an_epsilon_is_just_within_it(target: float, exponent: int) -> None:
    delta = 10.0**-exponent
    rho = rho_within(target, delta)
    assert epsilon(rho, delta) <= target < epsilon(rho + 1, delta)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan])
def test_rho_of_nonsense_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="above 0 and finite"):
        rho_within(target, 1e-6)
