"""The section of latent classes: every figure with its interval, in units that people use."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from html import unescape
from typing import Any

import numpy as np
import pytest

from coordinator import fits
from coordinator.console import report
from protocols import release
from protocols.encoding import canonical
from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.release import Body
from protocols.statistic import Integers, Noise
from protocols.verdict import Findings

ITEMS = [
    {"feature": "recency_days", "cuts": [30]},
    {"feature": "baskets", "cuts": [4, 20]},
    {"feature": "mean_basket_cents", "cuts": [2550]},
    {"feature": "promo_share_ppm", "cuts": [200_000, 505_000]},
    {"feature": "tenure_days", "cuts": [180]},
]
LEVELS = (2, 3, 2, 3, 2)
SHARES = (0.5, 0.3, 0.2)
CHANCES = (
    ((0.9, 0.1), (0.1, 0.3, 0.6), (0.2, 0.8), (0.7, 0.2, 0.1), (0.15, 0.85)),
    ((0.2, 0.8), (0.75, 0.2, 0.05), (0.9, 0.1), (0.6, 0.3, 0.1), (0.6, 0.4)),
    ((0.8, 0.2), (0.3, 0.6, 0.1), (0.7, 0.3), (0.05, 0.15, 0.8), (0.1, 0.9)),
)


def make_plan(many: Any = None, **changes: Any) -> Plan:
    question = {"kind": "classes", "rho": {"patterns": 20_000_000}, "items": ITEMS,
                "classes": {"least": 2, "most": 4} if many is None else many}  # fmt: skip
    columns = {"customer": {"type": "id"}, "basket": {"type": "id"}, "bought_on": {"type": "date"},
               "paid": {"type": "money", "low": -10000, "high": 10000},
               "discount": {"type": "money", "low": -10000, "high": 10000}}  # fmt: skip
    document = {
        "type": "plan@v1", "room": "shop-room", "name": "kinds", "purpose": "know kinds of customers",
        "parties": ["baker", "grocer"], "recipients": ["baker", "grocer"], "valid_until": "2031-12-31",
        "delta": "0.000001", "rho": 10**9, "blocks": {"q1": {"first": "2017-01-01", "last": "2017-03-31"}},
        "features": {"as_of": "2017-07-01", "discount_depth_percent": 15},
        "table": {"name": "sales", "columns": columns},
        "collusion": 1, "quorum": 2, "deadline_s": 60, "answer_after_s": 1, "people_cap": 50000,
        "questions": [question], **changes,
    }  # fmt: skip
    return Plan.from_bytes(canonical(document))


def expected(people: int) -> Integers:
    cells = np.zeros(int(np.prod(LEVELS)))
    for share, chances in zip(SHARES, CHANCES, strict=True):
        cube = np.ones(1)
        for one in chances:
            cube = np.outer(cube, one).ravel()
        cells += people * share * cube
    return np.append(np.rint(cells), 21).astype(np.int64)


def make_body(plan: Plan, people: int) -> Body:
    noised = expected(people)
    ((step, mechanism),) = plan.steps()
    state = fits.state_after(plan, step.name, noised, Noise(2, mechanism.variance_micro), {})
    return release.compose(plan, round_id="0a" * 16, step=step.name, nonce="1b" * 16, noised=noised,
                           survivors=list(plan.parties), earlier={}, salt=bytes(32), state=state)  # fmt: skip


def make_page(plan: Plan, body: Body) -> str:
    return report.page(plan, [body], Findings("shop-room", 12, "ef" * 32, (), (), 8, 30, 0), made_at="2017-07-02")


@cache
def plain() -> tuple[Plan, Body, str]:
    plan = make_plan()
    body = make_body(plan, 12_000)
    return plan, body, make_page(plan, body)


def section(html: str) -> str:
    (found,) = re.findall(r"<section>\s*<h2>Latent classes</h2>.*?</section>", html, re.DOTALL)
    return str(found)


def table(html: str) -> dict[tuple[str, str], list[str]]:
    """(row's name, column's name) → the lines of the cell."""
    found = {}
    for line in re.findall(r"<tr>(.*?)</tr>", section(html), re.DOTALL):
        name = unescape(re.search(r"<th[^>]*>(.*?)</th>", line)[1])  # type: ignore[index]
        for column, cell in re.findall(r'<td [^>]*data-label="([^"]*)">(.*?)</td>', line):
            assert (name, column) not in found
            found[name, column] = [unescape(re.sub(r"<[^>]*>", "", part)) for part in cell.split("<br>")]
    return found


def percent(share: str) -> str:
    """In hundredths with one decimal, a half away from zero."""
    return f"{(Decimal(share) * 100).quantize(Decimal('0.1'), rounding=ROUND_HALF_UP)} %"


def test_every_figure_of_every_class_is_in_the_table_with_its_interval() -> None:
    _, body, html = plain()
    assert len(body.answer["classes"]) == 3
    seen = table(html)
    for k in (1, 2, 3):
        one = body.answer["classes"][f"c{k}"]
        assert seen["Customers", f"Class {k}"][0] == f"{int(one['size']['value']):,}"
        low, high = (f"{int(one['size'][end]):,}" for end in ("low", "high"))
        assert seen["Customers", f"Class {k}"][1] == f"{low} to {high}"
        share = seen["Share of all", f"Class {k}"]
        assert share[0] == percent(one["share"]["value"])
        told = [cell[0] for (_, column), cell in seen.items() if column == f"Class {k}"]
        assert told[2:] == [percent(one["items"][item["feature"]][str(level)]["value"])
                            for item, n in zip(ITEMS, LEVELS, strict=True) for level in range(n)]  # fmt: skip
    assert len([1 for _, column in seen if column == "Class 1"]) == 2 + sum(LEVELS)


@pytest.mark.parametrize(
    ("row", "feature", "level"),
    [
        ("Days since the last purchase: under 30", "recency_days", "0"),
        ("Days since the last purchase: 30 or more", "recency_days", "1"),
        ("Baskets: 4 to under 20", "baskets", "1"),
        ("Spend per basket, in units of currency: 25.5 or more", "mean_basket_cents", "1"),
        ("Share of spend on discounted items: 20 % to under 50.5 %", "promo_share_ppm", "1"),
    ],
)
def test_levels_are_told_in_units_that_people_use_beside_their_own_figure(row: str, feature: str, level: str) -> None:
    _, body, html = plain()
    figure = body.answer["classes"]["c2"]["items"][feature][level]
    shown = table(html)[row, "Class 2"]
    assert shown[0] == percent(figure["value"])
    low, high = (float(end.removesuffix(" %")) for end in shown[1].split(" to "))
    assert low <= float(figure["low"]) * 100 < float(figure["high"]) * 100 <= high  # rounded outward
    assert high - low < (float(figure["high"]) - float(figure["low"])) * 100 + 0.2 + 1e-9


def test_the_section_says_how_many_classes_there_are_and_how_that_was_found() -> None:
    assert "There are 3 classes, chosen from the noised counts" in section(plain()[2])
    plan = make_plan(2)
    assert "There are 2 classes, as many as the plan asked for" in section(make_page(plan, make_body(plan, 12_000)))


def test_where_the_noise_drowns_all_it_says_so_and_shows_no_number_of_a_class() -> None:
    plan = make_plan()
    html = make_page(plan, make_body(plan, 60))
    assert "The noise is too large for these customers to tell any classes" in section(html)
    seen = table(html)
    assert {tuple(cell) for (_, column), cell in seen.items() if column == "Class 1"} == {("too noisy",)}
    assert seen["Customers whose records could not be used", "Estimate"] == ["21"]


def test_fewer_classes_than_the_plan_asked_for_are_told() -> None:
    """Of so few people two of the three stand above the noise."""
    plan = make_plan(3)
    body = make_body(plan, 1_100)
    assert len(body.answer["classes"]) == 2
    assert "The plan asked for 3 or more; only 2 stand above the noise" in section(make_page(plan, body))


def test_both_drawings_are_there_in_both_widths_and_name_every_class() -> None:
    html = section(plain()[2])
    for label in ("Customers in each class", "Probability of each trait in each class"):
        assert len(re.findall(rf'<svg viewBox="0 0 (1040|360) \d+" role="img" aria-label="{label}', html)) == 2
    assert len(re.findall(">Class 3<", html)) >= 4


def test_a_release_of_classes_that_its_plan_does_not_ask_for_is_an_integrity_error() -> None:
    plan, body, _ = plain()
    with pytest.raises(IntegrityError, match="not ask for them|of another plan"):
        report.page(
            make_plan(name="other"), [body], Findings("shop-room", 12, "ef" * 32, (), (), 8, 30, 0), made_at="x"
        )
    assert plan.questions[0].kind == "classes"
