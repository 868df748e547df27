"""The sections of the overlap question: reach of all parties, sizes of lists, and a matrix for each pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.questions import overlap

from .charts import Picture, Reading, bars
from .feature_words import name_in_words, value_in_words
from .overlap_charts import Shared, shared_heat
from .sections import NOISY, TWO_LINES, Column, Make, Released, Section, Table, cells
from .segment_charts import index_heat

GATE = 5.0  # standard deviations: below it a count is hatched
MOST_DRAWN = 10  # pairs, and parties' sizes; the others are tables only
FEW, FEW_LETTERS, MOST_LETTERS = 3, 10, 24  # columns, and letters of a name where there are more columns, or few
NUMBERS = [Column(title, "number") for title in ("Estimate", "95 % interval", "Adds up")]
CANNOT_TELL = (
    "What this cannot tell you: who is shared, for nobody knows; whom a company counts without a key that others can "
    "match, such as an address that is missing or spelt in another way; whether keys are true. Two people with one key "
    "are one here, one person with two keys is nobody’s match. With more than two companies it tells what each two "
    "share, and not what three do."
)


def _question(plan: Plan) -> overlap.Plan:
    for question in plan.questions:
        if isinstance(question, overlap.Plan):
            return question
    raise IntegrityError("there is a release of an overlap, but the plan does not ask for it")


# --- sizes ------------------------------------------------------------------------------------------------------------


def _sizes(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released["overlap-sizes"].answer
    facts = plan.facts(question)
    rows: list[list[str]] = []
    pictures: list[Table | Picture] = []
    for party in plan.parties:
        found = answer["parties"][party]
        drawn = []
        for name in _there(question, released, overlap.list_names(question, facts, party)):
            one, words = found["lists"][name], _list_words(question, name)
            drawn.append((_short(words, MOST_LETTERS), Reading.of(one["size"]), ""))
            rows.append([f"{party}, {words}", *cells(one["size"]), cells(one["cap"])[0]])
        rows.append([f"{party}, all lists", *cells(found["size"]), ""])
        if len(drawn) > 1 and len(pictures) < MOST_DRAWN:
            pictures.append(_bars(party, drawn))
    rows.append(["No key or no list, all companies", *cells(answer["unusable"]), ""])
    deviation = Reading.of(answer["deviation"])
    table = Table(
        "The lists and their sizes",
        [Column("List"), *NUMBERS, Column("Filled up to", "number")],
        rows,
        "“Filled up to”: from here on a list has this size for everybody, with people that do not exist. “Adds up”: "
        "the estimates moved as little as possible so that none is negative and no company has more people than the "
        f"plan allows. The noise in a size has a standard deviation of {deviation.estimate(2) if deviation else '?'}.",
    )
    lead = (
        "Into which lists each company puts its people, each person with a usable key into one. Only people in a list "
        "can be found in two companies."
    )
    return [Section("Lists of people", lead, [*pictures, table])]


def _bars(party: str, drawn: Sequence[tuple[str, Reading | None, str]]) -> Picture:
    return bars(
        drawn,
        title=f"Lists of {party}",
        label=f"People in each list of {party} with 95 % intervals",
        caption=f"People in each list of {party}, ± half the 95 % interval. The dark line is that interval.",
    )


# --- the overlap ------------------------------------------------------------------------------------------------------


def _overlap(plan: Plan, released: Released) -> list[Section]:
    question, body = _question(plan), released["overlap"]
    deviation = math.sqrt(plan.step("overlap")[0].noise(len(body.survivors), body.mechanism.variance_micro).variance)
    made = [_reach(plan, body.answer)]
    base = _there(question, released, overlap.base_lists(question, plan.facts(question)))
    for number, (a, b) in enumerate(overlap.pairs(plan.parties)):
        found = body.answer["pairs"][overlap.pair_name(a, b)]
        made.append(_pair(plan, question, (a, b), base, found, deviation, drawn=number < MOST_DRAWN))
    return made


def _reach(plan: Plan, answer: Mapping[str, Any]) -> Section:
    reach, duplication = answer["all"]["reach"], Reading.of(answer["all"]["duplication"])
    words = {
        "people": "Different people (reach)",
        "at_least": "Different people: at least",
        "at_most": "Different people: at most",
    }
    rows = [[words[name], *cells(reach[name])[:2]] for name in words if name in reach]
    rows.append(["Counted twice (overlaps by sizes)", *_percent(duplication)])
    for a, b in overlap.pairs(plan.parties):
        found = answer["pairs"][overlap.pair_name(a, b)]["all"]
        rows.append([f"Shared by {a} and {b}", *cells(found["overlap"])[:2]])
    note = (
        "With two companies, different people are both sizes less what is shared."
        if len(plan.parties) == 2
        else "From pairs alone follow two bounds of the number of different people: whom three companies know is "
        "in three pairs. At least: all sizes less all overlaps (Bonferroni). At most: all sizes less the "
        "overlaps of the tree of pairs with the largest sum (Hunter). Each bound has its own interval."
    )
    table = Table("Reach and duplication", [Column("All companies"), *NUMBERS[:2]], rows, f"{note} {CANNOT_TELL}")
    lead = (
        "How many people each two companies have in common. Keys of people were masked by both companies before they "
        "were compared, and people that do not exist were mixed in: nobody learnt who is shared, and every count of "
        "shared people has the noise of the two companies in it."
    )
    return Section("Audience overlap", lead, [table])


def _there(question: overlap.Plan, released: Released, names: list[str]) -> list[str]:
    """Without the lists of segments that a round might have found and did not: nobody is in them."""
    if question.lists.by != "segments" or "seg-profile" not in released:
        return names
    found = released["seg-profile"].answer["segments"]
    return [name for name in names if name.partition("@")[0] in found]


def _pair(plan: Plan, question: overlap.Plan, pair: tuple[str, str], base: list[str], found: Mapping[str, Any],
          deviation: float, *, drawn: bool) -> Section:  # fmt: skip
    a, b = pair
    whole = Reading.of(found["all"]["overlap"])
    if whole is None:
        raise IntegrityError("a count of the overlap is missing")
    spread = math.sqrt(overlap.bins_of(question, a, b)) * deviation
    blocks: list[Table | Picture] = []
    if len(base) > 1 and drawn:
        blocks.append(_matrix(question, pair, base, found, spread))
        blocks.append(_index(question, pair, base, found))
    blocks.append(_lists(question, pair, base, found))
    if "values" in found:
        blocks.append(_values(plan, question, pair, base, found))
    if len(base) > 1:
        blocks.append(_all_cells(question, pair, base, found))
    lead = f"{a} and {b} have {whole.estimate()} people in common (95 % interval {whole.interval()})."
    return Section(f"Overlap of {a} and {b}", lead, blocks)


def _matrix(question: overlap.Plan, pair: tuple[str, str], base: list[str], found: Mapping[str, Any],
            spread: float) -> Picture:  # fmt: skip
    a, b = pair
    tiles = [[_shared(found["cells"][s][t], spread) for t in base] for s in base]
    return shared_heat(
        [f"{a}: {_list_words(question, name)}" for name in base],
        _headings(question, base),
        tiles,
        title=f"People in both lists: {a} downwards, {b} across",
        label=f"People shared by each list of {a} and each list of {b}, with 95 % intervals",
        caption=f"People who are in the list of {a} named at the left and in the list of {b} named above, ± half the "
        "95 % interval. Darker is more. Hatched: below five standard deviations of the noise, too noisy to tell from "
        "nobody, or from a few.",
    )


def _shared(figure: Mapping[str, str], spread: float) -> Shared:
    reading = Reading.of(figure)
    if reading is None:
        raise IntegrityError("a count of the overlap is missing")
    return Shared(reading, float(reading.value) < GATE * spread)


def _index(question: overlap.Plan, pair: tuple[str, str], base: list[str], found: Mapping[str, Any]) -> Picture:
    a, b = pair
    return index_heat(
        [f"{a}: {_list_words(question, name)}" for name in base],
        _headings(question, base),
        [[Reading.of(found["index"][s][t]) for t in base] for s in base],
        title="Where they meet more than by chance (chance = 100)",
        label=f"Index of each list of {a} in each list of {b} against chance, with 95 % intervals",
        caption="Index: shared people as a percentage of how many there would be if the list of one company said "
        "nothing about that of the other, among the people they share; its 95 % interval below. 200 is twice as many, "
        "50 half. Orange is more, blue is less. Bold: the interval does not reach 100.",
    )


def _lists(question: overlap.Plan, pair: tuple[str, str], base: list[str], found: Mapping[str, Any]) -> Table:
    """Both sides' lists: how many of each are shared, and which part of it."""
    rows = []
    for party in pair:
        if len(base) > 1:
            for name in base:
                one = found["lists"][party][name]
                share = _two_lines(Reading.of(one["share"]))
                rows.append([f"{party}, {_list_words(question, name)}", *cells(one["overlap"]), share])
        share = _two_lines(Reading.of(found["all"]["share"][party]))
        rows.append([f"{party}, all lists", *cells(found["all"]["overlap"]), share])
    return Table(
        "What of each list the other company has too",
        [Column("List"), *NUMBERS, Column("Share of the list", "number")],
        rows,
        "“Adds up”: the counts moved as little as possible so that none is negative, all sums agree and no list shares "
        "more people than it has. The interval belongs to the estimate; the moved number has none of its own.",
    )


def _values(plan: Plan, question: overlap.Plan, pair: tuple[str, str], base: list[str],
            found: Mapping[str, Any]) -> Table:  # fmt: skip
    value = question.value
    if value is None:
        raise IntegrityError("there are values of shared people, but the plan does not ask for them")
    rows = []
    if len(base) > 1:
        for s in base:
            for t in base:
                words = f"{_list_words(question, s)} and {_list_words(question, t)}"
                rows.append([words, *_value_cells(value.feature, found["values"]["cells"][s][t])])
    rows.append(["All shared people", *_value_cells(value.feature, found["values"]["all"])])
    name, (least, most) = name_in_words(plan, value.feature), _bounds(value)
    return Table(
        f"Of shared people, as {value.party} knows them: {name}",
        [
            Column(f"List of {pair[0]} and of {pair[1]}"),
            Column("Sum, 95 % interval", "number"),
            Column("Mean, 95 % interval", "number"),
        ],
        rows,
        f"Values below {least} or above {most} count as the limit. Intervals cover the noise of the counts, and that "
        "values were rounded at random before they were counted.",
        folded=len(rows) > 8,
    )


def _value_cells(feature: str, figures: Mapping[str, Mapping[str, str]]) -> list[str]:
    readings = [Reading.of(figures[what]) for what in ("sum", "mean")]
    return [NOISY if reading is None else TWO_LINES.format(*value_in_words(feature, reading)) for reading in readings]


def _bounds(value: overlap.Value) -> list[str]:
    """Both limits, in the unit that `name_in_words` says."""
    return [value_in_words(value.feature, Reading(*[Decimal(end)] * 3))[0] for end in (value.low, value.high)]


def _all_cells(question: overlap.Plan, pair: tuple[str, str], base: list[str], found: Mapping[str, Any]) -> Table:
    rows = []
    for s in base:
        for t in base:
            index = Reading.of(found["index"][s][t])
            words = f"{_list_words(question, s)} and {_list_words(question, t)}"
            rows.append([words, *cells(found["cells"][s][t]), _two_lines(index, 1)])
    a, b = pair
    columns = [Column(f"List of {a} and of {b}"), *NUMBERS, Column("Index, 95 % interval", "number")]
    return Table("All cells as a table", columns, rows, folded=True)


def _headings(question: overlap.Plan, base: list[str]) -> list[str]:
    """The lists' names as they fit above columns; in full they stand at the rows and in the tables."""
    return [_short(_list_words(question, name), MOST_LETTERS if len(base) <= FEW else FEW_LETTERS) for name in base]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _list_words(question: overlap.Plan, name: str) -> str:
    """A list's name in words: `s2@1` → segment 2, at the second edge of the value."""
    base, _, edge = name.partition("@")
    words = f"segment {base[1:]}" if question.lists.by == "segments" else "everybody" if base == overlap.ALL else base
    if not edge or question.value is None:
        return words
    at = Decimal(question.value.edges[int(edge)])
    return f"{words} at {value_in_words(question.value.feature, Reading(at, at, at))[0]}"


def _percent(share: Reading | None) -> list[str]:
    return [NOISY, ""] if share is None else [f"{share.percent().estimate(1)} %", share.percent().interval(1, " %")]


def _two_lines(reading: Reading | None, places: int | None = None) -> str:
    """A share in per cent, or an index with so many decimals, and its interval below."""
    if reading is None:
        return NOISY
    if places is not None:
        return TWO_LINES.format(reading.estimate(places), reading.interval(places))
    return TWO_LINES.format(*_percent(reading))


STEPS: dict[str, tuple[str, Make]] = {
    "overlap": ("Audience overlap", _overlap),
    "overlap-sizes": ("Sizes of the lists for the overlap", _sizes),
}
