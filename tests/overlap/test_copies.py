"""A party that lists one person several times, or what is no point: what is caught, and what is true of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from party_node import overlap as node_overlap
from party_node.overlap_lists import Between, Stream
from protocols.overlap.layout import Layout
from protocols.overlap.points import mask
from tests.overlap import meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, NO_POINT, TWICE, Watched, after, values_of, with_points

P, A = 2**255 - 19, 486662


def read(point: bytes) -> int:
    return int.from_bytes(point, "little")


def written(u: int) -> bytes:
    return u.to_bytes(32, "little")


def root(square: int) -> int:
    """A square root modulo p, which is 5 modulo 8."""
    found = pow(square, (P + 3) // 8, P)
    found = found if (found * found - square) % P == 0 else found * pow(2, (P - 1) // 4, P) % P
    assert (found * found - square) % P == 0
    return found


def moved(u: int) -> int:
    """The point and one of order 4, added up: T = (1, √(A + 2))."""
    v = root(u * (u * u + A * u + 1) % P)
    slope = (v - root(A + 2)) * pow(u - 1, -1, P) % P
    return (slope * slope - A - u - 1) % P


def test_adding_a_point_of_order_four_leads_to_one_masked_value() -> None:
    """So that the copies below are what they say."""
    point = read(mask(bytes(range(32)), written(9)))
    other = moved(point)
    assert other not in (point, pow(point, -1, P))
    for u in (point, pow(point, -1, P), other, point + 2**255):
        assert mask(bytes(range(32)), written(u)) == mask(bytes(range(32)), written(point))


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        pytest.param(lambda u: u, TWICE, id="as-it-is"),
        pytest.param(lambda u: u + 2**255, NO_POINT, id="top-bit"),
        pytest.param(lambda u: pow(u, -1, P), TWICE, id="inverse"),
        pytest.param(moved, TWICE, id="moved-by-a-point-of-small-order"),
    ],
)
def test_a_copy_of_an_entry_in_another_spelling(
    copied: Callable[[int], int], said: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bend(points: list[bytes]) -> None:
        points[-1] = written(copied(read(points[0])))  # in the first list, and in the last

    after(monkeypatch, "write_lists", with_points(bend))
    watched.forfeited(f"{HONEST} refused: {said}")


def test_one_list_many_times_over(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def bend(points: list[bytes]) -> None:
        points[:] = (points[:100] * (len(points) // 100 + 1))[: len(points)]

    after(monkeypatch, "write_lists", with_points(bend))
    watched.forfeited(f"{HONEST} refused: {TWICE}")


def twist() -> int:
    return next(u for u in range(2, 100) if pow(u * (u * u + A * u + 1) % P, (P - 1) // 2, P) == P - 1)


@pytest.mark.parametrize(
    "u",
    [0, 1, P - 1, P, P + 1, P + 9, 2**255 - 1, 2**256 - 1, twist(),
     325606250916557431795983626356110631294008115727848805560023387167927233504],
)  # fmt: skip
def test_an_entry_that_is_no_point(u: int, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """0, 1, p − 1 and the last are of small order; p + 9 is the base point, not canonical; one is on the twist."""

    def bend(points: list[bytes]) -> None:
        points[len(points) // 2] = written(u)

    after(monkeypatch, "write_lists", with_points(bend))
    watched.forfeited(f"{HONEST} refused: {NO_POINT}")


def test_a_value_twice_in_what_a_party_finished(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person of the other party, counted once more: seen by the coordinator."""

    def bend(between: Between, to: Path) -> None:
        values = values_of(to.read_bytes()).copy()
        received = to.with_name(to.name.replace(".final", ".received")).read_bytes()
        entries = values_of(b"".join(_finished(between.halves.scalar(HONEST), received)))
        own = np.flatnonzero(~np.isin(values, entries))
        values[own[0]] = values[np.flatnonzero(np.isin(values, entries))[0]]
        to.write_bytes(values.tobytes())

    after(monkeypatch, "finish", bend)
    watched.forfeited(f"the lists of {HONEST} hold a value twice")


def _finished(scalar: bytes, received: bytes) -> list[bytes]:
    return [mask(scalar, received[i : i + 32])[:8] for i in range(0, len(received), 32)]


class Copies:
    """The cheat that no check sees: one person under k more scalars, and one entry of the other's list under these.

    It has no dummies of its own, so that what it adds to the honest party's lists are copies, and free places. Which
    entry to copy it would have to guess; here it is told.
    """

    def __init__(self, watched: Watched, monkeypatch: pytest.MonkeyPatch, person: str, k: int) -> None:
        self.person, self.k, self.watched, self.wanted = person.encode(), k, watched, bytes(8)
        self._real_write, real_finish = Between.write_lists, Between.finish
        real_draw = node_overlap.Meeting._draw

        def draw(meeting: Any, mechanism: Any, layout: Layout) -> Any:
            return real_draw(meeting, mechanism, layout) * (meeting.party != CHEAT)

        def write(between: Between, people: Any, to: Path) -> None:
            self._real_write(between, people, to)
            if between.me == CHEAT:
                self._copy_own(between, to)
            else:
                self.masked = between.engine.mask(between.halves.scalar(CHEAT), self._point(between))

        def finish(between: Between, received: Path, to: Path) -> None:
            real_finish(between, received, to)
            if between.me == CHEAT:
                self._copy_theirs(between, received.read_bytes(), to)

        monkeypatch.setattr(node_overlap.Meeting, "_draw", draw)
        monkeypatch.setattr(Between, "write_lists", write)
        monkeypatch.setattr(Between, "finish", finish)

    def _point(self, between: Between) -> bytes:
        return bytes(between.engine.points(between.domain, [self.person]))

    def _scalars(self, between: Between) -> list[bytes]:
        return [between.halves.derive(f"copy/{i}") for i in range(self.k)]

    def _copy_own(self, between: Between, to: Path) -> None:
        """In places that nobody fills, of the list in which the person is."""
        points, at = bytearray(to.read_bytes()), self.list_of(CHEAT)
        sizes = between.layout.sent(CHEAT, HONEST)
        shuffle = Stream(between.halves.derive(f"order/{HONEST}"))
        places = [shuffle.order(size) for size in sizes]
        free = sum(sizes[:at]) + places[at][-self.k :]
        for place, scalar in zip(free.tolist(), self._scalars(between), strict=True):
            points[32 * place : 32 * place + 32] = mask(scalar, self._point(between))
        to.write_bytes(points)

    def _copy_theirs(self, between: Between, received: bytes, to: Path) -> None:
        """In the places that are its own, of the list in which the person is at the other party."""
        values, at = values_of(to.read_bytes()).copy(), self.list_of(HONEST)
        entries = values_of(b"".join(_finished(between.halves.scalar(HONEST), received)))
        sizes = between.layout.final(HONEST, CHEAT)
        own = np.flatnonzero(~np.isin(values, entries))
        own = own[(own >= sum(sizes[:at])) & (own < sum(sizes[: at + 1]))]
        assert len(own) == between.layout.dummies(CHEAT)
        copies = values_of(b"".join(mask(scalar, self.masked)[:8] for scalar in self._scalars(between)))
        values[own[: self.k]] = copies[: len(own)]
        to.write_bytes(values.tobytes())

    def list_of(self, party: str) -> int:
        return meeting_lab.TIERS.index(meeting_lab.customers(party)[self.person.decode()])


def test_copies_under_other_scalars_count_and_are_limited_by_the_places_for_dummies(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is true of them: nobody sees them, and one person counts k + 1 times in one cell.

    k copies cost k of the 2 · shift · lists places that are the cheat's in one finished list: one each, were all people
    copied alike (a plan with more places than people is refused). Nothing makes a cheat share them out alike. All of
    them on one entry, and that person's cell says whether it is one of those that the cheat listed k times; but of n
    entries it cannot know whose it takes, and hits a given person with probability 1/n. Entries that it drops for more
    copies cost it the round: m of n go unseen with probability (1 − 32/n)^m. The honest party's noise stays.
    """
    draws = meeting_lab.Draws(monkeypatch)
    person, k = "person-150", 40
    copies = Copies(watched, monkeypatch, person, k)
    *_, overlap = watched.room.run()
    cells = meeting_lab.matrices(overlap.body_.noised, watched.room.plan.parties)[HONEST, CHEAT]
    expected = meeting_lab.truth(HONEST, CHEAT) + draws.by[HONEST, CHEAT] - 2 * draws.shift
    expected[copies.list_of(HONEST), copies.list_of(CHEAT)] += k
    assert (cells == expected).all()
    assert k < 2 * draws.shift * len(meeting_lab.TIERS)
