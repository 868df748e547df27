"""An attack on the whole privacy profile of an overlap, end to end: real nodes, lists, masks, canaries, ledger.

Between rooms alike in all but whom two parties share, each cell of each pair is a sample of what an attacker sees. For
a grid of ε′ the most telling event x ≥ t may be likelier with the people than without by no more than the exact
discrete Gaussian's δ(ε′) allows. Attackers:

    the coordinator                      the finished lists of both: cells, under the noise of two
    the coordinator, and all peers       the same less the peers' own dummies: cells, rows, columns, under that of one
    a peer                               the lists as they were sent: how large, in what order, of what bytes
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from protocols.overlap.layout import CANARIES
from protocols.questions import overlap
from protocols.statistic import Integers
from tests.privacy.exact_profile import ALPHA, excess
from tests.privacy.overlap_rooms import (
    DIAGONAL,
    EACH,
    LISTS,
    PAIRS,
    PARTIES,
    ROOMS,
    SIGMA,
    Group,
    Seen,
    changes,
    make,
    round_of,
)
from tests.rounds import lab

OWNED = [(owner, peer) for owner in PARTIES for peer in PARTIES if peer != owner]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """One round of each room."""
    place = tmp_path_factory.mktemp("overlap-audit")
    return {name: round_of(make(place / name, shared), place / f"{name}-round") for name, shared in ROOMS.items()}


def exceeded(without: Integers, with_people: Integers, variance: int, moved: int) -> float:
    return excess(without.reshape(-1), with_people.reshape(-1), variance, moved)


def of_one(seen: Seen) -> Integers:
    """(6, LISTS, LISTS) what a coordinator in league with each party's peer knows of that party's people."""
    return np.stack([seen.of_one(owner, peer) for owner, peer in OWNED])


def of_both(seen: Seen) -> Integers:
    """(3, LISTS, LISTS) what the coordinator knows."""
    return np.stack([seen.of_both(a, b) for a, b in PAIRS])


def per_owner(cells: Integers, first: bool) -> Integers:
    """Every pair once, from the one side or from the other: the two are of the same people, and no more samples."""
    return cells[[i for i, (owner, peer) in enumerate(OWNED) if (owner < peer) == first]]


# -- cells -------------------------------------------------------------------------------------------------------------


def test_the_noise_attacked_is_the_plans() -> None:
    """Of one party, in one cell: the ρ of all pairs of a party buys σ = 3; a person is in one cell of each pair."""
    plan = lab.plan(**changes())
    mechanism = plan.step("overlap")[1]
    assert mechanism.variance_micro == pytest.approx(SIGMA**2 * 10**6, rel=1e-6)
    assert mechanism.sensitivity_sq == len(PARTIES) - 1
    assert overlap.shift(mechanism.variance_micro) >= 8 * SIGMA


def test_what_is_counted_is_what_two_finished_lists_share(seen: dict[str, Seen]) -> None:
    """So that the attack is on all there is: what is released is that, less the public part, and nothing besides."""
    for one in seen.values():
        assert (of_both(one).reshape(-1) == one.released).all()


def test_the_people_move_each_cell_by_as_many_as_they_are(seen: dict[str, Seen]) -> None:
    for cells, variance in ((of_one, SIGMA**2), (of_both, 2 * SIGMA**2)):
        without, with_people = (cells(seen[name]) for name in ("nobody", "everywhere"))
        deviation = math.sqrt(2 * variance / (len(PAIRS) * LISTS**2))
        assert abs(with_people.mean() - without.mean() - EACH) < 5 * deviation
        assert abs(without.mean()) < 5 * deviation
        assert without.std() == pytest.approx(math.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("first", [True, False])
def test_the_profile_of_every_cell_is_kept_by_the_noise_of_either_party(first: bool, seen: dict[str, Seen]) -> None:
    """A peer that colludes with the coordinator takes off what it drew itself."""
    without, with_people = (per_owner(of_one(seen[name]), first) for name in ("nobody", "everywhere"))
    assert exceeded(without, with_people, SIGMA**2, EACH) <= 0


def test_the_profile_of_every_cell_is_kept_before_the_coordinator(seen: dict[str, Seen]) -> None:
    without, with_people = (of_both(seen[name]) for name in ("nobody", "everywhere"))
    assert exceeded(without, with_people, 2 * SIGMA**2, EACH) <= 0


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_the_profile_of_sums_of_rows_and_columns_is_kept(first: bool, axis: int, seen: dict[str, Seen]) -> None:
    """The noise of a row is that of all its cells: here people are in one cell of each."""
    without, with_people = (per_owner(of_one(seen[name]), first).sum(axis=axis) for name in ("nobody", "diagonal"))
    assert exceeded(without, with_people, LISTS * SIGMA**2, DIAGONAL) <= 0


@pytest.mark.parametrize("axis", [1, 2])
def test_rows_and_columns_have_the_noise_of_all_their_cells(axis: int, seen: dict[str, Seen]) -> None:
    """Variance LISTS · σ² of one party, by χ²: a row of cells that belie one another would have less."""
    for first in (True, False):
        sums = per_owner(of_one(seen["nobody"]), first).sum(axis=axis).reshape(-1)
        measured = (sums.astype(np.float64) ** 2).sum() / (LISTS * SIGMA**2)
        assert chi2.ppf(ALPHA, len(sums)) < measured < chi2.ppf(1 - ALPHA, len(sums))


# -- sizes, and who is not matched -------------------------------------------------------------------------------------


def test_the_number_of_entries_is_the_plans_and_the_unmatched_are_the_rest(seen: dict[str, Seen]) -> None:
    """So both say nothing that the noised cells do not say."""
    for one in seen.values():
        for owner, peer in OWNED:
            values, sizes = one.finals[owner, peer], one.layout.final(owner, peer)
            assert len(np.unique(values)) == len(values) == sum(sizes)
            each = np.bincount(one.list_of(owner, peer), minlength=LISTS)
            cells = one.matches(*sorted((owner, peer)))
            matched = cells.sum(axis=1 if owner < peer else 0)
            unmatched = np.bincount(
                one.list_of(owner, peer)[~np.isin(values, one.finals[peer, owner])], minlength=LISTS
            )
            assert (unmatched == each - matched).all()
            assert tuple(each) == sizes


def test_sizes_follow_from_what_is_public_whoever_is_there(seen: dict[str, Seen]) -> None:
    """Caps are of the released sizes; the lists as sent, and as finished, are that and what the plan adds."""
    for one in seen.values():
        for owner, peer in OWNED:
            _, data = one.written[owner, peer]
            caps, dummies = one.layout.caps[owner], 2 * one.layout.shift * LISTS
            assert len(data) == 32 * sum(cap + CANARIES + dummies for cap in caps)
            assert one.layout.final(owner, peer) == tuple(cap + CANARIES + 2 * dummies for cap in caps)


# -- order -------------------------------------------------------------------------------------------------------------


def entries(one: Seen, owner: str, peer: str) -> dict[str, Any]:
    """What each entry of a list that was sent is, as only its owner can tell: kind → places within the list, 0 … 1."""
    between, data = one.written[owner, peer]
    group, scalar = Group(), between.halves.scalar(peer)
    place = {data[i : i + 32]: i // 32 for i in range(0, len(data), 32)}
    sizes = one.layout.sent(owner, peer)
    starts = np.cumsum([0, *sizes[:-1]])

    def where(listed: bytes) -> Any:
        at = [place[p] for i in range(0, len(listed), 32) if (p := listed[i : i + 32]) in place]
        of = np.searchsorted(starts, at, side="right") - 1
        return (np.asarray(at) - starts[of]) / np.asarray(sizes)[of]

    people = [customer.encode() for customer in shared_customers(owner)]
    canaries = between._scalars("canaries", LISTS * CANARIES)
    dummies = between._scalars("dummies", LISTS**2 * 2 * one.layout.shift)
    return {
        "people": where(group.mask(scalar, group.points(between.domain, people))),
        "canaries": where(group.mask(scalar, group.base(canaries))),
        "dummies": where(group.mask(scalar, group.base(dummies))),
    }


def shared_customers(owner: str) -> list[str]:
    """In the room in which people are shared everywhere; ascending, as a node reads them."""
    pairs = [pair for pair in PAIRS if owner in pair]
    shared = [f"{a}-{b}-{s}-{t}-{i}" for a, b in pairs for (s, t), n in ROOMS["everywhere"].items() for i in range(n)]
    return sorted(shared)


def uniform(places: Any, bins: int = 16) -> bool:
    counts = np.histogram(places, bins=bins, range=(0, 1))[0]
    expected = len(places) / bins
    return bool(((counts - expected) ** 2 / expected).sum() < chi2.ppf(1 - ALPHA, bins - 1))


@pytest.mark.parametrize("kind", ["people", "canaries", "dummies"])
def test_where_an_entry_stands_in_a_list_that_is_sent_says_nothing(kind: str, seen: dict[str, Seen]) -> None:
    one = seen["everywhere"]
    for owner, peer in OWNED:
        found = entries(one, owner, peer)[kind]
        assert len(found) > 500
        assert uniform(found)


def test_the_order_of_customers_is_not_the_order_of_entries(seen: dict[str, Seen]) -> None:
    """By rank correlation, below 6 deviations."""
    one = seen["everywhere"]
    for owner, peer in OWNED:
        found = entries(one, owner, peer)["people"]
        ranks = np.argsort(np.argsort(found))
        correlation = np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]
        assert abs(correlation) * math.sqrt(len(ranks)) < 6


def test_where_a_match_stands_in_a_finished_list_says_nothing(seen: dict[str, Seen]) -> None:
    """People, the owner's dummies and the peer's are among one another: the coordinator sees matches, and no kinds."""
    for one in seen.values():
        for owner, peer in OWNED:
            mine = one.finals[owner, peer]
            sizes = np.asarray(one.layout.final(owner, peer))
            starts, of = np.cumsum([0, *sizes[:-1]]), one.list_of(owner, peer)
            at = (np.arange(len(mine)) - starts[of]) / sizes[of]
            assert uniform(at[np.isin(mine, one.finals[peer, owner])])
            assert uniform(at[np.isin(mine, one.canaries[owner, peer])])


def test_no_entry_of_one_pair_or_round_is_an_entry_of_another(seen: dict[str, Seen]) -> None:
    every = [values for one in seen.values() for values in one.finals.values()]
    shared = sum(int(one.matches(a, b).sum()) for one in seen.values() for a, b in PAIRS)
    whole = np.concatenate(every)
    assert len(whole) - len(np.unique(whole)) == shared
    sent = [
        data[i : i + 32] for one in seen.values() for _, data in one.written.values() for i in range(0, len(data), 32)
    ]
    assert len(set(sent)) == len(sent)
