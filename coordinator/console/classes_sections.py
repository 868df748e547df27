"""The section of latent classes: how many kinds of customers there are, how large, and what is likely in each."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.questions import classes
from protocols.questions.classes.plan import Item

from .charts import INK, RAMP, Picture, Reading, bars, shade, veil
from .feature_words import name_in_words, short_name
from .places import Point
from .sections import NOISY, Column, Make, Released, Section, Table, cells
from .segment_charts import tiled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLUMNS = 6
TWO = Markup("<span>{}<br><small>{}</small></span>")


def _question(plan: Plan) -> classes.Plan:
    for question in plan.questions:
        if isinstance(question, classes.Plan):
            return question
    raise IntegrityError("there is a release of classes, but the plan does not ask for them")


def _classes(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released[classes.NAME].answer
    found = {f"Class {k + 1}": answer["classes"][f"c{k + 1}"] for k in range(len(answer["classes"]))}
    lead = (
        f"A class is a kind of customer, known by which of {len(question.items)} traits go together. "
        f"{_how_many(question, found)} Sizes count customers of each company: a person known to several counts once at "
        "each. Which class a customer is in only that customer’s own company finds out."
    )
    blocks: list[Table | Picture] = [_sizes(found), _heat(plan, question, found), *_tables(plan, question, found)]
    return [Section("Latent classes", lead, [*blocks, _counted(answer)])]


def _how_many(question: classes.Plan, found: Mapping[str, Any]) -> str:
    fitted = len(found)
    if all(Reading.of(one["size"]) is None for one in found.values()):
        return "The noise is too large for these customers to tell any classes: ask more of them, or spend more budget."
    if question.least <= fitted <= question.most:
        chosen = "as many as the plan asked for" if question.least == question.most else "chosen from the noised counts"
        return f"There are {fitted} classes, {chosen}, all above the noise."
    return f"The plan asked for {question.least} or more; only {fitted} stand{'s' * (fitted == 1)} above the noise."


def _sizes(found: Mapping[str, Any]) -> Picture:
    rows = []
    for name, one in found.items():
        size, share = Reading.of(one["size"]), Reading.of(one["share"])
        words = f"{share.percent().estimate(1)} % of all: {share.percent().interval(1, ' %')}" if share else ""
        rows.append((name, size, words))
    return bars(
        rows,
        title="How large they are",
        label="Customers in each class with 95 % intervals",
        caption="Customers in each class, ± half the 95 % interval; then the share of all and its interval. The "
        "intervals hold the noise, and the chance by which these and not other people like them are customers here.",
    )


def _heat(plan: Plan, question: classes.Plan, found: Mapping[str, Any]) -> Picture:
    """The upper level of a trait of two levels, every level of one that has more."""
    names, tiles = [], []
    for item in question.items:
        for level in range(1 if item.levels == 2 else 0, item.levels):
            names.append(f"{_capital(short_name(plan, item.feature))}: {_level(item, level)}")
            tiles.append([Reading.of(one["items"][item.feature][str(level)]) for one in found.values()])
    return tiled(
        (
            "What is likely in each",
            "Probability of each trait in each class, with 95 % intervals",
            "How many of 100 customers of a class have the trait, with the 95 % interval below. Darker is likelier. "
            "Within a class the traits are taken to be independent.",
        ),
        names,
        list(found),
        tiles,
        _draw_chance,
    )


def _draw_chance(ax: Axes, corner: Point, width: float, height: float, tile: Reading | None, narrow: bool) -> None:
    from matplotlib.patches import Rectangle

    if tile is None:
        return veil(ax, corner, width, height, narrow)
    ax.add_patch(Rectangle(corner, width, height, facecolor=shade(RAMP, float(tile.value)), linewidth=0))
    x, percent = corner[0] + width / 2, tile.percent()
    ax.text(x, corner[1] + height * 0.33, f"{percent.estimate()} %", ha="center", va="center", color=INK,
            fontsize=14, weight="bold")  # fmt: skip
    ax.text(x, corner[1] + height * 0.74, percent.interval(), ha="center", va="center", color=INK,
            fontsize=10 if narrow else 11.5)  # fmt: skip
    return None


def _tables(plan: Plan, question: classes.Plan, found: Mapping[str, Any]) -> list[Table]:
    """Every figure of the classes; several tables below one another where there are many."""
    names, made = list(found), []
    for at in range(0, len(names), MOST_COLUMNS):
        part = names[at : at + MOST_COLUMNS]
        rows = [
            ["Customers", *(_cell(Reading.of(found[name]["size"]), 0, "") for name in part)],
            ["Share of all", *(_chance(found[name]["share"]) for name in part)],
        ]
        for item in question.items:
            for level in range(item.levels):
                trait = f"{_capital(name_in_words(plan, item.feature))}: {_level(item, level)}"
                rows.append([trait, *(_chance(found[name]["items"][item.feature][str(level)]) for name in part)])
        caption = "All sizes and probabilities" + (f": {part[0]} to {part[-1]}" if len(part) < len(names) else "")
        made.append(Table(caption, [Column("Trait", "words"), *(Column(n, "number") for n in part)], rows, folded=True))
    return made


def _counted(answer: Mapping[str, Any]) -> Table:
    rows = [
        ["Customers with usable records", *cells(answer["all"]["size"])[:2]],
        ["Customers whose records could not be used", *cells(answer["unusable"])[:2]],
    ]
    columns = [Column("Counted"), Column("Estimate", "number"), Column("95 % interval", "number")]
    return Table("All customers", columns, rows)


def _chance(figure: Mapping[str, str]) -> str:
    reading = Reading.of(figure)
    return _cell(reading.percent() if reading else None, 1, " %")


def _cell(reading: Reading | None, places: int, unit: str) -> str:
    return NOISY if reading is None else TWO.format(reading.estimate(places) + unit, reading.interval(places, unit))


def _level(item: Item, level: int) -> str:
    """The values of a level, in the unit of `name_in_words`."""
    ends = [_value(item.feature, cut) for cut in item.cuts]
    if level == 0:
        return f"under {ends[0]}"
    return f"{ends[-1]} or more" if level == len(ends) else f"{ends[level - 1]} to under {ends[level]}"


def _value(feature: str, cut: int) -> str:
    if feature.endswith("_ppm"):
        return f"{(Decimal(cut) / 10_000).normalize():f} %"
    return f"{(Decimal(cut) / 100).normalize():,f}" if feature.endswith("_cents") else f"{cut:,}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


STEPS: dict[str, tuple[str, Make]] = {
    classes.NAME: ("Latent classes", _classes),
}
