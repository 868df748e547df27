"""The same attack on the cells of an overlap, with few people and on the true curve: nothing stands in its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from party_node import overlap as node_overlap
from protocols.statistic import Integers
from tests.overlap import cheats, meeting_lab
from tests.privacy.exact_profile import ALPHA, excess
from tests.privacy.overlap_rooms import EACH, SIGMA, Seen, changes_of, seen_in
from tests.rounds import lab

A, B = cheats.MEMBERS
LISTS = 8
NAMES = [*(f"l{i}" for i in range(LISTS - 1)), "other"]
RHO = 55_555_556  # of the one pair, nano: Δ² = 1, so σ² = 9
ROOMS = {"nobody": 0, "everywhere": EACH}


def plan_changes() -> dict[str, Any]:
    members = {"parties": [A, B], "recipients": [A, B], "collusion": 1, "quorum": 2}
    question = meeting_lab.QUESTION | {"rho": {"sizes": 50_000_000, "pairs": RHO}}
    return changes_of(NAMES) | members | {"questions": [question]}


def make(base: Path, each: int) -> Path:
    """So many shared people in each cell; as many in every list of both rooms."""
    files = {}
    for party in (A, B):
        who = {f"{s}-{t}-{i}": NAMES[s if party == A else t] for s in range(LISTS) for t in range(LISTS)
               for i in range(each)}  # fmt: skip
        rest = LISTS * EACH - LISTS * each
        who |= {f"{party}-{s}-{i}": NAMES[s] for s in range(LISTS) for i in range(rest)}
        files[party] = meeting_lab.csv_of(who)
    return lab.make(base, members=(A, B), csv=files, more='tier = "tier"\n', **plan_changes())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """One round of each room."""
    place, found = tmp_path_factory.mktemp("on-the-curve"), {}
    for name, each in ROOMS.items():
        with pytest.MonkeyPatch.context() as patch:
            found[name] = seen_in(patch, make(place / name, each), lab.plan(**plan_changes()))
    return found


def noise(cells: Integers) -> float:
    return float((cells.astype(np.float64) ** 2).sum()) / SIGMA**2


def in_bounds(measured: float, cells: int) -> bool:
    return bool(chi2.ppf(ALPHA, cells) < measured < chi2.ppf(1 - ALPHA, cells))


@pytest.mark.parametrize("name", ROOMS)
def test_what_both_drew_and_who_is_shared_is_all_there_is_in_a_cell(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    drawn = one.drawn[A, B] + one.drawn[B, A].T
    assert (one.matches(A, B) - drawn == ROOMS[name]).all()
    assert (one.of_both(A, B).reshape(-1) == one.released).all()


@pytest.mark.parametrize("owner", [A, B])
def test_the_profile_of_every_cell_is_kept_by_the_noise_of_either_party(owner: str, seen: dict[str, Seen]) -> None:
    peer = B if owner == A else A
    without, with_people = (seen[name].of_one(owner, peer) for name in ROOMS)
    assert excess(without.reshape(-1), with_people.reshape(-1), SIGMA**2, EACH) <= 0
    for cells in (without, with_people - EACH):
        assert in_bounds(noise(cells), LISTS**2)
        assert abs(float(cells.mean())) < 5 * SIGMA / LISTS


def test_sizes_are_the_same_and_say_nothing_but_what_was_released(seen: dict[str, Seen]) -> None:
    for one in seen.values():
        for owner, peer in ((A, B), (B, A)):
            assert one.stated[owner, peer] == one.layout.sent(owner, peer)
            assert 32 * sum(one.stated[owner, peer]) == len(one.written[owner, peer][1])
            assert len(one.finals[owner, peer]) == sum(one.layout.final(owner, peer))


def test_halved_dummies_are_seen(tmp_path: Path) -> None:
    """So that the bounds above can be left."""
    with pytest.MonkeyPatch.context() as patch:
        real = node_overlap.Meeting._draw

        def draw(meeting: Any, mechanism: Any, layout: Any) -> Integers:
            drawn = real(meeting, mechanism, layout)
            return (drawn - layout.shift) // 2 + layout.shift if meeting.party == A else drawn

        patch.setattr(node_overlap.Meeting, "_draw", draw)
        one = seen_in(patch, make(tmp_path / "room", 0), lab.plan(**plan_changes()))
    assert not in_bounds(noise(one.of_one(A, B)), LISTS**2)
    assert in_bounds(noise(one.of_one(B, A)), LISTS**2)
    assert math.isclose(float(one.of_one(A, B).std()), SIGMA / 2, rel_tol=0.4)
