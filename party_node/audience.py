"""A party's own people for a lookalike: who is of the seed, what is counted of whom, who is in which list.

Each follows from that person's own rows, the plan, and what was released, and from nobody else's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from protocols import release as releases
from protocols.errors import IntegrityError, Refused
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.report import NO_SIGNAL
from protocols.schema import day
from protocols.statistic import Integers

from . import identity, seeds
from .features import People, people, window_of
from .files import exactly, quoted
from .membership import NOWHERE, Own, where
from .records import BOUGHT_ON, PERSON, check_snapshot
from .store import Dataset

# What a ranked list says of itself in each line, where it is not `usable`, and what that means.
UNCOUNTED, PRIVATE = "not counted", "no released lift applies"
UNSURE = {
    NO_SIGNAL: "the report says that the score does not find the seed's people among yours: do not use this list",
    TOO_NOISY: "the report cannot say whether the score finds the seed's people among yours: nothing that was counted "
    "says that this list is of use",
    UNCOUNTED: "the round ended before the seed's people were counted among yours: nothing says that this list is of "
    "use",
    PRIVATE: "this list was ranked by exact rows: it must not label anything that leaves this party",
}


def question_of(plan: Plan) -> lookalike.Plan | None:
    """The plan's lookalike, None where it asks for none."""
    return next((q for q in plan.questions if isinstance(q, lookalike.Plan)), None)


def check_seed(plan: Plan, party: str, snapshot: Path) -> None:
    """Raise Refused where a plan's seed is a list of this party's that was not registered with its data.

    Which lists there are is in the party's settings, and says nothing of its data.
    """
    question = question_of(plan)
    if question is None or question.seed.party != party:
        return
    name, clean = question.seed.list, question.seed.clean
    if name is not None and name not in seeds.names_of(snapshot):
        raise Refused(f"no list {name} is registered, which the plan's seed is", "[seeds] in node.toml, and register")
    if clean is not None:
        cleaner(clean.round, snapshot.parent, plan)


def cleaner(round_id: str, state: Path, plan: Plan) -> lookalike.Scorer:
    """The score of an earlier round, as this party got it. Raises Refused where it has not, or where the score is of
    features that this plan does not name: whoever consents would not see them, and no rule that denies them would.
    """
    found = {}
    with closing(sqlite3.connect(f"{(state / 'node.db').resolve().as_uri()}?mode=ro", uri=True)) as db:
        for step in (lookalike.EDGES, lookalike.SEED):
            row = db.execute("SELECT document FROM release WHERE round=? AND step=?", (round_id, step)).fetchone()
            if row is None:
                raise Refused(f"round {round_id[:8]} has released no score to this party that a seed can be cleaned by")
            found[step] = releases.read(bytes(row[0])).body_
        approved = db.execute("SELECT body FROM plan WHERE digest=?", (found[lookalike.SEED].plan,)).fetchone()
    question = None if approved is None else question_of(Plan.from_bytes(bytes(approved[0])))
    asked = question_of(plan)
    named = set() if asked is None else {feature.name for feature in asked.features} | set(asked.seed_feature_names())
    if question is None or any(feature.name not in named for feature in question.features):
        raise Refused(f"the score of round {round_id[:8]} is of features that this plan does not name")
    return lookalike.scorer_of(question, {step: body.released for step, body in found.items()})


def lists_of(
    plan: Plan, step: str, party: str, earlier: Mapping[str, Any], dataset: Dataset, state: Path
) -> Own | Audience:
    """Who is in which of a party's lists, in a step that counts between parties."""
    question = question_of(plan)
    if question is not None and step == lookalike.OVERLAP:
        return Audience(plan, question, party, earlier, dataset, state)
    return Own(plan, party, earlier, dataset, state)


@dataclass(frozen=True)
class Audience:
    """A party's people. `earlier`: what the round's earlier steps released. Everything raises IntegrityError where the
    snapshot, or what was released, is not what it should be.
    """

    plan: Plan
    question: lookalike.Plan
    party: str
    earlier: Mapping[str, Any]
    dataset: Dataset
    state: Path

    @property
    def snapshot(self) -> Path:
        return self.state / self.dataset.snapshot

    @cached_property
    def found(self) -> People:
        """Customers, ascending, and their features."""
        check_snapshot(self.snapshot, self.dataset.sha256)
        return people(self.snapshot, window_of(self.plan))

    @cached_property
    def seed(self) -> Integers:
        """(n,) 1 for whoever is of the seed; at every other party than the seed's nobody is."""
        asked = self.question.seed
        if asked.party != self.party:
            return np.zeros(len(self.found.customers), dtype=np.int64)
        if asked.clean is None:
            return self._named
        cells = cleaner(asked.clean.round, self.state, self.plan).cells(self.found.columns)
        return self._named * (cells < asked.clean.cells)

    @property
    def _named(self) -> Integers:
        """(n,) 1 for whoever the list or the rule names."""
        asked = self.question.seed
        if asked.list is not None:
            found = np.zeros(len(self.found.customers), dtype=np.int64)
            found[where(self.found.customers, seeds.customers(self.snapshot, asked.list))[1]] = 1
            return found
        chosen = self.found.columns["usable"] == 1
        for bound in asked.where or ():
            values = self.found.columns[bound.feature]
            if bound.low is not None:
                chosen = chosen & (values >= bound.low)
            if bound.high is not None:
                chosen = chosen & (values <= bound.high)
        members: Integers = chosen.astype(np.int64)
        return members

    def columns(self, step: str) -> dict[str, Integers]:
        """What a step's rows are made of: features, `seed`, `counted`, and for the audit each attribute's group."""
        more = {"seed": self.seed, "counted": self.seed}
        if self.question.seed.party != self.party:
            more["counted"] = np.ones(len(self.seed), dtype=np.int64)
        if step == lookalike.AUDIT:
            more |= {f"group/{one.column}": self._groups(one.column) for one in self.question.attributes or ()}
        return {**self.found.columns, **more}

    def keys_by_list(self) -> Iterator[tuple[Integers, list[bytes]]]:
        """((m,) list of each, their keys), in batches: of the seed, or of the people in each of the six bands.

        Who has no key, no usable rows, or is not of the seed is in no list.
        """
        if self.plan.people is None:
            raise IntegrityError("the plan does not say what identifies a person")
        usable = self.found.columns["usable"] == 1
        if self.party == self.question.seed.party:
            at = np.where(usable & (self.seed == 1), 0, NOWHERE)
        else:
            bands = lookalike.bands_of(self.question, self.earlier, self.party, self.found.columns)
            at = np.where(usable, bands, NOWHERE)
        for ids, own in identity.keys(self.snapshot, self.plan.people):
            here, there = where(self.found.customers, ids)
            stay = np.flatnonzero(at[there] != NOWHERE)
            yield at[there[stay]], [own[here[i]] for i in stay.tolist()]

    def _groups(self, column: str) -> Integers:
        """(n,) the number of each person's group: the first of the column's values, in the plan's order, in any row."""
        values = self.plan.table.columns[column].values or []
        cases = " ".join(f"WHEN $v{i} THEN {i}" for i in range(len(values)))
        given: dict[str, Any] = {"snapshot": exactly(self.snapshot)} | {f"v{i}": v for i, v in enumerate(values)}
        inside = "true"
        if BOUGHT_ON in self.plan.table.columns:
            blocks = self.plan.blocks.values()
            inside = " OR ".join(f"{BOUGHT_ON} BETWEEN $f{i} AND $l{i}" for i in range(len(blocks)))
            given |= {f"f{i}": day(block.first) for i, block in enumerate(blocks)}
            given |= {f"l{i}": day(block.last) for i, block in enumerate(blocks)}
        query = (
            f"SELECT {PERSON}, min(CASE {quoted(column)} {cases} END) FROM read_parquet($snapshot, "
            f"hive_partitioning=false) WHERE {inside} GROUP BY 1 ORDER BY 1"
        )
        try:
            with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
                rows = con.execute(query, given).fetchall()
        except duckdb.Error:
            raise IntegrityError("the snapshot cannot be read", hint="take a new one") from None
        # Whoever has no row on a day of the plan that says anything is unusable, and its group is never read.
        groups = np.zeros(len(self.found.customers), dtype=np.int64)
        here, there = where(self.found.customers, [who for who, _ in rows])
        groups[there] = [rows[i][1] or 0 for i in here.tolist()]
        return groups
