"""What was spent, counted by two accountants from the mechanisms in the entries, and not from any charge.

    zcdp   ours: ρ adds up; ε at δ is the bound of Canonne, Kamath & Steinke 2020, Proposition 12
    pld    Google's dp-accounting: privacy loss distributions (and Rényi DP beside it), each mechanism composed

Which bounds which: our ε is proven for the noise that is used, discrete Gaussian noise on vectors of integers. The
accountant by privacy loss distributions takes the noise as Gaussian, which from σ = 3 on it is to many digits, and is
tight for that: so it says how much of our ε is the price of the simpler sum. It should be below ours; where almost
nothing was spent its own grid (10⁻⁴ in ε) can lift it above. It is for information, and no budget rests on it.

Per record: Δ, and the noise of h honest shares, σ² = h·v. Per person: N shares that are each looked at alone, each with
its Δ and σ² = v (`budget.person_charge`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from .. import accuracy
from ..audit.documents import cost, person_cost
from ..audit.evidence import Evidence, Noise
from ..budget import MICRO, honest_shares
from ..errors import CannotDecide
from ..ledger.fields import LIFETIME, PERSON

PACKAGE = "dp_accounting"


@dataclass(frozen=True)
class Recomputed:
    """One budget, by (who, block) as in `Accounts.balance`.

    mechanisms   how many draws of noise it is made of
    rho          nano-ρ, rounded up mechanism by mechanism
    rho_exact    the same without rounding, in ρ
    zcdp         δ → ε by our accountant
    pld, rdp     δ → ε by dp-accounting; None where it was not asked
    """

    who: str
    block: str
    mechanisms: int
    rho: int
    rho_exact: float
    zcdp: Mapping[str, float]
    pld: Mapping[str, float] | None = None
    rdp: Mapping[str, float] | None = None


def is_there() -> bool:
    """Whether dp-accounting is installed."""
    return find_spec(PACKAGE) is not None


def looks(evidence: Evidence) -> int:
    """How many looks at noise a person known to all parties met, over all blocks: what counting them costs."""
    return sum(times * noise.adders for noise, times in _noise(evidence, PERSON, LIFETIME).items())


def recompute(evidence: Evidence, *, pld: bool) -> list[Recomputed]:
    """Every budget from its mechanisms. Raises CannotDecide where dp-accounting is needed and not installed."""
    if pld and not is_there():
        raise CannotDecide(
            "dp-accounting is not installed, which counts privacy loss distributions",
            "python -m pip install 'dp-accounting==0.6.0', or ask for --accountant zcdp",
        )
    deltas = sorted({read.plan.delta for read in evidence.plans.values() if read}, reverse=True)
    return [
        _recomputed(who, block, _noise(evidence, who, block), deltas, pld=pld)
        for who, block in evidence.accounts.balances()
    ]


def _noise(evidence: Evidence, who: str, block: str) -> Counter[Noise]:
    """Mechanism → how often `who` met it in this block."""
    found: Counter[Noise] = Counter()
    for spending, times in evidence.spendings.items():
        if who == PERSON or who in spending.parties:
            blocks = len(spending.blocks) if block == LIFETIME else spending.blocks.count(block)
            for noise in spending.noise:
                found[noise] += times * blocks
    return +found


def _recomputed(who: str, block: str, found: Counter[Noise], deltas: Iterable[str], *, pld: bool) -> Recomputed:
    person = who == PERSON
    rho = sum(times * (person_cost if person else cost)(noise) for noise, times in found.items())
    shares = [(_multiplier(noise, person), times * (noise.adders if person else 1)) for noise, times in found.items()]
    by_pld, by_rdp = _by_dp_accounting(shares, deltas) if pld else (None, None)
    return Recomputed(
        who,
        block,
        sum(found.values()),
        rho,
        math.fsum(times / (2 * multiplier**2) for multiplier, times in shares),
        {delta: accuracy.epsilon(rho, float(delta)) for delta in deltas},
        by_pld,
        by_rdp,
    )


def _multiplier(noise: Noise, person: bool) -> float:
    """σ / Δ of one look at the noise: at the honest shares under masks, or for a person at each share alone."""
    shares = 1 if person else honest_shares(noise.quorum, noise.collusion)
    return math.sqrt(shares * noise.variance_micro / MICRO / noise.sensitivity_sq)


def _by_dp_accounting(
    shares: list[tuple[float, int]], deltas: Iterable[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """δ → ε by privacy loss distributions, and by Rényi DP."""
    from dp_accounting import dp_event
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    accountants: list[Any] = [PLDAccountant(), RdpAccountant()]
    for accountant in accountants:
        for multiplier, times in shares:
            accountant.compose(dp_event.GaussianDpEvent(multiplier), times)
    by_pld, by_rdp = ({delta: float(each.get_epsilon(float(delta))) for delta in deltas} for each in accountants)
    return by_pld, by_rdp
