"""The closed registry of joint questions. A plan names one of these; nothing else can be asked.

A question is one pure file: what its plan may say (`Plan`), and `steps`, each with its slots, its bound, what a person
contributes, and what the noised sum answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.schema import Frozen
from protocols.statistic import Facts, Step

from . import classes, lookalike, overlap, rfm, segments

Question = rfm.Plan | segments.Plan | classes.Plan | overlap.Plan | lookalike.Plan
REGISTRY: dict[str, tuple[type[Frozen], Callable[[Any, Facts], list[tuple[Step, int]]]]] = {
    "rfm": (rfm.Plan, lambda question, _: rfm.steps(question)),
    "segments": (segments.Plan, lambda question, _: segments.steps(question)),
    "classes": (classes.Plan, classes.steps),
    "overlap": (overlap.Plan, overlap.steps),
    "lookalike": (lookalike.Plan, lookalike.steps),
}


def steps_of(question: Question, facts: Facts) -> list[tuple[Step, int]]:
    """The steps of a question as its plan fixes them, each with its nano-ρ. `facts`: of the plan around it.

    Raises ValueError where the question cannot be asked in such a plan.
    """
    return REGISTRY[question.kind][1](question, facts)
