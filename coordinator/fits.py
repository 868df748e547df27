"""Which fit turns the noised sum of a step into the state that the next one, or its own figures, start from.

A fit sees a noised sum, the plan and earlier releases; nothing else is within its reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from protocols.errors import UsageError
from protocols.plan import Plan
from protocols.questions import classes, lookalike, segments, steps_of
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
            if isinstance(question, lookalike.Plan):
                return _of_lookalike(plan, question, step, noised, noise, earlier)
            if not isinstance(question, segments.Plan):
                return None
            # Here and not above: scikit-learn takes a second to load, which rounds without a fit need not wait for.
            from .segments import next_state

            return next_state(question, step, noised, noise, earlier, lambda name: _deviation(plan, name))
    raise UsageError(f"the plan has no step {step!r}")


def _of_lookalike(
    plan: Plan, question: lookalike.Plan, step: str, noised: Integers, noise: Noise, earlier: Mapping[str, Any]
) -> dict[str, Any] | None:
    def noise_of(name: str) -> Noise:
        asked, mechanism = plan.step(name)
        return asked.noise(len(plan.parties), mechanism.variance_micro)

    return lookalike_state(question, step, noised, noise, earlier, noise_of)


def lookalike_state(
    question: lookalike.Plan,
    step: str,
    noised: Integers,
    noise: Noise,
    earlier: Mapping[str, Any],
    noise_of: Callable[[str], Noise],
) -> dict[str, Any] | None:
    """noise_of: an earlier step's name → what noise is in its sum."""
    # Here and not above: as for segments, what other rounds need not wait for.
    from .lookalike import Released, public_scorer, shared_space
    from .population import Moments

    def before(name: str) -> Released:
        return Released(np.asarray(earlier[name]["noised"], dtype=np.int64), noise_of(name))

    match step:
        case lookalike.EDGES:
            return shared_space(question.features, Released(noised, noise)).write()
        case lookalike.BACKGROUND:
            return {"people": round(Moments.of(len(question.features), noised, noise).people)}
        case lookalike.SEED:
            space, seed = lookalike.space_of(question, earlier), Released(noised, noise)
            return public_scorer(space, before(lookalike.EDGES), before(lookalike.BACKGROUND), seed).write()
    return None


def _deviation(plan: Plan, step: str) -> float:
    """The standard deviation of a step's noise in the sum of all parties, in its integer units."""
    asked, mechanism = plan.step(step)
    return math.sqrt(asked.noise(len(plan.parties), mechanism.variance_micro).variance)
