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

from protocols.budget import MICRO, variance_for
from protocols.plan import Mechanism
from protocols.statistic import Integers
from tests.privacy.exact_profile import exact_delta, excess, tails

PARTIES = ("convenience", "drugstore", "grocer")
COLLUDERS = frozenset({"convenience", "drugstore"})
WEIGHT = 4  # Δ: what one person adds to the slot
SIGMA = 8
COPIES = 6_000

AddUp = Callable[..., Integers]


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
