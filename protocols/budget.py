"""What a release costs, and what is left: integers in nano-ρ (10⁻⁹ of zero-concentrated DP), rounded against us.

    ρ = Δ² / (2 · h · v)          Bun & Steinke 2016, Prop. 1.6; Canonne, Kamath & Steinke 2020, Thm 4
    Δ²   squared L2 sensitivity of the integer vector, for one person at one party
    v    variance of one party's noise, in millionths
    h    max(1, quorum − collusion): shares of noise that are certain to be there and unknown to the attackers

A person known to several parties costs more (`person_charge`), whatever h is.

No floats here. ε for people's eyes is in `accuracy.py`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from .errors import UsageError

NANO = 10**9
MICRO = 10**6

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,9})?")


def nano(text: str, *, what: str) -> int:
    """`"0.088"` → 88,000,000 nano-ρ, exactly. Raises UsageError for anything but a plain decimal of ≤ 9 digits."""
    if not _DECIMAL.fullmatch(text):
        raise UsageError(f"{what} is {text!r}, not a decimal with at most nine digits", 'write for example "0.006"')
    return int(Fraction(text) * NANO)


def decimal(value: int, unit: int = NANO) -> str:
    """The shortest decimal of an integer in billionths (or in 1/`unit`): 88,000,000 → `"0.088"`."""
    sign, value = ("-" if value < 0 else ""), abs(value)
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


@lru_cache(maxsize=4096)  # a long ledger says the same few variances over and over
def micro(text: str) -> int:
    """A canonical decimal (`schema.Decimal`) in millionths: `"208.333334"` → 208,333,334."""
    whole, _, digits = text.partition(".")
    return int(whole) * MICRO + int(digits.ljust(6, "0"))


def honest_shares(quorum: int, collusion: int) -> int:
    """h: how many shares of noise the charge may count on. Never below one: every node adds at least its own."""
    return max(1, quorum - collusion)


def recovery_threshold(adders: int, collusion: int) -> int:
    """t: the fewest shares that a release may be made of, and the fewest adders that must agree to anything about it.

    The least t with t > (N + c + 1)/2 and t > 2N/3, and never more than N, for N adders of which c may collude,
    0 ≤ c < N. Why: two sets of t among N share at least 2t − N ≥ c + 2 parties. Two of them are honest; the disk of one
    may have been put back to an older copy, and there is still one that agrees to one roster, signs one set of
    survivors, and cosigns one history, only. Where t is N nobody can be lost, and no two sets differ; with four adders
    or fewer that is always so.
    Source: Bonawitz et al. 2017, "Practical Secure Aggregation", section 4.3 and Theorem 6.5 (active attackers), where
    t > (N + c)/2: an honest party of theirs forgets nothing.
    """
    if not 0 <= collusion < adders:
        raise UsageError(f"{collusion} of {adders} adders cannot collude; it must be 0 to {adders - 1}")
    return min(adders, max((adders + collusion + 1) // 2 + 1, 2 * adders // 3 + 1))


def variance_for(rho_nano: int, sensitivity_sq: int, honest: int) -> int:
    """The least variance of one party's noise, in millionths, whose charge does not exceed `rho_nano`."""
    if rho_nano <= 0 or sensitivity_sq <= 0 or honest <= 0:
        raise UsageError("ρ, sensitivity and honest shares must all be positive")
    return _ceil_div(sensitivity_sq * NANO * MICRO, 2 * honest * rho_nano)


def charge_for(sensitivity_sq: int, variance_micro: int, honest: int) -> int:
    """Nano-ρ of one release for one person's records at one party, rounded up."""
    if sensitivity_sq <= 0 or variance_micro <= 0 or honest <= 0:
        raise UsageError("sensitivity, variance and honest shares must all be positive")
    return _ceil_div(sensitivity_sq * NANO * MICRO, 2 * honest * variance_micro)


def person_charge(sensitivity_sq: int, variance_micro: int, adders: int) -> int:
    """Nano-ρ of one release for one person known to any number of the parties that add noise: N · ⌈Δ²/(2v)⌉.

    Why: a release is the sum of what the survivors S sent. A coalition takes off what its own members sent, and is left
    with the sum of the honest survivors S_h: noise of variance |S_h| v, moved by at most m Δ by a person known to m ≤
    |S_h| of them. So ρ = m² Δ² / (2 |S_h| v) ≤ |S_h| Δ² / (2v) ≤ N Δ² / (2v), whoever colludes and whoever survives.
    The bound is reached where a person is known to all parties and nobody colludes. It is also what N shares tell one
    by one, so it holds where no mask does. h is not in it; where h is 1 it is N times the record's charge.
    """
    return adders * charge_for(sensitivity_sq, variance_micro, 1)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
