"""Two rounds of segments, one later than the other: which segment is which, and whether anything has moved.

Everything follows from released numbers: last centres, the profile's noised counts, its figures. No budget is spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.budget import MICRO
from protocols.errors import IntegrityError, Refused
from protocols.plan import Plan
from protocols.questions import segments
from protocols.questions.segments.profile import GATE, UNIT
from protocols.questions.segments.states import Clusters, Reals
from protocols.release import Body

from .console.personas import accuracy, held, personas

NOMINAL = 0.01  # how often drift is seen where there is none
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Segmentation:
    """What one round released of its segments.

    centres (k, d) in the box; counts (k,) noised people; variance of one count's noise, in squared people
    """

    plan: Plan
    answer: dict[str, Any]
    centres: Reals
    counts: Reals
    variance: float

    @classmethod
    def of(cls, plan: Plan, bodies: Sequence[Body]) -> Segmentation:
        """Of the releases of one round. Raises Refused where it has no segments."""
        question = next((q for q in plan.questions if isinstance(q, segments.Plan)), None)
        released = {body.step: body for body in bodies}
        if question is None or "seg-profile" not in released:
            raise Refused(f"plan {plan.name} released no segments", "name the results of a round that found some")
        last, profile = released.get(question.lloyd_names()[-1]), released["seg-profile"]
        if last is None or last.state is None:
            raise IntegrityError("there is a profile of segments, but no centres that they were found by")
        k, width = len(profile.answer["segments"]), question.dimensions + 1
        counts = np.asarray(profile.noised[: k * width], dtype=np.float64).reshape(k, width)[:, -1] / UNIT
        variance = len(profile.survivors) * profile.mechanism.variance_micro / MICRO / UNIT**2
        centres = Clusters.read(last.state, question.clusters, question.dimensions).centres
        return cls(plan, profile.answer, centres, counts, variance)

    @property
    def question(self) -> segments.Plan:
        return next(q for q in self.plan.questions if isinstance(q, segments.Plan))

    @property
    def names(self) -> list[str]:
        return list(self.answer["segments"])


@dataclass(frozen=True)
class Drift:
    """statistic: χ² with so many degrees of freedom; p: how often it is as large where nothing moved, no border either.

    Each round draws its own borders, and those between groups that run into one another lie elsewhere each time: there
    p is below `NOMINAL` in one of three comparisons of the same people (`docs/benchmarks.md`).
    """

    statistic: float
    freedom: int
    p: float

    @property
    def moved(self) -> bool:
        return self.p < NOMINAL


@dataclass(frozen=True)
class Tracked:
    """One segment then and now. name: of the earlier round's persona, which it keeps; verdicts: claim → what became."""

    earlier: str
    later: str
    name: str
    distance: float
    verdicts: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """drift: None where the rounds found other numbers of segments, or one that is too noisy."""

    tracked: tuple[Tracked, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    drift: Drift | None
    accuracy: float | None


def compare(earlier: Segmentation, later: Segmentation) -> Comparison:
    """1. both rounds must see people alike: the same features with the same transforms and bounds
    2. segments are matched so that their centres moved least in all
    3. shares of matched segments are compared, and each persona's claims with the later figures

    Raises Refused where (1) does not hold: a distance or a share would then compare two different things.
    """
    # (1)
    check_comparable(earlier.question, later.question)
    # (2)
    pairs = matched(earlier.centres, later.centres)
    # (3)
    cards, tracked = personas(earlier.plan, earlier.answer), []
    for i, j in pairs:
        name = later.names[j]
        verdicts = {claim.feature: held(claim, later.answer, name) for claim in cards[i].claims}
        away = math.dist(earlier.centres[i].tolist(), later.centres[j].tolist())
        tracked.append(Tracked(earlier.names[i], name, cards[i].name, away, verdicts))
    found = accuracy([verdict for one in tracked for verdict in one.verdicts.values()])
    before, after = ({pair[side] for pair in pairs} for side in (0, 1))
    return Comparison(
        tracked=tuple(tracked),
        gone=tuple(name for i, name in enumerate(earlier.names) if i not in before),
        new=tuple(name for j, name in enumerate(later.names) if j not in after),
        drift=_drift(earlier, later, pairs),
        accuracy=None if found is None else float(found),
    )


def check_comparable(earlier: segments.Plan, later: segments.Plan) -> None:
    """Raise Refused unless both plans have the same features, in the same order, with the same bounds."""
    names = [[feature.name for feature in question.features] for question in (earlier, later)]
    if names[0] != names[1]:
        raise Refused(
            f"the segments are of other features: {', '.join(names[0])}; later {', '.join(names[1])}",
            "only segments of the same features can be compared",
        )
    for one, other in zip(earlier.features, later.features, strict=True):
        if one != other:
            bounds = [f"{f.transform} from {f.low} to {f.high}" for f in (one, other)]
            raise Refused(
                f"feature {one.name} has other bounds: {bounds[0]}, later {bounds[1]}",
                "a later plan that is to be compared keeps the transform and the bounds of every feature",
            )


def matched(earlier: Reals, later: Reals) -> list[tuple[int, int]]:
    """(k, d) and (m, d) centres → min(k, m) pairs with the least sum of squared distances (Kuhn 1955: Hungarian)."""
    from scipy.optimize import linear_sum_assignment

    squared = ((earlier[:, None, :] - later[None, :, :]) ** 2).sum(axis=2)
    rows, columns = linear_sum_assignment(squared)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]


def drift(earlier: Reals, later: Reals, variances: tuple[float, float]) -> Drift:
    """Two (k,) vectors of noised counts of the same segments → whether their shares differ beyond noise and sampling.

    variances: of one count's noise in each, squared people. With p the shares and n the people of either, the
    covariance of its shares is (diag p − p pᵀ)/n + σ² J Jᵀ, J = (I − p 1ᵀ)/n; the first part is of sampling.
    """
    from scipy.stats import chi2

    covariance = np.zeros((len(earlier), len(earlier)))
    for counts, variance in zip((earlier, later), variances, strict=True):
        people = float(counts.sum())
        p = np.clip(counts / people, LEAST_SHARE, 1)
        p /= p.sum()
        to_shares = (np.eye(len(p)) - p[:, None]) / people
        covariance += (np.diag(p) - np.outer(p, p)) / people + variance * to_shares @ to_shares.T
    moved = (later / later.sum() - earlier / earlier.sum())[:-1]
    statistic = float(moved @ np.linalg.solve(covariance[:-1, :-1], moved))
    return Drift(statistic, len(moved), float(chi2.sf(statistic, len(moved))))


def _drift(earlier: Segmentation, later: Segmentation, pairs: Sequence[tuple[int, int]]) -> Drift | None:
    steady = [one.counts.min() >= GATE * math.sqrt(one.variance) for one in (earlier, later)]
    if not all(steady) or not len(pairs) == len(earlier.counts) == len(later.counts) >= 2:
        return None
    before, after = (list(side) for side in zip(*pairs, strict=True))
    return drift(earlier.counts[before], later.counts[after], (earlier.variance, later.variance))
