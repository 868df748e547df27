"""Rooms of three parties for an audit of the overlap: many cells, few people in each, σ = 3; and what is seen of them.

Why another group in the curve's place: it is not the curve that is audited, and squares modulo a safe prime of 63 bits
make the same protocol, byte by byte of everything else, fifty times as fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import gmpy2
import numpy as np
import pytest

from party_node import overlap as node_overlap
from party_node.overlap_lists import Between
from protocols import keys, messages
from protocols.overlap import points, words
from protocols.overlap.layout import Layout
from protocols.plan import Plan
from protocols.statistic import Integers
from tests.overlap import meeting_lab
from tests.rounds import lab

LISTS, SIGMA = 24, 3
RHO = 111_111_111  # of all pairs of one party, nano: Δ² = 2, so σ² = 9
EACH = 3  # people that two parties share in every cell, where they share any
DIAGONAL = 15  # … or in every cell of the diagonal: about the deviation of a row's own noise, 3 √24
NAMES = [*(f"l{i}" for i in range(LISTS - 1)), "other"]
PARTIES = lab.PARTIES
PAIRS = list(combinations(PARTIES, 2))
PRIME = 9223372036854771239
ORDER = (PRIME - 1) // 2


class Group:
    """In the place of the curve: squares modulo PRIME, 32 bytes each; a mask is a power."""

    def points(self, domain: bytes, keys_: Any) -> bytes:
        hashed = (int.from_bytes(hashlib.sha256(domain + key).digest(), "little") for key in keys_)
        return b"".join((h * h % PRIME).to_bytes(32, "little") for h in hashed)

    def mask(self, scalar: bytes, listed: bytes) -> bytes:
        power = int.from_bytes(scalar, "little") % ORDER
        data, power_of = bytes(listed), gmpy2.powmod
        found = (int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32))
        return b"".join(int(power_of(u, power, PRIME)).to_bytes(32, "little") for u in found)

    def check(self, listed: bytes) -> None:
        assert len(listed) % 32 == 0

    def base(self, scalars: bytes) -> bytes:
        return self.powers((4).to_bytes(32, "little"), scalars)

    def powers(self, point: bytes, scalars: bytes) -> bytes:
        return b"".join(self.mask(scalars[i : i + 32], point) for i in range(0, len(scalars), 32))


@contextmanager
def in_the_group() -> Iterator[pytest.MonkeyPatch]:
    """All of the protocol computes in `Group`."""
    group = Group()

    @contextmanager
    def engine() -> Iterator[Group]:
        yield group

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_overlap, "open_engine", engine)
        patch.setattr(points, "masked_base", group.base)
        patch.setattr(points, "powers", group.powers)
        patch.setattr(points, "check", group.check)
        yield patch


def changes() -> dict[str, Any]:
    return changes_of(NAMES)


def changes_of(names: list[str]) -> dict[str, Any]:
    columns = {**lab.COLUMNS, "tier": {"type": "category", "values": names}}
    question = meeting_lab.QUESTION | {"rho": {"sizes": 50_000_000, "pairs": RHO}}
    table = {"table": {"name": "sales", "columns": columns}, "questions": [question], "people_cap": 4000}
    return meeting_lab.CHANGES | table


def make(base: Path, shared: Mapping[tuple[int, int], int], most: int = EACH * LISTS) -> Path:
    """A room in which each two parties share so many people in each cell; every list has 2 · most people."""
    files = {}
    for party in PARTIES:
        who: dict[str, str] = {}
        for pair in PAIRS:
            if party not in pair:
                continue
            filled = dict.fromkeys(range(LISTS), 0)
            for (s, t), count in shared.items():
                mine = (s, t)[pair.index(party)]
                who |= {f"{pair[0]}-{pair[1]}-{s}-{t}-{i}": NAMES[mine] for i in range(count)}
                filled[mine] += count
            other = pair[1 - pair.index(party)]
            for s, count in filled.items():
                who |= {f"{party}-not-{other}-{s}-{i}": NAMES[s] for i in range(most - count)}
        files[party] = meeting_lab.csv_of(who)
    return lab.make(base, csv=files, more='tier = "tier"\n', **changes())


ROOMS: dict[str, dict[tuple[int, int], int]] = {
    "nobody": {},
    "everywhere": {(s, t): EACH for s in range(LISTS) for t in range(LISTS)},
    "diagonal": {(s, s): DIAGONAL for s in range(LISTS)},
}


@dataclass
class Seen:
    """One round. finals: (owner, peer) → the owner's values as the coordinator got them. written: by (owner, peer)."""

    layout: Layout
    released: Integers
    drawn: dict[tuple[str, str], Integers]
    finals: dict[tuple[str, str], Any]
    canaries: dict[tuple[str, str], Any]
    written: dict[tuple[str, str], tuple[Between, bytes]] = field(default_factory=dict)
    stated: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)  # by (owner, peer): sizes as signed

    def matches(self, a: str, b: str) -> Integers:
        """(lists, lists) values that the two finished lists share, as anybody would count who has them."""
        _, mine, theirs = np.intersect1d(self.finals[a, b], self.finals[b, a], return_indices=True)
        cells = np.zeros((self.layout.lists(a), self.layout.lists(b)), dtype=np.int64)
        np.add.at(cells, (self.list_of(a, b)[mine], self.list_of(b, a)[theirs]), 1)
        return cells

    def list_of(self, owner: str, peer: str) -> Integers:
        return np.repeat(np.arange(self.layout.lists(owner)), self.layout.final(owner, peer))

    def of_one(self, owner: str, peer: str) -> Integers:
        """(own lists, the peer's) what coordinator and peer know together: people, under the owner's noise alone."""
        a, b = sorted((owner, peer))
        cells = self.matches(a, b) if owner == a else self.matches(a, b).T
        return cells - self.drawn[peer, owner].T - self.layout.shift

    def of_both(self, a: str, b: str) -> Integers:
        """What the coordinator knows by itself."""
        return self.matches(a, b) - 2 * self.layout.shift


def round_of(base: Path, to: Path) -> Seen:
    """One whole round in a copy of the room, in `Group`."""
    with in_the_group() as patch:
        return seen_in(patch, lab.copy(base, to), lab.plan(**changes()))


def seen_in(patch: pytest.MonkeyPatch, base: Path, plan: Plan) -> Seen:
    """One whole round in this room, of two parties or more."""
    draws = meeting_lab.Draws(patch)
    written: dict[tuple[str, str], tuple[Between, bytes]] = {}
    real: Callable[..., None] = Between.write_lists

    def write(between: Between, people: Any, path: Path) -> None:
        real(between, people, path)
        written[between.me, between.peer] = (between, path.read_bytes())

    patch.setattr(Between, "write_lists", write)
    with lab.Room(base, plan) as room:
        sizes, overlap = room.run()
        layout = Layout.of(room.plan, "overlap", {"overlap-sizes": sizes.body_.released})
        finals: dict[tuple[str, str], Any] = {}
        for exchange in room.sent(words.Fetch):
            asked: Any = messages.read_request(exchange.request)
            if asked.kind == "final":
                key = (asked.peer, exchange.party)
                finals[key] = finals.get(key, b"") + exchange.payload
        canaries, stated = {}, {}
        for exchange in room.sent(words.Reveal):
            for peer, rows in messages.read_reply(exchange.reply).canaries.items():  # type: ignore[union-attr]
                canaries[exchange.party, peer] = _values(b"".join(map(keys.unbase64, rows)))
        for exchange in room.sent(words.Lay):
            for peer, head in messages.read_reply(exchange.reply).heads.items():  # type: ignore[union-attr]
                stated[exchange.party, peer] = tuple(head.sizes)
    released = np.asarray(overlap.body_.noised, dtype=np.int64)
    values = {pair: _values(data) for pair, data in finals.items()}
    return Seen(layout, released, draws.by, values, canaries, written, stated)


def _values(data: bytes) -> Any:
    return np.frombuffer(data, dtype="<u8")
