"""How large every list of an overlap is: a function of the plan and of released sizes, of nothing else.

    sent by its owner     cap(s) people or places that nobody fills + CANARIES + 2 · shift for each list of the peer
    final, by the peer    the same entries, and 2 · shift more for each list of the peer

So sizes and timing say nothing about anybody. A list never has more people than its cap: that is the released size of
the same dataset plus eight standard deviations (probability 1e-15 of a lie), or the plan's people_cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..accuracy import shift
from ..errors import IntegrityError, Refused
from ..plan import Plan
from ..statistic import Between

CANARIES = 32
POINT_BYTES, FINAL_BYTES = 32, 8
CHUNK_BYTES = 1 << 22  # of a list while it travels: a whole number of entries of either kind


def between_of(plan: Plan, step: str) -> Between:
    """Between whom a step counts. Raises Refused for a step that is a sum."""
    found = plan.step(step)[0].between
    if found is None:
        raise Refused(f"step {step} is no overlap")
    return found


def normaliser_of(plan: Plan) -> str:
    """How the plan turns identifiers into keys, in a word. Raises IntegrityError where it does not say."""
    if plan.people is None:
        raise IntegrityError("the plan does not say what identifies a person")
    return plan.people.normaliser


@dataclass(frozen=True)
class Layout:
    """caps: party → the most people of each of its lists, in order. shift: public part of every cell's dummies.

    pairs: whose lists are compared; None: those of every two parties
    """

    caps: Mapping[str, tuple[int, ...]]
    shift: int
    pairs: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def of(cls, plan: Plan, step: str, earlier: Mapping[str, Any]) -> Layout:
        """The layout of a round whose sizes are released; `earlier`: what its steps before this one released.

        Raises Refused for a step that is no overlap.
        """
        between, mechanism = between_of(plan, step), plan.step(step)[1]
        caps = between.caps(earlier)
        return cls(
            {party: caps.get(party, ()) for party in plan.parties}, shift(mechanism.variance_micro), between.pairs
        )

    @property
    def all_pairs(self) -> tuple[tuple[str, str], ...]:
        """Whose lists are compared, in the order of the step's slots."""
        return tuple(combinations(self.caps, 2)) if self.pairs is None else self.pairs

    def peers(self, party: str) -> list[str]:
        """With whom a party has a pair, ascending."""
        found = {b if a == party else a for a, b in self.all_pairs if party in (a, b)}
        return sorted(found)

    def lists(self, party: str) -> int:
        return len(self.caps[party])

    def dummies(self, peer: str) -> int:
        """How many places of a list are for its owner's dummies, and as many for the peer's."""
        return 2 * self.shift * self.lists(peer)

    def sent(self, owner: str, peer: str) -> tuple[int, ...]:
        """Entries of each list that its owner sends to the peer."""
        return tuple(cap + CANARIES + self.dummies(peer) for cap in self.caps[owner])

    def final(self, owner: str, peer: str) -> tuple[int, ...]:
        """Entries of each list of the owner when the peer has finished it."""
        return tuple(size + self.dummies(peer) for size in self.sent(owner, peer))


def chunks(sizes: tuple[int, ...], entry_bytes: int) -> int:
    """In how many parts lists travel."""
    return -(-sum(sizes) * entry_bytes // CHUNK_BYTES)
