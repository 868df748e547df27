"""Which checkpoints carry a history: up to where a set of cosigners vouches for all entries before it.

An entry needs cosigners (`cosigners.py`). They need not have cosigned at that very entry: whoever cosigns a later
checkpoint has checked that it continues what it saw before, has run the rules over every entry between, and signs the
root of them all. So an entry is carried by the first checkpoint at or after it that is there, if that one's cosigners
are those that the entry needs, by their names and the keys in force at that checkpoint.

Why fewer checkpoints take nothing from an auditor:

- A checkpoint with the cosignatures of everybody in force vouches for the whole history before it: each of them signed
  one root over all of it, and an honest one signs one history only. A dropped checkpoint of a smaller size is a
  statement about a beginning of that same history, by the same parties, and weaker.
- What a party must have signed *before* its data were used (an approval, a dataset, a hold) is in the entries with its
  own signature. That it cosigned a reserve before it sent anything no note proves, whichever are kept: the time in a
  cosignature is the witness's own word. It is the party's own node that does not send before.
- A party that left, or whose key was changed, cannot sign later. What needed it must be carried by a checkpoint from
  before: `fewest` keeps the last complete one of every stretch with the same members, and so every policy that was ever
  right finds a checkpoint by exactly its keys.
- A release's proof leads to a checkpoint that recipients hold; those are kept, so that they find it here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from typing import Any

from .cosigners import Needed


class Coverage:
    """The cosigners that the entries seen so far need. Grows by the kinds of need, not by the entries."""

    def __init__(self) -> None:
        self._last: dict[Needed, int] = {}

    def add(self, seq: int, needed: Iterable[Needed]) -> None:
        """Entry `seq` needs these."""
        for need in needed:
            self._last[need] = seq

    def reach(self, names: Collection[str]) -> int:
        """`names` carry every entry from this number on, to the last that was seen; 0 if the whole history."""
        present = frozenset(names)
        return max((seq + 1 for need, seq in self._last.items() if not _holds(need, present)), default=0)

    def since(self, size: int) -> list[Needed]:
        """What the entries from number `size` on need."""
        return [need for need, seq in self._last.items() if seq >= size]


def fewest(
    candidates: Iterable[tuple[int, Collection[str], Any]],
    needs: Callable[[int], Iterable[Needed]],
    kept: Collection[int] = (),
) -> list[int]:
    """The sizes of the fewest checkpoints that carry as much of a history as all of them do; none if they carry none.

    candidates  (size, its cosigners, its members) of every checkpoint, smallest first
    needs       entry number → what it needs
    kept        sizes that must be among them where they are complete: those that proofs lead to

    1. a checkpoint is complete if its cosigners carry everything since an earlier complete one, or since the beginning
    2. for each, the earlier one with the fewest before it is where the way back goes on
    3. no way passes over one that must be kept, or over the last before the members change
    """
    coverage, seen = Coverage(), 0
    before: dict[int, int] = {}
    steps: dict[int, int] = {0: 0}
    open_ends = [0]  # where a way may go on: sizes ascending, steps ascending
    last_members: Any = None
    must, last = set(kept), 0
    for size, names, members in candidates:
        for seq in range(seen, size):
            coverage.add(seq, needs(seq))
        seen = size
        if before and members != last_members:  # (3)
            open_ends = [last]
        at = bisect_left(open_ends, coverage.reach(names))
        if at == len(open_ends):
            continue
        last, last_members = size, members
        before[size] = open_ends[at]  # (1), (2)
        steps[size] = steps[open_ends[at]] + 1
        while open_ends and steps[open_ends[-1]] >= steps[size]:
            open_ends.pop()
        open_ends = [size] if size in must else [*open_ends, size]
    found = []
    while last:
        found.append(last)
        last = before[last]
    return found[::-1]


def _holds(need: Needed, names: frozenset[str]) -> bool:
    return len(need.names & names) >= need.least
