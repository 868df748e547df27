"""Where segments lie on a map of the released axes, and how sure that is.

A segment's average customer is a ratio: noised sums over a noised count. On the map it is A/B with A the sums along the
axes. A and B have independent noise, since the axes are unit vectors at right angles and every slot has its own noise.
All of it follows from released sums; the axes are released too, and count as exact here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.accuracy import fieller
from protocols.budget import MICRO
from protocols.errors import IntegrityError
from protocols.questions.segments.plan import PROFILE_COUNT, PROFILE_MEANS, SCALE, Plan
from protocols.questions.segments.states import Grid
from protocols.release import Body

Point = tuple[float, float]
Reals = NDArray[np.float64]

MOST_AXES = 2
CHI2_TWO = -2 * math.log(0.05)  # 95 % quantile of χ² with two degrees of freedom
LEAST_LOADING = 0.4  # of the largest: what an axis is mostly made of
MOST_LOADINGS = 3


@dataclass(frozen=True)
class Place:
    """at: the estimate. The 95 % region: an ellipse around middle; on a map of one axis its second radius is 0.

    In units of the map, with 0 where the round found the middle of everybody. angle: of the first radius, in degrees.
    """

    at: Point
    middle: Point
    radii: Point
    angle: float


def map_axes(grid: Grid) -> Reals:
    """(1 or 2, d) the first axes, each turned so that its largest part is positive. Why: either way is as true."""
    axes = grid.axes[:MOST_AXES]
    largest = np.abs(axes).argmax(axis=1)
    turned: Reals = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)[:, None]
    return turned


def places(plan: Plan, body: Body, grid: Grid) -> list[Place | None]:
    """Of each segment, and last of everybody. None where the count is too noisy for an ellipse.

    body: the release of seg-profile. Raises IntegrityError where it has not as many sums as its plan says.
    """
    k, d = len(body.answer["segments"]), plan.dimensions
    if len(body.noised) < k * (d + 1):
        raise IntegrityError("the release of seg-profile has fewer sums than its plan says")
    blocks = np.asarray(body.noised[: k * (d + 1)], dtype=np.float64).reshape(k, d + 1)
    variance = len(body.survivors) * body.mechanism.variance_micro / MICRO
    axes = map_axes(grid)
    return [
        *(_place(plan, block, variance, axes, grid.mean) for block in blocks),
        _place(plan, blocks.sum(axis=0), variance * k, axes, grid.mean),
    ]


def leaning(axis: Reals, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """What grows along an axis and what falls, by name, the most telling first; small parts are left out."""
    size = np.abs(axis)
    telling = [j for j in np.argsort(-size, kind="stable") if size[j] >= LEAST_LOADING * size.max()][:MOST_LOADINGS]
    return [names[j] for j in telling if axis[j] > 0], [names[j] for j in telling if axis[j] < 0]


def _place(plan: Plan, block: Reals, variance: float, axes: Reals, mean: Reals) -> Place | None:
    weight, unit = PROFILE_MEANS / math.sqrt(plan.dimensions) * SCALE, PROFILE_COUNT * SCALE
    along = [float(sum(axis[j] * block[j] for j in range(plan.dimensions))) / weight for axis in axes]
    count, spread, spread_count = float(block[-1]) / unit, variance / weight**2, variance / unit**2
    origin = [float((axis * mean).sum()) for axis in axes]
    if len(axes) == 1:
        interval = fieller(along[0], count, spread, spread_count, 0.0)
        if interval is None:
            return None
        middle = (interval.low + interval.high) / 2
        return Place((along[0] / count - origin[0], 0.0), (middle - origin[0], 0.0), (interval.half_width, 0.0), 0.0)
    found = ratio_ellipse((along[0], along[1]), count, spread, spread_count)
    if found is None:
        return None
    (x, y), radii, angle = found
    at = (along[0] / count - origin[0], along[1] / count - origin[1])
    return Place(at, (x - origin[0], y - origin[1]), radii, angle)


def ratio_ellipse(a: Point, b: float, var_a: float, var_b: float) -> tuple[Point, Point, float] | None:
    """The points p with |a − p·b|² weighted by its covariance var_a·I + var_b·p·pᵀ at most χ²: (middle, radii, angle).

    a: two numbers with noise of var_a each; b: one with var_b; all independent. None where the set is unbounded.
    Written along a, where it is T·(s − s₀)² + S·t² ≤ R. Fieller's set for one ratio is the same with one number.
    Source: Fieller 1954, "Some problems in interval estimation", JRSS B 16(2), for two ratios of one denominator.
    """
    bound = b * b / var_b - CHI2_TWO  # T
    if bound <= 0:
        return None
    length, angle = math.hypot(*a), math.atan2(a[1], a[0])
    across = length**2 / var_a + bound  # S
    centre = length * b / (var_b * bound)
    right = bound * centre**2 - (length**2 - CHI2_TWO * var_a) / var_b  # R
    middle = (centre * math.cos(angle), centre * math.sin(angle))
    return middle, (math.sqrt(right / bound), math.sqrt(right / across)), math.degrees(angle)
