"""From a party's snapshot to its exact, bounded sum, which stays inside this process until `share.py` has noised it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.errors import SumroomError
from protocols.plan import Plan
from protocols.questions import lookalike, overlap
from protocols.statistic import Integers, Step

from .audience import Audience, question_of
from .features import people, window_of
from .membership import Own
from .records import check_snapshot
from .store import Dataset

log = logging.getLogger("sumroom.party")


@dataclass(frozen=True)
class Contribution:
    """`total`: (slots,) exact integers. `fault`: for this party's operator only, None when all went well.

    failed   whether nobody is in the total because of it
    """

    total: Integers
    fault: str | None
    failed: bool = False


def contribute(
    plan: Plan, step: Step, earlier: Mapping[str, Any], dataset: Dataset, state: Path, party: str
) -> Contribution:
    """The bounded sum of this party's people, or zeros when anything is wrong with the data.

    Zeros and not an error: after approval nothing that depends on the data may change whether or how a node answers
    (a refusal would be an answer, free and repeatable). The noise goes out all the same; the operator is told here.
    """
    try:
        return _sum(plan, step, earlier, dataset, state, party)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it depends on the data, and must not show outside
        log.error("step %s: %s; this party's share is noise over zeros", step.name, type(exc).__name__)
        # Our own messages name columns and rows; a library's could quote a customer's value.
        fault = exc.message if isinstance(exc, SumroomError) else type(exc).__name__
        return Contribution(np.zeros(len(step.statistic.slots), dtype=np.int64), fault, failed=True)


def _sum(plan: Plan, step: Step, earlier: Mapping[str, Any], dataset: Dataset, state: Path, party: str) -> Contribution:
    if step.name == overlap.sizes.NAME:
        columns = Own(plan, party, earlier, dataset, state).listed()
    elif (question := question_of(plan)) is not None and step.name.startswith(lookalike.PREFIX):
        columns = Audience(plan, question, party, earlier, dataset, state).columns(step.name)
    else:
        snapshot = state / dataset.snapshot
        check_snapshot(snapshot, dataset.sha256)
        columns = people(snapshot, window_of(plan)).columns
    # Not compared with people_cap: `register` did that, on this very snapshot. Here one person at the limit would
    # decide between a sum and zeros, and no bound would hold.
    result = step.tally(party, columns, earlier)
    fault = "people broke the bound and counted as unusable" if result.over_bound else None
    return Contribution(result.total, fault)
