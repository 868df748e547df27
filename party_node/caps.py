"""Whether the released sizes of a party's own lists can be true, as far as its own noised numbers tell.

The caps of an overlap's lists follow from these sizes. A peer that subtracts from the sum of another party's size would
make its cap too small; then people are left out, and one person's absence lets another in: the matrix would move by
more than is charged. What is compared is the release and what this party itself sent, noise and all, and not its data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.encoding import digest
from protocols.errors import IntegrityError, Refused
from protocols.overlap.layout import between_of
from protocols.plan import Plan
from protocols.release import Body
from protocols.statistic import Integers, Statistic

from .store import Store

OTHERS = 5  # standard deviations of all others' noise together


def check_own(plan: Plan, party: str, body: Body, store: Store) -> None:
    """Raise IntegrityError where a number that is this party's alone was released as another than it sent.

    Nobody else's people or noise are in it: whoever sends more than a zero there changes whom an audience is like, or
    how far an owner's cut reaches, and would not be found out by any interval. Compared by digest: when a round's last
    step is released the round is over, and what was drawn is forgotten. A node put back to before it drew has none.
    """
    kept = store.alone(body.round, body.step)
    released = np.array(body.noised, dtype=np.int64)
    if kept is not None and kept != own_digest(plan.step(body.step)[0].statistic, party, released):
        raise IntegrityError(f"step {body.step}: numbers of {party} alone were released as others than it sent")


def own_digest(statistic: Statistic, party: str, noised: Integers) -> str | None:
    """Digest of those of (slots,) noised numbers that are a party's alone; None where no slot has an owner."""
    return digest(noised[statistic.own(party)].astype("<i8").tobytes()) if statistic.owners else None


def are_counted(plan: Plan, overlap: str, store: Store, round_id: str) -> bool:
    """Whether this party's people are in the sizes that the caps of its lists follow from.

    Where a fault left zeros there, the caps are nobody's, and hold only some of its people: one person's absence would
    let another in, and more would move than is charged. Then the lists are nobody's too.
    """
    return not store.failed(round_id, between_of(plan, overlap).sizes)


def check_sizes(plan: Plan, overlap: str, party: str, earlier: Mapping[str, Any], store: Store, round_id: str) -> None:
    """Raise IntegrityError where others took more from a size than their noise explains, Refused where this party had
    no part in the sum.

    overlap   the step whose lists have these sizes
    earlier   what the round's earlier steps released
    store     has what this party drew for the step that the sizes are of
    Where these numbers are this party's alone nobody else's noise is in them: none may be below what it sent.
    Honest parties fail this with probability 3e-7 a list. Where it holds, a cap binds with at most 2e-10: it is the
    party's own number x, plus the others' noise, plus 8 √N σ, so at least x + (8 √N − 5 √(N − 1)) σ, which for N ≥ 2 is
    x + 6.3 σ or more, and x has noise of σ.
    """
    between = between_of(plan, overlap)
    step, mechanism = plan.step(between.sizes)
    if store.drawn(round_id, step.name) is None:
        raise Refused(f"{party} has no part in the released sizes of its lists")
    drawn = np.frombuffer(store.noised(round_id, step.name), dtype="<i8").tolist()
    own = dict(zip(step.statistic.slots, drawn, strict=True))
    others = 0 if step.statistic.owners else len(plan.parties) - 1
    most = OTHERS * math.sqrt(others * mechanism.variance_micro / 1e6)
    mine = {slot: x for slot, x in between.sums(earlier).items() if slot.startswith(f"{party}/")}
    if any(size < own[slot] - most for slot, size in mine.items()):
        raise IntegrityError(f"the released sizes of the lists of {party} are smaller than noise can make them")
