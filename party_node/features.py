"""One row per person from a snapshot: what the questions about customers are asked of.

A person's features are a function of that person's own rows and of public constants, of nothing else: no rank, no
quantile, no scale taken from other people. Every bound that a question promises rests on this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from protocols.errors import IntegrityError, UsageError
from protocols.plan import FUTURE, NEEDS, BgNbd, GammaGamma, Plan
from protocols.schema import Block, day
from protocols.statistic import Integers

from . import lifetime
from .files import exactly, quoted

PURCHASE = {"basket": "VARCHAR", "bought_on": "DATE", "paid": "BIGINT", "discount": "BIGINT"}
MILLION = 1_000_000
LARGEST = 2**53 - 1
NEXT_YEAR_DAYS = 365

# What has no bound of its own is held within ±(2^53 − 1), where a float of it is exact; `spend_cents` within int64.
_MACROS = f"""
CREATE TEMP MACRO ppm(part, whole) AS
    CASE WHEN whole > 0 THEN greatest(least({MILLION} * coalesce(part, 0) // whole, {MILLION}), 0) ELSE 0 END;
CREATE TEMP MACRO held(amount) AS greatest(least(amount, {LARGEST}), -{LARGEST});
"""
# Rows whose day lies in no block do not exist. A bad row that has no day lies in every block.
# A sum is taken in 128 bits and held at the ends of 64: an amount no snapshot can hold must not wrap around.
_QUERY = """
WITH seen AS (
    SELECT customer, basket, bought_on, paid::HUGEINT AS paid, discount::HUGEINT AS discount, {own}
           bad OR coalesce(bought_on > $as_of OR bought_on < DATE '1970-01-01', false) AS unfit
    FROM (SELECT *{lacking} FROM read_parquet($snapshot, hive_partitioning=false))
    WHERE ({in_blocks}) OR (bad AND bought_on IS NULL)
), baskets AS (
    SELECT customer, basket, bool_or(unfit) AS unfit, max(bought_on) AS latest, sum(paid) AS paid,
           sum(paid) + sum(discount) > 0 AND 100 * sum(discount) > $depth * (sum(paid) + sum(discount)) AS discounted
    FROM seen GROUP BY customer, basket
), persons AS (
    SELECT customer, NOT bool_or(unfit) AS fit, max(latest) AS latest, count(*) AS baskets, sum(paid) AS spend,
           count(*) FILTER (discounted) AS discounted
    FROM baskets GROUP BY customer
), lines AS (
    SELECT customer, min(bought_on) AS earliest, count(DISTINCT bought_on) AS days, sum(discount) AS saved,
           {sums} sum(paid) FILTER (discount > 0) AS promoted
    FROM seen GROUP BY customer
)
SELECT customer, {features}, fit::BIGINT AS usable FROM persons JOIN lines USING (customer) ORDER BY customer
"""
_FEATURES = {
    "recency_days": "$as_of - latest",
    "baskets": "baskets",
    "spend_cents": "greatest(least(spend, 9223372036854775807), -9223372036854775808)",
    "discounted_baskets": "discounted",
    "tenure_days": "$as_of - earliest",
    "mean_basket_cents": "held(spend // baskets)",
    "gap_days": "CASE WHEN days > 1 THEN (latest - earliest) // (days - 1) ELSE $as_of - earliest END",
    "promo_share_ppm": "ppm(promoted, spend)",
    "discount_depth_ppm": "ppm(saved, spend + saved)",
}
_PURCHASE_DAYS = "purchase days"  # no feature: a name that no plan can spell


@dataclass(frozen=True)
class Window:
    """The public constants of a question about people. Raises UsageError when made of nonsense.

    `blocks`: the days that exist for it; `as_of`: the day that recency counts back from; a basket is discounted when
    more than `discount_depth_percent` of its price before discount was taken off. `shares`: feature -> (category
    column, value); `sums`: feature -> count column; `bg_nbd`, `gamma_gamma`: models of what is still to come.
    `lacking`: which of PURCHASE the table has no column of; no feature is made of these, and without days every row
    lies in every block.
    """

    blocks: tuple[Block, ...]
    as_of: str
    discount_depth_percent: int
    shares: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sums: Mapping[str, str] = field(default_factory=dict)
    bg_nbd: BgNbd | None = None
    gamma_gamma: GammaGamma | None = None
    lacking: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.blocks:
            raise UsageError("a window without blocks holds nobody")
        if not 0 <= self.discount_depth_percent <= 100:
            raise UsageError(f"a discount depth of {self.discount_depth_percent} percent is not within 0 to 100")
        try:
            day(self.as_of)
        except ValueError:
            raise UsageError(f"as_of {self.as_of!r} is not a day", hint="write it as 2018-01-02") from None


@dataclass(frozen=True, eq=False)
class People:
    """`customers`: ids as str, in ascending order; `columns`: the window's features as int64, one entry per customer.

    recency_days, tenure_days: from the last and the first purchase in the blocks to as_of, >= 0. baskets: distinct
    basket ids. spend_cents: sum of paid, negative after refunds, held at the ends of int64. discounted_baskets: baskets
    off by more than the depth. mean_basket_cents: spend over baskets, toward zero. gap_days: mean days between purchase
    days, downward; tenure_days after one purchase day. usable: 1, or 0 for a person with a row that cannot be used,
    whose other features are then 0.

    In millionths, 0 to 1,000,000, downward, 0 where there is nothing above 0 to take a share of: promo_share_ppm, of
    spend, in rows with a discount; discount_depth_ppm, of the price before discount, taken off; share_…_ppm, of spend,
    in a category; alive_ppm, the probability of being a customer still.
    sum_…: of a count column. value_12m_cents: expected spend in the 365 days after as_of, >= 0.
    """

    customers: NDArray[np.object_]
    columns: dict[str, Integers]


def window_of(plan: Plan) -> Window:
    """The public constants by which rows become features."""
    rules, table = plan.features, plan.table
    return Window(
        blocks=tuple(plan.blocks.values()),
        as_of=rules.as_of,
        discount_depth_percent=rules.discount_depth_percent,
        shares=table.shares(),
        sums=table.sums(),
        bg_nbd=rules.bg_nbd,
        gamma_gamma=rules.gamma_gamma,
        lacking=frozenset(PURCHASE) - table.columns.keys(),
    )


def people(snapshot: Path, window: Window) -> People:
    """The persons with at least one row in the window's blocks; arrays of equal length, not writable.

    A row that is bad, or of a day after `as_of` or before 1970, makes its person unusable. Discount is a reduction when
    positive; a basket whose price before discount is zero or less counts as not discounted. A purchase day is a day
    with a row, a refund's too.
    Raises IntegrityError when the snapshot is gone or is not one, UsageError when it lacks a column.
    """
    query, given = _query(window)
    with _engine(snapshot) as con:
        try:
            con.execute(_MACROS)
            found: dict[str, Any] = con.execute(query, given | {"snapshot": exactly(snapshot)}).fetchnumpy()
        except duckdb.BinderException:
            raise UsageError(f"snapshot {snapshot} lacks a column for features of people") from None
        except duckdb.Error:
            raise IntegrityError(f"snapshot {snapshot} cannot be read", hint="take a new one") from None
    customers = np.asarray(found.pop("customer"), dtype=np.object_)
    columns = _with_future({name: np.asarray(values, dtype=np.int64) for name, values in found.items()}, window)
    for array in (customers, *columns.values()):
        array.setflags(write=False)
    return People(customers, columns)


def _query(window: Window) -> tuple[str, dict[str, Any]]:
    """The SQL for the window's features, and the values of its parameters but for `$snapshot`."""
    given: dict[str, Any] = {"as_of": day(window.as_of), "depth": window.discount_depth_percent}
    blocks = () if "bought_on" in window.lacking else window.blocks
    given |= {f"{end}{i}": day(getattr(b, end)) for i, b in enumerate(blocks) for end in ("first", "last")}
    given |= {f"value{i}": value for i, (_, value) in enumerate(window.shares.values())}
    own = [f"{quoted(column)} AS category{i}" for i, (column, _) in enumerate(window.shares.values())]
    own += [f"{quoted(column)}::HUGEINT AS count{i}" for i, column in enumerate(window.sums.values())]
    sums = [f"sum(paid) FILTER (category{i} = $value{i}) AS in{i}" for i in range(len(window.shares))]
    sums += [f"sum(count{i}) AS sum{i}" for i in range(len(window.sums))]
    features = {name: sql for name, sql in _FEATURES.items() if not window.lacking & NEEDS[name]}
    features |= {name: f"ppm(in{i}, spend)" for i, name in enumerate(window.shares) if "paid" not in window.lacking}
    features |= {name: f"held(sum{i})" for i, name in enumerate(window.sums)}
    chosen = (features | {_PURCHASE_DAYS: "days"}).items()
    parts = {
        "own": "".join(f"{one}, " for one in own),
        "in_blocks": " OR ".join(f"bought_on BETWEEN $first{i} AND $last{i}" for i in range(len(blocks))) or "true",
        "lacking": "".join(f", NULL::{PURCHASE[name]} AS {name}" for name in sorted(window.lacking)),
        "sums": "".join(f"{one}, " for one in sums),
        "features": ", ".join(f"CASE WHEN fit THEN {sql} ELSE 0 END::BIGINT AS {quoted(name)}" for name, sql in chosen),
    }
    return _QUERY.format_map(parts), given


def _with_future(found: Mapping[str, Integers], window: Window) -> dict[str, Integers]:
    """What the snapshot says with what the window's models make of it; `usable` last, the purchase days left out."""
    columns = {name: values for name, values in found.items() if name not in (_PURCHASE_DAYS, "usable")}
    if window.bg_nbd is not None and not window.lacking & FUTURE["alive_ppm"]:
        age, days = columns["tenure_days"].astype(np.float64), found[_PURCHASE_DAYS].astype(np.float64)
        past = (np.maximum(days - 1, 0), age - columns["recency_days"], age)
        columns["alive_ppm"] = _truncated(MILLION * lifetime.alive(window.bg_nbd, *past), found["usable"])
        if window.gamma_gamma is not None and not window.lacking & FUTURE["value_12m_cents"]:
            spend = np.maximum(columns["spend_cents"], 0).astype(np.float64)
            value = lifetime.purchases(window.bg_nbd, *past, days=NEXT_YEAR_DAYS)
            value *= lifetime.mean_spend(window.gamma_gamma, days, spend)
            columns["value_12m_cents"] = _truncated(value, found["usable"])
    return columns | {"usable": found["usable"]}


def _truncated(values: NDArray[np.float64], usable: Integers) -> Integers:
    """Downward, from 0 to LARGEST, 0 for people who are not usable."""
    return np.clip(values, 0, LARGEST).astype(np.int64) * usable


@contextmanager
def _engine(snapshot: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with its spill beside the snapshot, for its owner alone: its own choice is below the working directory."""
    try:
        with TemporaryDirectory(dir=snapshot.parent, prefix=".features-") as beside:
            config: dict[str, str | bool | int | float | list[str]] = {"autoload_known_extensions": "false"}
            config["temp_directory"] = f"{beside}/spill"
            with duckdb.connect(config=config) as con:
                yield con
    except OSError:
        raise IntegrityError("the snapshot's folder is gone or cannot be written") from None
