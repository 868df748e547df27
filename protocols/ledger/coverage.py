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

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from .cosigners import Needed, check_needed
from .members import Members

_ANEW = " (anew)"


class Coverage:
    """The cosigners that the entries seen so far need. Grows by the kinds of need, not by the entries.

    A party whose key was revoked, or that left, and that has come anew, is another one here though its name is the
    same: what needed the old one is not carried by the new one, for which others have vouched. A rotation by the
    party's own old key is no such break.
    """

    def __init__(self) -> None:
        self._last: dict[Needed, int] = {}
        self._who: dict[str, str] = {}
        self._parties: frozenset[str] = frozenset()
        self._known: dict[Needed, Needed] = {}

    def members(self, members: Members) -> None:
        """Who is in force from the next entry on, the one that brings them included."""
        for name in members.parties.keys() - self._parties:
            self._who[name] = f"{self._who[name]}{_ANEW}" if name in self._who else name
        self._parties = frozenset(members.parties)
        self._known.clear()

    def add(self, seq: int, needed: Iterable[Needed]) -> None:
        """Entry `seq` needs these. Entries between two changes of members may come in any order."""
        for need in needed:
            known = self._known.get(need)
            if known is None:
                known = self._known[need] = replace(need, names=self._present(need.names))
            self._last[known] = max(seq, self._last.get(known, 0))

    def reach(self, names: Iterable[str]) -> int:
        """`names` carry every entry from this number on, to the last that was seen; 0 if the whole history."""
        present = self._present(names)
        return max((seq + 1 for need, seq in self._last.items() if not _holds(need, present)), default=0)

    def check(self, names: Iterable[str], since: int) -> None:
        """Raise IntegrityError unless `names` carry all that was seen from entry `since` on."""
        check_needed(self._present(names), [need for need, seq in self._last.items() if seq >= since])

    def _present(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(self._who.get(name, name) for name in names)


def fewest(
    candidates: Iterable[tuple[int, Iterable[str]]],
    needs: Callable[[int], Iterable[Needed]],
    epochs: Mapping[int, Members],
    kept: Collection[int] = (),
) -> list[int]:
    """The sizes of the fewest checkpoints that carry as much of a history as all of them do; none if they carry none.

    candidates  (size, its cosigners) of every checkpoint, smallest first
    needs       entry number → what it needs
    epochs      from which size on → the members in force
    kept        sizes that must be among them where they are complete: those that proofs lead to

    1. a checkpoint is complete if its cosigners carry everything since an earlier complete one, or since the beginning
    2. for each, the earlier one with the fewest before it is where the way back goes on
    3. no way passes over one that must be kept, or over the last before the members change
    """
    coverage, seen, last, starts = Coverage(), 0, 0, sorted(epochs)
    before: dict[int, int] = {}
    steps: dict[int, int] = {0: 0}
    open_ends = [0]  # where a way may go on: sizes and their steps both ascending
    for size, names in candidates:
        for seq in range(seen, size):
            if seq + 1 in epochs:
                coverage.members(epochs[seq + 1])
            coverage.add(seq, needs(seq))
        seen = size
        if last and bisect_right(starts, size) > bisect_right(starts, last):  # (3)
            open_ends = [last]
        at = bisect_left(open_ends, coverage.reach(names))
        if at == len(open_ends):
            continue
        last, before[size] = size, open_ends[at]  # (1), (2)
        steps[size] = steps[open_ends[at]] + 1
        while open_ends and steps[open_ends[-1]] >= steps[size]:
            open_ends.pop()
        open_ends = [size] if size in kept else [*open_ends, size]
    found = []
    while last:
        found.append(last)
        last = before[last]
    return found[::-1]


def _holds(need: Needed, names: frozenset[str]) -> bool:
    return len(need.names & names) >= need.least
