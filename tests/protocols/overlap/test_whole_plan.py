"""A whole plan with an overlap: as an operator writes it, what it costs, what is forecast and what is released."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import forecast, release
from protocols.budget import NANO
from protocols.encoding import canonical
from protocols.errors import IntegrityError, UsageError
from protocols.plan import Plan
from tests.protocols.overlap.crowd import SHOPS, bodies_of, facts_of, plan_of, question_of

TOML = (Path(__file__).resolve().parents[2] / "plans" / "overlap.toml").read_text("utf-8")


def from_toml(old: str = "", new: str = "") -> Plan:
    assert old in TOML
    return Plan.from_toml(TOML.replace(old, new).encode())


def test_what_an_operator_writes_is_read_and_has_one_canonical_form() -> None:
    plan = from_toml()
    (question,) = plan.questions
    assert question.body()["rho"] == {"sizes": 4_000_000, "pairs": 24_000_000}
    assert Plan.from_bytes(plan.canonical) == plan
    assert [step.name for step, _ in plan.steps()] == ["overlap-sizes", "overlap"]
    assert plan.step("overlap")[1].slots == 2 * 8 + 2 * 2 + 8 * 2


def test_the_overlap_counts_on_no_other_partys_noise_whatever_the_plan_says_of_sums() -> None:
    sizes, cells = (mechanism for _, mechanism in from_toml().steps())
    assert (sizes.quorum, sizes.collusion) == (3, 1)  # h = 2
    assert (cells.quorum, cells.collusion) == (3, 2)  # h = 1
    assert cells.adders == ["baker", "grocer", "jeweller"]
    assert sizes.variance_micro == math.ceil(1e15 / (2 * 2 * 4e6))
    assert cells.variance_micro == math.ceil(2e15 / (2 * 24e6))
    assert (cells.sensitivity_sq, cells.charge, cells.charge_person) == (2, 24_000_000, 3 * 24_000_000)
    # and so for any pair alone: Δ² = 1 costs half of it
    assert NANO * 10**6 / (2 * cells.variance_micro) == pytest.approx(12_000_000, rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('[people]\ncolumn = "mail"\nkey = "email"\n', "", "people"),
        ('by = "column", column = "tier"', 'by = "segments"', "segments question before"),
        ('column = "tier" }', 'column = "customer" }', "no category column"),
        ('party = "grocer"', 'party = "florist"', "no party of the plan"),
        ('"spend_cents"', '"visits"', "no party has a feature visits"),
        ("people_cap = 50000", "people_cap = 800", "people that do not exist"),
        ('pairs = "0.024"', "pairs = 0.024", "decimal in quotes"),
        ('rho = "0.03"', 'rho = "0.02"', "the steps cost 0.028"),
        ('pairs = "0.024"', 'pairs = "0.2"', "the least is 3"),
    ],
)
def test_a_plan_that_cannot_be_asked_is_refused_with_the_setting_that_is_wrong(old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_toml(old, new)


def test_segments_that_are_asked_after_the_overlap_come_too_late() -> None:
    plan = plan_of(question_of("segments"))
    assert [step.name for step, _ in plan.steps()][-3:] == ["seg-profile", "overlap-sizes", "overlap"]
    document = plan.body()
    with pytest.raises(UsageError, match="segments question before"):
        Plan.from_bytes(canonical({**document, "questions": document["questions"][::-1]}))


def test_a_plan_tells_a_question_what_it_may_know() -> None:
    plan = plan_of(question_of("segments"), SHOPS)
    segments, question = plan.questions
    assert (plan.facts(segments).segments, plan.facts(question).segments) == (None, 3)
    facts = plan.facts(question)
    assert (facts.parties, facts.people_cap, facts.keyed) == (SHOPS, 50_000, True)
    assert facts.table == facts_of("a", "b").table
    assert "spend_cents" in facts.features


def widths(leaves: list[dict[str, str]]) -> set[float]:
    return {(float(leaf["high"]) - float(leaf["low"])) / 2 for leaf in leaves}


@pytest.mark.parametrize("value", [None, {"party": "grocer", "feature": "spend_cents", "low": 0, "high": 9, "bins": 2}])
def test_the_forecast_is_what_the_release_then_says(value: dict[str, Any] | None) -> None:
    plan = plan_of(question_of("column", **({"value": value} if value else {})))
    said = {step.name: step for step in forecast.steps(plan)}
    assert [said[name].between for name in ("overlap-sizes", "overlap")] == [False, True]
    slots = [len(plan.step(name)[0].statistic.slots) for name in ("overlap-sizes", "overlap")]
    one, two = bodies_of(plan, [2000] * slots[0], [300] * slots[1])
    sizes, pair = one.answer["parties"], two.answer["pairs"]["baker--grocer"]
    lists = [leaf["size"] for party in sizes.values() for leaf in party["lists"].values()]
    assert widths(lists) == {said["overlap-sizes"].half_widths["a list"]}
    assert widths([sizes["grocer"]["size"]]) == {said["overlap-sizes"].half_widths["a party"]}
    cells = [leaf for row in pair["cells"].values() for leaf in row.values()]
    assert widths(cells) == {said["overlap"].half_widths["two lists"]}
    assert widths([pair["all"]["overlap"]]) == {said["overlap"].half_widths["two parties"]}


def test_a_release_of_the_overlap_is_computed_again_from_its_vector_and_the_sizes_and_not_without() -> None:
    plan = plan_of(question_of("column"), SHOPS)
    slots = [len(plan.step(name)[0].statistic.slots) for name in ("overlap-sizes", "overlap")]
    one, two = bodies_of(plan, [900 + 41 * i for i in range(slots[0])], [31 * (i % 13) for i in range(slots[1])])
    release.recompute(one.body(), plan, {})
    release.recompute(two.body(), plan, {"overlap-sizes": one.body()})
    with pytest.raises(IntegrityError, match="overlap-sizes"):
        release.recompute(two.body(), plan, {})
    (other, _) = bodies_of(plan, [901 + 41 * i for i in range(slots[0])], [0] * slots[1])
    with pytest.raises(IntegrityError, match="does not follow"):
        release.recompute(two.body(), plan, {"overlap-sizes": other.body()})
    wrong = {**two.body(), "noised": [two.noised[0] + 1, *two.noised[1:]]}
    with pytest.raises(IntegrityError, match="does not follow"):
        release.recompute(wrong, plan, {"overlap-sizes": one.body()})


def test_a_state_is_not_for_the_overlap() -> None:
    plan = plan_of(question_of("all"))
    with pytest.raises(IntegrityError, match="state"):
        release.compose(
            plan, round_id="0a" * 16, step="overlap-sizes", nonce="1b" * 16, noised=np.array([1, 2, 3]),
            survivors=plan.parties, earlier={}, salt=bytes(32), state={},
        )  # fmt: skip


DOCS = (Path(__file__).resolve().parents[3] / "docs" / "overlap.md").read_text("utf-8")


def test_the_plan_in_the_documentation_is_one_that_can_be_asked() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    for part in shown.strip().split("\n\n"):
        assert part in TOML


def test_the_widths_in_the_documentation_are_the_forecast() -> None:
    rows = re.findall(r"(?m)^\| ([0-9]+) \| ([0-9]+) \| ([0-9]+) \| ([0-9]+) \|$", DOCS)
    assert len(rows) == 4
    for parties, *said in rows:
        plan = plan_of(question_of("column"), sorted(f"shop{i}" for i in range(int(parties))))
        sizes, cells = (step.half_widths for step in forecast.steps(plan))
        assert list(map(int, said)) == [sizes["a list"], cells["two lists"], cells["two parties"]]
