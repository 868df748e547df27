"""The public constants of the overlap question, and what follows from them alone: lists, pairs, edges, sizes."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protocols.accuracy import shift
from protocols.budget import variance_for
from protocols.schema import Frozen, Name, Positive
from protocols.statistic import Facts

MOST_CELLS = 1 << 16
ALL = "all"

Bound = Annotated[int, Field(strict=True, ge=-(2**40), le=2**40)]


class Shares(Frozen):
    """Nano-ρ of each step. `pairs`: of all pairs of one party together."""

    sizes: Positive
    pairs: Positive


class Lists(Frozen):
    """Into which lists a party puts its people, each person into one or none.

    segments  the released segments of the same round: the nearest centre
    column    a category column of the table: the first of its values, in the plan's order, in any row of the person
    all       one list
    """

    by: Literal["segments", "column", "all"]
    column: Name | None = None

    @model_validator(mode="after")
    def _column(self) -> Self:
        if (self.by == "column") != (self.column is not None):
            raise ValueError('lists.column belongs to by = "column", and only to it')
        return self


class Value(Frozen):
    """A feature of one party's people that is added up over those it shares with each other party.

    A person's value, clipped to low … high, is rounded at random and without bias to one of the two `edges` next to it;
    the party's lists are split by the edge. So sums follow from counts, and cost nothing more.
    """

    party: Name
    feature: Name
    low: Bound
    high: Bound
    bins: Annotated[int, Field(strict=True, ge=2, le=16)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.high - self.low < self.bins - 1:
            raise ValueError("value needs low below high, and a whole number for each of its edges")
        return self

    @property
    def edges(self) -> list[int]:
        """`bins` whole numbers from low to high, as equally spaced as whole numbers can be; in the feature's unit."""
        return [self.low + (self.high - self.low) * i // (self.bins - 1) for i in range(self.bins)]


class Plan(Frozen):
    """The public constants of the question."""

    kind: Literal["overlap"] = "overlap"
    rho: Shares
    lists: Lists
    value: Value | None = None


def base_lists(question: Plan, facts: Facts) -> list[str]:
    """The names of the lists that every party has, before those of one are split by value."""
    if question.lists.by == "segments":
        return [f"s{i + 1}" for i in range(facts.segments or 0)]
    if question.lists.column is not None:
        return list(facts.table.columns[question.lists.column].values or ())
    return [ALL]


def list_names(question: Plan, facts: Facts, party: str) -> list[str]:
    """The names of one party's lists, in order: `s1`, and `s1@0`, `s1@1`, … where they are split by value."""
    names = base_lists(question, facts)
    bins = bins_of(question, party)
    return names if bins == 1 else [f"{name}@{i}" for name in names for i in range(bins)]


def bins_of(question: Plan, *parties: str) -> int:
    """Into how many lists each base list is split at one of these parties."""
    return question.value.bins if question.value is not None and question.value.party in parties else 1


def pairs(parties: tuple[str, ...] | list[str]) -> list[tuple[str, str]]:
    """All pairs of parties, in the plan's order."""
    return list(combinations(parties, 2))


def pair_name(a: str, b: str) -> str:
    return f"{a}--{b}"


def variance_micro(question: Plan, facts: Facts) -> int:
    """The variance of one party's own noise in one cell, in millionths: Δ² is one a pair, nobody else is relied on."""
    return variance_for(question.rho.pairs, len(facts.parties) - 1, 1)


def check(question: Plan, facts: Facts) -> None:
    """Raise ValueError where the question cannot be asked in such a plan."""
    if len(facts.parties) < 2:
        raise ValueError("questions: an overlap needs two parties or more")
    if not facts.keyed:
        raise ValueError(
            "questions: an overlap needs [people]: which column identifies a person, and how it is written"
        )
    names = [pair_name(a, b) for a, b in pairs(facts.parties)]
    if len(set(names)) < len(names):
        raise ValueError("questions: two pairs of parties would have one name; an overlap needs names without '--'")
    _check_lists(question, facts)
    _check_value(question, facts)
    _check_cost(question, facts)


def _check_lists(question: Plan, facts: Facts) -> None:
    column = question.lists.column
    if question.lists.by == "segments" and facts.segments is None:
        raise ValueError('questions: lists by = "segments" needs a segments question before the overlap')
    if column is not None and (column not in facts.table.columns or not facts.table.columns[column].values):
        raise ValueError(f"questions: lists.column is {column!r}, which is no category column of the table")


def _check_value(question: Plan, facts: Facts) -> None:
    if question.value is None:
        return
    if question.value.party not in facts.parties:
        raise ValueError(f"questions: value.party is {question.value.party!r}, which is no party of the plan")
    if question.value.feature not in facts.features or question.value.feature == "usable":
        known = ", ".join(name for name in facts.features if name != "usable")
        raise ValueError(f"questions: no party has a feature {question.value.feature}; there are {known}")


def _check_cost(question: Plan, facts: Facts) -> None:
    """Why: with more dummies than people, noise is dearer than the count; a larger ρ or fewer lists bring it down."""
    many = {party: len(list_names(question, facts, party)) for party in facts.parties}
    cells = sum(many[a] * many[b] for a, b in pairs(facts.parties))
    if cells > MOST_CELLS:
        raise ValueError(f"questions: the overlap would have {cells:,} cells; the most is {MOST_CELLS:,}")
    peer = max(many[party] for party in facts.parties)
    dummies = 2 * shift(variance_micro(question, facts)) * peer
    if dummies > facts.people_cap:
        raise ValueError(
            f"questions: a list of the overlap would hold {dummies:,} people that do not exist beside at most "
            f"{facts.people_cap:,} that do (people_cap); raise rho.pairs, or have fewer lists"
        )
