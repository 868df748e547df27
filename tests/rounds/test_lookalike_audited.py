"""A lookalike's round is clean to both auditors, a number of it can be explained, and the report has every one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from coordinator import outputs
from coordinator.console import report
from coordinator.console.charts import Reading
from protocols import audit, verify
from protocols.auditor import explain
from protocols.ledger import trust
from protocols.questions import lookalike
from protocols.questions.lookalike.space import starts
from protocols.release import Body
from tests.rounds import audience, lab


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[lab.Room, list[Body]]]:
    base, plan = audience.make(tmp_path_factory.mktemp("audited") / "room")
    with lab.Room(base, plan) as room:
        yield room, [release.body_ for release in room.run()]


def test_both_auditors_find_nothing_to_complain_of(finished: tuple[lab.Room, list[Body]]) -> None:
    room, _ = finished
    data, policy = outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room)
    found = audit.verify(data, policy)
    assert found.violations == ()
    checks = verify.Audit(data, trust.render(policy).encode()).checks
    assert [problem for _, _, problems in checks for problem in problems] == []


@pytest.mark.parametrize("changes", [{}, {"attributes": None}, {"ranks": ["gamma"], "attributes": None}])
def test_the_second_auditor_reckons_every_step_as_the_product_does(changes: dict[str, Any]) -> None:
    question = {name: value for name, value in {**audience.QUESTION, **changes}.items() if value is not None}
    shares = {name: rho // 2 for name, rho in audience.SHARES.items() if name != "audit" or "attributes" in question}
    plan = lab.plan(**{**audience.CHANGES, "questions": [{**question, "rho": shares}]})
    body = plan.body()
    said = [(name, bound, slots) for name, bound, slots, _ in verify.planned(body["questions"][0], body)]
    assert said == [(step.name, made.sensitivity_sq, made.slots) for step, made in plan.steps()]
    alone = {step.name for step, _ in plan.steps() if step.relies_on_one}
    assert alone == verify.ALONE & {name for name, _, _ in said}


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [("identity", 0, 1), ("identity", -5, 250), ("identity", 0, 255), ("identity", 0, 256), ("log1p", 0, 9),
     ("log1p", 100, 10**6), ("identity", -(2**40), 2**40), ("log1p", 0, 2**40)],
)  # fmt: skip
def test_the_second_auditor_counts_a_features_cells_as_the_product_does(transform: str, low: int, high: int) -> None:
    feature = {"name": "x", "transform": transform, "low": low, "high": high}
    (made,) = lookalike.Plan.model_validate({**audience.QUESTION, "features": [feature]}).features
    assert verify.cells_of(feature) == len(starts(made))


def test_the_report_shows_every_figure_and_tells_counted_from_expected(finished: tuple[lab.Room, list[Body]]) -> None:
    room, bodies = finished
    found = audit.verify(outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room))
    html = report.page(room.plan, bodies, found, made_at="2018-01-01")
    by_step = {body.step: body.answer for body in bodies}
    assert shown(by_step["look-scores"]["seed"]["size"]) in html
    for owner in audience.OWNERS:
        assert f"Lookalike audience of {owner}" in html
        for one in by_step["look-scores"]["owners"][owner]["cells"].values():
            assert f">{shown(one)}<" in html
        own = by_step["look-overlap"]["owners"][owner]
        assert own["default"]["value"] in ("5", "10", "20", "too noisy"), "no larger one than the plan allows"
        for cut in own["cuts"].values():
            for name, factor, places in (("reach", 100, 1), ("recall", 100, 1), ("lift", 1, 2)):
                if (reading := Reading.of(cut[name])) is not None:
                    assert reading.times(Decimal(factor)).estimate(places) in html
        for groups in by_step["look-audit"]["owners"][owner].values():
            assert {one["verdict"]["value"] for one in groups.values() if "verdict" in one} <= {"too noisy", "fail"}
    assert "Preview by the model: recall; lift" in html
    assert "Lookalike: finding the score" in html
    assert html.count("not to be used") == 2 * len(audience.OWNERS)  # of 30 and 50 %, where the plan has 20


def shown(figure: dict[str, str]) -> str:
    return f"{int(figure['value']):,}".replace("-", "−")


def test_a_number_that_is_one_partys_alone_is_explained_as_such(finished: tuple[lab.Room, list[Body]]) -> None:
    room, bodies = finished
    by_step = {body.step: body for body in bodies}
    reserve = room.book.accounts.rounds[by_step["look-scores"].round].reserve
    said = " ".join(explain._mechanism(room.plan, by_step["look-scores"], reserve).said)
    assert "each of one company alone, of alpha, beta and gamma" in said
    assert "zeros to those of others" in said
    between = " ".join(explain._mechanism(room.plan, by_step["look-overlap"], reserve).said)
    assert "pair by pair" in between
