"""The sections of the lookalike question: who the seed is, what each owner's cuts find, whether groups are found alike.

Figures are those released. What the model itself expects (`preview`, drivers) is public arithmetic on released sums,
has no interval, and is called so wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from markupsafe import Markup

from protocols.budget import decimal
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.report import NO_SIGNAL, SIGNAL
from protocols.questions.lookalike.scorer import REACHES
from protocols.questions.lookalike.space import SCALE

from .budget_tables import epsilon
from .charts import Picture, Reading
from .feature_words import name_in_words, short_name
from .lookalike_charts import Cut, Panel, fidelity, ratios
from .sections import NOISY, Column, Make, Released, Section, Table, cells

WORDS = {
    "pass": "pass: surely reached four fifths as often, or more",
    "fail": "fail: surely reached less than four fifths as often",
    "undecided": "undecided, which is not pass",
    TOO_NOISY: NOISY,
}
TWO = Markup("<span>{}<br><small>{}</small></span>")
FAINT = 300_000  # millionths: a correlation below which a feature hardly drives a score
CANNOT_TELL = (
    "What this cannot tell you: who is in the seed, or who is on an owner’s list, for no list and no score leaves its "
    "owner; how likeness turns into sales, which a campaign with a group left out can tell; whether the seed’s "
    "customers at an owner, whom these figures rest on, are like those whom the owner does not share."
)


def _question(plan: Plan) -> lookalike.Plan:
    for question in plan.questions:
        if isinstance(question, lookalike.Plan):
            return question
    raise IntegrityError("there is a release of a lookalike, but the plan does not ask for it")


def _audience(plan: Plan, released: Released) -> list[Section]:
    question = _question(plan)
    whole = Section(
        "Lookalike audience",
        f"Which of their own customers are like {_seed_words(plan, question)}. "
        f"{_and(question.ranks)} {'ranks its' if len(question.ranks) == 1 else 'rank their'} own customers by one "
        "score, the same for all, which follows from noised sums alone. Who is in the seed stays with its owner, and "
        "each list with the company whose customers are on it.",
        [_seed(plan, question, released), *_drivers(plan, question, released)],
    )
    answer = released[lookalike.OVERLAP].answer["owners"]
    return [whole, *(_owner(plan, question, owner, answer[owner], released) for owner in question.ranks)]


def _seed_words(plan: Plan, question: lookalike.Plan) -> str:
    seed = question.seed
    if seed.list is not None:
        who = f"those of {seed.party} on its list “{seed.list}”"
    else:
        rule = "; ".join(_bound(plan, bound) for bound in seed.where or ())
        who = f"those of {seed.party} that its rule names ({rule})"
    if seed.clean is None:
        return who
    return f"{who}, in the likest {seed.clean.cells} of 64 cells of the earlier round {seed.clean.round[:8]}"


def _bound(plan: Plan, bound: lookalike.Bound) -> str:
    low, high = (None if end is None else _in_unit(bound.feature, end) for end in (bound.low, bound.high))
    name = name_in_words(plan, bound.feature)
    if low is not None and high is not None:
        return f"{name}: {low} to {high}"
    return f"{name}: {low} or more" if high is None else f"{name}: {high} or less"


def _in_unit(feature: str, value: int) -> str:
    """A bound in the unit that `name_in_words` says."""
    if feature.endswith("_ppm"):
        return f"{(Decimal(value) / 10_000).normalize():,f} %"
    return f"{(Decimal(value) / 100).normalize():,f}" if feature.endswith("_cents") else f"{value:,}"


# --- the seed ---------------------------------------------------------------------------------------------------------


def _seed(plan: Plan, question: lookalike.Plan, released: Released) -> Table:
    sizes, body = released["look-scores"].answer, released[lookalike.SEED]
    step, mechanism = plan.step(lookalike.SEED)
    sigma = math.sqrt(step.noise(len(body.survivors), mechanism.variance_micro).variance) / SCALE
    size = sizes["seed"]["size"]
    enough = int(size["value"]) >= question.floor
    floor = f"{question.floor:,}" + ("" if enough else ": not reached, so nothing more is said")
    audited = "; ".join(_spaced(one.column) for one in question.attributes or ())
    rows = [
        ["Customers in the seed", *cells(size)[:2]],
        ["Customers of the seed whose records could not be used", *cells(sizes["seed"]["unusable"])[:2]],
        ["Fewest customers that the plan asks of a seed", floor, ""],
        ["Noise in the seed’s sum, σ, in customers", f"{sigma:,.2f}", ""],
        ["Cost of the seed’s sum, ρ", decimal(mechanism.charge), ""],
        [f"The same as ε at δ = {plan.delta}", epsilon(mechanism.charge, plan.delta), ""],
        ["Ranked by", "; ".join(short_name(plan, one.name) for one in question.features), ""],
        ["Largest cut that the companies agreed to", f"the likest {question.reach} %", ""],
        ["Lift that a suggested cut must surely reach", question.target or "none was asked for", ""],
        ["Audited for bias by", audited or "nothing: the plan asked for no audit", ""],
        ["Computed by", f"sumroom {version('sumroom')}", ""],
    ]
    note = (
        "Lines with an interval are estimates, the others are exact. The seed travels as one vector, in which a "
        "customer weighs 1 at most and to which its owner alone added noise of that σ in each number. Every company of "
        "the plan is charged for every step, whether it ranks or not. What a company would not have compared, used or "
        "exceeded it could veto before anything was ranked: this plan’s features, purpose and largest cut are what "
        f"none of them vetoed, for a plan that one does is not run. {CANNOT_TELL}"
    )
    return Table("The seed", [Column("What"), Column("Value", "words"), Column("95 % interval", "number")], rows, note)


def _drivers(plan: Plan, question: lookalike.Plan, released: Released) -> list[Table]:
    """What the score goes by; nothing where it is told of no owner that it works."""
    owners = released[lookalike.OVERLAP].answer["owners"].values()
    if all(one["signal"]["value"] != SIGNAL for one in owners):
        return []
    scorer = lookalike.scorer_of(question, {name: body.released for name, body in released.items()})
    found = sorted(zip(scorer.drivers, question.features, strict=True), key=lambda pair: -abs(pair[0]))
    rows = []
    for driver, feature in found:
        way = (
            "hardly" if abs(driver) < FAINT else "the higher, the likelier" if driver > 0 else "the lower, the likelier"
        )
        rows.append([_capital(name_in_words(plan, feature.name)), way, _signed(driver)])
    note = (
        "A correlation from −1 to 1 between the score and the feature, among people simulated from the released sums. "
        "It describes the score, which is public, and no customers, so it has no interval; what a feature says "
        "together with another, or in its middle, it does not show."
    )
    columns = [Column("Feature"), Column("Customers are like the seed"), Column("Correlation with the score", "number")]
    return [Table("What the score goes by", columns, rows, note)]


def _signed(millionths: int) -> str:
    return f"{millionths / 1e6:+.2f}".replace("-", "−")


# --- an owner ---------------------------------------------------------------------------------------------------------


def _owner(plan: Plan, question: lookalike.Plan, owner: str, found: Mapping[str, Any], released: Released) -> Section:
    scorer = lookalike.scorer_of(question, {name: body.released for name, body in released.items()})
    blocks: list[Table | Picture] = []
    if any(Reading.of(found["cuts"][str(reach)]["recall"]) for reach in REACHES):
        blocks.append(_picture(owner, found, scorer.preview))
    blocks += [_cuts(question, owner, found, scorer.preview), _numbers(owner, found)]
    return Section(f"Lookalike audience of {owner}", f"{_signal(owner, found)} {_suggested(question, found)}", blocks)


def _signal(owner: str, found: Mapping[str, Any]) -> str:
    signal, auc = found["signal"]["value"], Reading.of(found["auc"])
    if signal == TOO_NOISY or auc is None:
        return (
            f"Too noisy to say whether the score finds the seed’s customers among those of {owner}: too few of them "
            "are there for the noise, or the seed is below the plan’s floor. A list made now rests on nothing that was "
            "counted."
        )
    pairs = (
        f"of 100 pairs of a customer of the seed and any customer of {owner}, the one of the seed comes first in "
        f"{auc.percent().estimate()} (95 % interval {auc.percent().interval()}); drawing lots gives 50."
    )
    if signal == NO_SIGNAL:
        return (
            f"No usable signal: {pairs} Either that cannot be told from lots, or the seed cannot be told from "
            "everybody: do not use a list made by this score."
        )
    return f"Usable: {pairs}"


def _suggested(question: lookalike.Plan, found: Mapping[str, Any]) -> str:
    if question.target is None:
        return "The plan asked for no lift, so no cut is suggested."
    if found["signal"]["value"] != SIGNAL:
        return "No cut is suggested."
    reach = _suggested_cut(found)
    if reach is None:
        return (
            f"No cut is suggested: of none that the companies agreed to is the lift surely {question.target} or more."
        )
    return (
        f"Suggested: the likest {reach} %, the largest cut whose lift is surely {question.target} or more (its whole "
        f"95 % interval is), of those up to {question.reach} % that the companies agreed to."
    )


def _suggested_cut(found: Mapping[str, Any]) -> int | None:
    """None where the lift of no cut is surely the target, there is no target, or no usable signal."""
    value = found.get("default", {"value": TOO_NOISY})["value"]
    return None if value == TOO_NOISY else int(value)


def _picture(owner: str, found: Mapping[str, Any], preview: tuple[int, ...]) -> Picture:
    chosen = _suggested_cut(found)
    return fidelity(
        [
            Panel("Lift: times as many as by lots", _points(found, preview, chosen, "lift"), percent=False),
            Panel(
                "Recall: part of the seed’s customers there", _points(found, preview, chosen, "recall"), percent=True
            ),
        ],
        title="How many of the seed’s customers each cut finds",
        label=f"Lift and recall by reach at {owner}, counted with 95 % intervals, and as the model expects",
        caption=f"For the likest 5, 10, 20, 30 and 50 % of {owner}’s customers. Filled dots were counted: the seed’s "
        "customers who are also this company’s, by how like they are; their intervals hold noise and sampling. Hollow "
        "diamonds are what the model itself expects among the customers of all companies together, not of this one: a "
        "preview that no count has checked. Where the two differ, believe the dots.",
    )


def _points(found: Mapping[str, Any], preview: tuple[int, ...], chosen: int | None, measure: str) -> list[Cut]:
    made = []
    for reach, millionths in zip(REACHES, preview, strict=True):
        recall, share = millionths / 1e6, reach / 100
        expected, chance = (recall, share) if measure == "recall" else (recall / share, 1.0)
        counted = Reading.of(found["cuts"][str(reach)][measure])
        made.append(Cut(f"{reach} %", counted, expected, chance, reach == chosen))
    return made


def _cuts(question: lookalike.Plan, owner: str, found: Mapping[str, Any], preview: tuple[int, ...]) -> Table:
    rows, chosen = [], _suggested_cut(found)
    for reach, millionths in zip(REACHES, preview, strict=True):
        own = found["cuts"][str(reach)]
        mark = ", suggested" if reach == chosen else ", not to be used" if reach > question.reach else ""
        name = f"the likest {reach} %{mark}"
        expected = f"{millionths / 1e4:.1f} %; {millionths / 1e4 / reach:.1f}"
        rows.append([name, _percent(own["reach"]), _percent(own["recall"]), _cell(own["lift"], 2), expected])
    titles = ("Reach, counted", "Recall, counted", "Lift, counted", "Preview by the model: recall; lift")
    return Table(
        f"The cuts of {owner}",
        [Column("Cut"), *(Column(title, "number") for title in titles)],
        rows,
        "Reach: the part of this company’s customers who are within the cut; its interval holds noise only. Recall: "
        "the part of the seed’s customers at this company who are within it. Lift: recall over reach; where many of "
        "this company’s customers are of the seed, neither it nor the AUC can be large. “Not to be used”: beyond what "
        "the companies agreed to. The last column rests on the model, not on a count, and has no interval.",
    )


def _numbers(owner: str, found: Mapping[str, Any]) -> Table:
    rows = [
        [f"Customers of {owner} who are ranked", *cells(found["people"])[:2]],
        ["Of them in the seed, counted in the overlap", *cells(found["seed"])[:2]],
        ["AUC: how often one of the seed comes first", *cells(found["auc"], None)[:2]],
        ["Signal", NOISY if found["signal"]["value"] == TOO_NOISY else found["signal"]["value"], ""],
    ]
    columns = [Column("What it rests on"), Column("Value", "number"), Column("95 % interval", "number")]
    return Table("What it rests on", columns, rows)


# --- sizes and the audit ----------------------------------------------------------------------------------------------


def _cells(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released["look-scores"].answer
    tables = []
    for owner in question.ranks:
        own = answer["owners"][owner]
        rows = [[f"cell {int(name) + 1}", *cells(one)[:2]] for name, one in _by_number(own["cells"])]
        rows.append(["records could not be used", *cells(own["unusable"])[:2]])
        columns = [Column("Cell, the likest first"), Column("Estimate", "number"), Column("95 % interval", "number")]
        tables.append(Table(f"Customers of {owner} by likeness", columns, rows, folded=True))
    if lookalike.OVERLAP not in released:
        seed = Column("Seed"), Column("Estimate", "number"), Column("95 % interval", "number")
        rows = [[name, *cells(one)[:2]] for name, one in answer["seed"].items()]
        tables.insert(0, Table("The seed", seed, rows))
    lead = (
        "How each owner’s customers spread over 64 cells of the score. The edges of its cuts are those of cells, so "
        "that who is within a cut is a sum of these counts. Each has the noise of its owner alone, and may be negative."
    )
    return [Section("Customers by likeness to the seed", lead, tables)]


def _by_number(cells_: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """In the order of the cells; a document's is that of text: 0, 1, 10, 11, …"""
    return sorted(cells_.items(), key=lambda one: int(one[0]))


def _audit(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released[lookalike.AUDIT].answer
    blocks: list[Table | Picture] = []
    verdicts: list[str] = []
    for owner in question.ranks:
        for one in question.attributes or ():
            groups = answer["owners"][owner][one.column]
            judged = {name: group for name, group in groups.items() if "verdict" in group}
            verdicts += [group["verdict"]["value"] for group in judged.values()]
            name = f"{owner}, {_spaced(one.column)}"
            if any(Reading.of(group["ratio"]) for group in judged.values()):
                drawn = [(n, Reading.of(g["ratio"]), g["verdict"]["value"]) for n, g in judged.items()]
                blocks.append(_ratios(name, one.reference, drawn))
            blocks.append(_groups(name, one.reference, groups))
    said = ", ".join(f"{verdicts.count(what)} {what}" for what in WORDS)
    lead = (
        f"Whether the likest {question.reach} % leave a group out: how often its people are within the cut, beside the "
        f"reference group that the plan names. Verdicts: {said}. Undecided and too noisy are not pass: nothing is "
        "shown to be fair by them, nor unfair. A company’s attributes stay with it, and the score does not use them "
        "unless the plan’s features do."
    )
    return [Section("Does the cut reach groups alike?", lead, blocks)]


def _ratios(name: str, reference: str, drawn: list[tuple[str, Reading | None, str]]) -> Picture:
    return ratios(
        drawn,
        title=f"{name}: rate within the cut beside that of “{reference}”",
        label=f"{name}: ratio of each group’s rate to that of {reference}, with intervals",
        caption=f"How often a group is within the cut, as a ratio to “{reference}” (1: alike), with its interval, wide "
        "enough to hold for all groups of the attribute at once 95 times in 100. The black line is four fifths: an "
        "interval beyond it passes, one below it fails, one across it decides nothing.",
    )


def _groups(name: str, reference: str, groups: Mapping[str, Any]) -> Table:
    rows = []
    for group, own in groups.items():
        judged = [_cell(own["ratio"], 2), WORDS[own["verdict"]["value"]]] if "verdict" in own else ["", "the reference"]
        people = _cell(own["people"], 0)
        rows.append([group, people, _percent(own["rate"]), *judged])
    numbers = ("People", "Within the cut", f"Beside “{reference}”")
    columns = [Column("Group"), *(Column(title, "number") for title in numbers), Column("Verdict", "words")]
    return Table(f"{name}: every group", columns, rows)


def _percent(figure: Mapping[str, str]) -> str:
    reading = Reading.of(figure)
    if reading is None:
        return NOISY
    return TWO.format(f"{reading.percent().estimate(1)} %", reading.percent().interval(1, " %"))


def _cell(figure: Mapping[str, str], places: int) -> str:
    reading = Reading.of(figure)
    return NOISY if reading is None else TWO.format(reading.estimate(places), reading.interval(places))


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


STEPS: dict[str, tuple[str, Make]] = {
    lookalike.OVERLAP: ("Lookalike: where the seed’s customers are", _audience),
    lookalike.AUDIT: ("Lookalike: are groups reached alike", _audit),
    "look-scores": ("Lookalike: customers by likeness", _cells),
}
