"""BG/NBD and gamma-gamma against published values and against integrals that use no closed form."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from party_node.lifetime import alive, mean_spend, purchases
from protocols.plan import BgNbd, GammaGamma

# CDNOW, calibration weeks 1 to 39 (Fader, Hardie & Lee 2005, table 2); alpha in weeks there, and so in these tests.
CDNOW = BgNbd(r="0.243", alpha="4.414", a="0.793", b="2.426")
GROCERS = BgNbd(r="1.1", alpha="12", a="0.05", b="2.2")
LEAVERS = BgNbd(r="0.8", alpha="20", a="1.7", b="0.9")
SPEND = GammaGamma(p="6.25", q="3.74", v="15.44")
PASTS = [(0, 0, 0), (0, 0, 38.86), (1, 1, 1), (1, 30, 300), (2, 30.43, 38.86), (25, 300, 364), (364, 364, 364)]


def column(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def one(model: BgNbd, past: tuple[float, float, float], days: float) -> tuple[float, float]:
    repeats, last, age = (column(value) for value in past)
    return float(alive(model, repeats, last, age)[0]), float(purchases(model, repeats, last, age, days)[0])


def integrals(model: BgNbd, past: tuple[float, float, float], days: float) -> tuple[float, float]:
    """P(alive) and expected purchases from the likelihood of a rate λ and a dropout p, λ integrated out by hand.

    λ ~ gamma(r, alpha) and p ~ beta(a, b): staying has ∝ (1 − p)^x (α + T)^−(r + x), leaving at the last purchase
    ∝ p (1 − p)^(x − 1) (α + t_x)^−(r + x); who stays then buys (1 − e^(−λpt))/p times in t.
    """
    r, alpha, a, b = (float(value) for value in (model.r, model.alpha, model.a, model.b))
    x, last, age = past
    n = r + x
    leaving = ((alpha + last) / (alpha + age)) ** -n

    def over_p(power: float, weight: float, value: float | None = None) -> float:
        """∫ p^(a + power − 1) (1 − p)^(b + x + weight − 1) [(1 − (1 + pt/(α + T))^−n)/p] dp, p = u^(1/(a + power))."""
        top = a + power

        def inner(u: float) -> float:
            p = u ** (1 / top)
            buys = 1.0 if value is None else -math.expm1(-n * math.log1p(p * value / (alpha + age))) / p
            return float(buys * (1 - p) ** (b + x + weight - 1) / top)

        knots = [0.0, *(min(0.9, k / (b + x)) ** top for k in (1e-4, 1e-2, 0.1, 1, 5, 20, 60)), 1.0]
        parts = zip(sorted(set(knots)), sorted(set(knots))[1:], strict=False)
        return float(sum(integrate.quad(inner, low, high, limit=300)[0] for low, high in parts))

    stays = over_p(0, 0)
    leaves = leaving * over_p(1, -1) if x else 0.0
    return stays / (stays + leaves), over_p(0, 0, days) / (stays + leaves)


def test_the_worked_example_of_the_paper_comes_out() -> None:
    """Fader, Hardie & Lee's note on implementing the model: 1.226 purchases in 39 weeks."""
    found = one(CDNOW, (2, 30.43, 38.86), 39)
    assert found[1] == pytest.approx(1.226, abs=5e-4)
    days = BgNbd(r="0.243", alpha="30.898", a="0.793", b="2.426")
    assert one(days, (2, 30.43 * 7, 38.86 * 7), 39 * 7) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("model", [CDNOW, GROCERS, LEAVERS], ids=["cdnow", "grocers", "leavers"])
@pytest.mark.parametrize("past", PASTS, ids=str)
def test_both_numbers_are_the_integrals_they_stand_for(model: BgNbd, past: tuple[float, float, float]) -> None:
    assert one(model, past, 365) == pytest.approx(integrals(model, past, 365), rel=1e-6)


def test_expected_spend_is_the_mean_of_its_posterior() -> None:
    """The rate of a person's gamma-distributed spend is itself gamma: shape q + p·n, rate v + n·m (in whole units)."""
    p, q, v = 6.25, 3.74, 15.44
    for days, cents in [(1, 0), (1, 4_300), (12, 61_234)]:
        rate = stats.gamma(q + p * days, scale=1 / (v + cents / 100))
        mean = integrate.quad(lambda nu, rate=rate: p / nu * rate.pdf(nu), 0, rate.ppf(1 - 1e-13), limit=300)[0]
        assert mean_spend(SPEND, column(days), column(cents))[0] == pytest.approx(100 * mean, rel=1e-6)


def test_nobody_s_number_depends_on_who_else_is_asked_about() -> None:
    rng = np.random.default_rng(7)
    age = rng.integers(0, 365, 997).astype(np.float64)
    repeats, last = np.floor(rng.random(997) * (age + 1)), np.floor(rng.random(997) * (age + 1))
    together = (alive(CDNOW, repeats, last, age), purchases(CDNOW, repeats, last, age, 365))
    apart = np.array([one(CDNOW, past, 365) for past in zip(repeats, last, age, strict=True)])
    assert np.array_equal(together[0], apart[:, 0])
    assert np.array_equal(together[1], apart[:, 1])


DECIMALS = st.floats(-9, 3.99).map(lambda power: f"{10**power:.9f}").filter(lambda text: float(text) > 0)


@settings(max_examples=150, deadline=None)
@given(r=DECIMALS, alpha=DECIMALS, a=DECIMALS, b=DECIMALS)
def test_no_choice_of_parameters_leaves_a_number_that_is_none(r: str, alpha: str, a: str, b: str) -> None:
    try:
        model = BgNbd(r=r, alpha=alpha, a=a, b=b)
    except ValueError:
        return
    pasts = [*PASTS, (0, 0, 2.9e6), (3_000, 10_000, 2.9e6), (2.9e6, 2.9e6, 2.9e6)]
    found = np.array([one(model, past, 365) for past in pasts])
    assert np.all((found >= 0) & (found <= (1, 365)))


def test_reading_records_does_not_load_pandas_or_scipy() -> None:
    code = "import sys, party_node.records, party_node.features; sys.exit(bool({'pandas', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, env={"PYTHONPATH": str(Path(__file__).parents[2])}
        ).returncode
        == 0
    )
