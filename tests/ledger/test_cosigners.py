"""Who must cosign: all for what spends, enough for a release that no two are possible, a majority for what ends."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from protocols.budget import recovery_threshold
from protocols.errors import IntegrityError
from protocols.ledger.cosigners import check_cosigners, cosigners_needed
from protocols.ledger.entries import Commit, Entry, build
from protocols.ledger.reducer import Accounts

NAMES = ("alpha", "beta", "delta", "epsilon", "gamma", "zeta")


def after_a_reserve(built: Any, adders: int, collusion: int, *, others: int = 0, quorum: int | None = None) -> Accounts:
    """A room of `adders` parties that reserved a round, and of `others` that take no part in it."""
    parties, least = NAMES[:adders], recovery_threshold(adders, collusion)
    room = built.Room(parties, collusion=collusion, quorum=quorum or least)
    accounts, few = Accounts(), room.plan_entry(1 + adders)
    room.parties = NAMES[: adders + others]
    wide = dict.fromkeys(built.BLOCKS, 10**12)
    caps = {"person": wide, "lifetime_person": 10**13}
    genesis = room.genesis(caps=caps, cosign_quorum=len(room.parties) // 2 + 1)
    room.parties = parties
    for entry in (genesis, *(room.dataset(seq, party) for seq, party in enumerate(parties, 1)), few):
        accounts.apply(entry)
    accounts.apply(room.reserve(accounts.size))
    return accounts


def commit_of(accounts: Accounts, survivors: tuple[str, ...]) -> Commit:
    (round_,) = accounts.rounds.values()
    made = build({
        "type": "commit@v1", "seq": accounts.size, "time": accounts.time, "round": round_.reserve.round,
        "step": "rfm-cuts", "digest": "ab" * 32, "recipients": [NAMES[0]], "numbers": ["/size"],
        "survivors": list(survivors),
    })  # fmt: skip
    assert isinstance(made, Commit)
    mark = accounts.mark()
    accounts.apply(made)  # the rules allow it
    accounts.roll_back(mark)
    return made


def suffices(names: frozenset[str], entries: list[Entry], accounts: Accounts) -> bool:
    try:
        check_cosigners(names, entries, accounts)
    except IntegrityError:
        return False
    return True


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [some for size in range(len(names) + 1) for some in combinations(names, size)]


def test_cosigners_are_all_for_what_spends_and_the_quorum_for_what_ends(room) -> None:
    accounts = room.accounts(room.reserve(5))
    everybody = frozenset(accounts.members.parties)
    for strong in (room.genesis(), room.dataset(1, "alpha"), room.plan_entry(1), room.reserve(1)):
        needed = cosigners_needed([room.commit(6), strong, room.forfeit(7)], accounts)
        assert (everybody, 3) in [(each.names, each.least) for each in needed]
        with pytest.raises(IntegrityError, match="gamma is missing"):
            check_cosigners({"alpha", "beta", "stranger"}, [strong], accounts)
        check_cosigners(everybody, [strong], accounts)
    for weak in ([room.forfeit(6)], []):
        check_cosigners({"alpha", "gamma"}, weak, accounts)
        with pytest.raises(IntegrityError, match="1 cosignatures of parties, fewer than the quorum of 2"):
            check_cosigners({"alpha", "stranger"}, weak, accounts)


def test_a_release_of_three_parties_needs_them_all(room) -> None:
    accounts = room.accounts(room.reserve(5))
    for missing in accounts.members.parties:
        with pytest.raises(IntegrityError, match=f"the cosignature of {missing} is missing; these entries need it"):
            check_cosigners(set(accounts.members.parties) - {missing}, [room.commit(6), room.forfeit(7)], accounts)
    check_cosigners(accounts.members.parties, [room.commit(6), room.forfeit(7)], accounts)


def test_a_release_of_five_of_which_one_may_collude_needs_four_of_its_survivors(built) -> None:
    accounts = after_a_reserve(built, 5, 1)
    whole, four = commit_of(accounts, NAMES[:5]), commit_of(accounts, NAMES[1:5])
    check_cosigners(NAMES[:4], [whole], accounts)
    check_cosigners(NAMES[1:5], [whole, four], accounts)
    with pytest.raises(IntegrityError, match="3 cosignatures of survivors of step rfm-cuts, fewer than the threshold"):
        check_cosigners(NAMES[:3], [whole], accounts)
    with pytest.raises(IntegrityError, match="the cosignature of gamma is missing"):
        check_cosigners(NAMES[:4], [four], accounts)
    with pytest.raises(IntegrityError, match="the cosignature of gamma is missing"):
        check_cosigners(NAMES[:4], [whole, four], accounts)


def test_parties_that_added_nothing_count_for_the_quorum_of_the_room_only(built) -> None:
    accounts = after_a_reserve(built, 3, 1, others=3)
    commit = commit_of(accounts, NAMES[:3])
    with pytest.raises(IntegrityError, match="3 cosignatures of parties, fewer than the quorum of 4"):
        check_cosigners(NAMES[:3], [commit], accounts)
    with pytest.raises(IntegrityError, match="the cosignature of alpha is missing"):
        check_cosigners(NAMES[1:], [commit], accounts)
    check_cosigners(NAMES[:4], [commit], accounts)


@pytest.mark.parametrize(
    ("adders", "collusion", "others"),
    [(n, c, 0) for n in range(1, 6) for c in range(min(1, n - 1), n)] + [(4, 1, 1), (4, 2, 2), (3, 1, 2), (2, 1, 3)],
)
def test_any_two_sets_that_suffice_for_one_step_share_more_parties_than_may_collude(
    built, adders: int, collusion: int, others: int
) -> None:
    """Whatever the two histories say who survived: so an honest party is in both, and it cosigns one history only."""
    accounts = after_a_reserve(built, adders, collusion, others=others)
    parties, fewest = NAMES[:adders], recovery_threshold(adders, collusion)
    commits = [commit_of(accounts, some) for some in subsets(parties) if len(some) >= fewest]
    cosigners = [frozenset(some) for some in subsets(NAMES[: adders + others])]
    enough = {names for names in cosigners for commit in commits if suffices(names, [commit], accounts)}
    assert enough
    least = min(len(one & other & set(parties)) for one in enough for other in enough)
    assert least > collusion
    assert min(len(names & set(parties)) for names in enough) == fewest  # and no more are asked for than that needs
