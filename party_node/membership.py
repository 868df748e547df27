"""In which list of an overlap each of a party's own people is. Each person's place follows from that person alone.

Whoever has no key, no usable rows or no row on a day of the plan is in no list.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
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
ROWS = 65536  # that are read at a time


@dataclass(frozen=True, eq=False)
class Members:
    """`customers`: (n,) ids, ascending. `at`: (n,) int64, which of the party's lists, in order, or NOWHERE."""

    customers: NDArray[np.object_]
    at: Integers


@dataclass(frozen=True)
class Own:
    """A party's people for a plan. `earlier`: what the round's earlier steps released. Raises IntegrityError.

    Lists by a column are read from the snapshot as they are used, and nobody is held in memory. Segments and values
    follow from features, and so all people are.
    """

    plan: Plan
    party: str
    earlier: Mapping[str, Any]
    dataset: Dataset
    state: Path

    @property
    def snapshot(self) -> Path:
        return self.state / self.dataset.snapshot

    def listed(self) -> dict[str, Integers]:
        """The columns of `overlap-sizes`: `list`, the `party`'s number in the plan, and `usable`, which all are."""
        if self._streams:
            check_snapshot(self.snapshot, self.dataset.sha256)
            at = np.concatenate([np.zeros(0, dtype=np.int64), *(at for _, at, _ in self._in_order())])
        else:
            at = self._held().at
        columns = {"party": self.plan.parties.index(self.party), "usable": 1}
        return {"list": at} | {name: np.broadcast_to(np.int64(value), at.shape) for name, value in columns.items()}

    def keys_by_list(self) -> Iterator[tuple[Integers, list[bytes]]]:
        """((m,) list of each, their keys), in batches; nobody who is in no list."""
        if self._streams:
            check_snapshot(self.snapshot, self.dataset.sha256)
            for _, at, keys in self._in_order():
                stay = np.flatnonzero(at != NOWHERE)
                yield at[stay], [key for key, place in zip(keys, at.tolist(), strict=True) if place != NOWHERE]
            return
        found = self._held()
        for ids, own in identity.keys(self.snapshot, _rules(self.plan)):
            here, there = where(found.customers, ids)
            at = found.at[there]
            stay = np.flatnonzero(at != NOWHERE)
            yield at[stay], [own[here[i]] for i in stay.tolist()]

    @property
    def _question(self) -> overlap.Plan:
        return next(q for q in self.plan.questions if isinstance(q, overlap.Plan))

    @property
    def _value(self) -> overlap.Value | None:
        value = self._question.value
        return value if value is not None and value.party == self.party else None

    @property
    def _streams(self) -> bool:
        return self._question.lists.by != "segments" and self._value is None

    def _held(self) -> Members:
        """
        1. who is there on the plan's days, and in which list by the plan's rule
        2. whoever has no key is in none
        3. where this party's lists are split by a value, each person's decides, rounded to one of its two neighbours
        """
        check_snapshot(self.snapshot, self.dataset.sha256)
        # (1) and (2)
        found = self._by_segment() if self._question.lists.by == "segments" else self._by_column()
        # (3)
        if self._value is None:
            return found
        return Members(found.customers, self._by_value(self._value, found.customers, found.at))

    def _by_segment(self) -> Members:
        asked = next(q for q in self.plan.questions if isinstance(q, segments.Plan))
        clusters = Clusters.read(self.earlier[asked.lloyd_names()[-1]]["state"], asked.clusters, asked.dimensions)
        found = people(self.snapshot, window_of(self.plan))
        at, _ = segments.nearest(segments.scaled(asked, found.columns), clusters.centres)
        keyed = np.zeros(len(found.customers), dtype=np.bool_)
        for ids, _ in identity.keys(self.snapshot, _rules(self.plan)):
            keyed[where(found.customers, ids)[1]] = True
        return Members(found.customers, np.where(keyed & (found.columns["usable"] == 1), at, NOWHERE))

    def _by_column(self) -> Members:
        customers, at = list[str](), [np.zeros(0, dtype=np.int64)]
        for ids, places, _ in self._in_order():
            customers += ids
            at.append(places)
        return Members(np.array(customers, dtype=np.object_), np.concatenate(at))

    def _in_order(self) -> Iterator[tuple[list[str], Integers, list[bytes]]]:
        """(customers, list or NOWHERE of each, their keys) of who is there on the plan's days, ascending, in batches.

        1. a person's rows, which stand together, in which the list changes; of several lists the first one counts
        2. whoever has no key is NOWHERE, with one of no bytes
        Memory does not grow with the file.
        """
        # (1)
        batch = _Batch(identity.as_bytes(_rules(self.plan)))
        with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
            try:
                found = con.execute(*self._query())
                while rows := found.fetchmany(ROWS):
                    for customer, key, place in rows:
                        batch.add(customer, key, place)
                    yield batch.taken(but=1)
            except duckdb.Error:
                raise IntegrityError("the snapshot cannot be read", hint="take a new one") from None
        yield batch.taken()

    def _query(self) -> tuple[str, dict[str, Any]]:
        place, inside = "0", "true"
        given: dict[str, Any] = {"snapshot": exactly(self.snapshot)}
        if self._question.lists.column is not None:
            values = self.plan.table.columns[self._question.lists.column].values or []
            cases = " ".join(f"WHEN $v{i} THEN {i}" for i in range(len(values)))
            place = f"CASE {quoted(self._question.lists.column)} {cases} END"
            given |= {f"v{i}": value for i, value in enumerate(values)}
        if BOUGHT_ON in self.plan.table.columns:
            blocks = self.plan.blocks.values()
            inside = " OR ".join(f"{BOUGHT_ON} BETWEEN $f{i} AND $l{i}" for i in range(len(blocks)))
            given |= {f"f{i}": day(block.first) for i, block in enumerate(blocks)}
            given |= {f"l{i}": day(block.last) for i, block in enumerate(blocks)}
        return (
            f"SELECT {PERSON}, k, place FROM (SELECT {PERSON}, {quoted(identity.KEY)} AS k, {place} AS place "
            f"FROM read_parquet($snapshot, hive_partitioning=false) WHERE {inside}) QUALIFY "
            f"lag({PERSON}) OVER () IS DISTINCT FROM {PERSON} OR lag(place) OVER () IS DISTINCT FROM place"
        ), given

    def _by_value(self, value: overlap.Value, customers: NDArray[np.object_], at: Integers) -> Integers:
        """List · edges + edge."""
        found = people(self.snapshot, window_of(self.plan))
        use = canonical({"use": "sumroom/overlap-bins/v1", "plan": self.plan.digest})
        secret = HKDF(hashes.SHA256(), 32, None, use).derive(bytes.fromhex(self.dataset.salt))
        out = np.full(len(customers), NOWHERE, dtype=np.int64)
        for ids, own in identity.keys(self.snapshot, _rules(self.plan)):
            here, there = where(customers, ids)
            own_rows, features = where(found.customers, [ids[i] for i in here.tolist()])
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


class _Batch:
    """People whose rows are read, in their order."""

    def __init__(self, as_bytes: Callable[[str], bytes]) -> None:
        self._as_bytes = as_bytes
        self._customers, self._places, self._keys = list[str](), list[int](), list[bytes]()

    def add(self, customer: str, key: str | None, place: int | None) -> None:
        last = self._customers[-1] if self._customers else ""
        if self._customers and customer == last:
            if place is not None and not NOWHERE < self._places[-1] <= place and key is not None:
                self._places[-1] = place
            return
        # Why here: a file in another order would give one person twice, and say nothing.
        if customer <= last:
            raise IntegrityError("the snapshot is in no order", "take a new one")
        self._customers.append(customer)
        self._places.append(NOWHERE if place is None or key is None else place)
        self._keys.append(b"" if key is None else self._as_bytes(key))

    def taken(self, but: int = 0) -> tuple[list[str], Integers, list[bytes]]:
        """All that are whole; the last one's rows may go on."""
        end = len(self._customers) - but
        out = self._customers[:end], np.array(self._places[:end], dtype=np.int64), self._keys[:end]
        del self._customers[:end], self._places[:end], self._keys[:end]
        return out


def where(customers: NDArray[np.object_], ids: list[str]) -> tuple[Integers, Integers]:
    """Which of these ids are customers: (their places among the ids, their places among the customers)."""
    if not len(customers):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    wanted = np.asarray(ids, dtype=np.object_)
    place = np.minimum(np.searchsorted(customers, wanted), len(customers) - 1)
    here = np.flatnonzero(customers[place] == wanted)
    return here, place[here]


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
