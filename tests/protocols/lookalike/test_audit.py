"""The bias audit: one cell of each attribute, four fifths, and verdicts that wait until they are sure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.figures import TOO_NOISY, pointers
from protocols.questions.lookalike import audit
from protocols.questions.lookalike.audit import FAIL, PASS, UNDECIDED, Attribute

AGE = Attribute("age", ("young", "old", "unknown"), "old")
TIER = Attribute("tier", ("gold", "unknown"), "gold")


def judged(counts: list[int], variance: float = 100.0) -> dict[str, Any]:
    return audit.figures([AGE], counts, variance)["age"]


def test_a_person_is_in_one_cell_of_each_attribute() -> None:
    rows = audit.rows([AGE, TIER], [np.array([0, 2]), np.array([1, 0])], np.array([1, 0]))
    statistic = audit.statistic([AGE, TIER])
    dense = rows.dense(len(statistic.slots) - 1)
    named = [[name for name, x in zip(statistic.slots, row, strict=False) if x] for row in dense]
    assert named == [["age/young/yes", "tier/unknown/yes"], ["age/unknown/no", "tier/gold/no"]]
    assert statistic.bound_sq == 2


def test_rates_and_ratios_are_those_of_the_counts() -> None:
    found = judged([7_600, 2_400, 8_000, 2_000, 9_000, 1_000])
    assert {name: found[name]["rate"]["value"] for name in found} == {
        "young": "0.2400", "old": "0.2000", "unknown": "0.1000",
    }  # fmt: skip
    assert found["young"]["people"]["value"] == "10000"
    assert found["young"]["ratio"]["value"] == "1.200"
    assert found["unknown"]["ratio"]["value"] == "0.500"
    assert "ratio" not in found["old"]


@pytest.mark.parametrize(("within", "verdict"), [(2_000, PASS), (1_000, FAIL), (1_600, UNDECIDED), (1_640, UNDECIDED)])
def test_a_group_passes_or_fails_only_where_its_interval_leaves_four_fifths_out(within: int, verdict: str) -> None:
    found = judged([10_000 - within, within, 8_000, 2_000, 8_000, 2_000])["young"]
    assert found["verdict"]["value"] == verdict
    assert (found["verdict"]["low"], found["verdict"]["high"]) == (found["ratio"]["low"], found["ratio"]["high"])


def test_more_groups_make_wider_intervals() -> None:
    two = audit.figures([Attribute("t", ("a", "b"), "b")], [8_000, 2_000] * 2, 100.0)["t"]["a"]["ratio"]
    five = audit.figures([Attribute("t", tuple("abcde"), "b")], [8_000, 2_000] * 5, 100.0)["t"]["a"]["ratio"]
    assert float(five["low"]) < float(two["low"]) < 1 < float(two["high"]) < float(five["high"])


@pytest.mark.parametrize(
    "counts",
    [[40, 10, 8_000, 2_000, 8_000, 2_000], [8_000, 2_000, 40, 10, 8_000, 2_000], [8_000, 2_000, 9_990, 10, 0, 0]],
    ids=["few of the group", "few of the reference", "few of the reference within"],
)
def test_nobody_is_judged_by_counts_that_drown_in_noise(counts: list[int]) -> None:
    found = judged(counts)["young"]
    assert found["ratio"] == found["verdict"] == {"value": TOO_NOISY}


def test_every_leaf_is_a_figure_and_each_attribute_has_its_own() -> None:
    found = audit.figures([AGE, TIER], [8_000, 2_000] * 5, 100.0)
    assert list(found) == ["age", "tier"]
    assert len(list(pointers(found))) == 2 * 4 + 2 + 4 + 2


def test_nobody_is_judged_by_a_reference_of_whom_too_few_are_within_whatever_the_noise() -> None:
    found = judged([8_000, 2_000, 9_998, 2, 8_000, 2_000], variance=0.04)["young"]
    assert found["ratio"] == found["verdict"] == {"value": TOO_NOISY}
