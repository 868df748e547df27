"""How sure a released number is: intervals that include the noise, and ε for people's eyes.

Nothing here decides what may be spent; that is integer arithmetic in `budget.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from .budget import MICRO, NANO

Z95 = 1.959963984540054
ALPHA = 0.05
WIDE = 1e6
FAR = 8  # standard deviations: a draw lies beyond with probability 1.3e-15


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


@lru_cache(maxsize=256)
def discrete_gaussian_accuracy(variance: float, alpha: float = ALPHA) -> int:
    """The smallest integer a with P(|X| > a) ≤ alpha, X discrete Gaussian with density ∝ exp(−k²/2·variance).

    Source: Canonne, Kamath & Steinke 2020, "The Discrete Gaussian for Differential Privacy", Definition 1.
    The sum of discrete Gaussians with σ ≥ 2 each is one to within 10⁻¹⁵ (their section 4.2, Theorem 7 and after).
    """
    if variance <= 0 or not 0 < alpha < 1:
        raise ValueError("variance must be positive, alpha between 0 and 1")
    if variance > WIDE:  # the sum below and the normal tail then differ by less than one unit in a thousand σ
        return math.ceil(z_for(alpha) * math.sqrt(variance))
    reach = math.ceil(12 * math.sqrt(variance)) + 2
    weights = [math.exp(-k * k / (2 * variance)) for k in range(reach + 1)]
    inside, whole = weights[0], weights[0] + 2 * math.fsum(weights[1:])
    a = 0
    while whole - inside > alpha * whole:
        a += 1
        inside += 2 * weights[a]
    return a


def shift(variance_micro: int, shares: int = 1) -> int:
    """⌈8σ⌉, exactly, of a variance in millionths (times so many shares): how far a draw of noise is moved up."""
    whole = -(-(FAR**2) * shares * variance_micro // MICRO)
    return math.isqrt(whole - 1) + 1


def z_for(alpha: float) -> float:
    """The two-sided normal quantile, by bisection on erfc: no dependency, exact to 1e-12."""
    low, high = 0.0, 40.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) > alpha else (low, middle)
    return (low + high) / 2


def fieller(a: float, b: float, var_a: float, var_b: float, cov: float, z: float = Z95) -> Interval | None:
    """The set of ratios r with (a − r·b)² ≤ z²·(var_a − 2·r·cov + r²·var_b), or None where it is unbounded.

    Source: Fieller 1954, "Some problems in interval estimation", JRSS B 16(2).
    """
    zz = z * z
    qa = b * b - zz * var_b
    qb = a * b - zz * cov
    qc = a * a - zz * var_a
    if qa <= 0:
        return None
    root = math.sqrt(max(0.0, qb * qb - qa * qc))
    return Interval((qb - root) / qa, (qb + root) / qa)


def share_interval(below: float, above: float, cells_below: int, cells_above: int, variance: float,
                   z: float = Z95) -> Interval | None:  # fmt: skip
    """Fieller's interval for below / (below + above), each the sum of so many noised cells of one variance."""
    total = below + above
    var_a = cells_below * variance
    return fieller(below, total, var_a, (cells_below + cells_above) * variance, var_a, z)


def epsilon(rho_nano: int, delta: float) -> float:
    """The ε of (ε, δ)-DP that ρ-zCDP gives: min over α > 1 of αρ + (ln(1/δ) + (α−1)·ln(1−1/α) − ln α)/(α−1).

    Source: Canonne, Kamath & Steinke 2020, Proposition 12 (with Corollary 13). Minimum by golden section in ln(α−1).
    """
    if rho_nano == 0:
        return 0.0
    if rho_nano < 0 or not 0 < delta < 1:
        raise ValueError("ρ must not be negative, δ between 0 and 1")
    rho = rho_nano / NANO

    def bound(t: float) -> float:
        over = math.exp(t)
        alpha = 1 + over
        return alpha * rho + (math.log(1 / delta) + over * math.log(over / alpha) - math.log(alpha)) / over

    low, high, golden = -12.0, 16.0, (math.sqrt(5) - 1) / 2
    for _ in range(200):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if bound(left) < bound(right) else (left, high)
    return max(0.0, bound((low + high) / 2))


def rho_within(target: float, delta: float) -> int:
    """The most nano-ρ whose ε at this δ is not above `target`; 0 where not even one is.

    Why bisection: ε grows with ρ. Raises ValueError for an ε that is not above 0.
    """
    if not 0 < target < math.inf:
        raise ValueError("ε must be above 0 and finite")
    low, high = 0, 1
    while epsilon(high, delta) <= target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if epsilon(middle, delta) <= target else (low, middle)
    return low
