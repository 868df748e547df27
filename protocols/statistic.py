"""The narrow waist: a vector of named integer slots, and the most that one person can move it.

Masking, noise, budget, release and ledger know a question only as a `Statistic`. One person is one row of integers;
`tally` checks each row against the bound *in integers* before it is added, so that the bound holds whatever a question
computes, and a question's mistake costs a person's usefulness and never a person's privacy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .schema import Schema

UNUSABLE = "unusable"
Integers = NDArray[np.int64]
People = Mapping[str, Integers]

_BATCH_CELLS = 1 << 19
_BATCH_PEOPLE = 1 << 13  # a question may read its state once a batch: wide statistics are sparse, and cost no cells


@dataclass(frozen=True)
class Statistic:
    """What is summed over people.

    slots      names in order; the last is `unusable`, save where nobody can be
    scale      integer units that stand for one whole person (weight 1)
    bound_sq   Δ²: the largest Σ x² of one person's integers, and so the squared L2 sensitivity of the sum to
               adding or removing one person at one party
    tallied    whether a party sums it up over its people (`tally`). What is counted in another way has no `unusable`
    owners     where every slot is of one party alone: whose, slot by slot (`owned`). Δ² is then that of the part which
               is the person's party's; nobody else's people or noise are in it. Empty: every slot is of all parties
    """

    slots: tuple[str, ...]
    scale: int
    bound_sq: int
    tallied: bool = True
    owners: tuple[str, ...] = ()

    @classmethod
    def owned(cls, parts: Mapping[str, tuple[str, ...]], scale: int, bound_sq: int) -> Statistic:
        """One part after the other, each with an `unusable` of its own. parts: owner → its slots, in order."""
        names = {owner: (*slots, UNUSABLE) for owner, slots in parts.items()}
        return cls(
            slots=tuple(f"{owner}/{slot}" for owner, own in names.items() for slot in own),
            scale=scale,
            bound_sq=bound_sq,
            owners=tuple(owner for owner, own in names.items() for _ in own),
        )

    def own(self, party: str) -> slice:
        """Where in the vector the slots are that a party's people and noise are in: all of them, some, or none."""
        if not self.owners:
            return slice(0, len(self.slots))
        start = self.owners.index(party) if party in self.owners else 0
        return slice(start, start + self.owners.count(party))

    def part(self, party: str) -> Statistic:
        """The slots of one owner, as a statistic of its own. Raises UsageError where it owns none."""
        own = tuple(slot.removeprefix(f"{party}/") for slot in self.slots[self.own(party)])
        return Statistic(own, self.scale, self.bound_sq)

    def __post_init__(self) -> None:
        if self.owners:
            self._check_owners()
            return
        distinct = len(set(self.slots)) == len(self.slots)
        if self.tallied and (len(self.slots) < 2 or self.slots[-1] != UNUSABLE or not distinct):
            raise UsageError("a statistic needs distinct slots, the last of them 'unusable'")
        if not self.tallied and (not self.slots or UNUSABLE in self.slots or not distinct):
            raise UsageError("a statistic that is not tallied needs distinct slots, none of them 'unusable'")
        self._check_size()

    def _check_owners(self) -> None:
        """Raise UsageError unless each owner has one part, in one piece, that is a statistic itself."""
        order = tuple(dict.fromkeys(self.owners))
        pieces = tuple(owner for owner in order for _ in range(self.owners.count(owner)))
        named = all(slot.startswith(f"{owner}/") for slot, owner in zip(self.slots, self.owners, strict=False))
        if not self.tallied or len(self.owners) != len(self.slots) or pieces != self.owners or not named:
            raise UsageError("a statistic with owners needs one piece of slots for each, named by it")
        for owner in order:
            self.part(owner)
        self._check_size()

    def _check_size(self) -> None:
        if self.scale < 1 or self.bound_sq < 1 or len(self.slots) * self.bound_sq >= 2**63:
            raise UsageError("a statistic needs a positive scale and a bound whose squares fit in 63 bits")

    @property
    def unusable_entry(self) -> int:
        """What a person without usable data adds to the last slot: weight min(1, Δ), so that totals still add up."""
        return min(self.scale, isqrt(self.bound_sq))


@dataclass(frozen=True)
class Sparse:
    """Rows with few entries each: `values[i, j]` stands in slot `slots[i, j]`; both (n, w) int64, slots ascending."""

    slots: Integers
    values: Integers

    def dense(self, width: int) -> Integers:
        """The same rows as (n, width)."""
        rows = np.zeros((len(self.slots), width), dtype=np.int64)
        np.put_along_axis(rows, self.slots, self.values, axis=1)
        return rows


Rows = Integers | Sparse
Contribute = Callable[[People], Rows]


@dataclass(frozen=True)
class Tally:
    """A party's exact sum. It never leaves the party; `share.py` adds the noise. `over_bound`: rows that broke Δ."""

    total: Integers
    over_bound: int


def tally(statistic: Statistic, people: People, contribute: Contribute) -> Tally:
    """Sum bounded rows over the people of one party.

    people      feature name → (n,) integers; `usable` is 1 for people whose own rows can be read
    contribute  a batch of people → (batch, slots − 1) integers or `Sparse`, each row a function of that person alone

    1. unusable people count in the last slot and nowhere else
    2. a row that is all zero, or whose Σ x² exceeds the bound, is moved to the last slot: absent and zero must differ

    Raises UsageError for a statistic that is not counted in this way.
    """
    if not statistic.tallied or statistic.owners:
        raise UsageError("this statistic is no sum over one party's people: it is counted between parties, or by owner")
    usable = people["usable"] == 1
    total = np.zeros(len(statistic.slots), dtype=np.int64)
    unusable = int(np.count_nonzero(~usable))
    over = 0
    for batch in _batches(people, usable, len(statistic.slots)):
        rows = contribute(batch)
        good, broken = _within_bound(statistic, rows, len(batch["usable"]))
        if isinstance(rows, Sparse):
            np.add.at(total, rows.slots[good].ravel(), rows.values[good].ravel())  # flat: six times as fast
        else:
            total[:-1] += rows[good].sum(axis=0, dtype=np.int64)
        unusable += int(np.count_nonzero(~good))
        over += broken
    total[-1] = unusable * statistic.unusable_entry
    return Tally(total, over)


def truncate(values: NDArray[np.float64], scale: int) -> Integers:
    """Real entries → integers, toward zero.

    Why toward zero: |trunc(q·x)| ≤ |q·x| in every slot, so no norm can grow; rounding to nearest can raise it.
    Why a power of two: then q·x is exact in floating point, and the argument holds to the last bit.
    """
    if scale < 1 or scale & (scale - 1):
        raise UsageError(f"a scale for real entries is a power of two, not {scale}")
    return np.trunc(values * float(scale)).astype(np.int64)


def one_hot(index: Integers, width: int, entry: int) -> Integers:
    """(n,) bin numbers → (n, width) rows with one `entry` each. Why bounded: one coordinate moves, by `entry`."""
    rows = np.zeros((len(index), width), dtype=np.int64)
    rows[np.arange(len(index)), index] = entry
    return rows


def _within_bound(statistic: Statistic, rows: Rows, expected: int) -> tuple[NDArray[np.bool_], int]:
    values = rows.values if isinstance(rows, Sparse) else rows
    width = values.shape[1] if isinstance(rows, Sparse) and values.ndim == 2 else len(statistic.slots) - 1
    if values.dtype != np.int64 or values.shape != (expected, width):
        raise UsageError("a question returned rows of another shape or type than its statistic says")
    largest = isqrt(statistic.bound_sq)
    # Entries first: a square of a larger one could wrap around 2^63 and look small. int64's minimum has no absolute.
    fits = np.all((values <= largest) & (values >= -largest), axis=1)
    if isinstance(rows, Sparse):
        fits &= _distinct_slots(rows, len(statistic.slots) - 1)
    fits[fits] = (values[fits] ** 2).sum(axis=1) <= statistic.bound_sq
    empty = ~np.any(values != 0, axis=1)
    return fits & ~empty, int(np.count_nonzero(~fits))


def _distinct_slots(rows: Sparse, width: int) -> NDArray[np.bool_]:
    """Rows whose slots exist and ascend. Why: two entries of one slot add up, and their squares would not."""
    if rows.slots.dtype != np.int64 or rows.slots.shape != rows.values.shape:
        raise UsageError("a question returned rows of another shape or type than its statistic says")
    inside = np.all((rows.slots >= 0) & (rows.slots < width), axis=1)
    ascending = np.all(rows.slots[:, 1:] > rows.slots[:, :-1], axis=1)
    distinct: NDArray[np.bool_] = inside & ascending
    return distinct


def _batches(people: People, usable: NDArray[np.bool_], width: int) -> Iterator[dict[str, Integers]]:
    chosen = np.flatnonzero(usable)
    step = max(_BATCH_PEOPLE, _BATCH_CELLS // width)
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        yield {name: values[part] for name, values in people.items()}


@dataclass(frozen=True)
class Between:
    """Which lists a step counts between parties, and how large they are: functions of the plan and of releases.

    pairs   whose lists are compared, in the plan's order; the step's slots are their cells, pair by pair, row by row.
            A party in none of them has no lists, and takes part as the others do
    caps    what earlier steps released → party → the most people of each of its lists, in order. A party has the same
            lists for each of its peers, and each person in one of them or in none
    sizes   the step that these caps follow from
    sums    what earlier steps released → slot of that step → its noised sum, as it was released
    All raise IntegrityError where what was released is not such an answer.
    """

    pairs: tuple[tuple[str, str], ...]
    caps: Callable[[Mapping[str, Any]], Mapping[str, tuple[int, ...]]]
    sizes: str
    sums: Callable[[Mapping[str, Any]], Mapping[str, int]]


@dataclass(frozen=True)
class Step:
    """One charged statistic of a question, as a plan fixes it.

    name         the step's name, unique in its plan
    statistic    what is summed
    contribute   people → rows, given what earlier steps released
    answer       (noised sum, noise, what earlier steps released) → the tree of published numbers; the step's own state,
                 where it has one, stands under its own name as if released earlier. Raises IntegrityError where no
                 figures follow from such a state
    check_state  for a step that the next one starts from, or whose figures rest on a fit: raises IntegrityError unless
                 the state, given what earlier steps released, is one that the plan allows. Bounds hold per person
                 whatever the state
    counted      what a slot counts, in words, and how many integer units stand for one of it: for forecasts
    summed       what the sum of so many slots counts, in words, at scale 1: for forecasts
    made         how the noised vector comes about: a `sum` of masked shares, or between pairs of parties as an
                 `overlap`. Of the latter every party's noise is needed, and no party's can be counted on but one's own
    between      of an overlap, and of no other step: between whom
    cell_shares  how many parties' noise is in one slot; None: of all whose shares arrived
    takes_part   the column of people in which 1 says who is meant; whoever is not adds nothing at all. None: everybody
    """

    name: str
    statistic: Statistic
    contribute: Callable[[People, Mapping[str, Any]], Rows]
    answer: Callable[[Integers, Noise, Mapping[str, Any]], dict[str, Any]]
    counted: tuple[tuple[str, int], ...] = ()
    check_state: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None
    summed: tuple[tuple[str, int], ...] = ()
    made: Literal["sum", "overlap"] = "sum"
    between: Between | None = None
    cell_shares: int | None = None
    takes_part: str | None = None

    @property
    def relies_on_one(self) -> bool:
        """Whether no party's noise can be counted on but one's own: in a slot there is a pair's, or its owner's alone.

        Then every party is needed: who is lost would leave its slots bare, or its pairs uncounted.
        """
        return self.made == "overlap" or bool(self.statistic.owners)

    def tally(self, party: str, people: People, earlier: Mapping[str, Any]) -> Tally:
        """The exact sum of one party's people, as long as the step's vector.

        1. whoever does not take part is left out, before anything is computed from anybody
        2. where slots have owners: the party's own part is summed up, `owner` its number among the owners; all other
           slots are zero
        """
        # (1)
        if self.takes_part is not None:
            chosen = people[self.takes_part] == 1
            people = {name: values[chosen] for name, values in people.items()}
        # (2)
        if not self.statistic.owners:
            return tally(self.statistic, people, lambda batch: self.contribute(batch, earlier))
        total = np.zeros(len(self.statistic.slots), dtype=np.int64)
        if party not in self.statistic.owners:
            return Tally(total, 0)
        number = np.int64(tuple(dict.fromkeys(self.statistic.owners)).index(party))
        people = {**people, "owner": np.broadcast_to(number, people["usable"].shape)}
        found = tally(self.statistic.part(party), people, lambda batch: self.contribute(batch, earlier))
        total[self.statistic.own(party)] = found.total
        return Tally(total, found.over_bound)

    def noise(self, arrived: int, variance_micro: int) -> Noise:
        """The noise in one slot of what is released. `arrived`: how many parties' shares are in it."""
        return Noise(self.cell_shares or (1 if self.statistic.owners else arrived), variance_micro)


@dataclass(frozen=True)
class Facts:
    """What a question may know of the plan that asks it.

    features  the features that every party has of its people, `usable` among them
    keyed     whether the plan says what identifies a person across parties
    segments  how many segments a question before it finds, None where none does
    """

    parties: tuple[str, ...]
    people_cap: int
    table: Schema
    features: tuple[str, ...]
    keyed: bool
    segments: int | None


@dataclass(frozen=True)
class Noise:
    """What an answer must know of the noise in its sum.

    shares          how many parties' noise is in one slot
    variance_micro  the variance of one share, in millionths of squared integer units
    """

    shares: int
    variance_micro: int

    @property
    def variance(self) -> float:
        """The variance of the sum's noise, squared integer units: s_tot², never one share's σ²."""
        return self.shares * self.variance_micro / 1e6
