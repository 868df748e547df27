"""The page that marketers and operators look at: one file, no script, no address, the same bytes for the same round.

A release becomes sections through `_STEPS`: a new question adds one function there. A step that is not in it is shown
as a plain table of its figures, so that nothing released is ever left out. Numbers appear with their intervals only;
the text of a plan is escaped wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.resources import files
from itertools import pairwise
from operator import getitem
from typing import Any, ClassVar

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from protocols import accuracy
from protocols.budget import decimal
from protocols.errors import IntegrityError, UsageError
from protocols.figures import pointers
from protocols.ledger.entries import LIFETIME, PERSON
from protocols.plan import Plan
from protocols.questions import rfm
from protocols.release import Body
from protocols.verdict import BudgetLine, Findings

from .charts import Axis, Picture, Reading, bars, heat, meter

Answers = Mapping[str, Mapping[str, Any]]
NOISY = Markup('<a class="noisy" href="#too-noisy">too noisy</a>')
TWO_LINES = Markup("{}<br><small>{}</small>")
MOST_ROWS = 48
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


@dataclass(frozen=True)
class Column:
    title: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """Rows of text, the first cell of each its name. folded: behind a line that opens it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it. beside: the blocks stand next to one another where there is room."""

    title: str
    lead: str
    blocks: Sequence[Table | Picture]
    beside: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the audit found. state: clean, violation, or undecided where checks are missing though none complains."""

    state: str
    headline: str
    sentence: str


def page(plan: Plan, bodies: Sequence[Body], findings: Findings, *, made_at: str) -> str:
    """The report of one round as a self-contained HTML document.

    bodies    the released steps of that round, in the order in which they ran
    findings  what the audit of the room's bundle found; the page repeats it, and proves nothing by itself
    made_at   when, in words; it is shown as it is

    Raises UsageError without a release, IntegrityError where plan, releases and findings do not belong together or a
    release has not the shape of its question. Still the caller's to do: `audit.verify`, which recomputes the figures.
    """
    _check_belong_together(plan, bodies, findings)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("coordinator.console").joinpath("report.html").read_text(encoding="utf-8")
    return template.from_string(text).render(
        plan=plan,
        bodies=bodies,
        findings=findings,
        made_at=made_at,
        verdict=_verdict(findings),
        sections=_sections(plan, bodies),
        budget=_budget(plan, findings),
        cost=_cost(plan),
        reach=_reach(plan),
    )


def _check_belong_together(plan: Plan, bodies: Sequence[Body], findings: Findings) -> None:
    if not bodies:
        raise UsageError("there is no release to report on", "run a round first, or look at the ledger alone")
    for body in bodies:
        if (body.plan, body.room, body.round) != (plan.digest, plan.room, bodies[0].round):
            raise IntegrityError(f"the release of {body.step} is of another plan, room or round than the report")
    if len({body.step for body in bodies}) != len(bodies):
        raise IntegrityError("one step is released twice in a round")
    if findings.room not in (None, plan.room):
        raise IntegrityError(f"the audit is of the room {findings.room}, the plan of {plan.room}")


def _verdict(findings: Findings) -> Verdict:
    total, problems = len(findings.checks), len(findings.violations)
    if problems:
        bad = sum(1 for check in findings.checks if check.problems)
        return Verdict(
            "violation",
            f"Violation: {_count(problems, 'problem')} in {bad} of {_count(total, 'check')}",
            "Do not use the numbers below until the companies have found out why.",
        )
    if not total or any(check.state != "ok" for check in findings.checks):
        done = sum(1 for check in findings.checks if check.state == "ok")
        return Verdict(
            "undecided",
            f"Not decided: {done} of {_count(total, 'check')} passed, the others were not reached",
            "Nothing wrong was found, but not everything was looked at: do not rely on the numbers below yet.",
        )
    return Verdict(
        "clean",
        f"The ledger is clean: all {_count(total, 'check')} passed",
        f"{_count(findings.numbers, 'published number')} in {_count(findings.releases, 'release')} match the "
        "record: agreed beforehand, paid for from the privacy budget, countersigned by the companies.",
    )


# --- released steps ---------------------------------------------------------------------------------------------------


def _sections(plan: Plan, bodies: Sequence[Body]) -> list[Section]:
    """In the order of `_STEPS`, then those it does not know."""
    answers = {body.step: body.answer for body in bodies}
    for body in bodies:
        list(pointers(body.answer))
    found: list[Section] = []
    for step in [*(name for name in _STEPS if name in answers), *(name for name in answers if name not in _STEPS)]:
        try:
            found += _STEPS[step][1](plan, answers) if step in _STEPS else [_generic(step, answers[step])]
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(f"the release of {step} has not the shape of its question") from None
    return found


def _generic(step: str, answer: Any) -> Section:
    paths = [_path(pointer) for pointer in pointers(answer)]
    leaves: list[Any] = [reduce(getitem, path, answer) for path in paths]
    rows = [[" / ".join(path) or "the answer", *_cells(leaf, None)] for path, leaf in zip(paths, leaves, strict=True)]
    columns = [Column("Number"), Column("Estimate", "number"), Column("95 % interval", "number")]
    return Section(
        f"Step {step}",
        "Every number that this step released, by its name in the release.",
        [Table("All numbers", [*columns, Column("Adds up", "number")], rows)],
    )


def _path(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _cells(figure: Mapping[str, str], places: int | None = 0) -> list[str]:
    """Estimate, interval and consistent value: three cells of a row."""
    reading = Reading.of(figure)
    if reading is None:
        return [NOISY, "", ""]
    return [reading.estimate(places), reading.interval(places), reading.settled(places)]


# --- recency, frequency, monetary -------------------------------------------------------------------------------------


def _question(plan: Plan) -> rfm.Plan:
    for question in plan.questions:
        if isinstance(question, rfm.Plan):
            return question
    raise IntegrityError("there is a release of cohorts, but the plan does not ask for them")


def _cohorts(plan: Plan, answers: Answers) -> list[Section]:
    """The eight cohorts and the heat map. Both need the released cuts, which say what a score means."""
    question, answer = _question(plan), answers["rfm-cohorts"]
    positions = rfm.scores_at(question, answers["rfm-cuts"])
    named, meanings = answer["cohorts"], _meanings(plan, question, positions)
    rows = [[COHORT_WORDS[name], meanings[name], *_cells(named[name])] for name in rfm.COHORTS]
    unusable = ["Not in any group", "Records that could not be used, or without a basket.", *_cells(answer["unusable"])]
    columns = [Column("Cohort"), Column("Who this is", "prose"), Column("Estimate", "number")]
    table = Table(
        "Who they are and how many",
        [*columns, Column("95 % interval", "number"), Column("Adds up", "number")],
        [*rows, unusable],
        "Each customer counts in the first group that fits, from top to bottom. “Adds up”: the same estimates, moved "
        "as little as possible so that none is negative and cohorts and heat map have one total. The interval "
        "belongs to the estimate; the moved number has none of its own.",
    )
    drawing = bars(
        [(COHORT_WORDS[name], Reading.of(named[name])) for name in rfm.COHORTS],
        label="Customers in each cohort with 95 % intervals",
        caption="Customers in each cohort. The dark line is the 95 % interval: the exact number is very likely in it.",
    )
    lead = "How the customers of all companies divide into eight groups: by when, how often and for how much they buy."
    return [Section("Cohorts", lead, [drawing, table]), _cells_section(question, positions, answer["cells"])]


def _cells_section(question: rfm.Plan, positions: Mapping[str, list[int]], cells: Mapping[str, Any]) -> Section:
    recency, frequency = (_ranges(question, positions, feature) for feature in ("recency", "frequency"))
    down = [5, 4, 3, 2, 1]
    rows = Axis("days ago", [f"R {r}" for r in down], recency)
    columns = Axis("baskets", [f"F {f}" for f in range(1, 6)], frequency)
    drawing = heat(
        rows,
        columns,
        [[Reading.of(cells[f"r{r}f{f}"]) for f in range(1, 6)] for r in down],
        label="Customers by recency and frequency score with 95 % margins",
        caption="Customers with each pair of scores, ± half the 95 % interval. Darker means more. At the sides: "
        "the limits that the scores use, which are the released cuts, or the plan’s own where a cut is too noisy.",
    )
    listed = [[f"R {r}, F {f}", *_cells(cells[f"r{r}f{f}"])] for r in down for f in range(1, 6)]
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


def _cuts(plan: Plan, answers: Answers) -> list[Section]:
    question, answer = _question(plan), answers["rfm-cuts"]
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


_STEPS: dict[str, tuple[str, Callable[[Plan, Answers], list[Section]]]] = {
    "rfm-cohorts": ("Cohorts and heat map", _cohorts),
    "rfm-cuts": ("Cuts", _cuts),
}


# --- budget -----------------------------------------------------------------------------------------------------------


def _budget(plan: Plan, findings: Findings) -> Table | None:
    if not findings.budgets:
        return None
    numbers = ("Spent ρ", "Cap ρ", "Spent, % of cap", "Spent ε", "Cap ε")
    columns = [Column("One person’s records at"), Column("Period"), Column("Spent of cap", "meter")]
    return Table(
        "Spent of each cap",
        [*columns, *(Column(title, "number") for title in numbers)],
        [_budget_row(plan, line) for line in findings.budgets],
        folded=len(findings.budgets) > MOST_ROWS,
    )


def _budget_row(plan: Plan, line: BudgetLine) -> list[str]:
    charged = len(plan.blocks) if line.block == LIFETIME else int(line.block in plan.blocks)
    cost = plan.charge_person if line.who == PERSON else plan.charge if line.who in plan.parties else 0
    now = min(line.spent, cost * charged)
    return [
        "all companies together" if line.who == PERSON else line.who,
        "all periods together" if line.block == LIFETIME else line.block,
        meter(now, line.spent - now, line.cap),
        decimal(line.spent),
        decimal(line.cap),
        f"{100 * line.spent / line.cap:.1f} %",
        _epsilon(line.spent, plan.delta),
        _epsilon(line.cap, plan.delta),
    ]


def _cost(plan: Plan) -> Table:
    rows = [
        [_STEPS[step.name][0] if step.name in _STEPS else f"Step {step.name}",
         decimal(mechanism.charge), "", decimal(mechanism.charge * len(mechanism.adders)), ""]
        for step, mechanism in plan.steps()
    ]  # fmt: skip
    whole = [decimal(plan.charge), _epsilon(plan.charge, plan.delta), decimal(plan.charge_person)]
    rows.append(["This plan, once", *whole, _epsilon(plan.charge_person, plan.delta)])
    numbers = ("ρ per record", "ε per record", "ρ per person", "ε per person")
    return Table("What this plan costs", [Column("For"), *(Column(title, "number") for title in numbers)], rows)


def _reach(plan: Plan) -> dict[str, str]:
    """How much one person can change: ε, and e^ε in words, per record and per person; δ as odds."""
    found = {"odds": f"{math.floor(1 / float(plan.delta) + 1e-6):,}"}
    for name, charge in (("record", plan.charge), ("person", plan.charge_person)):
        found[name] = _epsilon(charge, plan.delta)
        found[f"{name}_times"] = f"{math.ceil(10 * math.exp(accuracy.epsilon(charge, float(plan.delta)))) / 10:,.1f}"
    return found


def _epsilon(spent: int, delta: str) -> str:
    """Rounded up, as everything that is counted against us."""
    return f"{math.ceil(1000 * accuracy.epsilon(spent, float(delta))) / 1000:,.3f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
