"""Whether a customer still is one, and what the next year should bring: BG/NBD and gamma-gamma with public parameters.

A transaction is a day with a purchase. Of each person: `repeats`, the purchase days after the first; `last`, days from
the first to the last; `age`, days from the first to the day of asking. Sources: Fader, Hardie & Lee 2005, "Counting
Your Customers" the Easy Way (expected purchases); 2008, Computing P(alive) Using the BG/NBD Model; Fader & Hardie 2013,
The Gamma-Gamma Model of Monetary Value.

Every number is computed by itself, by scalar functions of `scipy.special`: it does not depend on who else is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.plan import BgNbd, GammaGamma

Reals = NDArray[np.float64]


def alive(model: BgNbd, repeats: Reals, last: Reals, age: Reals) -> Reals:
    """(n,) in [0, 1]: the probability that the person has not left for good. 1 without a repeat purchase.

    1 / (1 + a/(b + x − 1) · ((α + T)/(α + t_x))^(r + x)), with x repeats, t_x last, T age.
    """
    special = _special()
    r, alpha, a, b = float(model.r), float(model.alpha), float(model.a), float(model.b)
    again = repeats > 0
    x = np.where(again, repeats, 1.0)
    odds_left = special.xlogy(1.0, a / (b + x - 1)) + (r + x) * special.log1p((age - last) / (alpha + last))
    return np.where(again, special.expit(-odds_left), 1.0)


def purchases(model: BgNbd, repeats: Reals, last: Reals, age: Reals, days: float) -> Reals:
    """(n,) in [0, days]: expected purchase days in the next `days`, given what the person has done so far.

    P(alive) · (a + b + x − 1)/(a − 1) · [1 − (1 − z)^(a − 1) · ₂F₁(a + b − 1 − r, a − 1; a + b + x − 1; z)] with
    z = t/(α + T + t). Why not the printed (1 − z)^(r + x) · ₂F₁(r + x, b + x; …): its factors leave the range of a
    float for a few thousand purchases; Euler's transformation gives the same value from factors that do not.
    """
    special = _special()
    r, alpha, a, b = float(model.r), float(model.alpha), float(model.a), float(model.b)
    z = days / (alpha + age + days)
    c = a + b + repeats - 1
    with np.errstate(over="ignore", invalid="ignore"):
        decay = special.expm1((1 - a) * special.log1p(days / (alpha + age))) + 1
        expected = c / (a - 1) * (1 - decay * special.hyp2f1(a + b - 1 - r, a - 1, c, z))
        expected = alive(model, repeats, last, age) * expected
    # Why the ends: a purchase day is one day, and no choice of parameters may leave a number that is none.
    return np.asarray(np.clip(np.nan_to_num(expected, nan=0.0, posinf=days, neginf=0.0), 0.0, days), dtype=np.float64)


def mean_spend(model: GammaGamma, purchase_days: Reals, cents: Reals) -> Reals:
    """(n,) cents, above 0: expected spend of a purchase day, after `cents` in all on so many days (both at least 0).

    p · (v + n·m)/(p·n + q − 1) with n days of mean m: between the trade's mean pv/(q − 1) and the person's own.
    """
    p, q, v = float(model.p), float(model.q), float(model.v)
    return np.asarray(p * (100 * v + cents) / (p * purchase_days + q - 1), dtype=np.float64)


def _special() -> Any:
    # Why here: a party whose plans give no parameters does not wait for scipy.
    from scipy import special

    return special
