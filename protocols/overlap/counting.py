"""What the coordinator counts: which doubly masked values two parties' lists share, cell by cell, dummies and all.

There is no un-noised count anywhere: each cell of the matrix has both parties' matched dummies in it, as many as each
drew for itself, and what is taken off here is their public part alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import IntegrityError
from ..statistic import Integers
from .layout import CANARIES, FINAL_BYTES, Layout

Values = NDArray[np.uint64]


def values_of(data: bytes | bytearray | memoryview) -> Values:
    """Final entries, 8 bytes each."""
    if len(data) % FINAL_BYTES:
        raise IntegrityError("final lists that end in the middle of an entry")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False)


def check_distinct(values: Values, whose: str) -> None:
    """Raise IntegrityError when a value is there twice in all lists of one party.

    Why it must not be: k copies of one person, in other encodings or under other scalars, count k times. Two different
    people have the same 8 bytes with probability n²/2^65 in a list of n: 3e-8 at a million.
    """
    ordered = np.sort(values)
    if np.any(ordered[1:] == ordered[:-1]):
        raise IntegrityError(f"the lists of {whose} hold a value twice")


def matrix(layout: Layout, one: str, other: str, finals: tuple[Values, Values], canaries: tuple[Values, Values],
           ) -> Integers:  # fmt: skip
    """(lists of one, lists of other) counts of shared values, less the public part of the dummies.

    finals     the lists of `one`, as `other` finished them, one after the other; and the other way round
    canaries   (lists, CANARIES) values each: what their owners say must be among them
    1. sizes are the layout's and no value is there twice
    2. every canary is in its list, as the peer finished it; it is taken out
    3. count by cell; take off what dummies were shifted by, twice: by both parties
    Raises IntegrityError, naming the party whose lists are not right.
    """
    kept = []
    for owner, peer, values, signs in ((one, other, finals[0], canaries[0]), (other, one, finals[1], canaries[1])):
        # (1)
        sizes = layout.final(owner, peer)
        if len(values) != sum(sizes) or signs.shape != (len(sizes), CANARIES):
            raise IntegrityError(f"the lists of {owner} have other sizes than the plan gives them")
        check_distinct(values, owner)
        # (2)
        at = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        order = np.argsort(values, kind="stable")
        ordered, at = values[order], at[order]
        kept.append(_without_canaries(ordered, at, signs, peer))
    # (3)
    (mine, my_list), (theirs, their_list) = kept
    place = np.minimum(np.searchsorted(theirs, mine), max(len(theirs) - 1, 0))
    hit = theirs[place] == mine if len(theirs) else np.zeros(len(mine), dtype=np.bool_)
    rows, columns = layout.lists(one), layout.lists(other)
    cells = my_list[hit] * columns + their_list[place[hit]]
    counts = np.bincount(cells, minlength=rows * columns).reshape(rows, columns)
    return counts.astype(np.int64) - 2 * layout.shift


def _without_canaries(ordered: Values, at: Integers, signs: Values, peer: str) -> tuple[Values, Integers]:
    wanted = signs.reshape(-1)
    whose = np.repeat(np.arange(len(signs), dtype=np.int64), CANARIES)
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    if len(np.unique(wanted)) != len(wanted) or np.any(ordered[place] != wanted) or np.any(at[place] != whose):
        raise IntegrityError(f"canaries are missing in the lists that {peer} finished")
    stay = np.ones(len(ordered), dtype=np.bool_)
    stay[place] = False
    return ordered[stay], at[stay]


def flat(matrices: Sequence[Integers]) -> Integers:
    """All pairs' cells, in the order of the step's slots."""
    return np.concatenate([cells.reshape(-1) for cells in matrices])
