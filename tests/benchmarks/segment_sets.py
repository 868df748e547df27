"""The customers that `bench_segments.py` clusters: three companies each, as columns of features per company.

complete journey   2,469 households cut into three companies by the demo, read by the product's own records and features
shoppers           3 × 50,000 customers of the BG/NBD and gamma-gamma models, with the parameters below
planted            3 × 50,000 points of eight round clusters of unequal size in six dimensions
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from party_node.features import people, window_of
from party_node.records import Table, take_snapshot
from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.questions import segments
from protocols.statistic import Integers, People

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "complete_journey"
PARTIES = ("convenience", "drugstore", "grocer")
PROFILE_RHO = 12_000_000  # in the plan because a plan has one; the profile is not run and moves no centre
# Shares of ρ: where people are, axes, two grids, over-clusters, Lloyd's rounds together.
SHARES = {"moments": 0.05, "covariance": 0.08, "coarse": 0.105, "fine": 0.195, "over": 0.15}
LLOYD_SHARE = 0.42

# Purchases: rate λ ~ Gamma(r, α) a day while a customer; leaves after a repeat purchase with p ~ Beta(a, b).
# Spend: a customer's purchases have mean p/ν, ν ~ Gamma(q, v). Observed for 90 to 365 days.
# Sources: Fader, Hardie & Lee 2005; Fader & Hardie 2013.
BG_NBD = {"r": 0.8, "alpha": 20.0, "a": 0.8, "b": 2.5}
GAMMA_GAMMA = {"p": 6.0, "q": 4.0, "v": 15.0}
OBSERVED_DAYS = (90, 366)
PER_COMPANY = 50_000

PLANTED_DIMENSIONS, PLANTED_CLUSTERS, PLANTED_WIDTH, PLANTED_REACH = 6, 8, 0.12, 0.75
MILLION = 1_000_000

Feature = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What the ratio of inertia to the best of scikit-learn's should not exceed; None: no such target."""

    median: float
    worst: float | None = None
    worst_single_start: bool = False


@dataclass(frozen=True)
class Set:
    """Customers of three companies, and how they are asked: features, numbers of segments, cells of the two grids."""

    name: str
    people: Mapping[str, People]
    features: list[Feature]
    clusters: tuple[int, ...]
    cells: tuple[int, int]
    people_cap: int
    target: Target
    columns: Mapping[str, Any]

    def plan(self, k: int, rho_nano: int, rounds: int) -> Plan:
        """A plan of this one question: the demo's, with its question, table and people_cap replaced."""
        shares = SHARES | {"lloyd": LLOYD_SHARE / rounds}
        if len(self.features) <= 2:
            spare = shares.pop("covariance")
            shares["coarse"], shares["fine"] = shares["coarse"] + 0.35 * spare, shares["fine"] + 0.65 * spare
        question = {
            "kind": "segments",
            "rho": {name: int(share * rho_nano) for name, share in shares.items()} | {"profile": PROFILE_RHO},
            "features": self.features,
            "clusters": k,
            "lloyd_rounds": rounds,
            "coarse_cells": self.cells[0],
            "fine_cells": self.cells[1],
        }
        body = _demo_plan().body() | {"questions": [question], "people_cap": self.people_cap}
        body |= {"rho": rho_nano + PROFILE_RHO, "table": {"name": "sales", "columns": self.columns}}
        return Plan.from_bytes(canonical(body))


def complete_journey() -> Set:
    """The demo's households, with the demo plan's own segment features where it asks for segments."""
    plan = _demo_plan()
    own = [question for question in plan.questions if isinstance(question, segments.Plan)]
    features = [feature.body() for feature in own[0].features] if own else _usual_features()
    with tempfile.TemporaryDirectory() as folder:
        _cut_script().cut(Path(folder))
        customers = {company: _read(company, Path(folder) / company, plan) for company in PARTIES}
    columns = plan.body()["table"]["columns"]
    target = Target(median=1.03, worst=1.08)
    return Set("complete journey", customers, features, (3, 4, 5), (256, 2048), plan.people_cap, target, columns)


def shoppers(seed: int = 11) -> Set:
    draw = np.random.default_rng(seed)
    features = [
        _feature("recency_days", "log1p", 0, 365),
        _feature("baskets", "log1p", 1, 300),
        _feature("spend_cents", "log1p", 100, 10_000_000),
        _feature("mean_basket_cents", "log1p", 100, 100_000),
        _feature("tenure_days", "identity", 0, 365),
    ]
    customers = {company: _shoppers_of_one(draw) for company in PARTIES}
    columns = _demo_plan().body()["table"]["columns"]
    target = Target(median=1.025, worst_single_start=True)
    return Set("shoppers", customers, features, (4, 5), (1024, 8192), 100_000, target, columns)


def planted(seed: int = 12) -> Set:
    draw = np.random.default_rng(seed)
    d, k = PLANTED_DIMENSIONS, PLANTED_CLUSTERS
    centres = draw.uniform(-PLANTED_REACH, PLANTED_REACH, (k, d))
    weights = np.arange(1, k + 1) / (k * (k + 1) / 2)
    customers = {}
    for company in PARTIES:
        at = draw.choice(k, PER_COMPANY, p=weights)
        points = np.clip(centres[at] + draw.normal(0, PLANTED_WIDTH, (PER_COMPANY, d)), -1, 1)
        whole = ((points + 1) * MILLION).astype(np.int64)
        customers[company] = {f"sum_x{j}": whole[:, j] for j in range(d)} | {"usable": _ones(PER_COMPANY)}
    features = [_feature(f"sum_x{j}", "identity", 0, 2 * MILLION) for j in range(d)]
    columns = {"customer": {"type": "id"}, **{f"x{j}": {"type": "count", "high": 2 * MILLION} for j in range(d)}}
    return Set("planted", customers, features, (k,), (1024, 8192), 100_000, Target(median=1.02), columns)


def _shoppers_of_one(draw: np.random.Generator) -> dict[str, Integers]:
    """One company's customers as a shop would know them after a year: what the two models say they bought."""
    n = PER_COMPANY
    age = draw.integers(*OBSERVED_DAYS, n).astype(np.float64)
    repeats, last = _purchases(draw, age)
    baskets = repeats + 1
    mean = GAMMA_GAMMA["p"] / draw.gamma(GAMMA_GAMMA["q"], 1 / GAMMA_GAMMA["v"], n)
    total = GAMMA_GAMMA["p"] * baskets
    cents = np.clip(100 * mean * baskets * draw.gamma(total, 1 / total, n), 1, 10**9).astype(np.int64)
    return {
        "recency_days": (age - last).astype(np.int64),
        "baskets": baskets,
        "spend_cents": cents,
        "mean_basket_cents": cents // baskets,
        "tenure_days": age.astype(np.int64),
        "usable": _ones(n),
    }


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


def _usual_features() -> list[Feature]:
    return [
        _feature("recency_days", "log1p", 0, 365),
        _feature("baskets", "log1p", 1, 300),
        _feature("spend_cents", "log1p", 100, MILLION),
        _feature("promo_share_ppm", "identity", 0, MILLION),
    ]


def _feature(name: str, transform: str, low: int, high: int) -> Feature:
    return {"name": name, "transform": transform, "low": low, "high": high}


def _ones(n: int) -> Integers:
    return np.ones(n, dtype=np.int64)


def _demo_plan() -> Plan:
    return Plan.from_toml((DEMO / "plan.toml").read_bytes())


def _read(company: str, folder: Path, plan: Plan) -> People:
    """The features of one company's customers, by its own settings, as its node computes them."""
    settings = tomllib.loads((DEMO / company / "node.toml").read_text("utf-8"))["table"]
    files = [file for pattern in settings["files"] for file in sorted(folder.glob(Path(pattern).name))]
    taken = take_snapshot(Table(tuple(files), settings["columns"]), plan.table, folder / "snapshot.parquet")
    return people(taken.path, window_of(plan)).columns


def _cut_script() -> Any:
    if str(DEMO) not in sys.path:
        sys.path.insert(0, str(DEMO))
    import cut  # type: ignore[import-not-found, unused-ignore]  # a script, in no package

    return cut
