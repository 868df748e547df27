"""What a peer sees of a list, on the true curve: people, dummies, canaries and nobodies are alike in every byte.

The owner alone can tell which entry is which; here the test can, and looks for anything that differs by kind: whether
an entry is on the curve, of which order, and one bit after the other of what can be computed from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gmpy2 import jacobi
from scipy.stats import chi2

from party_node.overlap_lists import Between
from protocols.overlap.layout import CANARIES
from protocols.overlap.points import Plain, mask
from tests.overlap import cheats, meeting_lab
from tests.privacy.exact_profile import ALPHA
from tests.rounds import lab

P, A = 2**255 - 19, 486662
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the base point
KINDS = ("people", "dummies", "canaries", "nobodies")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Kind → the u-coordinates of its entries, in the lists that one party sent to its only peer."""
    base, plan = meeting_lab.make(tmp_path_factory.mktemp("bytes") / "room", cheats.MEMBERS, **meeting_lab.of_two())
    written: list[tuple[Between, bytes]] = []
    real = Between.write_lists

    def write(between: Between, people: Any, to: Path) -> None:
        real(between, people, to)
        if between.me == cheats.HONEST:
            written.append((between, to.read_bytes()))

    with pytest.MonkeyPatch.context() as patch, lab.Room(base, plan) as room:
        patch.setattr(Between, "write_lists", write)
        room.run()
    ((between, data),) = written
    engine, scalar, lists = Plain(), between.halves.scalar(cheats.CHEAT), len(meeting_lab.TIERS)
    keys = [name.encode() for name in meeting_lab.customers(cheats.HONEST)]
    made = {
        "people": mask(scalar, engine.points(between.domain, keys)),
        "canaries": mask(scalar, engine.base(between._scalars("canaries", lists * CANARIES))),
        "dummies": mask(scalar, engine.base(between._scalars("dummies", 2 * between.layout.shift * lists**2))),
    }
    listed = _points(data)
    found = {kind: [u for u in _points(points) if u in set(listed)] for kind, points in made.items()}
    known = {u for of_kind in found.values() for u in of_kind}
    found["nobodies"] = [u for u in listed if u not in known]
    assert len(found["people"]) == meeting_lab.PEOPLE
    assert len(found["canaries"]) == lists * CANARIES
    assert len(found["dummies"]) == between.drawn.sum()
    assert sum(map(len, found.values())) == len(set(listed)) == sum(between.layout.sent(cheats.HONEST, cheats.CHEAT))
    return found


def _points(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32)]


def of_order_q(u: int) -> bool:
    """Whether q · (u, v) is the neutral point: the ladder of RFC 7748, section 5, with no bit set or cleared."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for at in reversed(range(ORDER.bit_length())):
        bit = ORDER >> at & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + (A - 2) // 4 * (aa - bb)) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return z2 == 0


def test_the_ladder_knows_who_has_another_order() -> None:
    """The base point; and what a hash leads to, of which seven in eight are not in the base point's group."""
    hashed = _points(Plain().points(b"a domain", [bytes([i]) for i in range(80)]))
    assert of_order_q(9)
    assert 40 < sum(not of_order_q(u) for u in hashed) < 80


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_canonical_and_on_the_curve(kind: str, kinds: dict[str, list[int]]) -> None:
    assert all(u < P and jacobi(u * (u * u + A * u + 1) % P, P) == 1 for u in kinds[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_in_the_group_of_prime_order(kind: str, kinds: dict[str, list[int]]) -> None:
    assert all(map(of_order_q, kinds[kind][:60]))


def _square(move: int) -> Callable[[int], int]:
    return lambda u: jacobi((u + move) % P, P) == 1


BITS: dict[str, Callable[[int], int]] = {
    **{f"bit {i}": lambda u, i=i: u >> i & 1 for i in (0, 1, 2, 7, 63, 64, 127, 128, 191, 250, 253, 254)},
    **{f"u {move:+} is a square": _square(move) for move in (0, 1, -1, 2, -2, A, -A, 9)},
    "more ones than zeros": lambda u: u.bit_count() > 127,
    "1/u is odd": lambda u: pow(u, -1, P) & 1,
    "1/u is less": lambda u: pow(u, -1, P) < u,
    "xor of the bytes is odd": lambda u: sum(u.to_bytes(32, "little")) & 1,
}


@pytest.mark.parametrize("bit", BITS)
def test_no_bit_of_an_entry_tells_its_kind(bit: str, kinds: dict[str, list[int]]) -> None:
    """χ² of kind by bit. A bit that is the same in all entries tells nothing either."""
    table = np.array([[sum(bool(BITS[bit](u)) for u in kinds[k]), len(kinds[k])] for k in KINDS], dtype=np.float64)
    rate = table[:, 0].sum() / table[:, 1].sum()
    if rate in (0, 1):
        return
    deviations = (table[:, 0] - rate * table[:, 1]) ** 2 / (rate * (1 - rate) * table[:, 1])
    assert deviations.sum() < chi2.ppf(1 - ALPHA, len(KINDS) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_every_kind_are_uniform(kind: str, kinds: dict[str, list[int]]) -> None:
    """All but the last, whose top bit is never set."""
    data = b"".join(u.to_bytes(32, "little")[:31] for u in kinds[kind])
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    expected = len(data) / 256
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(1 - ALPHA, 255)
    assert math.isclose(counts.sum(), len(data))
