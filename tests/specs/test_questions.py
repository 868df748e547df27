"""The page about questions is enough to compute every vector of people, sums and figures."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.encoding import parse
from tests.specs import second
from tests.specs.readers import ASKED, golden


def vector(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the vector, its question as the plan has it)."""
    document, plan = parse(golden(f"question/good-{kind}.json")), parse(golden(f"plan/{ASKED[kind]}.json"))
    return document, plan["questions"][0]


def steps(kind: str) -> list[tuple[str, int]]:
    return [(kind, at) for at in range(len(vector(kind)[0]["steps"]))]


@pytest.mark.parametrize(("kind", "at"), [*steps("rfm"), *steps("segments"), *steps("range")])
def test_a_second_implementation_from_the_page_finds_the_rows_and_sums_of_a_step(kind: str, at: int) -> None:
    document, plan = vector(kind)
    step, earlier = document["steps"][at], {made["step"]: made for made in document["steps"][:at]}
    for party, persons in document["people"].items():
        rows = [second.counted(step["step"], plan, person, earlier) for person in persons]
        assert [[[slot, x] for slot, x in enumerate(row) if x] for row in rows] == step["rows"][party]
        times = [person["times"] for person in persons]
        assert step["exact"][party] == [
            sum(t * x for t, x in zip(times, column, strict=True)) for column in zip(*rows, strict=True)
        ]
    parts = [*step["exact"].values(), *step["noise"].values()]
    assert step["noised"] == [sum(numbers) for numbers in zip(*parts, strict=True)]
    assert len(step["slots"]) == len(step["noised"])


@pytest.mark.parametrize(("kind", "at"), [*steps("rfm"), *steps("segments"), *steps("range")])
def test_a_second_implementation_from_the_page_finds_the_figures_of_a_step(kind: str, at: int) -> None:
    document, plan = vector(kind)
    earlier = {made["step"]: made for made in document["steps"][:at]}
    step, whole = document["steps"][at], parse(golden(f"plan/{ASKED[kind]}.json"))
    bound, rho = second.BOUNDS.get(step["step"], (0, second.SCALE**2))[1], plan["rho"]
    name = step["step"].split("-")[1]
    micro = -(-bound * 10**15 // (2 * rho[name]))
    variance = len(whole["parties"]) * micro / 10**6
    answer = second.ANSWERS.get(step["step"], lambda *_: {})(plan, step["noised"], variance, earlier)
    assert answer == step["answer"]


def test_the_rfm_vector_meets_every_bin_every_cohort_and_both_kinds_of_figure() -> None:
    document, _ = vector("rfm")
    cuts, cohorts = document["steps"]
    used = {slot for rows in cuts["rows"].values() for row in rows for slot, _ in row}
    assert used == set(range(len(cuts["slots"])))
    used = {slot for rows in cohorts["rows"].values() for row in rows for slot, _ in row}
    assert used >= set(range(25, 34))
    noisy = [figure == second.NOISY for figure in cohorts["answer"]["cells"].values()]
    assert any(noisy)
    assert not all(noisy)
