"""Audience overlap: how many people each two lists of two parties share, for every pair of parties. Nobody learns who.

    overlap-sizes   one of the party's lists                            sizes; caps that hide them from here on
    overlap         one cell of each of the person's N − 1 pairs        the matrices; reach and duplication

The first is a sum as any other. In the second nobody sums: two parties mask the keys of their people so that the
coordinator can count matches and know nobody, and each adds people that do not exist, its own number in each cell; so
in one cell there is the noise of two parties, and either alone protects the people of its party.

An answer is a function of both steps' noised vectors and of the plan: sizes, overlaps, shares, index, reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.accuracy import shift
from protocols.errors import UsageError
from protocols.statistic import Between, Facts, Integers, Noise, People, Rows, Statistic, Step

from . import sizes
from .matrix import Matrix, Side, values
from .plan import (
    ALL,
    Lists,
    Plan,
    Value,
    base_lists,
    bins_of,
    check,
    list_names,
    pair_name,
    pairs,
    variance_micro,
)
from .reach import Whole
from .sizes import Sizes, caps

__all__ = [
    "ALL",
    "NAME",
    "Lists",
    "Plan",
    "Value",
    "base_lists",
    "bins_of",
    "caps",
    "list_names",
    "pair_name",
    "pairs",
    "shift",
    "steps",
    "variance_micro",
]

NAME = "overlap"


def steps(question: Plan, facts: Facts) -> list[tuple[Step, int]]:
    """The two steps with their nano-ρ. Raises ValueError where the question cannot be asked in such a plan."""
    check(question, facts)
    bins = bins_of(question, *facts.parties)
    base = len(base_lists(question, facts))
    sums = {"a party": base * bins}, {"two lists": bins, "two parties": base**2 * bins}
    whole, shared = (tuple((what, slots) for what, slots in found.items() if slots > 1) for found in sums)
    first = Step(
        name=sizes.NAME,
        statistic=sizes.statistic(question, facts),
        contribute=lambda people, _: sizes.rows(question, facts, people),
        answer=lambda noised, noise, _: sizes.answer(question, facts, noised, noise),
        counted=(("a list", 1),),
        summed=whole,
    )
    second = Step(
        name=NAME,
        statistic=statistic(question, facts),
        contribute=_between_parties,
        answer=lambda noised, noise, earlier: answer(question, facts, noised, noise, earlier.get(sizes.NAME, {})),
        counted=(("two lists", 1),) if bins == 1 else (),
        summed=shared,
        made="overlap",
        cell_shares=2,
        between=between(question, facts),
    )
    return [(first, question.rho.sizes), (second, question.rho.pairs)]


def between(question: Plan, facts: Facts) -> Between:
    """All pairs of parties, each list with the cap that follows from its released size."""

    def before(earlier: Mapping[str, Any]) -> Sizes:
        return sizes.read(question, facts, earlier.get(sizes.NAME, {}))

    def caps_of(earlier: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        return {party: tuple(lists.values()) for party, lists in before(earlier).cap.items()}

    def sums_of(earlier: Mapping[str, Any]) -> dict[str, int]:
        return {f"{party}/{name}": x for party, lists in before(earlier).size.items() for name, x in lists.items()}

    return Between(tuple(pairs(facts.parties)), caps_of, sizes.NAME, sums_of)


def statistic(question: Plan, facts: Facts) -> Statistic:
    """Δ² = N − 1. Why: a person is in one list of a party, so in one cell at most of each pair that the party is in."""
    names = [
        f"{pair_name(a, b)}/{s}/{t}"
        for a, b in pairs(facts.parties)
        for s in list_names(question, facts, a)
        for t in list_names(question, facts, b)
    ]
    return Statistic(tuple(names), scale=1, bound_sq=len(facts.parties) - 1, tallied=False)


def answer(question: Plan, facts: Facts, noised: Integers, noise: Noise, released: Mapping[str, Any]) -> dict[str, Any]:
    """Per pair its matrix with all that follows from it, and all parties together.

    noised    one integer a slot of `statistic`
    released  what `overlap-sizes` released
    """
    before = sizes.read(question, facts, released)
    counts = iter(int(x) for x in noised)
    sides = {party: _side(question, facts, party, before) for party in facts.parties}
    found: dict[str, Any] = {"pairs": {}}
    matrices = {}
    for a, b in pairs(facts.parties):
        across = len(list_names(question, facts, b))
        slots = [[next(counts) for _ in range(across)] for _ in list_names(question, facts, a)]
        down, along = bins_of(question, a), bins_of(question, b)
        cells = _merged(slots, down, along)
        matrix = matrices[a, b] = Matrix(sides[a], sides[b], cells, noise.variance * down * along)
        found["pairs"][pair_name(a, b)] = matrix.figures()
        if question.value is not None and question.value.party in (a, b):
            found["pairs"][pair_name(a, b)]["values"] = values(
                question.value, sides[a], sides[b], slots, noise.variance
            )
    whole = Whole(
        size={party: sum(side.sizes) for party, side in sides.items()},
        size_variance={party: side.variance * len(side.sizes) for party, side in sides.items()},
        overlap={pair: matrix.total for pair, matrix in matrices.items()},
        overlap_variance={pair: matrix.total_variance for pair, matrix in matrices.items()},
    )
    return {**found, "all": whole.figures()}


def _side(question: Plan, facts: Facts, party: str, before: Sizes) -> Side:
    """A party's base lists: each the sum of the lists that it is split into."""
    bins = bins_of(question, party)

    def merged(of: Mapping[str, int]) -> list[int]:
        each = [of[name] for name in list_names(question, facts, party)]
        return [sum(each[i : i + bins]) for i in range(0, len(each), bins)]

    names = base_lists(question, facts)
    return Side(party, names, merged(before.size[party]), merged(before.tenths[party]), before.variance * bins)


def _merged(slots: list[list[int]], down: int, along: int) -> list[list[int]]:
    """Blocks of `down` rows and `along` columns added up."""
    return [
        [sum(sum(row[j : j + along]) for row in slots[i : i + down]) for j in range(0, len(slots[0]), along)]
        for i in range(0, len(slots), down)
    ]


def _between_parties(_: People, __: Mapping[str, Any]) -> Rows:
    raise UsageError(f"{NAME} is no sum over one party's people: it is counted between parties")
