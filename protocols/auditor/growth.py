"""Two bundles of one room: is the later one the earlier one, grown? And what is new in it.

The entries of the earlier one must be the first of the later one, byte for byte. Each is audited by itself, so a
rewritten history is found even where both are signed in every place: that is what an auditor keeps old bundles for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..audit import audit
from ..bundle import RELEASES, Archive, Buffer
from ..ledger.entries import decode
from ..ledger.fields import LIFETIME
from ..ledger.trust import TrustPolicy
from ..verdict import Event, Findings, Problem

SHOWN = ("cap", "key", "party", "forfeit", "refund", "deny", "audit", "reuse")


@dataclass(frozen=True)
class Growth:
    """What is new. spent: (who, block) → nano-ρ spent since; new: type of entry → how many."""

    old: Findings
    new: Findings
    problems: tuple[Problem, ...]
    types: dict[str, int] = field(default_factory=dict)
    spent: dict[tuple[str, str], int] = field(default_factory=dict)
    releases: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether history only grew, and nothing was found in either bundle."""
        return not self.problems


def growth(old: Buffer, new: Buffer, policy: TrustPolicy, *, releases: bool = True) -> Growth:
    """Compare two bundles, both audited by one policy. Raises CannotDecide where one is no whole archive."""
    before, _ = audit(old, policy, releases=releases)
    earlier = Archive(old)
    after, _ = audit(new, policy, releases=releases, since=earlier)
    later = Archive(new)
    problems = [Problem(f"old: {p.where}", p.what) for p in before.violations]
    problems += [Problem(p.where, p.what) for p in after.violations]
    spent = {(line.who, line.block): line.spent for line in before.budgets}
    files, known = later.names(RELEASES, ".json"), set(earlier.names(RELEASES, ".json"))
    return Growth(
        before,
        after,
        tuple(problems),
        _types(later, before.entries) if not problems else {},
        {(b.who, b.block): b.spent - spent.get((b.who, b.block), 0) for b in after.budgets if b.block != LIFETIME},
        tuple(name for name in files if name not in known),
        tuple(event for event in after.events if event.entry >= before.entries and event.kind in SHOWN),
    )


def _types(archive: Archive, since: int) -> dict[str, int]:
    """Type → how many entries from number `since` on are of it."""
    found = Counter(decode(raw).type for seq, raw in enumerate(archive.entries()) if seq >= since)
    return dict(sorted(found.items()))
