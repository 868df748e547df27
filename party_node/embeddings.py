"""The shared embedding φ of a party's own people, on its own disk: for its data scientists, and for nobody else.

φ is the public map of the released space (`protocols/questions/lookalike/space.py`), the same at every party; a row
follows from that person's own features. What a cosine compares with is a *prototype*: the noised sum of φ over a seed,
which was released and charged. Nothing here leaves: neither rows nor cosines are noised, and whoever passes on a row
has passed on a person's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from protocols.errors import UsageError
from protocols.feature import Reals
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.space import SCALE, Space, names
from protocols.statistic import Integers, People

from .features import people, window_of
from .files import literal, quoted
from .records import check_snapshot
from .store import Dataset

NAME = "embeddings"
COSINE = "cosine"
_AT_ONCE = 1 << 14
_THREADS, _MEMORY = 2, "512MB"


@dataclass(frozen=True)
class Embedded:
    """What was written: `customer`, `usable`, with a prototype `cosine`, and the coordinates of φ under their names."""

    parquet: Path
    customers: int
    length: int
    compared: bool


def prototype_of(plan: Plan, released: Mapping[str, Any]) -> Integers | None:
    """(length of φ,) the seed's noised Σ φ, which is in the space of the same round; None before it was released."""
    found = released.get(lookalike.SEED)
    if found is None:
        return None
    question = _question(plan)
    slots = len(names(question.features))
    own = plan.step(lookalike.SEED)[0].statistic.own(question.seed.party)
    return np.asarray(found["noised"], dtype=np.int64)[own][:slots]


def cosines(rows: Integers, prototype: Integers) -> Reals:
    """(n,) cosine of each row of φ with a prototype; both (…, length). 0 for a prototype that is nothing but zeros."""
    length = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1)) * float(np.linalg.norm(prototype.astype(np.float64)))
    dot = rows.astype(np.float64) @ prototype.astype(np.float64)
    found: Reals = np.divide(dot, length, out=np.zeros(len(rows)), where=length > 0)
    return found


def embed(plan: Plan, released: Mapping[str, Any], dataset: Dataset, state: Path, out: Path) -> Embedded:
    """Write `embeddings.parquet`, whole or not at all, in the space that a round released.

    Coordinates are exact: whole numbers of 2^−16 below 2^24 are, in 32 bits. Of people who are not usable they are
    nothing, and so is the cosine. Raises UsageError for a plan without a lookalike.
    """
    space = lookalike.space_of(_question(plan), released)
    prototype = prototype_of(plan, released)
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    return write(out, space, found.customers, found.columns, prototype)


def write(out: Path, space: Space, customers: Sequence[str] | NDArray[Any], columns: People,
          prototype: Integers | None) -> Embedded:  # fmt: skip
    """The same from features. Memory holds a batch of rows, however many people there are."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, slots = out / f"{NAME}.parquet", names(space.features)
    head = ["customer VARCHAR", "usable BOOLEAN"] + ([] if prototype is None else [f"{COSINE} FLOAT"])
    with TemporaryDirectory(dir=out, prefix=f".{NAME}-") as beside:
        part = Path(beside) / path.name
        config: dict[str, Any] = {"autoload_known_extensions": "false", "temp_directory": f"{beside}/spill"}
        config |= {"threads": _THREADS, "preserve_insertion_order": True, "memory_limit": _MEMORY}
        with duckdb.connect(f"{beside}/rows.duckdb", config=config) as con:
            con.execute(f"CREATE TABLE embedded ({', '.join([*head, *(f'{quoted(one)} FLOAT' for one in slots)])})")
            for batch in _batches(space, customers, columns, prototype):
                con.register("batch", batch)
                con.execute("INSERT INTO embedded SELECT * FROM batch")
                con.unregister("batch")
            con.execute(f"COPY embedded TO {literal(str(part))} (FORMAT PARQUET, ROW_GROUP_SIZE 20480)")
        part.chmod(0o600)
        part.replace(path)
    return Embedded(path, len(customers), len(slots), prototype is not None)


def _batches(
    space: Space, customers: Sequence[str] | NDArray[Any], columns: People, prototype: Integers | None
) -> Iterator[dict[str, Any]]:
    slots, who = names(space.features), np.asarray(customers, dtype=np.object_)
    for start in range(0, len(who), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        usable = columns["usable"][part] == 1
        rows = space.rows({feature.name: columns[feature.name][part] for feature in space.features})
        found: dict[str, Any] = {"customer": who[part], "usable": usable}
        if prototype is not None:
            found[COSINE] = _where(usable, cosines(rows, prototype))
        yield found | {name: _where(usable, rows[:, j] / SCALE) for j, name in enumerate(slots)}


def _where(usable: NDArray[np.bool_], values: Reals) -> Any:
    """What is not usable is missing, and no number."""
    return np.ma.masked_array(values.astype(np.float32), mask=~usable)


def _question(plan: Plan) -> lookalike.Plan:
    for question in plan.questions:
        if isinstance(question, lookalike.Plan):
            return question
    raise UsageError("the plan asks for no lookalike, so it has no shared space")
