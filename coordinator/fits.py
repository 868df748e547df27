"""Which fit turns the noised sum of a step into the state that the next one, or its own figures, start from.

A fit sees a noised sum, the plan and earlier releases; nothing else is within its reach.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from protocols.errors import UsageError
from protocols.plan import Plan
from protocols.questions import classes, segments, steps_of
from protocols.statistic import Integers, Noise

from .classes import fit as classes_fit


def state_after(
    plan: Plan, step: str, noised: Integers, noise: Noise, earlier: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The state of a step, None where its question needs none."""
    for question in plan.questions:
        if any(found.name == step for found, _ in steps_of(question, plan.facts(question))):
            if isinstance(question, classes.Plan):
                return classes_fit(question, noised, noise)
            if not isinstance(question, segments.Plan):
                return None
            # Here and not above: scikit-learn takes a second to load, which rounds without a fit need not wait for.
            from .segments import next_state

            return next_state(question, step, noised, noise, earlier, lambda name: _deviation(plan, name))
    raise UsageError(f"the plan has no step {step!r}")


def _deviation(plan: Plan, step: str) -> float:
    """The standard deviation of a step's noise in the sum of all parties, in its integer units."""
    asked, mechanism = plan.step(step)
    return math.sqrt(asked.noise(len(plan.parties), mechanism.variance_micro).variance)
