"""The sections of the overlap: every figure with its interval, what is too noisy hatched, nothing promised too much."""

from __future__ import annotations

import re
from functools import cache
from html import unescape

import pytest

from coordinator.console import charts, overlap_charts, report
from protocols import figures
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY
from protocols.release import Body
from protocols.verdict import Findings
from tests.protocols.overlap.crowd import SHOPS, bodies_of, plan_of, question_of

VALUE = {"party": "grocer", "feature": "spend_cents", "low": 0, "high": 100_000, "bins": 2}
TIERS = ("gold", "silver", "plain", "other")
CELLS = [812, 95, 40, 3, 120, 640, 88, -6, 61, 77, 1204, 12, 4, -9, 11, 20]
SIZES = [3000, 2500, 4200, 60, 3500, 2200, 3900, 12, 240]


def page(plan, bodies) -> str:
    return report.page(plan, bodies, Findings("shop-room", 12, "ef" * 32, (), (), 8, 30, 0), made_at="2017-07-02")


@cache
def by_tier():
    plan = plan_of(question_of("column"))
    bodies = bodies_of(plan, SIZES, CELLS)
    return plan, bodies, page(plan, bodies)


@cache
def of_three():
    plan = plan_of(question_of("segments", value=VALUE), SHOPS)
    sizes, cells = (len(plan.step(step)[0].statistic.slots) for step in ("overlap-sizes", "overlap"))
    bodies = bodies_of(plan, [900 + 37 * i for i in range(sizes)], [7 * (i % 40) for i in range(cells)])
    return plan, bodies, page(plan, bodies)


def section(html: str, title: str) -> str:
    (found,) = re.findall(rf"<section>\s*<h2>{title}</h2>.*?</section>", html, re.DOTALL)
    return found


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def shown(figure: dict[str, str]) -> list[str]:
    """How a figure may stand in a table: a count, a share, an index with one decimal, an amount in cents."""
    reading = charts.Reading.of(figure)
    assert reading is not None
    in_units = reading.times(charts.Decimal("0.01"))
    ways = [(reading, 0, ""), (reading, 1, ""), (reading, 2, ""), (reading.percent(), 1, " %"), (in_units, 0, ""),
            (in_units, 2, "")]  # fmt: skip
    return [f"{r.estimate(places)}{unit} {r.interval(places, unit)}" for r, places, unit in ways]


@pytest.mark.parametrize("made", [by_tier, of_three])
def test_every_figure_that_is_not_too_noisy_stands_in_a_table_with_its_interval(made) -> None:
    _, bodies, html = made()
    tables = text_of(" ".join(re.findall(r"<table.*?</table>", html, re.DOTALL)))
    for body in bodies:
        for path in body.numbers:
            figure = figures.at(body.answer, path)
            if path.endswith("/cap") or path == "/deviation" or figure["value"] == TOO_NOISY:
                continue
            assert any(way in tables for way in shown(figure)), path


def test_a_matrix_shows_each_count_with_its_margin_and_hatches_what_is_below_five_deviations() -> None:
    _, bodies, html = by_tier()
    words = text_of(section(html, "Overlap of baker and grocer").split("<table")[0])
    for row in bodies[1].answer["pairs"]["baker--grocer"]["cells"].values():
        for leaf in row.values():
            reading = charts.Reading.of(leaf)
            assert reading is not None
            assert f"{reading.estimate()} {reading.margin()}" in words
    # σ of both: √2 · 4.56 = 6.45, so that 33 is told from nobody and 32 is not
    plan = plan_of(question_of("column"))
    for count, hatched in ((33, False), (32, True)):
        cells = [count, *[500] * 15]
        drawn: list[bool] = []
        seen = overlap_charts.Shared.__init__

        def noting(self, reading, faint, drawn=drawn, seen=seen) -> None:
            drawn.append(faint)
            seen(self, reading, faint)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(overlap_charts.Shared, "__init__", noting)
            page(plan, bodies_of(plan, SIZES, cells))
        assert drawn == [hatched, *[False] * 15]


def test_the_drawings_of_a_hatched_cell_have_a_hatch_and_of_none_have_none() -> None:
    plan = plan_of(question_of("column"))
    clear = section(page(plan, bodies_of(plan, SIZES, [500] * 16)), "Overlap of baker and grocer")
    faint = section(page(plan, bodies_of(plan, SIZES, [0, *[500] * 15])), "Overlap of baker and grocer")
    assert "<pattern" not in clear
    assert "<pattern" in faint


def test_reach_is_a_number_for_two_and_two_bounds_for_three_that_are_called_bounds() -> None:
    two = text_of(section(by_tier()[2], "Audience overlap"))
    assert "Different people (reach) 16,200 16,099 to 16,301" in two
    assert "bound" not in two
    three = text_of(section(of_three()[2], "Audience overlap"))
    assert "Different people: at least" in three
    assert "Different people: at most" in three
    assert "two bounds" in three
    for text in (two, three):
        assert "What this cannot tell you: who is shared" in text


def test_the_page_does_not_say_that_nobody_is_matched_nor_that_a_cell_has_the_noise_of_all() -> None:
    html = text_of(of_three()[2])
    assert "Customers are matched between companies for the audience overlap only" in html
    assert "in an overlap that of the two it is about" in html
    assert "not matched" not in html


def test_names_of_lists_that_are_too_long_for_a_column_are_cut_there_and_whole_at_the_rows() -> None:
    long = "a-tier-with-a-very-long-name"
    plan = plan_of(question_of("column"))
    table = plan.table.body()
    table["columns"]["tier"]["values"] = [long, *TIERS[1:]]
    plan = plan_of(question_of("column"), table=table)
    words = text_of(section(page(plan, bodies_of(plan, SIZES, CELLS)), "Overlap of baker and grocer"))
    assert "a-tier-wi… silver plain other" in words
    assert f"baker: {long}" in words


def test_one_list_for_all_needs_no_drawing() -> None:
    plan = plan_of(question_of("all"))
    html = page(plan, bodies_of(plan, [3000, 2000, 4], [900]))
    pair = section(html, "Overlap of baker and grocer")
    assert "<svg" not in pair
    assert "baker and grocer have 900 people in common" in text_of(pair)
    assert "baker, all lists 900 887 to 913 900 30.0 %" in text_of(pair)


def test_more_pairs_than_can_be_drawn_are_tables_only() -> None:
    shops = [f"shop{i}" for i in range(6)]
    plan = plan_of(question_of("column", pairs=100_000_000), shops)
    sizes = [2000] * (4 * 6) + [3]
    html = page(plan, bodies_of(plan, sizes, [300] * (16 * 15)))
    drawn = ["<svg" in section(html, f"Overlap of shop{a} and shop{b}") for a in range(6) for b in range(a + 1, 6)]
    assert drawn == [True] * 10 + [False] * 5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: {**answer, "pairs": {}},
        lambda answer: {**answer, "all": {"reach": {}}},
        lambda answer: {"pairs": answer["pairs"]["baker--grocer"]["cells"]},
    ],
)
def test_a_release_of_another_shape_is_no_report(spoil) -> None:
    plan, (sizes, cells), _ = by_tier()
    other = Body.model_validate({**cells.body(), "answer": spoil(cells.answer)})
    with pytest.raises(IntegrityError):
        page(plan, [sizes, other])
