"""The figures a person decides by, before any data are touched: each is what a round charges, sends or releases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import forecast, release
from protocols.accuracy import epsilon
from protocols.budget import decimal
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions.segments.states import Clusters
from protocols.statistic import Integers

ROOT = Path(__file__).resolve().parents[2]
RFM = Plan.from_toml((ROOT / "tests" / "plans" / "rfm.toml").read_bytes())
DEMO = Plan.from_toml((ROOT / "examples" / "complete_journey" / "plan.toml").read_bytes())


def compose(plan: Plan, step: str, noised: Integers, earlier: dict[str, Any]) -> release.Body:
    return release.compose(
        plan,
        round_id="a" * 32,
        step=step,
        nonce="b" * 32,
        noised=noised,
        survivors=plan.parties,
        earlier=earlier,
        salt=bytes(32),
    )


def halves(table: Any) -> Iterator[float]:
    """Half of each interval that a table of figures states."""
    for leaf in table.values():
        if leaf["value"] != TOO_NOISY:
            yield (float(leaf["high"]) - float(leaf["low"])) / 2


@pytest.mark.parametrize("plan", [RFM, DEMO])
def test_the_forecast_half_widths_of_cells_and_cohorts_are_those_that_the_release_states(plan: Plan) -> None:
    slots = [len(plan.step(step)[0].statistic.slots) for step in ("rfm-cuts", "rfm-cohorts")]
    first = compose(plan, "rfm-cuts", 300 + 7 * np.arange(slots[0]), {})
    second = compose(plan, "rfm-cohorts", 400 + 5 * np.arange(slots[1]), {"rfm-cuts": first.answer})
    (said,) = [step.half_widths for step in forecast.steps(plan) if step.name == "rfm-cohorts"]
    cells, cohorts = (list(halves(second.answer[name])) for name in ("cells", "cohorts"))
    assert (len(cells), len(cohorts)) == (25, 8)
    assert set(cells) == {said["a cell"]}
    assert set(cohorts) == {said["a cohort"]}


def test_the_forecast_half_width_of_a_segment_is_that_of_the_release_rounded_outward_to_whole_people() -> None:
    question, mechanism = DEMO.step("seg-profile")
    noised = np.full(mechanism.slots, 40_000_000)
    last = Clusters(np.zeros((5, 4)), 1.0, np.ones(5), np.zeros(5)).write()
    segments = compose(DEMO, "seg-profile", noised, {"seg-lloyd-5": {"state": last}}).answer["segments"]
    (said,) = [step.half_widths["a segment"] for step in forecast.steps(DEMO) if step.name == "seg-profile"]
    sizes = list(halves({name: segment["size"] for name, segment in segments.items()}))
    assert len(sizes) == (len(question.statistic.slots) - 1) // (len(DEMO.questions[1].features) + 1)  # type: ignore[union-attr]
    assert all(said <= size < said + 1 for size in sizes)


@pytest.mark.parametrize("plan", [RFM, DEMO])
def test_a_forecast_says_of_each_step_what_its_mechanism_says(plan: Plan) -> None:
    for said, (step, mechanism) in zip(forecast.steps(plan), plan.steps(), strict=True):
        assert (said.name, said.slots, said.charge) == (step.name, mechanism.slots, mechanism.charge)
        assert said.bound**2 * step.statistic.scale**2 == pytest.approx(mechanism.sensitivity_sq)
        assert said.sigma**2 * step.statistic.scale**2 == pytest.approx(mechanism.variance_micro / 1e6)
    assert sum(step.charge for step in forecast.steps(plan)) == plan.charge


@pytest.mark.parametrize("plan", [RFM, DEMO])
def test_the_document_adds_up_per_record_and_per_person_at_every_party(plan: Plan) -> None:
    document = forecast.document(plan)
    assert document["digest"] == plan.digest
    assert document["rho_record"] == decimal(plan.charge)
    assert document["rho_person"] == decimal(3 * plan.charge)
    assert document["epsilon_record"] == round(epsilon(plan.charge, 1e-6), 4)
    assert document["epsilon_person"] == round(epsilon(3 * plan.charge, 1e-6), 4)
    nano = [round(float(step["rho"]) * 1e9) for step in document["steps"]]
    assert nano == [step.charge for step in forecast.steps(plan)]


def test_half_widths_in_words_are_rounded_up_and_a_step_that_counts_nobody_has_a_dash() -> None:
    for step in forecast.steps(DEMO):
        words = forecast.widths(step)
        assert words == "–" if not step.half_widths else words.count("±") == len(step.half_widths)
        for what, half in step.half_widths.items():
            assert f"{what} ± {math.ceil(half)}" in words
    assert any(not step.half_widths for step in forecast.steps(DEMO))
