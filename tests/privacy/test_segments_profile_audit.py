"""An attack on the whole privacy profile, end to end: real nodes, their files, masks, ledger and releases.

A test question takes the place of the plan's: many copies of one slot, to each of which a person adds 4, under noise of
σ = 8 a share. One round with a customer, who is known to all three parties, and one without: every slot is a sample of
what an attacker sees. For a grid of ε′ the most telling event x ≥ t may be likelier with the person than without by no
more than the exact discrete Gaussian's δ(ε′) allows. Two attackers look:

    outsider    sees the release: moved by 12, under the noise of three shares
    colluders   two parties who subtract their own shares from it: moved by 4, under the noise of one
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from party_node import contribution, share
from protocols.budget import MICRO, variance_for
from protocols.noise import add_noise
from protocols.questions import REGISTRY, rfm
from protocols.statistic import Integers, Noise, People, Statistic, Step
from tests.privacy.exact_profile import excess

WEIGHT = 4  # what one person adds to each copy
SIGMA = 8  # of one share
COPIES = 4_000
RHO = WEIGHT**2 * COPIES * 10**9 // (2 * SIGMA**2)  # of all copies together, nano-ρ
PERSON = "every-where"  # in no row of the lab


# -- the test question, and the room in which it is asked --------------------------------------------------------------


def copies(question: rfm.Plan) -> list[tuple[Step, int]]:
    """Δ² = 4² a copy, all copies together. Why: a person adds 4 to each. Asked in place of the plan's question."""
    names = (*(f"copy/{i}" for i in range(COPIES)), "unusable")

    def rows(people: People, _: Mapping[str, Any]) -> Integers:
        return np.full((len(people["usable"]), COPIES), WEIGHT, dtype=np.int64)

    def answer(_: Integers, __: Noise, ___: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    statistic = Statistic(names, WEIGHT, WEIGHT**2 * COPIES)
    return [(Step("copies", statistic, rows, answer), question.rho.cuts)]


@pytest.fixture(scope="module")
def lab(lab: ModuleType) -> Iterator[ModuleType]:
    """The rooms of `tests/rounds`, with limits that let all copies pass."""
    limits = {'record = "2"': 'record = "1000"', 'person = "6"': 'person = "3000"', 'record = "1"': 'record = "1000"'}
    limits['files = ["sales.csv"]'] = f'files = ["sales.csv"]\nleast_people = {PEOPLE}'
    agree = lab.consent
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROOM_TOML", "NODE_TOML"):
            for old, new in limits.items():
                patch.setattr(lab, name, getattr(lab, name).replace(old, new))
        patch.setattr(lab, "consent", lambda home, plan: agree(home, plan, per_round="500", per_period="1000"))
        yield lab


@contextmanager
def asking_copies() -> Iterator[None]:
    """The registry with the test question in place of the one whose plans the lab writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY, "rfm", (rfm.Plan, lambda question, _: copies(question)))
        yield


PEOPLE = 30  # at each party, and one more where the person is there


@pytest.fixture(scope="module")
def rooms(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Is the person there? → a room's folders, its parties' files registered."""
    made = {}
    changes: dict[str, Any] = {"rho": RHO, "questions": [{**lab.QUESTION, "rho": {"cuts": RHO, "cohorts": 1}}]}
    with asking_copies():
        for there in (False, True):
            files = {}
            for party in lab.PARTIES:
                rows = lab.rows_of(party, PEOPLE)
                rows += [(PERSON, f"{party}-x", rows[0][2], 999, 0)] if there else []
                files[party] = lab.csv_of(rows)
            made[there] = lab.make(tmp_path_factory.mktemp("audit") / "room", csv=files, **changes)
    return made


class Seen:
    """What the two attackers see of one round, slot by slot, with what is public or their own subtracted."""

    def __init__(self, released: Integers, shares: list[Integers]) -> None:
        others = WEIGHT * PEOPLE
        self.outsider = released - 3 * others
        self.colluders = released - shares[1] - shares[2] - others


def round_of(lab: ModuleType, base: Path, tmp_path: Path, noise: Callable[..., Integers] = add_noise) -> Seen:
    """One whole round. The parties' own noised sums are noted on the way, since each party knows its own."""
    own: list[Integers] = []

    def noted(total: Integers, **arguments: int) -> Integers:
        own.append(noise(total, **arguments))
        return own[-1]

    with asking_copies(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(share, "add_noise", noted)
        changes = {"rho": RHO, "questions": [{**lab.QUESTION, "rho": {"cuts": RHO, "cohorts": 1}}]}
        with lab.Room(lab.copy(base, tmp_path), lab.plan(**changes)) as room:
            (release,) = room.run()
            mechanism = room.plan.steps()[0][1]
    assert (mechanism.variance_micro, release.body_.charge_record) == (SIGMA**2 * MICRO, RHO)
    released = np.array(release.body_.noised, dtype=np.int64)
    assert released.tolist() == np.sum(own, axis=0).tolist()
    return Seen(released[:-1], [one[:-1] for one in own])


@contextmanager
def counted_twice() -> Iterator[None]:
    """A node whose exact sum has everything twice. (The tally would stop a row that is over the bound.)"""
    real = contribution.contribute

    def twice(*arguments: Any) -> contribution.Contribution:
        found = real(*arguments)
        usual = np.append(np.full(COPIES, WEIGHT * PEOPLE, dtype=np.int64), 0)
        return contribution.Contribution(usual + 2 * (found.total - usual), found.fault)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("party_node.participation.contribute", twice)
        yield


def halved(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
    """σ/2: OpenDP is told half the sensitivity, or it would refuse."""
    return add_noise(total, bound_sq=bound_sq // 4, variance_micro=variance_micro // 4)


def a_third(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
    """σ/√3: the three shares together have the noise that each should have."""
    return add_noise(total, bound_sq=bound_sq // 3, variance_micro=variance_micro // 3 + 1)


ATTACKERS = {"outsider": (3 * WEIGHT, 3 * SIGMA**2), "colluders": (WEIGHT, SIGMA**2)}


def exceeded(without: Seen, with_person: Seen, attacker: str) -> float:
    shift, variance = ATTACKERS[attacker]
    return excess(getattr(without, attacker), getattr(with_person, attacker), variance, shift)


# -- the attack --------------------------------------------------------------------------------------------------------

Pair = tuple[Seen, Seen]


@pytest.fixture(scope="module")
def honest(lab: ModuleType, rooms: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """(without, with the person), as the product is."""
    return _pair(lab, rooms, tmp_path_factory)


def _pair(
    lab: ModuleType, rooms: dict[bool, Path], folders: pytest.TempPathFactory, **how: Callable[..., Integers]
) -> Pair:
    without, with_person = (
        round_of(lab, rooms[there], folders.mktemp("round") / "room", **how) for there in (False, True)
    )
    return without, with_person


def test_each_share_has_its_sigma_and_the_person_moves_each_copy_by_the_weight(honest: Pair) -> None:
    """So that the attack is on what it says: the means differ by 4 and by 12, the deviations are 8 and 8 √3."""
    for attacker, (shift, variance) in ATTACKERS.items():
        without, with_person = (getattr(seen, attacker).astype(np.float64) for seen in honest)
        assert abs(with_person.mean() - without.mean() - shift) < 5 * math.sqrt(2 * variance / COPIES)
        assert abs(without.mean()) < 5 * math.sqrt(variance / COPIES)
        assert without.std() == pytest.approx(math.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("attacker", sorted(ATTACKERS))
def test_the_profile_of_a_whole_round_is_kept(attacker: str, honest: Pair) -> None:
    assert exceeded(*honest, attacker) <= 0


def test_half_the_noise_in_the_nodes_is_caught_by_both_attackers(
    lab: ModuleType, rooms: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = _pair(lab, rooms, tmp_path_factory, noise=halved)
    assert all(exceeded(*pair, attacker) > 0 for attacker in ATTACKERS)


def test_a_person_who_counts_twice_in_the_nodes_is_caught_by_both_attackers(
    lab: ModuleType, rooms: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with counted_twice():
        pair = _pair(lab, rooms, tmp_path_factory)
    assert all(exceeded(*pair, attacker) > 0 for attacker in ATTACKERS)


def test_a_third_of_the_variance_in_each_share_is_caught_by_two_who_collude(
    lab: ModuleType, rooms: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It would be enough if a person were known to one party and nobody colluded; the plan promises more."""
    pair = _pair(lab, rooms, tmp_path_factory, noise=a_third)
    assert exceeded(*pair, "colluders") > 0


def test_the_budget_of_all_copies_gives_each_the_noise_that_is_attacked() -> None:
    assert variance_for(RHO, WEIGHT**2 * COPIES, 1) == SIGMA**2 * MICRO
