"""The sections of the lookalike: what was counted apart from what is expected, and nothing that no count bears out."""

from __future__ import annotations

import json
import re
from functools import cache
from html import unescape
from typing import Any

import numpy as np
import pytest

from coordinator.console import charts, lookalike_charts, report
from protocols import figures, release
from protocols.encoding import canonical
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.release import Body
from protocols.verdict import Findings
from tests.vectors import lookalikes

REACHES = (5, 10, 20, 30, 50)
EVEN = [100] * 64
LIKEST_FIRST = [500, 300, 250, 100, 60, 20]
AS_EVERYBODY = [50, 50, 100, 100, 200, 500]
FAIR = [2400, 600, 2000, 520, 1000, 100]  # gold out and in, plain (the reference), other


def plan_of(**changes: Any) -> Plan:
    question = {name: value for name, value in {**lookalikes.QUESTION, **changes}.items() if value is not None}
    return Plan.from_bytes(canonical({**lookalikes.LOOKALIKE, "questions": [question]}))


def bodies_of(
    plan: Plan,
    seed: int = 900,
    matched: list[int] = LIKEST_FIRST,
    audited: list[int] = FAIR,
    evidence: int = 90_000,
) -> list[Body]:
    """Both owners alike: as many in each cell, as many of the seed in each band, as many of each group."""
    states, earlier, found = lookalikes.states(), dict[str, Any](), []
    states["look-seed"]["evidence"] = evidence
    sums = {
        "look-scores": [seed, 7, *EVEN, 3, *EVEN, 3],
        "look-overlap": [*matched, *matched],
        "look-audit": [*audited, 0, *audited, 0],
    }
    for step, _ in plan.steps():
        noised = sums.get(step.name, [0] * len(step.statistic.slots))
        body = release.compose(
            plan, round_id="0a" * 16, step=step.name, nonce="1b" * 16, noised=np.asarray(noised, np.int64),
            survivors=list(plan.parties), earlier=dict(earlier), salt=bytes(32), state=states.get(step.name),
        )  # fmt: skip
        earlier[step.name] = body.released
        found.append(body)
    return found


def page(plan: Plan, bodies: list[Body]) -> str:
    return report.page(plan, bodies, Findings(plan.room, 12, "ef" * 32, (), (), 8, 30, 0), made_at="2017-07-02")


@cache
def likely() -> tuple[Plan, list[Body], str]:
    plan = plan_of()
    bodies = bodies_of(plan)
    return plan, bodies, page(plan, bodies)


def section(html: str, title: str) -> str:
    (found,) = re.findall(rf"<section>\s*<h2>{re.escape(title)}</h2>.*?</section>", html, re.DOTALL)
    return found


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def shown(figure: dict[str, str]) -> list[str]:
    """How a figure may stand in a table: a count, a share, a lift or a ratio, an AUC."""
    reading = charts.Reading.of(figure)
    assert reading is not None
    ways = [(reading, 0, ""), (reading, 2, ""), (reading, None, ""), (reading.percent(), 1, " %")]
    return [f"{r.estimate(places)}{unit} {r.interval(places, unit)}" for r, places, unit in ways]


def answer_of(bodies: list[Body], step: str) -> Any:
    return next(body.answer for body in bodies if body.step == step)


def test_every_figure_that_is_not_too_noisy_stands_in_a_table_with_its_interval() -> None:
    _, bodies, html = likely()
    tables = text_of(" ".join(re.findall(r"<table.*?</table>", html, re.DOTALL)))
    seen = 0
    for body in bodies:
        for path in body.numbers:
            figure = figures.at(body.answer, path)
            if path.endswith(("/signal", "/default", "/verdict")) or figure["value"] == TOO_NOISY:
                continue
            seen += 1
            assert any(way in tables for way in shown(figure)), (body.step, path)
    assert seen > 170


def test_the_chart_draws_what_was_counted_and_beside_it_what_is_only_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[lookalike_charts.Cut] = []
    real = lookalike_charts.fidelity

    def noting(panels: Any, **words: str) -> Any:
        drawn.extend(cut for panel in panels for cut in panel.cuts)
        return real(panels, **words)

    monkeypatch.setattr("coordinator.console.lookalike_sections.fidelity", noting)
    plan, bodies, _ = likely()
    page(plan, bodies)
    alpha = answer_of(bodies, "look-overlap")["owners"]["alpha"]["cuts"]
    preview = [share / 1e6 for share in lookalikes.states()["look-seed"]["preview"]]
    lifts, recalls = drawn[:5], drawn[5:10]
    for i, reach in enumerate(REACHES):
        assert lifts[i].counted == charts.Reading.of(alpha[str(reach)]["lift"])
        assert recalls[i].counted == charts.Reading.of(alpha[str(reach)]["recall"])
        assert (lifts[i].chance, recalls[i].chance) == (1.0, reach / 100)
        assert recalls[i].preview == pytest.approx(preview[i])
        assert lifts[i].preview == pytest.approx(preview[i] / (reach / 100))


def test_the_page_tells_counted_from_expected_by_word_wherever_either_stands() -> None:
    own = section(likely()[2], "Lookalike audience of alpha")
    for picture in re.findall(r"<svg.*?</svg>", own, re.DOTALL):
        words = text_of(picture)
        assert "counted in the overlap, 95 % interval" in words
        assert "the model’s preview, not counted" in words
    text = text_of(own)
    assert "a preview that no count has checked" in text
    assert "Preview by the model: recall; lift" in text
    assert "21.0 %; 4.2" in text


def test_the_seeds_facts_are_those_of_the_plan_and_of_the_release() -> None:
    text = text_of(section(likely()[2], "Lookalike audience"))
    assert "like those of beta that its rule names (baskets: 6 or more)" in text
    assert "alpha and gamma rank their own customers" in text
    assert "Customers in the seed 900 885 to 915" in text
    assert "Noise in the seed’s sum, σ, in customers 5.00" in text  # ρ = Δ²/2σ²: √(1/.04)
    assert "Cost of the seed’s sum, ρ 0.02 " in text
    assert "Every company of the plan is charged for every step" in text
    assert "no list and no score leaves its owner" in text
    assert "Days since the last purchase the lower, the likelier −0.81" in text
    assert re.search(r"Computed by sumroom [0-9]", text)
    assert "Audited for bias by tier" in text


def test_a_plan_that_asks_for_no_audit_is_told_apart_from_one_that_passes_it() -> None:
    rho = {name: share for name, share in lookalikes.QUESTION["rho"].items() if name != "audit"}
    plan = plan_of(attributes=None, rho=rho)
    html = page(plan, bodies_of(plan))
    assert "Audited for bias by nothing: the plan asked for no audit" in text_of(section(html, "Lookalike audience"))
    assert "Does the cut reach groups alike?" not in html


def test_a_seed_named_by_a_list_is_told_by_the_lists_name() -> None:
    plan = plan_of(seed={"party": "beta", "list": "loyal-ones"})
    assert "like those of beta on its list “loyal-ones”. alpha" in text_of(page(plan, bodies_of(plan)))
    cleaned = plan_of(seed={"party": "beta", "list": "loyal-ones", "clean": {"round": "ab" * 16, "cells": 40}})
    said = "on its list “loyal-ones”, in the likest 40 of 64 cells of the earlier round abababab"
    assert said in text_of(page(cleaned, bodies_of(cleaned)))


def test_a_usable_signal_says_what_its_auc_means_and_which_cut_the_companies_may_use() -> None:
    """The lift is surely 1.2 up to half of all; the companies agreed to a fifth."""
    _, bodies, html = likely()
    found = answer_of(bodies, "look-overlap")["owners"]["gamma"]
    assert (found["signal"]["value"], found["default"]["value"]) == ("usable", "20")
    text = text_of(section(html, "Lookalike audience of gamma"))
    assert "Usable: of 100 pairs" in text
    assert "drawing lots gives 50" in text
    assert "Suggested: the likest 20 %, the largest cut whose lift is surely 1.2 or more" in text
    assert "of those up to 20 % that the companies agreed to" in text
    assert "the likest 20 %, suggested" in text
    assert "the likest 30 %, not to be used" in text
    assert "the likest 50 %, not to be used" in text


def test_a_seed_like_everybody_gives_no_usable_signal_and_nothing_is_said_to_drive_it() -> None:
    plan = plan_of()
    html = page(plan, bodies_of(plan, matched=AS_EVERYBODY))
    text = text_of(section(html, "Lookalike audience of alpha"))
    assert "No usable signal: of 100 pairs" in text
    assert "do not use a list made by this score" in text
    assert "No cut is suggested." in text
    assert "suggested" not in text.split("The cuts of alpha")[1]
    assert "What the score goes by" not in html


def test_a_cut_that_lifts_is_not_suggested_where_the_seed_cannot_be_told_from_everybody() -> None:
    plan = plan_of()
    bodies = bodies_of(plan, evidence=0)
    found = answer_of(bodies, "look-overlap")["owners"]["alpha"]
    assert float(found["cuts"]["20"]["lift"]["low"]) > 1.2
    assert (found["signal"]["value"], found["default"]["value"]) == ("no usable signal", TOO_NOISY)
    text = text_of(section(page(plan, bodies), "Lookalike audience of alpha"))
    assert "the seed cannot be told from everybody: do not use" in text
    assert "No cut is suggested." in text
    assert "suggested" not in text.split("The cuts of alpha")[1]


def test_a_seed_below_the_floor_has_nothing_told_of_it_but_its_size() -> None:
    plan = plan_of(floor=1000)
    bodies = bodies_of(plan)
    html = page(plan, bodies)
    text = text_of(section(html, "Lookalike audience"))
    assert "1,000: not reached, so nothing more is said" in text
    for owner in ("alpha", "gamma"):
        own = section(html, f"Lookalike audience of {owner}")
        assert "Too noisy to say whether the score finds the seed’s customers" in text_of(own)
        assert "<svg" not in own
        assert len(re.findall(r'class="noisy"', own)) == 19  # of each of five cuts three; people, seed, AUC, signal
    audit = section(html, "Does the cut reach groups alike?")
    assert "Verdicts: 0 pass, 0 fail, 0 undecided, 4 too noisy." in text_of(audit)
    assert "<svg" not in audit


def test_a_cut_that_is_too_noisy_is_hatched_beside_the_models_preview() -> None:
    """Of few of the seed's people recall is told, and no lift: hatched, and never drawn as the model's number alone."""
    plan = plan_of()
    clear = section(likely()[2], "Lookalike audience of alpha")
    few = section(page(plan, bodies_of(plan, matched=[120, 0, 0, 0, 0, 0])), "Lookalike audience of alpha")
    assert "<pattern" not in clear
    assert "<pattern" in few


@pytest.mark.parametrize(
    ("audited", "verdict", "said"),
    [
        ([8000, 2000, 8000, 2000, 0, 0], "pass", "surely reached four fifths as often, or more"),
        ([9500, 500, 8000, 2000, 0, 0], "fail", "surely reached less than four fifths as often"),
        ([1680, 320, 1600, 400, 0, 0], "undecided", "undecided, which is not pass"),
    ],
)
def test_a_verdict_of_the_audit_is_told_in_words_and_undecided_is_not_pass(
    audited: list[int], verdict: str, said: str
) -> None:
    plan = plan_of(attributes=[{"column": "tier", "reference": "plain"}])
    bodies = bodies_of(plan, audited=audited)
    group = answer_of(bodies, "look-audit")["owners"]["alpha"]["tier"]["gold"]
    assert group["verdict"]["value"] == verdict
    html = section(page(plan, bodies), "Does the cut reach groups alike?")
    text = text_of(html)
    assert said in text
    assert f"2 {verdict}" in text.split("Undecided and too noisy are not pass")[0]
    assert len(re.findall("<svg", html)) == 4  # two owners, two widths
    assert "the reference" in text


def test_the_page_says_whose_noise_an_interval_holds_and_who_was_matched() -> None:
    text = text_of(likely()[2])
    assert "in what is one company’s alone that company’s" in text
    assert "matched between companies for the audience overlap and the seed of a lookalike only" in text
    assert "everything where the seed is below the plan’s floor" in text
    assert "Lookalike: finding the score" in text
    assert "not matched" not in text


@pytest.mark.parametrize("step", ["look-scores", "look-overlap", "look-audit"])
def test_a_release_of_another_shape_is_no_report(step: str) -> None:
    plan, bodies, _ = likely()
    spoiled = [
        Body.model_validate({**body.body(), "answer": {"owners": {"alpha": {"x": {"value": TOO_NOISY}}}}})
        if body.step == step
        else body
        for body in bodies
    ]
    with pytest.raises(IntegrityError):
        page(plan, spoiled)


def test_cells_stand_in_their_order_whatever_the_order_of_the_document() -> None:
    plan, bodies, _ = likely()
    read = [
        release.read_body(json.loads(canonical(body.body()))) for body in bodies
    ]  # as from a file: names in the order of text
    assert list(answer_of(read, "look-scores")["owners"]["alpha"]["cells"])[:3] == ["0", "1", "10"]
    found = re.findall(r">cell ([0-9]+)<", section(page(plan, read), "Customers by likeness to the seed"))
    assert [int(cell) for cell in found] == [*range(1, 65), *range(1, 65)]
