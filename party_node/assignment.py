"""Each party's own customers in the released segments: computed here, written here, sent nowhere.

Which segment a customer is in follows from that customer's own features and the released centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from protocols.plan import Plan
from protocols.questions import segments
from protocols.questions.segments.states import Clusters
from protocols.statistic import Integers

from .features import people, window_of
from .records import check_snapshot
from .store import Dataset

NAME = "segments"


@dataclass(frozen=True)
class Assigned:
    """What was written: two files with customer, segment (`s1` …, or `unusable`) and distance to its centre."""

    parquet: Path
    csv: Path
    customers: int


def assign(plan: Plan, released: Mapping[str, Any], dataset: Dataset, state: Path, out: Path) -> Assigned:
    """Assign the customers of a dataset to the segments of a round, and write both files whole or not at all.

    released: step → what the round released. Distances are in the public box, where each feature runs from −1 to 1.
    """
    question = next(q for q in plan.questions if isinstance(q, segments.Plan))
    clusters = Clusters.read(released[question.lloyd_names()[-1]]["state"], question.clusters, question.dimensions)
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    at, squared = segments.nearest(segments.scaled(question, found.columns), clusters.centres)
    usable = found.columns["usable"] == 1
    return write(out, found.customers, np.where(usable, at + 1, 0), np.where(usable, np.sqrt(squared), np.nan))


def _engine(beside: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"autoload_known_extensions": "false", "temp_directory": f"{beside}/spill"})


def write(out: Path, customers: Any, number: Integers, distance: Any) -> Assigned:
    """(n,) customers, numbers of segments (0: unusable) and distances → both files."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {"PARQUET": out / f"{NAME}.parquet", "CSV, HEADER": out / f"{NAME}.csv"}
    columns = {"customer": customers, "number": number, "distance": distance}
    with TemporaryDirectory(dir=out, prefix=".segments-") as beside, _engine(beside) as con:
        con.register("assigned", columns)
        for kind, path in files.items():
            part = Path(beside) / path.name
            con.execute(
                "COPY (SELECT customer, CASE number WHEN 0 THEN 'unusable' ELSE 's' || number END AS segment,"
                " CASE WHEN isnan(distance) THEN NULL ELSE round(distance, 6) END AS distance"
                f" FROM assigned ORDER BY customer) TO '{str(part).replace(chr(39), chr(39) * 2)}' (FORMAT {kind})"
            )
            part.chmod(0o600)
        for path in files.values():
            (Path(beside) / path.name).replace(path)
    return Assigned(files["PARQUET"], files["CSV, HEADER"], len(number))
