"""What the steps of the segments question start from: public values in the public box, as integers of 2⁻²⁴.

Reading a state checks it: shapes, and that every centre, mean and axis lies where the plan says people lie. A state
that passes can still be a foolish one; no bound depends on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import IntegrityError
from protocols.statistic import Integers

from .choice import Choice

FIXED = 1 << 24

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """mean (d,), radius R of the covariance step; people: their noised number; variance (d,) along each feature."""

    mean: Reals
    radius: float
    people: int
    variance: Reals

    @classmethod
    def read(cls, state: Mapping[str, Any], d: int) -> Spread:
        _fields(state, {"mean", "radius", "people", "variance"})
        mean, variance = _reals(state["mean"], (d,), 1.0), _reals(state["variance"], (d,), 1.0)
        return cls(mean, _radius(state["radius"], d), _whole(state["people"]), variance)

    def write(self) -> dict[str, Any]:
        return {
            "mean": fixed(self.mean),
            "radius": fixed(self.radius),
            "people": self.people,
            "variance": fixed(self.variance),
        }


@dataclass(frozen=True)
class Grid:
    """A grid of boxes along p axes through the mean.

    axes (p, d) unit vectors; low, width (p,) along them; cells (p,) how many boxes; deviation (p,) of people along
    each; residual: variance of people off all of them; people: their noised number
    """

    mean: Reals
    axes: Reals
    low: Reals
    width: Reals
    cells: Integers
    deviation: Reals
    residual: float
    people: int

    @classmethod
    def read(cls, state: Mapping[str, Any], d: int, most: int) -> Grid:
        _fields(state, {"mean", "axes", "low", "width", "cells", "deviation", "residual", "people"})
        cells = _cells(state["cells"], d, most)
        p, reach = len(cells), 4.0 * math.sqrt(d)
        width = _reals(state["width"], (p,), reach)
        if np.any(width <= 0):
            raise IntegrityError("a state whose grid has a width of zero")
        return cls(
            _reals(state["mean"], (d,), 1.0),
            _reals(state["axes"], (p, d), 1.0),
            _reals(state["low"], (p,), reach),
            width,
            cells,
            _reals(state["deviation"], (p,), reach),
            float(_reals([state["residual"]], (1,), float(d))[0]),
            _whole(state["people"]),
        )

    def write(self) -> dict[str, Any]:
        return {
            "mean": fixed(self.mean),
            "axes": fixed(self.axes),
            "low": fixed(self.low),
            "width": fixed(self.width),
            "cells": [int(c) for c in self.cells],
            "deviation": fixed(self.deviation),
            "residual": fixed(self.residual),
            "people": self.people,
        }

    @property
    def size(self) -> int:
        return int(np.prod(self.cells))

    def project(self, points: Reals) -> Reals:
        """(n, d) → (n, p) along the axes, column by column: each row's result is its own (see the package)."""
        out = np.zeros((len(self.axes), len(points)))
        for j, mean in enumerate(self.mean):
            column = points[:, j] - mean
            for i, part in enumerate(self.axes[:, j]):
                out[i] += column * part
        return out.T

    def locate(self, points: Reals) -> Integers:
        """(n, d) → (n,) number of the box; what lies outside counts in the nearest one."""
        return _mixed(self._boxes(self.project(points)), self.cells)

    def corners(self) -> Reals:
        """(size, p) the low corner of each box."""
        return self.low + np.stack(np.unravel_index(np.arange(self.size), tuple(self.cells)), axis=1) * self.width

    def _boxes(self, along: Reals) -> Integers:
        return np.clip(np.floor((along - self.low) / self.width), 0, self.cells - 1).astype(np.int64)


@dataclass(frozen=True)
class FineGrid:
    """Some boxes of a grid, each cut into a finer one. box (b,) ascending; parts (b, p); count (b,) noised people."""

    grid: Grid
    box: Integers
    parts: Integers
    count: Integers

    @classmethod
    def read(cls, state: Mapping[str, Any], grid: Grid, most: int) -> FineGrid:
        _fields(state, {"split"})
        split, p = state["split"], len(grid.cells)
        if not isinstance(split, list) or not 1 <= len(split) <= grid.size:
            raise IntegrityError("a state that splits no box, or more than there are")
        rows = _table(split, p + 2)
        box, count, parts = rows[:, 0], rows[:, 1], rows[:, 2:]
        if np.any(box[1:] <= box[:-1]) or box[0] < 0 or box[-1] >= grid.size:
            raise IntegrityError("a state that splits boxes which are not there, or one twice")
        # Why floats: products of what a state may hold can exceed 63 bits, and there only that they do matters.
        if np.any(parts < 1) or np.prod(parts.astype(np.float64), axis=1).sum() > most:
            raise IntegrityError(f"a state that splits boxes into more than {most} parts")
        return cls(grid, box, parts, count)

    def write(self) -> dict[str, Any]:
        columns = np.concatenate([self.box[:, None], self.count[:, None], self.parts], axis=1)
        return {"split": [[int(x) for x in row] for row in columns]}

    @property
    def sizes(self) -> Integers:
        """(b,) parts of each box."""
        sizes: Integers = np.prod(self.parts, axis=1)
        return sizes

    @property
    def starts(self) -> Integers:
        """(b,) number of each box's first part."""
        starts: Integers = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)
        return starts

    def locate(self, points: Reals) -> Integers:
        """(n, d) → (n,) number of the part, −1 in a box that is not split."""
        along = self.grid.project(points)
        boxes = self.grid._boxes(along)
        number = _mixed(boxes, self.grid.cells)
        at = np.searchsorted(self.box, number)
        inside = at < len(self.box)
        inside[inside] = self.box[at[inside]] == number[inside]
        at = np.where(inside, at, 0)
        within = (along - self.grid.low) / self.grid.width - boxes
        part = np.clip(np.floor(within * self.parts[at]), 0, self.parts[at] - 1).astype(np.int64)
        found: Integers = np.where(inside, self.starts[at] + _mixed(part, self.parts[at]), -1)
        return found

    def corners(self) -> tuple[Reals, Reals]:
        """((m, p) low corners, (m, p) widths) of all parts, in the order of their numbers."""
        total, p = int(self.sizes.sum()), len(self.grid.cells)
        low, width = np.empty((total, p)), np.empty((total, p))
        corner = self.grid.corners()[self.box]
        for parts in np.unique(self.parts, axis=0):  # boxes that are cut alike, at once
            alike = np.flatnonzero(np.all(self.parts == parts, axis=1))
            index = np.stack(np.unravel_index(np.arange(int(np.prod(parts))), tuple(parts)), axis=1)
            at = self.starts[alike][:, None] + np.arange(len(index))
            low[at] = corner[alike][:, None, :] + index * (self.grid.width / parts)
            width[at] = self.grid.width / parts
        return low, width


@dataclass(frozen=True)
class Clusters:
    """centres (c, d) in the box; radius to which a move is clipped; count (c,): people by the synopsis.

    deviation (c,): of the count; after Lloyd's last step, of each coordinate of a centre instead, from noise and from
    the sampling of its people.

    choice: why there are so many centres, of the step after which a plan with a range has them chosen.
    """

    centres: Reals
    radius: float
    count: Reals
    deviation: Reals
    choice: Choice | None = None

    @classmethod
    def read(cls, state: Mapping[str, Any], most: int, d: int) -> Clusters:
        chosen = isinstance(state, Mapping) and "choice" in state
        _fields(state, {"centres", "radius", "count", "deviation", *(["choice"] if chosen else [])})
        centres = state["centres"]
        if not isinstance(centres, list) or not 1 <= len(centres) <= most:
            raise IntegrityError(f"a state of no centre, or of more than {most}")
        c = len(centres)
        count, deviation = _reals(state["count"], (c,), 2.0**27), _reals(state["deviation"], (c,), 2.0**27)
        choice = Choice.read(state["choice"], most) if chosen else None
        return cls(_reals(centres, (c, d), 1.0), _radius(state["radius"], d), count, deviation, choice)

    def write(self) -> dict[str, Any]:
        return {
            "centres": fixed(self.centres),
            "radius": fixed(self.radius),
            "count": fixed(self.count),
            "deviation": fixed(self.deviation),
            **({} if self.choice is None else {"choice": self.choice.write()}),
        }

    def check_choice(self, least: int | None) -> None:
        """Raise IntegrityError unless the number of centres was chosen from `least` on; None: was not to be chosen."""
        if (self.choice is None) != (least is None):
            raise IntegrityError("a state that chooses how many segments there are and should not, or does not")
        if self.choice is not None and (self.choice.chosen != len(self.centres) or self._too_few(least or 0)):
            raise IntegrityError("a state of another number of centres than it chooses, or than its plan allows")

    def _too_few(self, least: int) -> bool:
        """Below the range, by a choice that told it: without one there may be too few over-clusters to have more."""
        return self.choice is not None and self.choice.told and self.choice.chosen < least

    def check_as_many(self, before: Clusters) -> None:
        """Raise IntegrityError unless there are as many centres as before: no step of Lloyd's makes or drops one."""
        if len(self.centres) != len(before.centres):
            raise IntegrityError(f"a state of {len(self.centres)} centres after one of {len(before.centres)}")


def fixed(values: Any) -> Any:
    """Reals as (nested lists of) integers of 2⁻²⁴."""
    return np.rint(np.asarray(values, dtype=np.float64) * FIXED).astype(np.int64).tolist()


def _reals(value: Any, shape: tuple[int, ...], most: float) -> Reals:
    """Integers of 2⁻²⁴ of exactly this shape, none beyond ±most. Raises IntegrityError."""
    flat: list[Any] = value if isinstance(value, list) else []
    if len(shape) == 2:
        flat = [x for row in flat for x in _row(row, shape[1])]
    if len(flat) != math.prod(shape) or not all(type(x) is int for x in flat):
        raise IntegrityError("a state of another shape than its plan says")
    if any(abs(x) > most * FIXED for x in flat):
        raise IntegrityError("a state that lies outside the public box")
    return np.asarray(flat, dtype=np.float64).reshape(shape) / FIXED


def _cells(value: Any, d: int, most: int) -> Integers:
    if not isinstance(value, list) or not 1 <= len(value) <= d or not all(type(x) is int and x >= 1 for x in value):
        raise IntegrityError("a state whose grid has no cells along an axis")
    if math.prod(value) > most:
        raise IntegrityError(f"a state whose grid has more than {most} cells")
    return np.asarray(value, dtype=np.int64)


def _radius(value: Any, d: int) -> float:
    radius = float(_reals([value], (1,), 2.0 * math.sqrt(d) + 1e-6)[0])
    if radius <= 0:
        raise IntegrityError("a state with a radius of zero")
    return radius


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise IntegrityError("a state without a number of people")
    return value


def _row(value: Any, length: int) -> list[int]:
    if not isinstance(value, list) or len(value) != length or not all(type(x) is int and abs(x) < 2**53 for x in value):
        raise IntegrityError("a state of another shape than its plan says")
    return list(value)


def _table(rows: list[Any], width: int) -> Integers:
    """Many rows as `_row` reads one, at once: nodes read a state for every batch of their people."""
    if {(type(row), len(row) if isinstance(row, list) else 0) for row in rows} != {(list, width)}:
        raise IntegrityError("a state of another shape than its plan says")
    flat = list(itertools.chain.from_iterable(rows))
    if set(map(type, flat)) != {int} or max(flat) >= 2**53 or min(flat) <= -(2**53):
        raise IntegrityError("a state of another shape than its plan says")
    return np.array(flat, dtype=np.int64).reshape(len(rows), width)


def _fields(state: Mapping[str, Any], wanted: set[str]) -> None:
    if not isinstance(state, Mapping) or set(state) != wanted:
        raise IntegrityError(f"a state needs exactly: {', '.join(sorted(wanted))}")


def _mixed(digits: Integers, radix: Integers) -> Integers:
    """(n, p) digits in a mixed radix, (p,) or (n, p), → (n,) numbers, as `numpy.unravel_index` undoes it."""
    number = np.zeros(len(digits), dtype=np.int64)
    for j in range(digits.shape[1]):
        number = number * radix[..., j] + digits[:, j]
    return number
