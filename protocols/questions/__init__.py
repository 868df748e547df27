"""The closed registry of joint questions. A plan names one of these; nothing else can be asked.

A question is one pure file: what its plan may say (`Plan`), and `steps`, each with its slots, its bound, what a person
contributes, and what the noised sum answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.schema import Frozen
from protocols.statistic import Step

from . import rfm, segments

Question = rfm.Plan | segments.Plan
REGISTRY: dict[str, tuple[type[Frozen], Callable[[Any], list[tuple[Step, int]]]]] = {
    "rfm": (rfm.Plan, rfm.steps),
    "segments": (segments.Plan, segments.steps),
}


def steps_of(question: Question) -> list[tuple[Step, int]]:
    """The steps of a question as its plan fixes them, each with its nano-ρ."""
    return REGISTRY[question.kind][1](question)
