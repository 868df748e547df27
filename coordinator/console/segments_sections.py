"""The section of the segments question: where segments lie, how large they are, and how they differ from everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.questions import segments
from protocols.questions.segments.choice import Choice, Score
from protocols.questions.segments.states import Clusters, Grid
from protocols.schema import Range

from .charts import Picture, Reading, bars
from .feature_words import name_in_words, short_name, value_in_words
from .personas import personas
from .places import leaning, map_axes, places
from .sections import NOISY, Card, Cards, Column, Make, Released, Section, Table
from .segment_charts import EVERYBODY, Mark, index_heat, score_curve, segment_map

MOST_COLUMNS = 6
LINES = Markup("<br>").join
ONE = Markup("<span>{}</span>")
SMALL = Markup("<small>{}</small>")


def _question(plan: Plan) -> segments.Plan:
    for question in plan.questions:
        if isinstance(question, segments.Plan):
            return question
    raise IntegrityError("there is a release of segments, but the plan does not ask for them")


def _segments(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released["seg-profile"].answer
    found = {_name(i): segment for i, segment in enumerate(answer["segments"].values())}
    lead = (
        f"A segment is a group of similar customers. These {len(found)} were found for all companies together, "
        "by noised sums alone: no row left its company, and none is shown here. Sizes count customers of each company: "
        "a person known to several counts once at each."
    )
    blocks = [*_map(plan, question, released, found), _sizes(found), _heat(plan, question, found)]
    whole = Section("Segments", lead, [*blocks, *_tables(plan, question, answer["all"], found)])
    return [whole, _in_words(plan, answer), *_number(question, released)]


def _name(number: int) -> str:
    return f"Segment {number + 1}"


# --- drawings ---------------------------------------------------------------------------------------------------------


def _map(plan: Plan, question: segments.Plan, released: Released, found: Mapping[str, Any]) -> list[Picture]:
    """The map, or nothing where no segment can be placed."""
    grid = _grid(question, released)
    *segment_places, everybody = places(question, released["seg-profile"], grid)
    sizes = [Reading.of(segment["size"]) for segment in found.values()]
    rows = list(zip(found, sizes, segment_places, strict=True))
    marks = [Mark(name, size, place) for name, size, place in rows if size is not None and place is not None]
    if not marks:
        return []
    lost = [name for name, size, place in rows if size is None or place is None]
    if everybody is not None:
        marks.append(Mark(EVERYBODY, None, everybody))
    sides = [_side(plan, question, axis) for axis in map_axes(grid)]
    ways = "the two directions" if len(sides) > 1 else "the direction"
    region = "ellipse" if len(sides) > 1 else "line"
    caption = (
        f"The dot is the average customer of a segment, seen along {ways} in which customers differ most; words at the "
        f"sides say what mostly grows and falls there. The {region} around it holds that place, without noise, 95 "
        "times in 100. A larger disc is a larger segment; it does not show how far its customers are spread."
    )
    if lost:
        caption += f" Too noisy to be placed: {', '.join(lost)}."
    words = "Map of the segments with their sizes and the 95 % regions of their places"
    return [segment_map(marks, sides, title="Where the segments lie", label=words, caption=caption)]


def _grid(question: segments.Plan, released: Released) -> Grid:
    """The released axes, checked as a node checks them."""
    step = "seg-covariance" if question.rho.covariance is not None else "seg-moments"
    state = released[step].state if step in released else None
    if state is None:
        raise IntegrityError(f"there is a profile of segments, but no axes of {step} that they were found along")
    return Grid.read(state, question.dimensions, question.coarse_cells)


def _side(plan: Plan, question: segments.Plan, axis: Any) -> str:
    more, less = leaning(axis, [short_name(plan, feature.name) for feature in question.features])
    return "; ".join(f"{word} {', '.join(names)}" for word, names in (("more:", more), ("less:", less)) if names)


def _sizes(found: Mapping[str, Any]) -> Picture:
    rows = []
    for name, segment in found.items():
        size, share = Reading.of(segment["size"]), Reading.of(segment["share"])
        words = " of all: ".join(_percent(share)) if share is not None else "share too noisy" if size else ""
        rows.append((name, size, words))
    return bars(
        rows,
        title="How large they are",
        label="Customers in each segment with 95 % intervals",
        caption="Customers in each segment, ± half the 95 % interval; then the share of all customers and its interval."
        " The dark line is the first of these intervals.",
    )


def _percent(share: Reading) -> tuple[str, str]:
    return f"{share.percent().estimate(1)} %", share.percent().interval(1, " %")


def _heat(plan: Plan, question: segments.Plan, found: Mapping[str, Any]) -> Picture:
    names = [_capital(short_name(plan, feature.name)) for feature in question.features]
    tiles = [[Reading.of(s["index"][feature.name]) for s in found.values()] for feature in question.features]
    return index_heat(
        names,
        list(found),
        tiles,
        title="How they differ (everybody = 100)",
        label="Index of each feature in each segment against everybody, with 95 % intervals",
        caption="Index: a segment’s typical value as a percentage of everybody’s, with its 95 % interval below: the "
        "widest that the intervals of both allow. 100 is like everybody, 200 twice as much, 50 half. Orange is more, "
        "blue is less. Bold: the interval does not reach 100, so the segment differs by more than the noise.",
    )


# --- all figures ------------------------------------------------------------------------------------------------------


def _tables(plan: Plan, question: segments.Plan, everybody: Mapping[str, Any], found: Mapping[str, Any]) -> list[Table]:
    """Every figure of the answer; several tables below one another where there are many segments."""
    names = list(found)
    made = []
    for at in range(0, len(names), MOST_COLUMNS):
        part = names[at : at + MOST_COLUMNS]
        shown = {EVERYBODY.capitalize(): everybody} if at == 0 else {}
        caption = "Sizes and typical values" + (f": {part[0]} to {part[-1]}" if len(part) < len(names) else "")
        columns = [Column("Typical", "words"), *(Column(name, "number") for name in (*shown, *part))]
        rows = _rows(plan, question, [*shown.values(), *(found[name] for name in part)])
        made.append(Table(caption, columns, rows, _note(plan, question) if part[-1] == names[-1] else ""))
    return made


def _rows(plan: Plan, question: segments.Plan, shown: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        ["Customers", *(_cell(Reading.of(one["size"])) for one in shown)],
        ["Share of all", *(_share_cell(one) for one in shown)],
        *(
            [_capital(name_in_words(plan, feature.name)), *(_typical_cell(feature.name, one) for one in shown)]
            for feature in question.features
        ),
    ]


def _cell(size: Reading | None) -> str:
    return NOISY if size is None else ONE.format(LINES([size.estimate(), SMALL.format(size.interval())]))


def _share_cell(segment: Mapping[str, Any]) -> str:
    if "share" not in segment:
        return ""
    share = Reading.of(segment["share"])
    if share is None:
        return NOISY
    estimate, interval = _percent(share)
    return ONE.format(LINES([estimate, SMALL.format(interval)]))


def _typical_cell(feature: str, segment: Mapping[str, Any]) -> str:
    """The typical value with its interval, and below it the index with its own, where there is one."""
    typical = Reading.of(segment["typical"][feature])
    lines: list[str] = [NOISY]
    if typical is not None:
        estimate, interval = value_in_words(feature, typical)
        lines = [Markup("{}").format(estimate), SMALL.format(interval)]
    if "index" in segment:
        index = Reading.of(segment["index"][feature])
        words = NOISY if index is None else f"{index.estimate()}, {index.interval()}"
        lines.append(SMALL.format(Markup("index {}").format(words)))
    return ONE.format(LINES(lines))


def _note(plan: Plan, question: segments.Plan) -> str:
    """What "typical" means here."""
    curved = [short_name(plan, feature.name) for feature in question.features if feature.transform == "log1p"]
    note = (
        "Each cell: the estimate, its 95 % interval, and the index against everybody with its own. Typical is the mean "
        "of the segment’s customers"
    )
    if curved:
        note += (
            f". For {_listed(curved)} it is taken on a logarithmic scale, where it is a kind of middle: a few very "
            "large values hardly move it"
        )
    return f"{note}. Values beyond the limits of the plan count as the limit."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- in words ---------------------------------------------------------------------------------------------------------


def _in_words(plan: Plan, answer: Mapping[str, Any]) -> Section:
    cards = []
    for i, persona in enumerate(personas(plan, answer)):
        part = answer["segments"][persona.segment]
        size, facts = Reading.of(part["size"]), []
        for claim in persona.claims:
            index = Reading.of(part["index"][claim.feature])
            value = "differs" if index is None else f"{index.estimate()} ({index.interval()})"
            facts.append((_capital(short_name(plan, claim.feature)), value))
        below = "Too noisy to be counted" if size is None else f"{size.estimate()} customers ({size.interval()})"
        cards.append(Card(f"{_name(i)}: {persona.name}", below, persona.paragraph, facts))
    lead = (
        "Each segment in words. Names and sentences are made by rules from the figures above, and from nothing else: "
        "a sentence stands only where its 95 % interval excludes that it is otherwise."
    )
    note = (
        "The lines below a text are indices (everybody = 100) with their 95 % intervals, of the features that set the "
        "segment apart by more than the noise, the surest first. “Much” is an index surely above 120 or below 83, "
        "“far” above 200 or below 50. Of twenty such sentences one may be wrong by the noise."
    )
    return Section("Segments in words", lead, [Cards(cards, note)])


# --- how many there are -----------------------------------------------------------------------------------------------


def _number(question: segments.Plan, released: Released) -> list[Section]:
    """Why there are so many segments; nothing where the plan fixed their number."""
    if question.range is None:
        return []
    body = released.get("seg-over")
    state = None if body is None else body.state
    choice = Clusters.read(state, question.clusters, question.dimensions).choice if state is not None else None
    if choice is None:
        raise IntegrityError("there is a profile of segments whose number was to be chosen, but no choice of seg-over")
    blocks: list[Table | Picture] = [_curve(choice), _scores(choice)] if choice.scores else []
    return [Section("How many segments there are", _why(question.range, choice), blocks)]


def _why(wanted: Range, choice: Choice) -> str:
    asked = f"The plan allows {wanted.least} to {wanted.most} segments; which of these numbers it is was found from "
    asked += "sums that were released on the way, at no cost to anybody’s privacy. "
    if choice.told:
        return asked + (
            f"It is {choice.chosen}: of the numbers whose segments are divided by gaps, stay what they are under the "
            "noise and are large enough, it has the best silhouette, or is finer with one nearly as good."
        )
    return asked + (
        f"The number of segments is not identifiable: no number has segments that are all divided by gaps, steady and "
        f"large enough, as happens where customers differ by degrees. {choice.chosen} are used, the usual number or "
        "the nearest to it that holds enough people: a useful cut of one crowd, not groups that nature made."
    )


def _curve(choice: Choice) -> Picture:
    return score_curve(
        choice.scores,
        choice.chosen,
        title="Silhouette of each number of segments",
        label="Simplified silhouette of each number of segments, with its band",
        caption="Simplified silhouette: how much nearer customers are to the middle of their own segment than to that "
        "of the next; 1 is perfect, 0 means that both are as near. It is computed from the middles and counts of "
        "noised groups, so it is higher than one of customers would be. The bar is the band in which it lies when the "
        "noise is drawn again. Filled: the number that is used.",
    )


def _scores(choice: Choice) -> Table:
    columns = ["Segments", "Silhouette", "Its band", "Gap", "Left within", "Stability", "Smallest"]
    rows = [_score(score, score.clusters == choice.chosen) for score in choice.scores]
    note = (
        "Gap: how many fewer customers there are midway between two segments than at the lower of their two peaks, for "
        "the pair with the least; 0 % means that a group was cut in two. Left within: variance of the noised groups "
        "that is left within segments. Stability: how like one another segments are when the noise is drawn again "
        "(adjusted Rand index, 1 is alike). Smallest: customers of the smallest segment, in standard deviations of the "
        "noise."
    )
    return Table("What spoke for each number", [Column(c, "number" if i else "text") for i, c in enumerate(columns)],
                 rows, note)  # fmt: skip


def _score(score: Score, used: bool) -> list[str]:
    return [
        f"{score.clusters}{', used' if used else ''}",
        f"{score.silhouette:.2f}",
        f"{score.low:.2f} to {score.high:.2f}",
        f"{score.gap:.0%}".replace("%", " %"),
        f"{score.within:.0%}".replace("%", " %"),
        f"{score.stability:.2f}",
        f"{score.smallest:,.0f} σ",
    ]


STEPS: dict[str, tuple[str, Make]] = {
    "seg-profile": ("Segments: sizes and typical values", _segments),
}
