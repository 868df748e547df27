"""The page about the classes question is enough to compute the vector of it."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.encoding import parse
from tests.specs import second_classes
from tests.specs.readers import golden


def vector() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(its people, its step, its question)."""
    document, plan = parse(golden("classes-question/good-classes.json")), parse(golden("plan/good-classes.json"))
    return document["people"], document["steps"][0], plan["questions"][0]


def variance() -> float:
    """Of three shares: Δ² = 1 and no honest share but one's own."""
    (question,) = parse(golden("plan/good-classes.json"))["questions"]
    return float(3 * -(-(10**15) // (2 * question["rho"]["patterns"])) / 10**6)


def test_a_second_implementation_from_the_page_finds_slots_rows_and_sums() -> None:
    people, step, question = vector()
    names = ["-".join(map(str, levels)) for levels in second_classes.patterns(question)]
    assert step["slots"] == [*names, "unusable"]
    for party, persons in people.items():
        rows = [second_classes.row(question, person) for person in persons]
        assert [[[slot, x] for slot, x in enumerate(row) if x] for row in rows] == step["rows"][party]
        times = [person["times"] for person in persons]
        exact = [sum(t * x for t, x in zip(times, column, strict=True)) for column in zip(*rows, strict=True)]
        assert exact == step["exact"][party]
    parts = [*step["exact"].values(), *step["noise"].values()]
    assert step["noised"] == [sum(numbers) for numbers in zip(*parts, strict=True)]


def test_a_second_implementation_from_the_page_finds_the_figures_of_classes() -> None:
    _, step, question = vector()
    assert second_classes.answer(question, step["noised"], variance(), step["state"]) == step["answer"]


def test_a_second_implementation_from_the_page_finds_no_class_where_the_noise_is_large() -> None:
    """The same sum, had its noise been a hundred times as large, and a state that is then no matter."""
    _, step, question = vector()
    found = second_classes.answer(question, step["noised"], 100 * variance(), step["state"])
    assert found["classes"]["c2"]["size"] == {"value": "too noisy"}


def test_a_state_beside_the_fit_is_none_to_the_second_implementation_too() -> None:
    _, step, question = vector()
    state = parse(golden("release/bad-classes-beside-the-fit.json"))["body"]["state"]
    with pytest.raises(ValueError, match="not a fit"):
        second_classes.answer(question, step["noised"], variance(), state)
