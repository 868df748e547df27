"""An attack on the whole privacy profile, as strong as the other parties can make it: it finds too little noise.

For a grid of ε′ the most telling event x ≥ t may be likelier with the person than without by no more than
P′(x ≥ t) − e^ε′ · P(x ≥ t) ≤ δ(ε′), the exact profile of the discrete Gaussian. One statistic of many copies of one
slot gives the samples; it comes through `share.build`, masks and `add_up`, and the two other parties, who collude,
add no noise. σ/Δ = 2, where the event is frequent enough to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from protocols.budget import MICRO, variance_for
from protocols.plan import Mechanism
from protocols.statistic import Integers

PARTIES = ("convenience", "drugstore", "grocer")
COLLUDERS = frozenset({"convenience", "drugstore"})
WEIGHT = 4  # Δ: what one person adds to the slot
SIGMA = 8
COPIES = 6_000
ALPHA = 1e-6

AddUp = Callable[..., Integers]


def least(hits: int, draws: int, alpha: float) -> float:
    """Clopper and Pearson's lower limit of a probability."""
    return 0.0 if hits == 0 else float(beta.ppf(alpha, hits, draws - hits + 1))


def most(hits: int, draws: int, alpha: float) -> float:
    return 1.0 if hits == draws else float(beta.ppf(1 - alpha, hits + 1, draws - hits))


def tails(variance: float) -> tuple[Integers, NDArray[np.float64]]:
    reach = math.ceil(14 * math.sqrt(variance))
    support = np.arange(-reach, reach + 1, dtype=np.int64)
    weights = np.exp(-(support.astype(np.float64) ** 2) / (2 * variance))
    return support, weights / weights.sum()


def exact_delta(variance: float, shift: int, epsilon: float) -> tuple[float, int]:
    """δ(ε) of the discrete Gaussian moved by `shift`, and the t of the event x ≥ t that reaches it.

    Source: Canonne, Kamath & Steinke 2020, Theorem 7. Not the continuous profile, which lies below it at small σ.
    """
    support, probability = tails(variance)
    threshold = math.ceil(shift / 2 + variance * epsilon / shift - 1e-12)
    with_person = probability[support >= threshold - shift].sum()
    without = probability[support >= threshold].sum()
    return float(with_person - math.exp(epsilon) * without), threshold


def excess(without: Integers, with_person: Integers, variance: float, shift: int) -> float:
    """How far the profile is surely exceeded; above 0 with probability ≤ ALPHA when the noise is as stated."""
    mu = shift / math.sqrt(variance)
    grid = (0.0, mu * mu / 2, mu, 2 * mu)
    alpha = ALPHA / (2 * len(grid))
    found = []
    for epsilon in grid:
        delta, t = exact_delta(variance, shift, epsilon)
        likelier = least(int((with_person >= t).sum()), len(with_person), alpha)
        likely = most(int((without >= t).sum()), len(without), alpha)
        found.append(likelier - math.exp(epsilon) * likely - delta)
    return max(found)


def mechanism(variance: int) -> Mechanism:
    return Mechanism(
        sensitivity_sq=WEIGHT**2,
        variance=str(variance),
        slots=COPIES,
        adders=list(PARTIES),
        quorum=3,
        collusion=2,
    )


def seen(through_masks: AddUp, entry: int, variance: int) -> Integers:
    """What two colluding parties know of the third's slot, where the person in question adds `entry`."""
    totals = {party: np.full(COPIES, 1000, dtype=np.int64) for party in PARTIES}
    known = sum(totals[party] for party in COLLUDERS)
    totals["grocer"] = totals["grocer"] + entry
    result: Integers = through_masks(totals, mechanism(variance), silent=COLLUDERS) - known - 1000
    return result


def attack(through_masks: AddUp, *, entry: int, variance: int) -> float:
    """The excess over what the plan says, Δ = WEIGHT and σ = SIGMA, when in truth it is these."""
    without, with_person = (seen(through_masks, moved, variance) for moved in (0, entry))
    return excess(without, with_person, SIGMA**2, WEIGHT)


def test_the_plans_variance_is_the_one_attacked() -> None:
    rho = mechanism(SIGMA**2).charge
    assert variance_for(rho, WEIGHT**2, 1) == SIGMA**2 * MICRO


@pytest.mark.parametrize("attempt", range(5))
def test_true_noise_keeps_the_profile_and_raises_no_false_alarm(attempt: int, through_masks: AddUp) -> None:
    assert attack(through_masks, entry=WEIGHT, variance=SIGMA**2) <= 0


@pytest.mark.parametrize("attempt", range(5))
def test_half_the_noise_is_caught(attempt: int, through_masks: AddUp) -> None:
    assert attack(through_masks, entry=WEIGHT, variance=SIGMA**2 // 4) > 0


@pytest.mark.parametrize("attempt", range(5))
def test_a_person_who_counts_twice_is_caught(attempt: int, through_masks: AddUp) -> None:
    assert attack(through_masks, entry=2 * WEIGHT, variance=SIGMA**2) > 0


def test_noise_that_two_colluders_could_subtract_would_be_caught(through_masks: AddUp) -> None:
    """A third of the variance at each party is right for outsiders and wrong for the plan's collusion of two."""
    assert attack(through_masks, entry=WEIGHT, variance=SIGMA**2 // 3) > 0


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
def test_the_event_of_the_attack_is_the_most_telling_one(sigma: float) -> None:
    support, probability = tails(sigma**2)
    for epsilon in (0.0, 0.3, 1.0):
        delta, _ = exact_delta(sigma**2, 1, epsilon)
        moved = np.interp(support - 1, support, probability, left=0.0)
        assert delta == pytest.approx(np.maximum(moved - math.exp(epsilon) * probability, 0).sum(), abs=1e-9)
