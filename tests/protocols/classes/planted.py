"""A question of latent classes, and the sum that planted classes would have, to the nearest whole person."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.questions.classes.model import Classes
from protocols.questions.classes.plan import Plan
from protocols.schema import Schema
from protocols.statistic import Facts, Integers, Noise

LEVELS = {"recency_days": 2, "baskets": 3, "spend_cents": 2, "discounted_baskets": 2, "tenure_days": 2}
TABLE = Schema.model_validate({"name": "sales", "columns": {"customer": {"type": "id"}}})
FACTS = Facts(("a", "b"), 100_000, TABLE, (*LEVELS, "usable"), False, None)
QUIET = Noise(1, 9_000_000)
LOUD = Noise(3, 400_000_000)


def question(many: Any = 2, levels: dict[str, int] | None = None, **changes: Any) -> Plan:
    items = [{"feature": name, "cuts": list(range(1, n))} for name, n in (levels or LEVELS).items()]
    return Plan.model_validate({"rho": {"patterns": 10**7}, "items": items, "classes": many, **changes})


def planted(people: int = 6000) -> Classes:
    """Two classes that differ in every item of `question`."""
    three, two = np.array([[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]]), np.array([[0.85, 0.15], [0.2, 0.8]])
    turned = two[:, ::-1]
    by_item = [three if n == 3 else turned if j % 2 else two for j, n in enumerate(LEVELS.values())]
    return Classes(np.array([0.65, 0.35]) * people, tuple(by_item))


def exact_sum(classes: Classes, unusable: int = 0) -> Integers:
    return np.append(np.rint(classes.expected.sum(axis=0)), unusable).astype(np.int64)


def drawn(exact: Integers, noise: Noise, seed: int) -> Integers:
    """The sum with noise of that variance from a seeded generator: for tests, and for nothing else."""
    spread = np.random.default_rng(seed).normal(0, noise.variance**0.5, len(exact))
    return exact + np.rint(spread).astype(np.int64)
