"""What a plan will cost and how sure its numbers will be, before anybody's data are touched.

The operator sees it when checking a plan, and every party on its consent card: the same figures from the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .accuracy import discrete_gaussian_accuracy, epsilon
from .budget import MICRO, decimal
from .plan import Mechanism, Plan
from .statistic import Step


@dataclass(frozen=True)
class StepForecast:
    """One charged step.

    slots        how many whole numbers leave each party
    bound        the most that one person can move their sum, L2, in persons
    sigma        standard deviation of one party's own noise on each, in persons
    half_widths  what a released number counts → half of its 95 % interval, in persons; empty where it counts nobody
    between      it is counted between pairs of parties, from masked lists: the numbers are in no party's hands
    owners       where every number is of one party alone: whose there are
    """

    name: str
    slots: int
    charge: int
    bound: float
    sigma: float
    half_widths: Mapping[str, float]
    between: bool = False
    owners: tuple[str, ...] = ()


def steps(plan: Plan) -> list[StepForecast]:
    """The plan's steps in the order in which they run; charges in nano-ρ."""
    return [_step(plan, step, mechanism) for step, mechanism in plan.steps()]


def document(plan: Plan) -> dict[str, Any]:
    """The whole forecast as plain values, for JSON."""
    delta = float(plan.delta)
    return {
        "digest": plan.digest,
        "plan": plan.name,
        "steps": [
            {
                "step": step.name,
                "slots": step.slots,
                "rho": decimal(step.charge),
                "bound_people": round(step.bound, 4),
                "sigma_share_people": round(step.sigma, 4),
                "half_width_95_people": {what: round(half, 2) for what, half in step.half_widths.items()},
            }
            for step in steps(plan)
        ],
        "rho_record": decimal(plan.charge),
        "epsilon_record": round(epsilon(plan.charge, delta), 4),
        "rho_person": decimal(plan.charge_person),
        "epsilon_person": round(epsilon(plan.charge_person, delta), 4),
        "rho_allowed": decimal(plan.rho),
        "delta": plan.delta,
    }


def widths(step: StepForecast) -> str:
    """The half widths in words, a dash where the step counts nobody."""
    return "\n".join(f"{what} ± {math.ceil(half):,}" for what, half in step.half_widths.items()) or "–"


def _step(plan: Plan, step: Step, mechanism: Mechanism) -> StepForecast:
    variance = step.noise(len(plan.parties), mechanism.variance_micro).variance
    half = discrete_gaussian_accuracy(variance)
    sums = {what: float(discrete_gaussian_accuracy(slots * variance)) for what, slots in step.summed}
    scale = step.statistic.scale
    return StepForecast(
        name=step.name,
        slots=mechanism.slots,
        charge=mechanism.charge,
        bound=math.sqrt(mechanism.sensitivity_sq) / scale,
        sigma=math.sqrt(mechanism.variance_micro / MICRO) / scale,
        half_widths={what: half / units for what, units in step.counted} | sums,
        between=step.made == "overlap",
        owners=tuple(dict.fromkeys(step.statistic.owners)),
    )
