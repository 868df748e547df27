"""The customers that `bench_segments.py` clusters: rows in the box [−1, 1]^d, and how many segments they are asked for.

complete journey   2,469 households cut into three companies by the demo, read by the product's own records and features
shoppers           150,000 customers of the BG/NBD and gamma-gamma models, with the parameters below
planted            150,000 points of eight round clusters of unequal size in six dimensions
10k × 10, 100k × 10, 1m × 10   so many points of eight round clusters of unequal size in ten dimensions
s1, s3, unbalance, birch1      two columns, each from its least to its greatest value: a public box is taken for granted
cdnow              recency, purchases and spend of 23,570 customers, log(1 + x) of each
hillstrom          64,000 customers: recency, spend, two kinds of goods, whether new

The last two groups are files of a folder that is named at the call; they are no part of the project.
Sources: Fränti & Sieranoja 2018 (s1 to birch1); Fader & Hardie 2001 (cdnow); Hillstrom 2008 (hillstrom).
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from party_node.features import people, window_of
from party_node.records import Table, take_snapshot
from protocols.plan import Plan
from protocols.questions import segments
from protocols.questions.segments.plan import Feature
from protocols.statistic import Integers

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "complete_journey"
PARTIES = ("convenience", "drugstore", "grocer")

# Purchases: rate λ ~ Gamma(r, α) a day while a customer; leaves after a repeat purchase with p ~ Beta(a, b).
# Spend: a customer's purchases have mean p/ν, ν ~ Gamma(q, v). Observed for 90 to 365 days.
# Sources: Fader, Hardie & Lee 2005; Fader & Hardie 2013.
BG_NBD = {"r": 0.8, "alpha": 20.0, "a": 0.8, "b": 2.5}
GAMMA_GAMMA = {"p": 6.0, "q": 4.0, "v": 15.0}
OBSERVED_DAYS = (90, 366)
SHOPPERS = 150_000
CLUSTER_WIDTH, CLUSTER_REACH, OVERLAPPING = 0.12, 0.75, 0.4

Reals = NDArray[np.float64]


class NoFile(Exception):
    """A file of a public set is not there."""


@dataclass(frozen=True)
class Set:
    """rows (n, d) in [−1, 1]^d; k: how many segments are asked for."""

    name: str
    rows: Reals
    k: int


# -- generated ---------------------------------------------------------------------------------------------------------


def planted(n: int, d: int, k: int, seed: int, width: float = CLUSTER_WIDTH) -> Reals:
    """Round clusters, the i-th i times as large as the first; wider ones overlap."""
    draw = np.random.default_rng(seed)
    centres = draw.uniform(-CLUSTER_REACH, CLUSTER_REACH, (k, d))
    at = draw.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    return np.clip(centres[at] + draw.normal(0, width, (n, d)), -1, 1)


def shoppers(seed: int = 11) -> Reals:
    """Customers as a shop would know them after a year: what the two models say they bought."""
    draw, n = np.random.default_rng(seed), SHOPPERS
    age = draw.integers(*OBSERVED_DAYS, n).astype(np.float64)
    repeats, last = _purchases(draw, age)
    baskets = repeats + 1
    mean = GAMMA_GAMMA["p"] / draw.gamma(GAMMA_GAMMA["q"], 1 / GAMMA_GAMMA["v"], n)
    total = GAMMA_GAMMA["p"] * baskets
    cents = np.clip(100 * mean * baskets * draw.gamma(total, 1 / total, n), 1, 10**9).astype(np.int64)
    columns = (
        (age - last, "log1p", 0, 365),
        (baskets, "log1p", 1, 300),
        (cents, "log1p", 100, 10_000_000),
        (cents // baskets, "log1p", 100, 100_000),
        (age, "identity", 0, 365),
    )
    return np.stack([_scaled(np.asarray(values), *rule) for values, *rule in columns], axis=1)


def _purchases(draw: np.random.Generator, age: Any) -> tuple[Integers, Any]:
    """(repeat purchases, day of the last one) of each customer from day 0 to `age`."""
    n = len(age)
    rate = draw.gamma(BG_NBD["r"], 1 / BG_NBD["alpha"], n)
    leaves = draw.beta(BG_NBD["a"], BG_NBD["b"], n)
    now, last, repeats, there = np.zeros(n), np.zeros(n), np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.bool_)
    while there.any():
        now = now + draw.exponential(1 / np.maximum(rate, 1e-9))
        there &= now < age
        repeats += there
        last = np.where(there, now, last)
        there &= draw.random(n) >= leaves
    return repeats, last


# -- the demo's --------------------------------------------------------------------------------------------------------


def complete_journey() -> Reals:
    """The demo's households, by the features of the demo's own segments."""
    plan = Plan.from_toml((DEMO / "plan.toml").read_bytes())
    (question,) = [question for question in plan.questions if isinstance(question, segments.Plan)]
    with tempfile.TemporaryDirectory() as folder:
        _cut_script().cut(Path(folder))
        parts = [_read(company, Path(folder) / company, plan) for company in PARTIES]
    return np.concatenate([segments.scaled(question, part) for part in parts])


def _read(company: str, folder: Path, plan: Plan) -> dict[str, Integers]:
    """The features of one company's usable customers, by its own settings, as its node computes them."""
    settings = tomllib.loads((DEMO / company / "node.toml").read_text("utf-8"))["table"]
    files = [file for pattern in settings["files"] for file in sorted(folder.glob(Path(pattern).name))]
    taken = take_snapshot(Table(tuple(files), settings["columns"]), plan.table, folder / "snapshot.parquet")
    columns = people(taken.path, window_of(plan)).columns
    return {name: values[columns["usable"] == 1] for name, values in columns.items()}


def _cut_script() -> Any:
    if str(DEMO) not in sys.path:
        sys.path.insert(0, str(DEMO))
    import cut  # type: ignore[import-not-found, unused-ignore]  # a script, in no package

    return cut


# -- from files --------------------------------------------------------------------------------------------------------


def two_columns(name: str) -> Callable[[Path | None], Reals]:
    def rows(folder: Path | None) -> Reals:
        values = np.loadtxt(io.StringIO(_text(folder, f"{name}.txt.gz")))
        low, high = values.min(axis=0), values.max(axis=0)
        return np.asarray(2 * (values - low) / (high - low) - 1)

    return rows


def cdnow(folder: Path | None) -> Reals:
    purchases = [line.split() for line in _text(folder, "cdnow_master.txt.gz").splitlines()]
    days = np.array([dt.date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal() for _, day, _, _ in purchases])
    who = np.unique([customer for customer, _, _, _ in purchases], return_inverse=True)[1]
    latest = np.zeros(who.max() + 1, dtype=np.int64)
    np.maximum.at(latest, who, days)
    dollars = np.bincount(who, weights=[float(spent) for *_, spent in purchases]).astype(np.int64)
    columns = ((days.max() - latest, 0, 545), (np.bincount(who), 1, 300), (dollars, 0, 15_000))
    return np.stack([_scaled(values, "log1p", low, high) for values, low, high in columns], axis=1)


def hillstrom(folder: Path | None) -> Reals:
    people = list(csv.DictReader(io.StringIO(_text(folder, "hillstrom.csv.gz"))))
    rules = (
        ("recency", "identity", 1, 12),
        ("history", "log1p", 30, 3500),
        ("mens", "identity", 0, 1),
        ("womens", "identity", 0, 1),
        ("newbie", "identity", 0, 1),
    )
    values = {name: np.array([int(float(person[name])) for person in people]) for name, *_ in rules}
    return np.stack([_scaled(values[name], *rule) for name, *rule in rules], axis=1)


def _text(folder: Path | None, name: str) -> str:
    if folder is None or not (folder / name).is_file():
        raise NoFile(
            f"no file {name} in {folder}" if folder else f"{name}: no folder of public sets was named (DATA=…)"
        )
    return gzip.decompress((folder / name).read_bytes()).decode("utf-8")


def _scaled(values: Any, transform: Any, low: Any, high: Any) -> Reals:
    rule = Feature(name="x", transform=transform, low=low, high=high)
    return rule.scaled(np.asarray(values).astype(np.int64))


# -- all of them -------------------------------------------------------------------------------------------------------

SETS: dict[str, tuple[Callable[[Path | None], Reals], int]] = {
    "complete journey": (lambda _: complete_journey(), 4),
    "s1": (two_columns("s1"), 15),
    "s3": (two_columns("s3"), 15),
    "unbalance": (two_columns("unbalance"), 8),
    "10k × 10": (lambda _: planted(10_000, 10, 8, seed=13), 8),
    "cdnow": (cdnow, 4),
    "hillstrom": (hillstrom, 4),
    "birch1": (two_columns("birch1"), 20),
    "100k × 10": (lambda _: planted(100_000, 10, 8, seed=14), 8),
    "shoppers": (lambda _: shoppers(), 4),
    "planted": (lambda _: planted(150_000, 6, 8, seed=12), 8),
}


def named(name: str, folder: Path | None) -> Set:
    """Raises NoFile."""
    rows, k = SETS[name]
    return Set(name, rows(folder), k)
