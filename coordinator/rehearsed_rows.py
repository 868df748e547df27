"""A table at hand as the people of several parties, one of which has a seed: for a lookalike's rehearsal.

Errors name column and row, the first row of data being row 1, and never a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protocols.errors import UsageError
from protocols.feature import Feature, Reals
from protocols.questions import lookalike
from protocols.statistic import Integers

from . import rows
from .lookalike_rehearsal import Column, Table, whole
from .rehearse_settings import MOST_PARTIES

MOST_FEATURES = 16
USUAL_PARTIES = 3
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_BOUNDS = "--bounds LOW HIGH of every column, --column-bounds NAME=LOW:HIGH of one"


@dataclass(frozen=True)
class Named:
    """Which columns of a table are no features, and who has the seed, where somebody has said so."""

    seed: str
    owner: str | None
    label: str | None
    seed_party: str | None

    @property
    def columns(self) -> list[str]:
        return [name for name in (self.seed, self.owner, self.label) if name is not None]


@dataclass(frozen=True)
class Taken:
    table: Table
    features: list[Feature]
    seed_party: str


@dataclass(frozen=True)
class _Dealt:
    """Who has which rows. at: (m,) numbers of rows, one of which two parties may have; owner: (m,) whose they are."""

    parties: list[str]
    at: Integers
    owner: Integers
    seed_party: str


def within(
    file: Path,
    named: Named,
    columns: Sequence[str] | None,
    bounds: tuple[float, float] | None,
    column_bounds: Mapping[str, tuple[float, float]],
    log: Sequence[str],
    parties: int | None,
) -> Taken:
    """Rows with bounds from the command line. Raises UsageError."""
    chosen = _features(file, named, columns)
    for option, names in (("--column-bounds", column_bounds), ("--log", log)):
        for name in names:
            if name not in chosen:
                raise UsageError(f"{option}: {name!r} is none of the features", f"they are {', '.join(chosen)}")
    each = [_column(name, column_bounds.get(name, bounds), name in log) for name in chosen]
    found = _Rows.of(file, named, chosen)
    dealt = _dealt(file, named, found, parties)
    names = [f"c{j + 1}" for j in range(len(each))]
    columns_ = {
        name: column.whole(found.values[dealt.at, j]) for j, (name, column) in enumerate(zip(names, each, strict=True))
    }
    ends = [(column.low, column.high) for column in each]
    features = [column.feature(name) for name, column in zip(names, each, strict=True)]
    return Taken(_table(columns_, found, dealt, ends), features, dealt.seed_party)


def as_planned(file: Path, named: Named, question: lookalike.Plan, parties: list[str]) -> Table:
    """Rows in the units of a plan's features, which are whole numbers; the owners are the plan's. Raises UsageError."""
    if named.owner is None:
        raise UsageError("missing: --owner-column", "a plan's parties are named; so must be whose customer each row is")
    ends = [(feature.low, feature.high) for feature in question.features]
    found = _Rows.of(file, named, [feature.name for feature in question.features])
    names = rows.texts(file, named.owner)
    for number, name in enumerate(names, start=1):
        if name not in parties:
            what = f"{file}: column {named.owner!r}, row {number}: no party of the plan"
            raise UsageError(what, f"they are {', '.join(parties)}")
    for party in parties:
        if party not in names:
            raise UsageError(f"{file}: no row is of {party}, which is a party of the plan")
    owner = np.array([parties.index(name) for name in names], dtype=np.int64)
    dealt = _Dealt(parties, np.arange(len(owner)), owner, question.seed.party)
    columns = {
        feature.name: whole(found.values[:, j], feature.low, feature.high)
        for j, feature in enumerate(question.features)
    }
    return _table(columns, found, dealt, ends)


# -- columns -----------------------------------------------------------------------------------------------------------


def _features(file: Path, named: Named, columns: Sequence[str] | None) -> list[str]:
    own = rows.columns_of(file)
    for name in named.columns:
        if name not in own:
            raise rows.lacks(file, name, own, named.columns)
    if len(set(named.columns)) < len(named.columns):
        what = "--seed-column, --owner-column and --label-column are different columns"
        raise UsageError(what, "--seed-column seed --owner-column owner")
    found = [name for name in own if name not in named.columns] if columns is None else list(columns)
    for name in found:
        if name in named.columns:
            raise UsageError(f"column {name!r} is no feature: it says who is who", "leave it out of --columns")
    if not 1 <= len(found) <= MOST_FEATURES:
        raise UsageError(f"{file} has {len(found)} features; a question takes 1 to {MOST_FEATURES}", "--columns A,B,…")
    return found


def _column(name: str, bounds: tuple[float, float] | None, log: bool) -> Column:
    if bounds is None:
        raise UsageError(f"column {name!r} has no bounds", _BOUNDS)
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(high - low)):
        what = f"bounds of {name!r} are {low:g} and {high:g}; the first must be the lower, both finite"
        raise UsageError(what, "as --bounds -1 1, or --column-bounds NAME=-1:1")
    if log and not (low >= 0 and high <= 2**40 and low == int(low) and high == int(high)):
        raise UsageError(f"bounds of {name!r} are {low:g} and {high:g}; of a logarithm whole numbers, 0 to 2^40")
    return Column(name, low, high, log)


@dataclass(frozen=True)
class _Rows:
    """values (n, d); seed (n,) 0 or 1; label (n,), None where there is none."""

    values: Reals
    seed: Integers
    label: Integers | None

    @classmethod
    def of(cls, file: Path, named: Named, features: Sequence[str]) -> _Rows:
        more = [name for name in (named.seed, named.label) if name is not None]
        found = rows.read(file, [*features, *more])
        d = len(features)
        marks = [_marks(file, name, found.values[:, d + i]) for i, name in enumerate(more)]
        return cls(found.values[:, :d], marks[0], marks[1] if named.label is not None else None)


def _marks(file: Path, name: str, values: Reals) -> Integers:
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise UsageError(
            f"{file}: column {name!r}, row {int(wrong[0]) + 1}: neither 0 nor 1", "1 for those meant, 0 for all others"
        )
    return values.astype(np.int64)


# -- parties -----------------------------------------------------------------------------------------------------------


def _dealt(file: Path, named: Named, found: _Rows, parties: int | None) -> _Dealt:
    if not found.seed.any():
        what = f"{file}: column {named.seed!r}: no row is 1, so there is no seed"
        raise UsageError(what, "--seed-column NAME, 1 for the seed's people")
    if named.owner is None:
        if named.seed_party is not None:
            raise UsageError("--seed-party goes with --owner-column", "else party-01 has the seed")
        return _dealt_out(file, found.seed, parties or USUAL_PARTIES)
    if parties is not None:
        raise UsageError("--parties goes without --owner-column", "that column says who the parties are")
    names = rows.texts(file, named.owner)
    for number, name in enumerate(names, start=1):
        if not _NAME.fullmatch(name) or "--" in name:
            what = f"{file}: column {named.owner!r}, row {number}: no name of a party"
            raise UsageError(what, "lower-case letters, digits, _ and -, a letter first, up to 40")
    known = sorted(set(names))
    if not 2 <= len(known) <= MOST_PARTIES:
        what = f"{file}: column {named.owner!r}: {len(known)} different names; parties are 2 to {MOST_PARTIES}"
        raise UsageError(what, "--owner-column NAME says whose customer a row is; without it rows are dealt out")
    owner = np.searchsorted(np.array(known), np.array(names)).astype(np.int64)
    return _Dealt(known, np.arange(len(owner)), owner, _seed_party(named, known, owner, found.seed))


def _seed_party(named: Named, known: list[str], owner: Integers, seed: Integers) -> str:
    having = [party for i, party in enumerate(known) if seed[owner == i].any()]
    if named.seed_party is None:
        if len(having) > 1:
            raise UsageError(f"{', '.join(having)} have rows of the seed", "--seed-party says whose it is")
        return having[0]
    if named.seed_party not in having:
        raise UsageError(
            f"--seed-party {named.seed_party!r} has no row of the seed", f"those that do: {', '.join(having)}"
        )
    return named.seed_party


def _dealt_out(file: Path, seed: Integers, parties: int) -> _Dealt:
    """The seed's people to the first, and, since others know them too, round to all others; the rest round to all."""
    mine, rest = np.flatnonzero(seed == 1), np.flatnonzero(seed == 0)
    if len(rest) < parties or len(mine) < parties:
        raise UsageError(f"{file} has {len(mine)} rows of the seed and {len(rest)} others; {parties} parties take more")
    at = np.concatenate([mine, mine, rest])
    others = 1 + np.arange(len(mine)) % (parties - 1)
    owner = np.concatenate([np.zeros_like(mine), others, np.arange(len(rest)) % parties])
    return _Dealt([f"party-{number:02}" for number in range(1, parties + 1)], at, owner, "party-01")


def _table(columns: dict[str, Integers], found: _Rows, dealt: _Dealt, ends: Sequence[tuple[float, float]]) -> Table:
    low, high = (np.array(each, dtype=np.float64) for each in zip(*ends, strict=True))
    beyond = int(np.any((found.values < low) | (found.values > high), axis=1).sum())
    label = None if found.label is None else found.label[dealt.at]
    return Table(columns, dealt.parties, dealt.owner, found.seed[dealt.at], label, beyond)
