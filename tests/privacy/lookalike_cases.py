"""The lookalike question for the tests that every registered question must pass: whom it is asked about, from which
states, and its steps whose slots have owners as each owner takes part in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from protocols.questions import lookalike
from protocols.questions.lookalike import sizes
from protocols.statistic import Noise, People, Rows, Step
from tests.privacy.test_lookalike_sensitivity import scorers, spaces

FEATURES = ("recency_days", "baskets", "spend_cents", "discounted_baskets")


def plan() -> lookalike.Plan:
    names = ("name", "transform", "low", "high")
    bounds = (("recency_days", "identity", 0, 365), ("spend_cents", "log1p", 0, 10**6))
    shares = dict.fromkeys(("edges", "background", "seed", "scores", "overlap", "audit"), 10**7)
    return lookalike.Plan.model_validate(
        {
            "rho": shares,
            "features": [dict(zip(names, one, strict=True)) for one in bounds],
            "seed": {"party": "beta", "list": "loyalists"},
            "ranks": ["alpha", "gamma"],
            "floor": 500,
            "reach": 20,
            "attributes": [{"column": "tier", "reference": "plain"}],
        }
    )


def parts(step: Step) -> list[Step]:
    """A step as each owner takes part in it: its own slots, and its number among the owners."""
    if not step.statistic.owners:
        return [step]

    def contribute(number: int) -> Callable[[People, Any], Rows]:
        def rows(people: People, earlier: Any) -> Rows:
            return step.contribute({**people, "owner": np.full(len(people["usable"]), number)}, earlier)

        return rows

    owners = dict.fromkeys(step.statistic.owners)
    return [
        replace(step, statistic=step.statistic.part(owner), contribute=contribute(number))
        for number, owner in enumerate(owners)
    ]


def persons(hostile: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, int]]:
    features = dict.fromkeys(FEATURES, hostile)
    flags = {"usable": st.sampled_from([0, 1, 1, 1]), "seed": st.integers(0, 1), "counted": st.integers(0, 1)}
    return st.fixed_dictionaries({**features, **flags, "group/tier": st.integers(0, 2)})


@st.composite
def released(draw: st.DrawFn, question: lookalike.Plan) -> dict[str, Any]:
    """What earlier steps may have released, foolish states and sizes included."""
    space = draw(spaces(question.features))
    earlier: dict[str, Any] = {"look-edges": {"state": space.write()}, "look-background": {"state": {"people": 9}}}
    earlier["look-seed"] = {"state": draw(scorers(space)).write()}
    top = draw(st.sampled_from([0, 10, 5000, 2**40]))
    slots = sum(len(names) + 1 for names in sizes.part_names(question).values())
    few = draw(st.lists(st.integers(-top // 20, top), min_size=1, max_size=9))
    noised = np.array([few[i % len(few)] for i in range(slots)], dtype=np.int64)
    return {**earlier, sizes.NAME: sizes.answer(question, noised, Noise(1, 25_000_000))}
