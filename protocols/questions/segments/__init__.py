"""Joint segments: k-means over the people of all parties, then a profile of what it found.

    seg-moments      (√d, x, x²)                                        where people are, and how wide
    seg-covariance   y yᵀ/R², upper triangle × √2 off it, ‖y‖ ≤ R       principal axes (three features or more)
    seg-coarse       one cell of a grid along the axes                  a first synopsis
    seg-fine         one cell of a finer grid inside a full cell        the synopsis that centres start from
    seg-over         own block of 4k: (√.8·clip(x − c, r)/r, √.2)       four times as many clusters as wanted
    seg-lloyd-1…T    own block of k: (√.85·clip(x − c, r)/r, √.12),     Lloyd's steps from there
                     and √.03·min(‖x − c‖², r²)/r² in a shared slot
    seg-profile      own block of k: (√.3, √(.7/d)·x)                   sizes and means on the released centres
    seg-stability    own block of k: (√.5·q, √.5), if it has a ρ        how surely people keep their segment

k is the number of segments that a plan fixes, or the most of a range: then the state after `seg-over` has as many
centres as were chosen, and says why (`choice.py`); nobody is nearest to a centre that is not there.

Initial centres come from the noised synopsis, never from rows. A person's row is a function of that person's features
and of released states; grids, centres and radii are public, and nodes check that they lie in the public box. The fits
between the steps see noised sums only (`coordinator/segments.py`).

Source: Lloyd 1982; DP k-means from a noised grid after Su, Cao, Li, Bertino & Jin 2016, CODASPY. Rows are computed
column by column, without matrix products: a product's last bit may depend on how many rows are multiplied at once, and
then one person's absence could move another's row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from protocols.statistic import UNUSABLE, Integers, Noise, People, Sparse, Statistic, Step, truncate

from .plan import PROFILE_COUNT, PROFILE_MEANS, SCALE, Plan
from .profile import UNIT, profile
from .stability import KEEPS, STAYS, keeps, stability
from .states import Clusters, FineGrid, Grid, Reals, Spread

__all__ = ["Plan", "keeps", "nearest", "scaled", "steps"]

ELSEWHERE = "elsewhere"
_AT_ONCE = 1 << 13  # people: a column of them is 64 KiB
OVER_MOVE, OVER_COUNT = math.sqrt(0.8), math.sqrt(0.2)
_Read = TypeVar("_Read")
MOVE, COUNT, SPREAD = math.sqrt(0.85), math.sqrt(0.12), math.sqrt(0.03)


def steps(plan: Plan) -> list[tuple[Step, int]]:
    """All steps in order, with their nano-ρ."""
    rho, k = plan.rho, plan.clusters
    found = [_moments(plan, rho.moments)]
    if rho.covariance is not None:
        found.append(_covariance(plan, rho.covariance))
    found += [_coarse(plan, rho.coarse), _fine(plan, rho.fine)]
    found.append(_clustered(plan, "seg-over", "seg-fine", plan.over_clusters, k, _over_rows, rho.over))
    before = "seg-over"
    for name in plan.lloyd_names():
        found.append(_clustered(plan, name, before, k, k, _lloyd_rows, rho.lloyd, spread=True))
        before = name
    found.append(_profile(plan, before, rho.profile))
    return found if rho.stability is None else [*found, _stability(plan, before, rho.stability)]


def scaled(plan: Plan, people: People) -> Reals:
    """(n, d) in the box [−1, 1]^d, each row from that person's own features; every column is contiguous."""
    return np.stack([feature.scaled(people[feature.name]) for feature in plan.features]).T


def nearest(points: Reals, centres: Reals) -> tuple[Integers, Reals]:
    """((n,) index of the nearest centre, (n,) squared distance), the first of equals."""
    best = np.zeros(len(points), dtype=np.int64)
    least = np.full(len(points), np.inf)
    for start in range(0, len(points), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _nearest(np.ascontiguousarray(points[part].T), centres, best[part], least[part])
    return best, least


def _nearest(columns: Reals, centres: Reals, best: Integers, least: Reals) -> None:
    """The same for (d, n) columns, into `best` and `least`. Why in place: it stays in the cache."""
    distance, term = np.empty(len(best)), np.empty(len(best))
    for index, centre in enumerate(centres):
        distance.fill(0.0)
        for column, value in zip(columns, centre, strict=True):
            np.subtract(column, value, out=term)
            np.multiply(term, term, out=term)
            np.add(distance, term, out=distance)
        nearer = distance < least
        np.copyto(best, index, where=nearer)
        np.copyto(least, distance, where=nearer)


def _once(read: Callable[..., _Read], *steps: str) -> Callable[[Mapping[str, Any]], _Read]:
    """`read` of the states that these steps released, not done again for the very objects that it read last.

    Why: a node asks for the rows of one batch of people after another.
    """
    last: list[tuple[list[Any], _Read]] = []

    def reader(earlier: Mapping[str, Any]) -> _Read:
        states = [earlier[step]["state"] for step in steps]
        if not last or any(state is not known for state, known in zip(states, last[0][0], strict=True)):
            last[:] = [(states, read(*states))]
        return last[0][1]

    return reader


# -- the steps ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any) -> dict[str, Any]:
    """A step for the next one's sake: its noised sum is released, no figure for people is made of it."""
    return {}


def _moments(plan: Plan, rho: int) -> tuple[Step, int]:
    """Δ² = 3d. Why: d + Σx² + Σx⁴ with |x| ≤ 1 in each of d coordinates."""
    d = plan.dimensions
    names = ["people", *(f"x/{i}" for i in range(d)), *(f"xx/{i}" for i in range(d)), UNUSABLE]

    def rows(people: People, _: Mapping[str, Any]) -> Integers:
        x = scaled(plan, people)
        return truncate(np.concatenate([np.full((1, len(x)), math.sqrt(d)), x.T, x.T**2]), SCALE).T

    def check(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        Grid.read(state, d, plan.coarse_cells) if d <= 2 else Spread.read(state, d)

    step = Step("seg-moments", Statistic(tuple(names), SCALE, 3 * d * SCALE**2), rows, _nothing, check_state=check)
    return step, rho


def _covariance(plan: Plan, rho: int) -> tuple[Step, int]:
    """Δ = 1. Why: the triangle with √2 off the diagonal has norm ‖y yᵀ‖ = ‖y‖² ≤ R², over R²."""
    d = plan.dimensions
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    spread_of = _once(lambda state: Spread.read(state, d), "seg-moments")

    def rows(people: People, earlier: Mapping[str, Any]) -> Integers:
        spread = spread_of(earlier)
        y = scaled(plan, people) - spread.mean
        y = y * np.minimum(1.0, spread.radius / np.maximum(_norm(y), 1e-12))[:, None] / spread.radius
        entries = [y[:, i] * y[:, j] * (1.0 if i == j else math.sqrt(2)) for i, j in pairs]
        return truncate(np.stack(entries), SCALE).T

    def check(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        Grid.read(state, d, plan.coarse_cells)

    names = (*(f"yy/{i}-{j}" for i, j in pairs), UNUSABLE)
    return Step("seg-covariance", Statistic(names, SCALE, SCALE**2), rows, _nothing, check_state=check), rho


def _before_grid(plan: Plan) -> str:
    return "seg-covariance" if plan.rho.covariance is not None else "seg-moments"


def grid_of(plan: Plan, earlier: Mapping[str, Any]) -> Grid:
    """The coarse grid, from the state of the step before it."""
    return Grid.read(earlier[_before_grid(plan)]["state"], plan.dimensions, plan.coarse_cells)


def _coarse(plan: Plan, rho: int) -> tuple[Step, int]:
    """Δ = 1. Why: a person is in one cell."""
    grid = _once(lambda state: Grid.read(state, plan.dimensions, plan.coarse_cells), _before_grid(plan))

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        return _one(grid(earlier).locate(scaled(plan, people)), 1)

    def check(state: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        FineGrid.read(state, grid_of(plan, earlier), plan.fine_cells)

    names = (*(f"cell/{i}" for i in range(plan.coarse_cells)), UNUSABLE)
    return Step("seg-coarse", Statistic(names, 1, 1), rows, _nothing, check_state=check), rho


def fine_grid_of(plan: Plan, earlier: Mapping[str, Any]) -> FineGrid:
    return FineGrid.read(earlier["seg-coarse"]["state"], grid_of(plan, earlier), plan.fine_cells)


def _fine(plan: Plan, rho: int) -> tuple[Step, int]:
    """Δ = 1. Why: a person is in one fine cell, or in `elsewhere` where the coarse cell was too empty to be split."""

    def read(grid: Any, split: Any) -> FineGrid:
        return FineGrid.read(split, Grid.read(grid, plan.dimensions, plan.coarse_cells), plan.fine_cells)

    fine_grid = _once(read, _before_grid(plan), "seg-coarse")

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        cell = fine_grid(earlier).locate(scaled(plan, people))
        return _one(np.where(cell < 0, plan.fine_cells, cell), 1)

    def check(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        Clusters.read(state, plan.over_clusters, plan.dimensions).check_choice(None)

    names = (*(f"cell/{i}" for i in range(plan.fine_cells)), ELSEWHERE, UNUSABLE)
    return Step("seg-fine", Statistic(names, 1, 1), rows, _nothing, check_state=check), rho


_RowsOf = Callable[[Reals, Clusters, int], Sparse]


def _clustered(plan: Plan, name: str, before: str, here: int, after: int, rows_of: _RowsOf, rho: int, *,
               spread: bool = False) -> tuple[Step, int]:  # fmt: skip
    """Δ = 1. Why: one block is touched, and the squares of its entries add up to at most the shares shown above."""
    d = plan.dimensions
    clusters = _once(lambda state: Clusters.read(state, here, d), before)

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        return rows_of(scaled(plan, people), clusters(earlier), here * (d + 1))

    def check(state: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        found = Clusters.read(state, after, d)
        found.check_choice(None if plan.range is None or spread else plan.range.least)
        if plan.range is not None and spread:
            found.check_as_many(Clusters.read(earlier[before]["state"], here, d))

    names = (*_block_names(here, d), *(["spread"] if spread else []), UNUSABLE)
    return Step(name, Statistic(names, SCALE, SCALE**2), rows, _nothing, check_state=check), rho


def _over_rows(x: Reals, clusters: Clusters, _: int) -> Sparse:
    at, moves, _squares = _moves(x, clusters)
    return _block(at, np.concatenate([moves * OVER_MOVE, np.full((1, len(x)), OVER_COUNT)]))


def _lloyd_rows(x: Reals, clusters: Clusters, spread_slot: int) -> Sparse:
    at, moves, squares = _moves(x, clusters)
    block = _block(at, np.concatenate([moves * MOVE, np.full((1, len(x)), COUNT)]))
    shared = np.full((len(x), 1), spread_slot, dtype=np.int64)
    values = truncate((squares * SPREAD)[:, None], SCALE)
    return Sparse(np.concatenate([block.slots, shared], axis=1), np.concatenate([block.values, values], axis=1))


def _moves(x: Reals, clusters: Clusters) -> tuple[Integers, Reals, Reals]:
    """((n,) nearest centre, (d, n) clip(x − c, r)/r, (n,) min(‖x − c‖², r²)/r²)."""
    at, squared = nearest(x, clusters.centres)
    norm = np.sqrt(squared) / clusters.radius
    long = np.maximum(norm, 1.0)
    moves = np.empty((x.shape[1], len(x)))
    for j, values in enumerate(clusters.centres.T):
        moves[j] = (x[:, j] - values[at]) / clusters.radius / long
    return at, moves, np.minimum(norm, 1.0) ** 2


def _profile(plan: Plan, before: str, rho: int) -> tuple[Step, int]:
    """Δ = 1. Why: .3 for the count, .7/d for each of d coordinates within ±1, all in one block."""
    k, d = plan.clusters, plan.dimensions
    clusters = _once(lambda state: Clusters.read(state, k, d), before)

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        x = scaled(plan, people)
        at, _ = nearest(x, clusters(earlier).centres)
        count = np.full((1, len(x)), PROFILE_COUNT)
        return _block(at, np.concatenate([x.T * (PROFILE_MEANS / math.sqrt(d)), count]))

    def answer(noised: Integers, noise: Noise, earlier: Mapping[str, Any]) -> dict[str, Any]:
        if plan.range is None:
            return profile(plan, noised, noise)
        return profile(plan, noised, noise, len(clusters(earlier).centres))

    names = (*_block_names(k, d), UNUSABLE)
    statistic = Statistic(names, SCALE, SCALE**2)
    return Step("seg-profile", statistic, rows, answer, (("a segment", UNIT),)), rho


def _stability(plan: Plan, before: str, rho: int) -> tuple[Step, int]:
    """Δ = 1. Why: ½·q² + ½ ≤ 1 with q from 0 to 1, in one block."""
    k, d = plan.clusters, plan.dimensions
    clusters = _once(lambda state: Clusters.read(state, k, d), before)

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        x, found = scaled(plan, people), clusters(earlier)
        at, _ = nearest(x, found.centres)
        return _block(at, np.stack([KEEPS * keeps(x, found), np.full(len(x), STAYS)]))

    def answer(noised: Integers, noise: Noise, earlier: Mapping[str, Any]) -> dict[str, Any]:
        return stability(noised, noise, len(clusters(earlier).centres))

    names = (*(f"{i}/{what}" for i in range(k) for what in ("keeps", "people")), UNUSABLE)
    return Step("seg-stability", Statistic(names, SCALE, SCALE**2), rows, answer), rho


# -- rows --------------------------------------------------------------------------------------------------------------


def _block_names(blocks: int, d: int) -> list[str]:
    return [f"{i}/{what}" for i in range(blocks) for what in (*(f"x{j}" for j in range(d)), "people")]


def _one(index: Integers, entry: int) -> Sparse:
    return Sparse(index[:, None], np.full((len(index), 1), entry, dtype=np.int64))


def _block(at: Integers, columns: Reals) -> Sparse:
    """Person i's values, `columns[:, i]`, truncated, in the block `at[i]` of as many slots."""
    width = len(columns)
    slots = at * width + np.arange(width, dtype=np.int64)[:, None]
    return Sparse(slots.T, truncate(columns, SCALE).T)


def _norm(y: Reals) -> Reals:
    squared = np.zeros(len(y))
    for j in range(y.shape[1]):
        squared += y[:, j] ** 2
    norm: Reals = np.sqrt(squared)
    return norm
