"""How large every list of an overlap is: a function of the plan and of released sizes, of nothing else.

    sent by its owner     cap(s) people or places that nobody fills + CANARIES + 2 · shift for each list of the peer
    final, by the peer    the same entries, and 2 · shift more for each list of the peer

So sizes and timing say nothing about anybody. A list never has more people than its cap: that is the released size of
the same dataset plus eight standard deviations (probability 1e-15 of a lie), or the plan's people_cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import IntegrityError
from ..plan import Plan
from ..questions import overlap

CANARIES = 32
POINT_BYTES, FINAL_BYTES = 32, 8
CHUNK_BYTES = 1 << 22  # of a list while it travels: a whole number of entries of either kind


def question_of(plan: Plan) -> overlap.Plan:
    """The plan's overlap question. Raises IntegrityError where it has none."""
    for question in plan.questions:
        if isinstance(question, overlap.Plan):
            return question
    raise IntegrityError("the plan has no overlap question")


def normaliser_of(plan: Plan) -> str:
    """How the plan turns identifiers into keys, in a word. Raises IntegrityError where it does not say."""
    if plan.people is None:
        raise IntegrityError("the plan does not say what identifies a person")
    return plan.people.normaliser


@dataclass(frozen=True)
class Layout:
    """caps: party → the most people of each of its lists, in order. shift: public part of every cell's dummies."""

    caps: Mapping[str, tuple[int, ...]]
    shift: int

    @classmethod
    def of(cls, plan: Plan, step: str, earlier: Mapping[str, Any]) -> Layout:
        """The layout of a round whose sizes are released; `earlier`: what its steps before this one released."""
        _, mechanism = plan.step(step)
        question = question_of(plan)
        caps = overlap.caps(question, plan.facts(question), earlier.get(overlap.sizes.NAME, {}))
        return cls(
            {party: tuple(caps[party].values()) for party in plan.parties}, overlap.shift(mechanism.variance_micro)
        )

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
