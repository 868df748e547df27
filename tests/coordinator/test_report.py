"""The report page: nothing without its interval, nothing from outside, nothing unescaped."""

from __future__ import annotations

import dataclasses
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cache
from html import unescape
from itertools import product

import numpy as np
import pytest

from coordinator.console import charts, report, rfm_sections
from protocols import release
from protocols.accuracy import epsilon
from protocols.errors import IntegrityError, UsageError
from protocols.plan import Plan
from protocols.questions import rfm
from protocols.verdict import BudgetLine, Check, Findings, Problem

PLAN = """
type = "plan@v1"
room = "shop-room"
name = "households"
purpose = "know the shared cohorts"
parties = ["baker", "grocer"]
recipients = ["baker", "grocer"]
valid_until = "2031-12-31"
delta = "0.000001"
rho = "0.02"
blocks = { q1 = { first = "2017-01-01", last = "2017-03-31" }, q2 = { first = "2017-04-01", last = "2017-06-30" } }
features = { as_of = "2017-07-01", discount_depth_percent = 15 }
table = { name = "sales", columns = { customer = { type = "id" } } }
collusion = 1
quorum = 2
deadline_s = 60
answer_after_s = 1
people_cap = 50000
[[questions]]
kind = "rfm"
rho = { cuts = "0.006", cohorts = "0.012" }
recency_days = [4, 8, 16, 32]
frequency_baskets = [2, 5, 9, 17]
monetary_units = [50, 120, 300, 1200]
bargain_baskets = 4
bargain_share_percent = 60
"""
FIFTHS = [2000] * 5
STEEP = [5000, 1700, 1300, 1000, 1000]  # half in the first bin: the cuts at 20 and 40 % cannot both be kept apart
CELLS = [900 + 37 * k for k in range(25)]
COHORTS = [2001, 4003, 80, 3002, 5000, 60, 6004, 1234]
NAMES = ("archive", "entries", "rules")


def make_plan(purpose="know the shared cohorts"):
    return Plan.from_toml(PLAN.replace("know the shared cohorts", purpose).encode())


def make_bodies(plan, bins=(FIFTHS, FIFTHS, FIFTHS), cells=CELLS, cohorts=COHORTS):
    sums = {"rfm-cuts": [*bins[0], *bins[1], *bins[2], 12], "rfm-cohorts": [*cells, *cohorts, -7]}
    earlier, found = {}, []
    for step, _ in plan.steps():
        body = release.compose(
            plan, round_id="0a" * 16, step=step.name, nonce="1b" * 16, noised=np.asarray(sums[step.name], np.int64),
            survivors=list(plan.parties), earlier=dict(earlier), salt=bytes(32),
        )  # fmt: skip
        earlier[step.name] = body.answer
        found.append(body)
    return found


def make_findings(problems=(), state="ok", budgets=None, room="shop-room"):
    checks = [Check(name, f"looked {name}", f"meaning {name}", (), "ok") for name in NAMES[:-1]]
    last = Check(NAMES[-1], "looked", "meaning", tuple(problems), "violation" if problems else state)
    lines = [
        BudgetLine("baker", "q1", 30_000_000, 88_000_000, {}),
        BudgetLine("person", "lifetime", 100_000_000, 200_000_000, {}),
    ]
    return Findings(room, 12, "ef" * 32, (*checks, last), tuple(lines if budgets is None else budgets), 2, 58, 0)


def make_page(plan=None, bodies=None, findings=None, made_at="2017-07-02"):
    plan = plan or make_plan()
    return report.page(plan, bodies or make_bodies(plan), findings or make_findings(), made_at=made_at)


@cache
def plain_page():
    return make_page()


def made(**sums):
    plan = make_plan()
    bodies = make_bodies(plan, **sums)
    return plan, bodies, make_page(plan, bodies)


def rows(html):
    """The rows of all tables, as lists of their cells' words."""
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    return [[unescape(re.sub(r"<[^>]*>", "", cell.replace("<br>", " "))) for cell in cells] for cells in found]


def row(html, *start):
    """The only row that begins with these cells."""
    (found,) = [cells for cells in rows(html) if cells[: len(start)] == list(start)]
    return found


def drawings(html):
    """The words of the SVG pictures, and nothing else of the page."""
    pictures = re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL)
    return [re.findall(r"<text[^>]*>([^<]*)</text>", picture) for picture in pictures if "<text" in picture]


def whole(text, rounding):
    return f"{Decimal(text).quantize(Decimal(1), rounding=rounding):,}".replace("-", "\u2212")


def spoken(figure):
    """What a reader must find for a count, written here a second time from the release."""
    if figure["value"] == "too noisy":
        return ["too noisy", ""]
    ends = whole(figure["low"], ROUND_FLOOR), whole(figure["high"], ROUND_CEILING)
    return [whole(figure["value"], ROUND_HALF_UP), f"{ends[0]} to {ends[1]}"]


def test_the_page_needs_nothing_from_outside_and_runs_nothing():
    html = plain_page()
    for forbidden in ("http", "//", "<script", "javascript:", "src=", "@import", "<link", "xmlns"):
        assert forbidden not in html.lower()
    assert not [target for target in re.findall(r'href="([^"]*)"', html) if not target.startswith("#")]
    assert not [target for target in re.findall(r"url\(([^)]*)\)", html) if not target.startswith("#")]


def test_the_same_round_gives_the_same_bytes_and_no_two_drawings_share_an_id(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    assert make_page() == plain_page()
    ids = re.findall(r' id="([^"]*)"', plain_page())
    assert len(ids) == len(set(ids))


def test_sections_come_in_their_order_and_cuts_alone_where_the_round_ended_after_them():
    rest = ["Cuts", "Privacy budget", "How to read this"]
    plan, html = make_plan(), plain_page()
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Cohorts", "Recency and frequency", *rest]
    assert re.findall(r"<h2>(.*?)</h2>", make_page(plan, make_bodies(plan)[:1])) == rest


def test_texts_of_plan_audit_and_caller_stay_texts():
    attack = "<script>alert('x')</script>"
    plan = make_plan(purpose=attack)
    findings = make_findings([Problem("entry <b>7</b>", attack)])
    html = make_page(plan, make_bodies(plan), findings, made_at="<i>now</i>")
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") == 2
    assert "&lt;i&gt;now&lt;/i&gt;" in html
    assert "entry &lt;b&gt;7&lt;/b&gt;" in html


def test_every_count_is_in_a_table_with_its_interval_or_as_too_noisy():
    _, bodies, html = made()
    answer = bodies[1].answer
    for name, figure in answer["cohorts"].items():
        settled = whole(figure["consistent"], ROUND_HALF_UP) if "consistent" in figure else ""
        assert row(html, rfm_sections.COHORT_WORDS[name])[2:] == [*spoken(figure), settled]
    for name, figure in answer["cells"].items():
        assert row(html, f"R {name[1]}, F {name[3]}")[1:3] == spoken(figure)
    assert row(html, "Not in any group")[2:4] == spoken(answer["unusable"])
    assert {"too noisy"} < {figure["value"] for figure in answer["cohorts"].values()}


def test_every_cut_is_shown_with_its_range_and_the_share_below_with_its_interval():
    _, bodies, html = made(bins=(FIFTHS, STEEP, FIFTHS))
    shown = [cells for cells in rows(html) if re.fullmatch(r"[2468]0 %", cells[0])]
    cuts = [bodies[0].answer[feature][f"p{target}"] for feature in rfm.FEATURES for target in rfm.TARGETS]
    for cells, cut in zip(shown, cuts, strict=True):
        value, ends = spoken(cut["edge"])
        assert cells[1] == f"{value} could be {ends}"
        below, low, high = re.fullmatch(r"(\S+) % (\S+) % to (\S+) %", cells[2]).groups()
        share = {name: 100 * Decimal(text) for name, text in cut["below"].items()}
        assert Decimal(low.replace("\u2212", "-")) <= share["low"]
        assert Decimal(high) >= share["high"]
        assert abs(Decimal(below) - share["value"]) <= Decimal("0.05")


def test_both_widths_of_both_drawings_write_each_number_with_its_margin():
    _, bodies, html = made()
    drawn = drawings(html)
    assert len(drawn) == 4
    for words in drawn[:2]:
        for name, figure in bodies[1].answer["cohorts"].items():
            assert rfm_sections.COHORT_WORDS[name] in words
            if figure["value"] != "too noisy":
                assert f"{spoken(figure)[0]} ± {half(figure)}" in words
    for words in drawn[2:]:
        assert words[0] == spoken(bodies[1].answer["cells"]["r5f1"])[0]
        assert [words[words.index(side) + 1] for side in ("R 5", "R 1", "F 1")] == ["under 4", "32 or more", "under 2"]
        for figure in bodies[1].answer["cells"].values():
            assert words[words.index(spoken(figure)[0]) + 1] == f"± {half(figure)}"


def half(figure):
    return whole((Decimal(figure["high"]) - Decimal(figure["low"])) / 2, ROUND_CEILING)


def test_whiskers_span_the_interval_on_the_scale_of_the_bar():
    reading = charts.Reading(Decimal(100), Decimal(60), Decimal(140))
    picture = charts.bars([("all", reading, "")], label="one bar", caption="")
    for svg in (picture.wide, picture.narrow):
        bar = re.search(r'<path d="([^"]*)"[^>]*style="fill: ' + charts.BAR, svg).group(1)
        lines = re.findall(r'<path d="([^"]*)"[^>]*stroke: ' + charts.WHISKER, svg)
        left, right = (pick(points(bar)) for pick in (min, max))
        low, high = (left + part * (right - left) for part in (0.6, 1.4))
        drawn = [points(line) for line in lines]
        assert drawn == [pytest.approx(ends, abs=0.01) for ends in ([low, high], [low, low], [high, high])]


def points(path):
    return [float(x) for x in re.findall(r"[ML] ([-0-9.]+) ", path)]


def test_a_table_that_is_wholly_gated_shows_no_number_at_all():
    _, _, html = made(cells=[3] * 25, cohorts=[5000, *[3] * 7])
    for name in (*rfm_sections.COHORT_WORDS.values(), *(f"R {r}, F {f}" for r in range(1, 6) for f in range(1, 6))):
        assert row(html, name)[-3:] == ["too noisy", "", ""]
    wide_bars, narrow_bars, wide_heat, narrow_heat = drawings(html)
    assert wide_bars.count("too noisy") == narrow_bars.count("too noisy") == 8
    assert wide_heat.count("too noisy") == narrow_heat.count("noisy") == 25
    assert not [word for word in (*wide_bars, *narrow_bars) if any(char.isdigit() for char in word)]
    assert "±" not in "".join((*wide_heat, *narrow_heat))


def test_too_noisy_is_explained_once_and_every_mention_leads_there():
    html = plain_page()
    assert html.count('id="too-noisy"') == html.count("does not mean zero") == 1
    assert '<a class="noisy" href="#too-noisy">too noisy</a>' in html


def test_a_cut_that_is_too_noisy_says_which_limit_scores_use_instead():
    _, _, html = made(bins=([3] * 5, FIFTHS, FIFTHS))
    shown = [cells for cells in rows(html) if cells[0] == "40 %"]
    assert shown[0][1:] == ["too noisy scored at 8", "too noisy"]
    assert "Where a cut is too noisy" in html
    assert "Where a cut is too noisy" not in plain_page()


def test_cuts_that_coincide_are_said_to_merge_levels_and_their_scores_to_be_nobodys():
    plan, bodies, html = made(bins=(FIFTHS, STEEP, FIFTHS))
    left = rfm.levels(plan.questions[0], bodies[0].answer)["frequency"]
    assert left < 5
    assert f"{left} of 5 score levels are in use. Cuts that coincide merge levels." in html
    assert all("no such score" in words for words in drawings(html)[2:])


@pytest.mark.parametrize("bins", [(FIFTHS, FIFTHS, FIFTHS), (FIFTHS, STEEP, FIFTHS), (STEEP, FIFTHS, STEEP)])
def test_the_words_of_a_cohort_draw_its_limits_where_the_question_draws_them(bins):
    plan, bodies, html = made(bins=bins)
    question = plan.questions[0]
    positions = rfm.scores_at(question, bodies[0].answer)
    grid = list(product(range(40), (1, 2, 4, 5, 8, 9, 16, 17), (0, 49, 50, 119, 120, 299, 300, 1199, 1200)))
    days, baskets, spent = np.asarray(grid, np.int64).T
    arrays = {"recency_days": days, "baskets": baskets, "spend_cents": 100 * spent, "discounted_baskets": 0 * days}
    placed = np.argmax(rfm.cohort_rows(question, arrays, positions)[:, 25:], axis=1)
    said = {name: row(html, rfm_sections.COHORT_WORDS[name])[1] for name in rfm.COHORTS}
    assert said["bargain-hunter"] == "4 baskets or more, at least 60 % of them discounted (more than 15 % off)."
    for person, at in zip(grid, placed, strict=True):
        fitting = (n for n in rfm.COHORTS[1:] if fits(said[n], *person))
        assert rfm.COHORTS[at] == next(fitting)


def fits(sentence, days, baskets, spent):
    """Whether somebody without discounts is meant by the sentence of a cohort, read as a reader would."""
    if "nobody" in sentence:
        return False
    tests = [
        (r"(\d+) to under (\d+) days ago", lambda a, b: a <= days < b),
        (r"(?<!to )under (\d+) days ago", lambda a: days < a),
        (r"(\d+) days ago or more", lambda a: days >= a),
        (r"under (\d+) baskets", lambda a: baskets < a),
        (r"(\d+) baskets or more", lambda a: baskets >= a),
        (r"([\d,]+) spent or more", lambda a: spent >= a),
    ]
    found = [(test, re.search(pattern, sentence)) for pattern, test in tests]
    return all(test(*(int(n.replace(",", "")) for n in match.groups())) for test, match in found if match)


def test_a_clean_ledger_is_called_clean_with_the_number_of_its_checks():
    html = plain_page()
    assert '<section class="verdict clean"' in html
    assert "all 3 checks passed" in html
    assert row(html, "entries") == ["entries", "ok", "looked entries", "meaning entries"]


def test_a_violation_is_in_the_banner_with_where_and_what():
    problems = [Problem("entry 7", "its root differs"), Problem("entry 8", "so too")]
    html = make_page(findings=make_findings(problems, budgets=()))
    assert '<section class="verdict violation"' in html
    assert "did not get as far as the budgets" in html
    assert "Violation: 2 problems in 1 of 3 checks" in html
    assert "Do not use the numbers below" in html
    assert "rules: entry 7: its root differs" in html
    assert "clean" not in re.search(r'<section class="verdict.*?</section>', html, re.DOTALL).group(0)


def test_checks_that_were_not_reached_are_never_called_clean():
    for findings in (make_findings(state="not reached"), dataclasses.replace(make_findings(), checks=())):
        html = make_page(findings=findings)
        assert '<section class="verdict undecided"' in html
        assert "The ledger is clean" not in html


def test_the_budget_shows_spent_and_cap_in_rho_and_epsilon_and_the_part_of_this_plan():
    plan, html = make_plan(), plain_page()
    cells = row(html, "baker", "q1")
    assert cells[3:6] == ["0.03", "0.088", "34.1 %"]
    for text, spent in zip(cells[6:], (30_000_000, 88_000_000), strict=True):
        assert 0 <= float(text) - epsilon(spent, 1e-6) <= 0.001
    assert row(html, "all companies together", "all periods together")[3:5] == ["0.1", "0.2"]
    for party_cost, spent, cap in ((plan.charge, 30_000_000, 88_000_000), (plan.charge_person * 2, 10**8, 2 * 10**8)):
        before, now = 100 * (spent - party_cost) / cap, 100 * party_cost / cap
        assert f'<rect class="before" width="{before:.2f}" height="10"/>' in html
        assert f'x="{before:.2f}" width="{now:.2f}"' in html


def test_a_budget_over_its_cap_is_drawn_as_full_and_in_another_colour():
    bar = charts.meter(now=20, before=100, cap=80)
    assert '<g class="over">' in bar
    assert 'class="before" width="100.00"' in bar
    assert 'x="100.00" width="0.00"' in bar
    assert "over" not in charts.meter(now=40, before=40, cap=80)


def test_the_cost_of_the_plan_adds_up_over_its_steps():
    html = plain_page()
    assert row(html, "Cuts")[1::2] == ["0.006", "0.012"]
    assert row(html, "Cohorts and heat map")[1::2] == ["0.012", "0.024"]
    assert row(html, "This plan, once")[1::2] == ["0.018", "0.036"]


def test_the_footer_names_what_a_reader_needs_to_check_the_page():
    plan, bodies, html = made()
    footer = html.split("<footer>")[1]
    for needed in (plan.digest, bodies[0].round, bodies[0].digest, bodies[1].digest, "ef" * 32):
        assert f"<code>{needed}</code>" in footer
    assert "sumroom-audit verify room.tar --policy policy.txt" in footer


def test_a_step_without_a_section_of_its_own_shows_all_its_figures_in_a_plain_table():
    plan = make_plan()
    bodies = make_bodies(plan)
    answer = {
        "a/b": {"c~d": {"value": "-1234.5", "low": "-1300.5", "high": "1200000.0", "consistent": "0.0"}},
        "noisy": {"value": "too noisy"},
        "rate": {"value": "0.1234", "low": "0.1000", "high": "0.2000"},
    }
    extra = bodies[0].model_copy(update={"step": "other-sizes", "answer": answer})
    html = make_page(plan, [*bodies, extra])
    assert "<h2>Step other-sizes</h2>" in html
    assert row(html, "a/b / c~d")[1:] == ["\u22121,234.5", "\u22121,300.5 to 1,200,000.0", "0.0"]
    assert row(html, "noisy")[1:] == ["too noisy", "", ""]
    assert row(html, "rate")[1:] == ["0.1234", "0.1000 to 0.2000", ""]
    assert html.index("<h2>Cuts</h2>") < html.index("Step other-sizes") < html.index("Privacy budget")


def test_what_does_not_belong_together_is_refused():
    plan, (first, second), _ = made()
    with pytest.raises(UsageError, match="no release"):
        report.page(plan, [], make_findings(), made_at="now")
    with pytest.raises(IntegrityError, match="twice"):
        make_page(plan, [first, first])
    with pytest.raises(IntegrityError, match="the audit is of the room elsewhere"):
        make_page(findings=make_findings(room="elsewhere"))
    for change in ({"plan": "0" * 64}, {"round": "0" * 32}, {"room": "another"}):
        with pytest.raises(IntegrityError, match="another plan, room or round"):
            make_page(plan, [first, second.model_copy(update=change)])


def test_a_release_of_another_shape_than_its_question_is_refused():
    plan, (cuts, cohorts), _ = made()
    for answer, match in (
        ({"cells": {"r1f1": {"value": "too noisy"}}}, "not the shape of its question"),
        ({"cells": {"r1f1": {"value": "5"}}}, "without its interval"),
        ({"odd": "5"}, "not a figure"),
    ):
        with pytest.raises(IntegrityError, match=match):
            make_page(plan, [cuts, cohorts.model_copy(update={"answer": answer})])


@pytest.mark.parametrize("text", ["NaN", "1e9", "<b>", "Infinity", "1" * 30, "+1", ""])
def test_a_figure_that_is_no_plain_decimal_is_refused(text):
    with pytest.raises(IntegrityError, match="not a plain decimal"):
        charts.Reading.of({"value": text, "low": "0", "high": "1"})


def test_an_interval_is_rounded_outward_and_never_shows_minus_zero():
    reading = charts.Reading(Decimal("-0.4"), Decimal("-1.1"), Decimal("1.1"))
    assert (reading.estimate(), reading.interval()) == ("0", "\u22122 to 2")
