"""Each party's own customers by their likeness to a seed: computed here, written here, sent nowhere.

By the released score, which labels everything that left this party too, so that the released lift describes this list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.scorer import REACHES, UNIT
from protocols.statistic import Integers

from . import identity
from .assignment import Assigned, place
from .audience import PRIVATE, UNCOUNTED, UNSURE
from .features import People, people, window_of
from .files import literal, quoted
from .own_likeness import own_scores
from .records import check_snapshot
from .store import Dataset

NAME = "audience"
_NO_NUMBERS = ("customer", "score")


def rank(
    party: str, private: bool, plan: Plan, released: Mapping[str, Any], dataset: Dataset, state: Path, out: Path
) -> Assigned:
    """Write `audience.parquet` and `audience.csv`, whole or not at all: customer, score, rank, cell, within, signal.

    score   by how many deviations of everybody's a customer is likelier than the average; nothing for an unusable one
    rank    1 for the likest; customers of one score in the order of their names, which says nothing
    cell    1, the likest, to 64: what left this party, summed up and noised
    within  the smallest cut that the customer is within, in percent of this party's customers; nothing beyond the
            plan's largest
    signal  what the round released of this party's ranking, the same in each line: so that no list goes on without it
    also_customers
            where the plan says who is one person: a customer's others, a JSON array, empty for nearly all
    private `private-audience.…` instead: by a score of this party's exact rows, to which no released figure applies;
            so neither cell nor within is there, and that is its signal
    Raises UsageError for a party that does not rank, Refused where the seed is below the plan's floor.
    """
    question = next(q for q in plan.questions if isinstance(q, lookalike.Plan))
    if party not in question.ranks:
        raise UsageError("this party ranks nobody in that plan", f"those that do: {', '.join(question.ranks)}")
    sizes, scorer = lookalike.Sizes.read(question, released), lookalike.scorer_of(question, released)
    if not sizes.enough(question):
        raise Refused(f"the seed has {sizes.seed:,} people, noise included; the plan's floor is {question.floor:,}")
    check_snapshot(state / dataset.snapshot, dataset.sha256)
    found = people(state / dataset.snapshot, window_of(plan))
    own = None
    if private:
        step, mechanism = plan.step(lookalike.SEED)
        noised = np.asarray(released[lookalike.SEED]["noised"], dtype=np.int64)
        own = own_scores(scorer.space, noised, step.noise(1, mechanism.variance_micro), found.columns)
    signal = PRIVATE if private else signal_of(party, released)
    return ranked(question, sizes.cuts(party), scorer, found, out, own, signal, state / dataset.snapshot)


def signal_of(party: str, released: Mapping[str, Any]) -> str:
    """What a round released of a party's ranking: `usable`, `no usable signal`, `too noisy`; `not counted` before."""
    if lookalike.OVERLAP not in released:
        return UNCOUNTED
    return str(released[lookalike.OVERLAP]["owners"][party]["signal"]["value"])


def ranked(
    question: lookalike.Plan,
    cuts: Sequence[int],
    scorer: lookalike.Scorer,
    found: People,
    out: Path,
    own: Integers | None = None,
    signal: str = UNCOUNTED,
    snapshot: Path | None = None,
) -> Assigned:
    """The same from features. cuts: this owner's; own: (n,) scores of the private ranking.

    snapshot: what says which customers are one person; None: nothing does.
    """
    usable = found.columns["usable"] == 1
    public = scorer.scores(found.columns)
    cells = scorer.cells_of(public)
    scores = public if own is None else own
    order = np.argsort(np.where(usable, -scores, np.iinfo(np.int64).max), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    bands = np.searchsorted(np.asarray(cuts), cells, side="right")
    reach = np.array([*REACHES, 0], dtype=np.int64)[bands]
    columns = {
        "customer": found.customers,
        "score": np.where(usable, scores / UNIT, np.nan),
        "rank": np.where(usable, ranks, 0),
        "cell": np.where(usable, cells + 1, 0),
        "within": np.where(usable & (reach <= question.reach), reach, 0),
    }
    name = NAME
    if own is not None:
        columns, name = {one: columns[one] for one in ("customer", "score", "rank")}, f"private-{NAME}"
    return _write(columns, signal, out, name, snapshot)


def _write(columns: Mapping[str, Any], signal: str, out: Path, name: str, snapshot: Path | None) -> Assigned:
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {"PARQUET": out / f"{name}.parquet", "CSV, HEADER": out / f"{name}.csv"}
    numbers = "".join(f", nullif({quoted(one)}, 0) AS {quoted(one)}" for one in columns if one not in _NO_NUMBERS)
    score = f"CASE WHEN isnan(score) THEN NULL ELSE round(score, 6) END AS score{numbers}, {literal(signal)} AS signal"
    with TemporaryDirectory(dir=out, prefix=f".{name}-") as beside:
        spill = {"autoload_known_extensions": "false", "temp_directory": f"{beside}/spill"}
        with duckdb.connect(config=spill) as con:  # type: ignore[arg-type]  # duckdb's own hint is too narrow
            con.register("ranked", dict(columns))
            also, joined = ("", "") if snapshot is None else identity.also(con, snapshot)
            query = f'SELECT customer, {score}{also} FROM ranked{joined} ORDER BY "rank" NULLS LAST, customer'
            for kind, path in files.items():
                part = Path(beside) / path.name
                con.execute(f"COPY ({query}) TO {literal(str(part))} (FORMAT {kind})")
                part.chmod(0o600)
        place(Path(beside), list(files.values()))
    said = (f"{signal}: {UNSURE[signal]}",) if signal in UNSURE else ()
    return Assigned(files["PARQUET"], files["CSV, HEADER"], len(columns["customer"]), said)
