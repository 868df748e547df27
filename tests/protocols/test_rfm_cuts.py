"""What is said of a cut, and what people are scored by, where noise leaves little to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from protocols import figures
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions import rfm
from protocols.statistic import Noise

PLAN = Plan.from_toml((Path(__file__).resolve().parents[1] / "plans" / "rfm.toml").read_bytes())
QUESTION = next(question for question in PLAN.questions if isinstance(question, rfm.Plan))
CUTS = PLAN.steps()[0][0]


def every_figure(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [figures.at(answer, pointer) for pointer in figures.pointers(answer)]


def test_a_cut_below_which_the_share_is_too_noisy_says_which_it_could_be_and_is_what_people_are_scored_by() -> None:
    """A guess from the plan alone would score them by bins that have nothing to do with these people."""
    early = [0, 0, 0, 500, 500, 500, 500, *[0] * 9]  # of the recency bins
    counts = [*early, *[200] * 10, *[125] * 16, 0]
    answer = CUTS.answer(np.array(counts, dtype=np.int64), Noise(3, 900_000_000), {})  # s 52: 5 · √16 · s = 1,039
    edges = [0, *QUESTION.recency_days]
    for target, k in ((20, 4), (40, 5), (60, 5), (80, 6)):
        cut = answer["recency"][f"p{target}"]
        assert cut["below"] == {"value": TOO_NOISY}
        assert (cut["edge"]["value"], cut["edge"]["low"] != cut["edge"]["high"]) == (str(edges[k]), True)
    assert rfm.scores_at(QUESTION, answer)["recency"] == [4, 5, 5, 6]
    quieter = CUTS.answer(np.array(counts, dtype=np.int64), Noise(3, 9_000_000), {})
    assert quieter["recency"]["p40"]["below"]["value"] == "0.5000"
    louder = CUTS.answer(np.array(counts, dtype=np.int64), Noise(3, 9_000_000_000), {})
    assert {leaf["value"] for leaf in every_figure(louder)} == {TOO_NOISY}
