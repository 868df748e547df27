"""One row per person from a snapshot: what the questions about customers are asked of.

A person's features are a function of that person's own rows and of public constants, of nothing else: no rank, no
quantile, no scale taken from other people. Every bound that a question promises rests on this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from protocols.errors import IntegrityError, UsageError
from protocols.schema import Block, day

FEATURES = ("recency_days", "baskets", "spend_cents", "discounted_baskets", "usable")

# Rows whose day lies in no block do not exist. A bad row that has no day lies in every block.
# A sum is taken in 128 bits and held at the ends of 64: an amount no snapshot can hold must not wrap around.
_QUERY = """
WITH seen AS (
    SELECT customer, basket, bought_on, paid::HUGEINT AS paid, discount::HUGEINT AS discount,
           bad OR bought_on > $as_of OR bought_on < DATE '1970-01-01' AS unfit
    FROM read_parquet($snapshot, hive_partitioning=false)
    WHERE ({in_blocks}) OR (bad AND bought_on IS NULL)
), baskets AS (
    SELECT customer, basket, bool_or(unfit) AS unfit, max(bought_on) AS latest, sum(paid) AS paid,
           sum(paid) + sum(discount) > 0 AND 100 * sum(discount) > $depth * (sum(paid) + sum(discount)) AS discounted
    FROM seen GROUP BY customer, basket
), persons AS (
    SELECT customer, NOT bool_or(unfit) AS fit, max(latest) AS latest, count(*) AS baskets, sum(paid) AS spend,
           count(*) FILTER (discounted) AS discounted
    FROM baskets GROUP BY customer
)
SELECT customer,
       CASE WHEN fit THEN $as_of - latest ELSE 0 END::BIGINT AS recency_days,
       CASE WHEN fit THEN baskets ELSE 0 END::BIGINT AS baskets,
       CASE WHEN fit THEN greatest(least(spend, 9223372036854775807), -9223372036854775808) ELSE 0 END::BIGINT
           AS spend_cents,
       CASE WHEN fit THEN discounted ELSE 0 END::BIGINT AS discounted_baskets,
       fit::BIGINT AS usable
FROM persons ORDER BY customer
"""


@dataclass(frozen=True)
class Window:
    """The public constants of a question about people. Raises UsageError when made of nonsense.

    `blocks`: the days that exist for it; `as_of`: the day that recency counts back from; a basket is discounted when
    more than `discount_depth_percent` of its price before discount was taken off.
    """

    blocks: tuple[Block, ...]
    as_of: str
    discount_depth_percent: int

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
    """`customers`: ids as str, in ascending order; `columns`: each of FEATURES as int64, one entry per customer.

    recency_days: days from the last purchase to as_of, >= 0. baskets: distinct basket ids. spend_cents: sum of paid,
    negative after refunds, held at the ends of int64. discounted_baskets: baskets off by more than the depth.
    usable: 1, or 0 for a person with a row that cannot be used, whose other features are then 0.
    """

    customers: NDArray[np.object_]
    columns: dict[str, NDArray[np.int64]]


def people(snapshot: Path, window: Window) -> People:
    """The persons with at least one row in the window's blocks; arrays of equal length, not writable.

    A row that is bad, or of a day after `as_of` or before 1970, makes its person unusable. Discount is a reduction when
    positive; a basket whose price before discount is zero or less counts as not discounted.
    Raises IntegrityError when the snapshot is gone or is not one, UsageError when it lacks a column.
    """
    pairs = {f"{end}{i}": day(getattr(b, end)) for i, b in enumerate(window.blocks) for end in ("first", "last")}
    in_blocks = " OR ".join(f"bought_on BETWEEN $first{i} AND $last{i}" for i in range(len(window.blocks)))
    given = pairs | {"as_of": day(window.as_of), "depth": window.discount_depth_percent, "snapshot": _exactly(snapshot)}
    with _engine(snapshot) as con:
        try:
            found: dict[str, Any] = con.execute(_QUERY.format(in_blocks=in_blocks), given).fetchnumpy()
        except duckdb.BinderException:
            raise UsageError(f"snapshot {snapshot} lacks a column for features of people") from None
        except duckdb.Error:
            raise IntegrityError(f"snapshot {snapshot} cannot be read", hint="take a new one") from None
    customers = np.asarray(found["customer"], dtype=np.object_)
    columns = {name: np.asarray(found[name], dtype=np.int64) for name in FEATURES}
    for array in (customers, *columns.values()):
        array.setflags(write=False)
    return People(customers, columns)


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


def _exactly(path: Path) -> str:
    # Why: DuckDB takes [ * ? in a path for a pattern, and would read another file.
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
