"""What makes a reserve sound, apart from the state of the room: its noise, its quorum, its price."""

from __future__ import annotations

from ..budget import charge_for, decimal, honest_shares, person_charge, recovery_threshold
from ..errors import Refused
from .entries import Mechanism, Reserve

# Below σ = 3 the sum of shares is no longer a discrete Gaussian to within 1e-15, and the charge would not hold.
LEAST_VARIANCE_MICRO = 9_000_000


def person_cost(reserve: Reserve) -> int:
    """Nano-ρ in each of its blocks for one person known to all parties, all steps together."""
    return sum(
        person_charge(m.sensitivity_sq, m.variance_micro, len(m.adders)) for m in (s.mechanism for s in reserve.steps)
    )


def check_mechanism(step: str, mechanism: Mechanism, charge: int) -> None:
    """The noise is enough to be what it is called, the attackers fewer than those who add it, the charge its cost."""
    adders = len(mechanism.adders)
    if mechanism.variance_micro < LEAST_VARIANCE_MICRO:
        raise Refused(
            f"step {step}: a share of noise with variance {decimal(mechanism.variance_micro, 10**6)}, below 9"
        )
    if mechanism.quorum > adders:
        raise Refused(f"step {step}: a quorum of {mechanism.quorum} among {adders}")
    least = 1 if adders > 1 else 0
    if not least <= mechanism.collusion <= adders - 1:
        raise Refused(
            f"step {step}: collusion {mechanism.collusion}, not {least} to {adders - 1} with {adders} parties"
        )
    threshold = recovery_threshold(adders, mechanism.collusion)
    if mechanism.quorum < threshold:
        raise Refused(
            f"step {step}: a quorum of {mechanism.quorum}; with {adders} parties of which {mechanism.collusion} may"
            f" collude it must be at least {threshold}"
        )
    honest = honest_shares(mechanism.quorum, mechanism.collusion)
    cost = charge_for(mechanism.sensitivity_sq, mechanism.variance_micro, honest)
    if charge != cost:
        raise Refused(f"step {step} is charged {charge}, but costs {cost} (nano-ρ)")
