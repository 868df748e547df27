"""The sections of the rfm question: cohorts, the heat map of recency and frequency, and the cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.questions import rfm

from .charts import Axis, Reading, bars, heat
from .sections import NOISY, TWO_LINES, Column, Make, Released, Section, Table, cells

COHORT_WORDS = {
    "bargain-hunter": "Bargain hunters",
    "loyalist": "Loyal customers",
    "lapsed-defector": "Lapsed regulars",
    "promising-new": "Promising newcomers",
    "at-risk": "At risk",
    "big-spender": "Big spenders",
    "occasional": "Occasional shoppers",
    "other": "Everyone else",
}
FEATURE_WORDS = {
    "recency": ("Recency", "days", "days since the last purchase, counted to {as_of}; few days are the best score"),
    "frequency": ("Frequency", "baskets", "number of baskets in the periods of the plan"),
    "monetary": ("Monetary", "spent", "amount spent in the periods of the plan, in whole units of currency"),
}


def _question(plan: Plan) -> rfm.Plan:
    for question in plan.questions:
        if isinstance(question, rfm.Plan):
            return question
    raise IntegrityError("there is a release of cohorts, but the plan does not ask for them")


def _cohorts(plan: Plan, released: Released) -> list[Section]:
    """The eight cohorts and the heat map. Both need the released cuts, which say what a score means."""
    question, answer = _question(plan), released["rfm-cohorts"].answer
    positions = rfm.scores_at(question, released["rfm-cuts"].answer)
    named, meanings = answer["cohorts"], _meanings(plan, question, positions)
    rows = [[COHORT_WORDS[name], meanings[name], *cells(named[name])] for name in rfm.COHORTS]
    unusable = ["Not in any group", "Records that could not be used, or without a basket.", *cells(answer["unusable"])]
    columns = [Column("Cohort"), Column("Who this is", "prose"), Column("Estimate", "number")]
    table = Table(
        "Who they are and how many",
        [*columns, Column("95 % interval", "number"), Column("Adds up", "number")],
        [*rows, unusable, _total(named)],
        "Each customer counts in the first group that fits, from top to bottom. “Adds up”: the same estimates, moved "
        "as little as possible so that none is negative and cohorts and heat map have one total. The interval "
        "belongs to the estimate; the moved number has none of its own.",
    )
    drawing = bars(
        [(COHORT_WORDS[name], Reading.of(named[name]), "") for name in rfm.COHORTS],
        label="Customers in each cohort with 95 % intervals",
        caption="Customers in each cohort. The dark line is the 95 % interval: the exact number is very likely in it.",
    )
    lead = "How the customers of all companies divide into eight groups: by when, how often and for how much they buy."
    return [Section("Cohorts", lead, [drawing, table]), _cells_section(question, positions, answer["cells"])]


def _total(named: Mapping[str, Any]) -> list[str]:
    """The row of the sum of what adds up, as it is shown; where a cohort has no such number it says so."""
    readings = [Reading.of(figure) for figure in named.values()]
    known = [reading.consistent for reading in readings if reading is not None and reading.consistent is not None]
    if len(known) < len(readings):
        return ["Total", "Not given: a cohort is too noisy.", "", "", ""]
    return ["Total", "All cohorts; those not in any group are left out.", "", "", f"{sum(known):,.0f}"]


def _cells_section(question: rfm.Plan, positions: Mapping[str, list[int]], found: Mapping[str, Any]) -> Section:
    recency, frequency = (_ranges(question, positions, feature) for feature in ("recency", "frequency"))
    down = [5, 4, 3, 2, 1]
    rows = Axis("days ago", [f"R {r}" for r in down], recency)
    columns = Axis("baskets", [f"F {f}" for f in range(1, 6)], frequency)
    drawing = heat(
        rows,
        columns,
        [[Reading.of(found[f"r{r}f{f}"]) for f in range(1, 6)] for r in down],
        label="Customers by recency and frequency score with 95 % margins",
        caption="Customers with each pair of scores, ± half the 95 % interval. Darker means more. At the sides: "
        "the limits that the scores use, which are the released cuts, or the plan’s own where a cut is too noisy.",
    )
    listed = [[f"R {r}, F {f}", *cells(found[f"r{r}f{f}"])] for r in down for f in range(1, 6)]
    titles = [Column("Scores"), *(Column(t, "number") for t in ("Estimate", "95 % interval", "Adds up"))]
    lead = (
        "Two scores from 1 to 5 for every customer: R for how recent the last purchase was, F for how many there were."
    )
    table = Table("The 25 cells as a table", titles, listed, folded=True)
    return Section("Recency and frequency", lead, [drawing, table])


def _ranges(question: rfm.Plan, positions: Mapping[str, list[int]], feature: str) -> list[str]:
    """For each score, smallest values first, the values that have it."""
    edges = [0, *question.boundaries(feature)]
    return [_range(edges, low, high) for low, high in pairwise([0, *positions[feature], len(edges)])]


def _range(edges: Sequence[int], low: int, high: int) -> str:
    if low == high:
        return "no such score"
    if high == len(edges):
        return f"{edges[low]:,} or more" if low else "any"
    if low == 0:
        return f"under {edges[high]:,}"
    first, last = edges[low], edges[high] - 1
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"


def _meanings(plan: Plan, question: rfm.Plan, positions: Mapping[str, list[int]]) -> dict[str, str]:
    """One sentence for each cohort, in days, baskets and currency instead of scores. Follows `rfm._cohort`."""
    edges = {feature: [0, *question.boundaries(feature)] for feature in rfm.FEATURES}
    r, f, m = ([edges[feature][k] for k in positions[feature]] for feature in rfm.FEATURES)
    fewest = next((edge for edge in f if edge > 0), None)
    few = "any number of baskets" if fewest is None else _under(fewest, "baskets")
    lately, slipping = _under(r[1], "days ago"), f"{r[1]:,} to under {r[3]:,} days ago"
    if r[1] == r[3]:
        slipping = "in a range that the cuts leave empty, so nobody"
    return {
        "bargain-hunter": f"{_least(question.bargain_baskets, 'baskets')}, at least {question.bargain_share_percent} % "
        f"of them discounted (more than {plan.features.discount_depth_percent} % off).",
        "loyalist": f"Recent, frequent, high spend: last purchase {lately}, {_least(f[2], 'baskets')}, "
        f"{_least(m[2], 'spent')}.",
        "lapsed-defector": f"Bought often, not seen lately: {_least(f[2], 'baskets')}, last purchase "
        f"{_least(r[2], 'days ago')}.",
        "promising-new": f"Few purchases, but very recent: {few}, last purchase {_under(r[0], 'days ago')}.",
        "at-risk": f"Regulars slipping away: {_least(f[1], 'baskets')}, last purchase {slipping}.",
        "big-spender": f"In none of the groups above, with {_least(m[3], 'spent')}.",
        "occasional": f"In none of the groups above, with {_under(f[1], 'baskets')}.",
        "other": "In none of the groups above.",
    }


def _under(limit: int, unit: str) -> str:
    return f"under {limit:,} {unit}" if limit else "below the lowest limit, so nobody"


def _least(limit: int, unit: str) -> str:
    anything = {"spent": "any amount spent", "days ago": "at any time"}
    return f"{limit:,} {unit} or more" if limit else anything.get(unit, f"any number of {unit}")


def _cuts(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released["rfm-cuts"].answer
    levels = rfm.levels(question, answer)
    tables = [_cut_table(plan, question, feature, answer, levels[feature]) for feature in rfm.FEATURES]
    lead = (
        "Scores divide customers into fifths as well as the agreed limits allow. A cut is one of those limits: the one "
        "below which the share of customers comes nearest 20, 40, 60 or 80 %. “Could be”: every limit that could be "
        "the nearest one without noise, with 95 % confidence; “4 to 4” means that no other can."
    )
    return [Section("Cuts", lead, tables, beside=True)]


def _cut_table(plan: Plan, question: rfm.Plan, feature: str, answer: Mapping[str, Any], levels: int) -> Table:
    title, unit, words = FEATURE_WORDS[feature]
    edges = [0, *question.boundaries(feature)]
    fallbacks = dict(zip(rfm.TARGETS, rfm.scores_at(question, answer)[feature], strict=True))
    rows = []
    for target in rfm.TARGETS:
        edge, below = (Reading.of(answer[feature][f"p{target}"][part]) for part in ("edge", "below"))
        cut, share = TWO_LINES.format(NOISY, f"scored at {edges[fallbacks[target]]:,}"), NOISY
        if edge is not None:
            cut = TWO_LINES.format(edge.estimate(), f"could be {edge.interval()}")
        if below is not None:
            share = TWO_LINES.format(f"{below.percent().estimate(1)} %", below.percent().interval(1, " %"))
        rows.append([f"{target} %", cut, share])
    columns = [Column("Aim"), Column(f"Cut, {unit}", "number"), Column("Share below, 95 % interval", "number")]
    note = f"{levels} of 5 score levels are in use." + (" Cuts that coincide merge levels." if levels < 5 else "")
    if any(NOISY in row for row in rows):
        note += " Where a cut is too noisy, scores use the limit that the plan itself provides."
    return Table(f"{title}: {words.format(as_of=plan.features.as_of)}", columns, rows, note)


STEPS: dict[str, tuple[str, Make]] = {
    "rfm-cohorts": ("Cohorts and heat map", _cohorts),
    "rfm-cuts": ("Cuts", _cuts),
}
