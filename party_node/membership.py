"""In which list of an overlap each of a party's own people is. Each person's place follows from that person alone.

Whoever has no key, no usable rows or no row on a day of the plan is in no list.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from protocols.encoding import canonical
from protocols.errors import IntegrityError
from protocols.overlap.layout import question_of
from protocols.people import PeopleRules
from protocols.plan import Plan
from protocols.questions import overlap, segments
from protocols.questions.segments.states import Clusters
from protocols.schema import day
from protocols.statistic import Integers

from . import identity
from .features import people, window_of
from .files import exactly, quoted
from .records import BOUGHT_ON, PERSON, check_snapshot
from .store import Dataset

NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Members:
    """`customers`: (n,) ids, ascending. `at`: (n,) int64, which of the party's lists, in order, or NOWHERE."""

    customers: NDArray[np.object_]
    at: Integers


def members(plan: Plan, party: str, earlier: Mapping[str, Any], dataset: Dataset, state: Path) -> Members:
    """All people of the party's dataset. `earlier`: what the round's earlier steps released.

    1. who is there on the plan's days, and in which list by the plan's rule
    2. whoever has no key is in none
    3. where this party's lists are split by a value, each person's value decides, rounded to one of its two neighbours
    """
    snapshot, question = state / dataset.snapshot, question_of(plan)
    check_snapshot(snapshot, dataset.sha256)
    # (1)
    found = _placed(plan, question, earlier, snapshot)
    # (2)
    keyed = np.zeros(len(found.customers), dtype=np.bool_)
    for ids, _ in identity.keys(snapshot, _rules(plan)):
        keyed[_where(found.customers, ids)[1]] = True
    at = np.where(keyed, found.at, NOWHERE)
    # (3)
    if question.value is not None and question.value.party == party:
        at = _by_value(plan, question.value, found.customers, at, dataset, snapshot)
    return Members(found.customers, at)


def listed(plan: Plan, party: str, earlier: Mapping[str, Any], dataset: Dataset, state: Path) -> dict[str, Integers]:
    """The same as the columns of `overlap-sizes`: `list`, the `party`'s number in the plan, and `usable`."""
    at = members(plan, party, earlier, dataset, state).at
    number = np.full(len(at), plan.parties.index(party), dtype=np.int64)
    return {"list": at, "party": number, "usable": np.ones(len(at), dtype=np.int64)}


def keys_by_list(found: Members, plan: Plan, snapshot: Path) -> Iterator[tuple[Integers, list[bytes]]]:
    """((m,) list of each, their keys), in batches; nobody who is in no list."""
    for ids, own in identity.keys(snapshot, _rules(plan)):
        here, there = _where(found.customers, ids)
        at = found.at[there]
        stay = np.flatnonzero(at != NOWHERE)
        yield at[stay], [own[here[i]] for i in stay.tolist()]


def _where(customers: NDArray[np.object_], ids: list[str]) -> tuple[Integers, Integers]:
    """Which of these ids are customers: (their places among the ids, their places among the customers)."""
    if not len(customers):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    wanted = np.asarray(ids, dtype=np.object_)
    place = np.minimum(np.searchsorted(customers, wanted), len(customers) - 1)
    here = np.flatnonzero(customers[place] == wanted)
    return here, place[here]


def _placed(plan: Plan, question: overlap.Plan, earlier: Mapping[str, Any], snapshot: Path) -> Members:
    if question.lists.by == "segments":
        asked = next(q for q in plan.questions if isinstance(q, segments.Plan))
        clusters = Clusters.read(earlier[asked.lloyd_names()[-1]]["state"], asked.clusters, asked.dimensions)
        found = people(snapshot, window_of(plan))
        at, _ = segments.nearest(segments.scaled(asked, found.columns), clusters.centres)
        return Members(found.customers, np.where(found.columns["usable"] == 1, at, NOWHERE))
    place, given = "0", dict[str, Any]()
    if question.lists.column is not None:
        values = plan.table.columns[question.lists.column].values or []
        cases = " ".join(f"WHEN $v{i} THEN {i}" for i in range(len(values)))
        place = f"min(CASE {quoted(question.lists.column)} {cases} END)"
        given = {f"v{i}": value for i, value in enumerate(values)}
    inside = "true"
    if BOUGHT_ON in plan.table.columns:
        inside = " OR ".join(f"{BOUGHT_ON} BETWEEN $f{i} AND $l{i}" for i in range(len(plan.blocks)))
        given |= {f"f{i}": day(block.first) for i, block in enumerate(plan.blocks.values())}
        given |= {f"l{i}": day(block.last) for i, block in enumerate(plan.blocks.values())}
    query = (
        f"SELECT {PERSON}, {place}::BIGINT AS place FROM read_parquet($snapshot, hive_partitioning=false)"
        f" WHERE {inside} GROUP BY {PERSON} ORDER BY {PERSON}"
    )
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        try:
            rows = con.execute(query, given | {"snapshot": exactly(snapshot)}).fetchnumpy()
        except duckdb.Error:
            raise IntegrityError("the snapshot cannot be read", hint="take a new one") from None
    return Members(np.asarray(rows[PERSON], dtype=np.object_), np.asarray(rows["place"], dtype=np.int64))


def _by_value(plan: Plan, value: overlap.Value, customers: NDArray[np.object_], at: Integers, dataset: Dataset,
              snapshot: Path) -> Integers:  # fmt: skip
    """List · edges + edge."""
    found = people(snapshot, window_of(plan))
    secret = HKDF(hashes.SHA256(), 32, None, canonical({"use": "sumroom/overlap-bins/v1", "plan": plan.digest})).derive(
        bytes.fromhex(dataset.salt)
    )
    out = np.full(len(customers), NOWHERE, dtype=np.int64)
    for ids, own in identity.keys(snapshot, _rules(plan)):
        here, there = _where(customers, ids)
        own_rows, features = _where(found.customers, [ids[i] for i in here.tolist()])
        here, there = here[own_rows], there[own_rows]
        usable = found.columns["usable"][features] == 1
        amounts = found.columns[value.feature][features].tolist()
        edges = np.array(
            [edge_of(v, value.edges, secret, own[i]) for v, i in zip(amounts, here.tolist(), strict=True)],
            dtype=np.int64,
        )
        placed = (at[there] != NOWHERE) & usable
        out[there[placed]] = at[there[placed]] * value.bins + edges[placed]
    return out


def edge_of(value: int, edges: list[int], secret: bytes, key: bytes) -> int:
    """The number of one of the two edges next to a value, held within them.

    Why unbiased: of the two the upper one is taken with the probability of the value's place between them, by 64 bits
    that follow from the person's key and a secret of this dataset and plan; so a person has one edge, whoever else is
    there, and nobody else can tell which.
    """
    value = max(edges[0], min(value, edges[-1]))
    below = max(i for i in range(len(edges) - 1) if edges[i] <= value)
    chance = int.from_bytes(hmac.digest(secret, key, "sha256")[:8], "big")
    return below + (chance * (edges[below + 1] - edges[below]) < (value - edges[below]) << 64)


def _rules(plan: Plan) -> PeopleRules:
    if plan.people is None:
        raise IntegrityError("the plan does not say what identifies a person")
    return plan.people
