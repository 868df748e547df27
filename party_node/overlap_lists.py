"""The files of an overlap: a party's own lists for a peer, and the peer's lists when this party has finished them.

What is written follows from the dataset, the numbers that were drawn for the step and the party's secrets for it, so a
node that was killed writes the same bytes again. A file is there whole or not at all. Nothing here is held in memory
but what one entry needs again: its place, 8 bytes, and for final lists its value.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from protocols.errors import IntegrityError
from protocols.overlap import counting, points
from protocols.overlap.agreement import Halves
from protocols.overlap.layout import CANARIES, CHUNK_BYTES, FINAL_BYTES, POINT_BYTES, Layout
from protocols.statistic import Integers

from . import progress

Bytes = NDArray[np.uint8]
BATCH = CHUNK_BYTES // POINT_BYTES


class Stream:
    """As many random bytes as are wanted, always the same ones, from 32 secret bytes: AES-256-CTR (SP 800-38A)."""

    def __init__(self, seed: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()

    def take(self, count: int) -> bytes:
        return self._cipher.update(bytes(count))

    def order(self, count: int) -> Integers:
        """A random order of `count` things, each as likely as any: by 64-bit numbers, equal ones with probability
        count²/2^65."""
        return np.argsort(np.frombuffer(self.take(8 * count), dtype="<u8"), kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Between:
    """One party's part in one pair. `half`: [b]G of the peer. `drawn`: (own lists, lists of the peer), each cell's
    matched dummies, 0 to 2 · shift."""

    me: str
    peer: str
    halves: Halves
    half: bytes
    drawn: Integers
    layout: Layout
    engine: points.Engine
    domain: bytes

    # -- dummies -------------------------------------------------------------------------------------------------------

    def _scalars(self, what: str, count: int) -> bytes:
        """`count` scalars of 32 bytes, for dummies or canaries of this pair."""
        return Stream(self.halves.derive(f"{what}/{self.peer}")).take(32 * count)

    @property
    def _most(self) -> int:
        """How many dummies are made in all, of which so many are used as were drawn: to make them takes one time."""
        return int(self.drawn.size) * 2 * self.layout.shift

    @property
    def _used(self) -> NDArray[np.bool_]:
        """(_most,) which: of each cell, row by row, the first ones."""
        used: NDArray[np.bool_] = np.arange(2 * self.layout.shift)[None, :] < self.drawn.reshape(-1, 1)
        return used.reshape(-1)

    def _mates(self, scalars: bytes) -> NDArray[np.uint64]:
        """The final values of the points [a][r]G: what the peer's mask makes of them, which is [r][a][b]G."""
        both = self.engine.mask(self.halves.scalar(self.peer), self.half)
        made = points.powers(both, scalars)
        return counting.values_of(_first_bytes(made))

    def canaries(self) -> NDArray[np.uint64]:
        """(own lists, CANARIES) final values of the canaries in this party's lists."""
        lists = self.layout.lists(self.me)
        return self._mates(self._scalars("canaries", lists * CANARIES)).reshape(lists, CANARIES)

    # -- own lists -----------------------------------------------------------------------------------------------------

    def write_lists(self, keys: Iterator[tuple[Integers, list[bytes]]], to: Path) -> None:
        """All own lists, one after the other, 32 bytes an entry, each in random order.

        keys   (which list, key) of every person in batches; more people than a list's cap are not put in
        1. a place for every entry: people, then canaries, then dummies, then what nobody fills, in random order
        2. people, hashed to the curve and masked
        3. canaries and dummies: [a][r]G
        4. places that nobody fills: random keys, made in the very same way as people
        """
        sizes = self.layout.sent(self.me, self.peer)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        shuffle = Stream(self.halves.derive(f"order/{self.peer}"))
        # (1)
        places = [starts[s] + shuffle.order(size) for s, size in enumerate(sizes)]
        filled = np.zeros(len(sizes), dtype=np.int64)
        told = progress.Counted(f"lists for {self.peer}: hashed and masked", sum(sizes), BATCH)
        with _written(to, int(starts[-1]) * POINT_BYTES) as out:
            # (2)
            for at, own in keys:
                taken, chosen = self._next_places(at, filled, places)
                self._put_people(out, taken, [own[i] for i in chosen.tolist()])
                told.add(len(taken))
            # (3)
            first, each = self.layout.caps[self.me], self.drawn.sum(axis=1)
            spots = [places[s][cap : cap + CANARIES] for s, cap in enumerate(first)]
            _put(out, np.concatenate(spots), self._masked_base(self._scalars("canaries", len(sizes) * CANARIES)))
            spots = [places[s][cap + CANARIES :][: each[s]] for s, cap in enumerate(first)]
            _put(out, np.concatenate(spots), self._masked_base(self._scalars("dummies", self._most))[self._used])
            told.add(len(sizes) * CANARIES + int(each.sum()))
            # (4)
            empty = Stream(self.halves.derive(f"nobody/{self.peer}"))
            for s, cap in enumerate(first):
                left = np.concatenate([places[s][filled[s] : cap], places[s][cap + CANARIES + int(each[s]) :]])
                for start in range(0, len(left), BATCH):
                    part = left[start : start + BATCH]
                    raw = empty.take(32 * len(part))
                    self._put_people(out, part, [b"nobody/" + raw[i : i + 32] for i in range(0, len(raw), 32)])
                    told.add(len(part))

    def _next_places(self, at: Integers, filled: Integers, places: Sequence[Integers]) -> tuple[Integers, Integers]:
        """(places, which of the batch they are for): the next free ones of each person's list, up to its cap."""
        taken, chosen = [], []
        for s in np.unique(at).tolist():
            these = np.flatnonzero(at == s)[: self.layout.caps[self.me][s] - int(filled[s])]
            taken.append(places[s][filled[s] : filled[s] + len(these)])
            chosen.append(these)
            filled[s] += len(these)
        nothing = np.zeros(0, dtype=np.int64)
        return np.concatenate([nothing, *taken]), np.concatenate([nothing, *chosen])

    def _put_people(self, out: mmap.mmap, places: Integers, keys: Sequence[bytes]) -> None:
        if len(keys):
            hashed = self.engine.points(self.domain, keys)
            _put(out, places, _rows(self.engine.mask(self.halves.scalar(self.peer), hashed)))

    def _masked_base(self, scalars: bytes) -> Bytes:
        """(n, 32): [a][r]G for each scalar r."""
        return _rows(self.engine.mask(self.halves.scalar(self.peer), self.engine.base(scalars)))

    # -- the peer's lists ----------------------------------------------------------------------------------------------

    def finish(self, received: Path, to: Path) -> None:
        """The peer's lists, masked by this party too, with its mates in them, 8 bytes an entry, in random order.

        1. refuse what is no point of the curve, of small order, or in two spellings
        2. mask; refuse a value that is there twice, in all the peer's lists together
        3. add the mates of this party's dummies, and random values for the places that are left
        4. shuffle each list
        Raises IntegrityError.
        """
        sizes, final = self.layout.sent(self.peer, self.me), self.layout.final(self.peer, self.me)
        values = np.empty(sum(sizes), dtype=np.uint64)
        scalar, done = self.halves.scalar(self.peer), 0
        with received.open("rb") as file:
            while batch := file.read(BATCH * POINT_BYTES):
                try:
                    # (1)
                    self.engine.check(batch)
                    # (2)
                    masked = counting.values_of(_first_bytes(self.engine.mask(scalar, batch)))
                except IntegrityError:  # which entry it was, and why, is nobody's business
                    raise IntegrityError(f"the lists of {self.peer} hold what is no point of the curve") from None
                values[done : done + len(masked)] = masked
                done += len(masked)
                progress.tell(f"lists of {self.peer}: masked again", done, len(values))
        if done != len(values):
            raise IntegrityError(f"the lists of {self.peer} have other sizes than the plan gives them")
        counting.check_distinct(values, self.peer)
        # (3)
        mates = self._mates(self._scalars("dummies", self._most))[self._used]
        whose = np.repeat(np.tile(np.arange(self.drawn.shape[1]), self.drawn.shape[0]), self.drawn.reshape(-1))
        rest, shuffle = (
            Stream(self.halves.derive(f"rest/{self.peer}")),
            Stream(self.halves.derive(f"final/{self.peer}")),
        )
        with _written(to, sum(final) * FINAL_BYTES) as out:
            start = written = 0
            for t, size in enumerate(sizes):
                mine = mates[whose == t]
                left = counting.values_of(rest.take(FINAL_BYTES * (final[t] - size - len(mine))))
                whole = np.concatenate([values[start : start + size], mine, left])
                # (4)
                out[FINAL_BYTES * written : FINAL_BYTES * (written + final[t])] = (
                    whole[shuffle.order(len(whole))].astype("<u8").tobytes()
                )
                start, written = start + size, written + final[t]


def _rows(points_: bytes) -> Bytes:
    return np.frombuffer(points_, dtype=np.uint8).reshape(-1, POINT_BYTES)


def _put(out: mmap.mmap, places: Integers, rows: Bytes) -> None:
    np.frombuffer(out, dtype=np.uint8).reshape(-1, POINT_BYTES)[places] = rows


def _first_bytes(masked: bytes) -> bytes:
    return _rows(masked)[:, :FINAL_BYTES].tobytes()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _written:  # noqa: N801 - reads as a verb where it is used
    """A file of this size, mapped to be written in any order; under its name once the block ends well."""

    def __init__(self, to: Path, size: int) -> None:
        self._to, self._size = to, size
        self._part = to.with_name(f"{to.name}.part")

    def __enter__(self) -> mmap.mmap:
        self._file = self._part.open("w+b")
        os.chmod(self._part, 0o600)
        self._file.truncate(self._size)
        self._map = mmap.mmap(self._file.fileno(), self._size)
        return self._map

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._map.flush()
                os.fsync(self._file.fileno())
                self._part.replace(self._to)
        finally:
            self._file.close()
            if kind is not None:
                self._part.unlink(missing_ok=True)
