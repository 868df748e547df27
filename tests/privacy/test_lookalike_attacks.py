"""What an attacker learns of one person from the seed's release, played and measured beside what DP promises.

The attacker knows everything but one bit: whether a certain person is in the seed. That is a malicious advertiser whose
seed is one person, or anybody who knows all others. The best test there is projects what was released on that person's
φ (Neyman & Pearson 1933). Its advantage, hits less false alarms, is at most erf(√ρ / 2) for noise of ρ in all:
√(2ρ) = Δ/σ is the distance of two normals of deviation 1 (Dong, Roth & Su 2022, Gaussian differential privacy).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from protocols.budget import NANO, variance_for
from protocols.feature import Feature, Reals
from protocols.noise import add_noise
from protocols.questions.lookalike import space
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers

PLAYS = 800  # of each kind: an advantage is then known to ± .025
FEATURE = Feature(name="days", transform="identity", low=0, high=255)
RHO = 150_000_000  # large, so that there is something to be measured
TOLERANCE = 4 * math.sqrt(0.5 / PLAYS)


def made() -> Space:
    scores = np.linspace(-2, 2, 256) * space.ONE
    return Space((FEATURE,), (scores.astype(np.int64),), (np.array([0, 64, 128]),))


ROW = made().rows({"days": np.array([200])})[0]


@cache
def noise(number: int) -> Integers:
    """(plays, slots) of the noise of as many independent releases."""
    micro = variance_for(RHO, space.SCALE**2, 1)
    nothing = np.zeros(PLAYS * len(ROW), dtype=np.int64)
    return add_noise(nothing, bound_sq=space.SCALE**2, variance_micro=micro).reshape(PLAYS, -1)


def advantage(with_person: Reals, without: Reals) -> float:
    """Hits less false alarms of the best threshold, half way between the two means."""
    direction, half = ROW / np.linalg.norm(ROW), np.linalg.norm(ROW) / 2
    return float((with_person @ direction > half).mean() - (without @ direction > half).mean())


def bound(rho: int, times: int = 1) -> float:
    return math.erf(math.sqrt(times * rho / NANO) / 2)


def test_one_release_tells_as_much_as_its_rho_allows_and_no_more() -> None:
    """A seed of one person, or one of whom all others are known: these are taken off, and the same is left."""
    found = advantage(noise(0) + ROW, noise(1))
    assert found < bound(RHO) + TOLERANCE
    assert found > bound(RHO) - TOLERANCE  # the attack is the best there is: a bound far off would hide half the noise


def test_repeated_seeds_tell_what_their_rhos_add_up_to() -> None:
    """Four plans with the same seed are four charges: their mean has half the noise, and this attack would see it."""
    inside, outside = (sum(noise(4 * i + k) for k in range(4)) / 4 for i in (0, 1))
    found = advantage(inside + ROW, outside)
    assert found < bound(RHO, 4) + TOLERANCE
    assert found > bound(RHO) + TOLERANCE
