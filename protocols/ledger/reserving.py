"""What makes a reserve sound, apart from the state of the room: its noise, its quorum, its price."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..budget import charge_for, decimal, honest_shares, person_charge, recovery_threshold
from ..errors import Refused
from .entries import Mechanism, Offered, Reserve

# Below σ = 3 the sum of shares is no longer a discrete Gaussian to within 1e-15, and the charge would not hold.
LEAST_VARIANCE_MICRO = 9_000_000


class Price(NamedTuple):
    """Nano-ρ of all steps together, in each of a reserve's blocks: of one person's records at one party, and of one
    person known to all parties."""

    record: int
    person: int


@lru_cache(maxsize=256)
def price(offered: Offered) -> Price:
    """What these steps cost. Raises Refused unless every one is sound, and its charge what its mechanism costs.

    Why remembered: a ledger reserves the same few plans over and over.
    """
    for step, mechanism, charge in offered:
        check_mechanism(step, mechanism, charge)
    person = sum(person_charge(m.sensitivity_sq, m.variance_micro, len(m.adders)) for _, m, _ in offered)
    return Price(sum(charge for _, _, charge in offered), person)


def check_charge(entry: Reserve, record: int) -> None:
    """Who adds noise is charged, nobody else, and each for every block of the round what all steps cost: `record`."""
    adders = tuple(sorted(entry.charge))
    for step in entry.steps:
        if step.mechanism.adders != adders:
            raise Refused(f"those who add noise in step {step.step} are not those who are charged")
    blocks, whole = set(entry.blocks), {record}
    for party, row in entry.charge.items():
        if row.keys() != blocks:
            raise Refused(f"{party} is not charged for exactly the blocks of the round")
        if set(row.values()) != whole:
            block, amount = next((block, amount) for block, amount in row.items() if amount != record)
            raise Refused(f"{party} is charged {amount} in {block}, not the steps' sum {record} (nano-ρ)")


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
