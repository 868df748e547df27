"""Each party's own customers in the released segments or classes: computed here, written here, sent nowhere.

Which of them a customer is in follows from that customer's own features and the released centres, or classes.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from protocols.errors import UsageError
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions import classes, segments
from protocols.questions.classes.model import Classes
from protocols.questions.segments.states import Clusters
from protocols.statistic import Integers

from . import identity
from .features import people, window_of
from .records import check_snapshot
from .store import Dataset


@dataclass(frozen=True)
class Words:
    """How a file and its columns are called, and by what letter the groups."""

    name: str
    group: str
    letter: str
    measure: str


SEGMENTS = Words("segments", "segment", "s", "distance")
CLASSES = Words("classes", "class", "c", "probability")


@dataclass(frozen=True)
class Assigned:
    """What was written: two files with customer, segment (`s1` …, or `unusable`), distance to its centre, and `keeps`:
    how probable it is that the customer were in the same segment, had noise and customers been drawn again.

    Or class (`c1` …, or `unusable`) and how probable it is that the customer is in it. Where the plan says which
    customers are one person, `also_customers`: the others of the person, whom `activate` takes along.
    """

    parquet: Path
    csv: Path
    customers: int
    warnings: tuple[str, ...] = ()


def assign(plan: Plan, released: Mapping[str, Any], dataset: Dataset, state: Path, out: Path) -> Assigned:
    """Assign the customers of a dataset to the segments of a round, and write both files whole or not at all.

    released: step → what the round released. Distances are in the public box, where each feature runs from −1 to 1.
    """
    question = next(q for q in plan.questions if isinstance(q, segments.Plan))
    clusters = Clusters.read(released[question.lloyd_names()[-1]]["state"], question.clusters, question.dimensions)
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    x = segments.scaled(question, found.columns)
    at, squared = segments.nearest(x, clusters.centres)
    usable = found.columns["usable"] == 1
    number, distance = np.where(usable, at + 1, 0), np.where(usable, np.sqrt(squared), np.nan)
    surely = np.where(usable, segments.keeps(x, clusters), np.nan)
    return write(out, found.customers, number, distance, state / dataset.snapshot, keeps=surely)


def classify(plan: Plan, released: Mapping[str, Any], dataset: Dataset, state: Path, out: Path) -> Assigned:
    """Put each customer of a dataset into the likeliest class of a round, and write both files as `assign` does.

    Raises UsageError where the round's classes are too noisy to put anybody into.
    """
    question = next(q for q in plan.questions if isinstance(q, classes.Plan))
    if all(one["size"]["value"] == TOO_NOISY for one in released[classes.NAME]["classes"].values()):
        raise UsageError("the classes released last are too noisy to put customers into", "ask with a higher rho")
    fitted = Classes.read(released[classes.NAME]["state"], question)
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    likely = classes.chances(fitted)[classes.patterns(question, found.columns)]
    usable, at = found.columns["usable"] == 1, likely.argmax(axis=1)
    probable = np.where(usable, likely.max(axis=1), np.nan)
    return write(out, found.customers, np.where(usable, at + 1, 0), probable, state / dataset.snapshot, CLASSES)


def _engine(beside: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"autoload_known_extensions": "false", "temp_directory": f"{beside}/spill"})


def place(beside: Path, paths: list[Path]) -> None:
    """Move files of these names from `beside` to their places. Raises OSError before any where one is a folder."""
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{path.name} is a folder there")
    for path in paths:
        (beside / path.name).replace(path)


def write(
    out: Path,
    customers: Any,
    number: Integers,
    measure: Any,
    snapshot: Path,
    words: Words = SEGMENTS,
    keeps: Any = None,
) -> Assigned:
    """(n,) customers, numbers of groups (0: unusable), measures, and how surely each keeps its group → both files."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {"PARQUET": out / f"{words.name}.parquet", "CSV, HEADER": out / f"{words.name}.csv"}
    columns = {"customer": customers, "number": number, "measure": measure}
    columns |= {} if keeps is None else {"keeps": keeps}
    more = "" if keeps is None else ", CASE WHEN isnan(keeps) THEN NULL ELSE round(keeps, 4) END AS keeps"
    with TemporaryDirectory(dir=out, prefix=f".{words.name}-") as beside, _engine(beside) as con:
        con.register("assigned", columns)
        also, joined = identity.also(con, snapshot)
        for kind, path in files.items():
            part = Path(beside) / path.name
            con.execute(
                f"COPY (SELECT customer, CASE number WHEN 0 THEN 'unusable' ELSE '{words.letter}' || number END"
                f' AS "{words.group}", CASE WHEN isnan(measure) THEN NULL ELSE round(measure, 6) END AS {words.measure}'
                f"{more}{also} FROM assigned{joined} ORDER BY customer)"
                f" TO '{str(part).replace(chr(39), chr(39) * 2)}' (FORMAT {kind})"
            )
            part.chmod(0o600)
        place(Path(beside), list(files.values()))
    return Assigned(files["PARQUET"], files["CSV, HEADER"], len(number))
