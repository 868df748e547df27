"""A bundle has the fewest checkpoints that carry its history, and none less: compared with trying all of them."""

from __future__ import annotations

from itertools import combinations
from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import IntegrityError
from protocols.ledger.cosigners import Needed
from protocols.ledger.coverage import Coverage, fewest
from protocols.ledger.members import Members

PARTIES = ("alpha", "beta", "gamma")
EVERYBODY = Needed(frozenset(PARTIES), 3, "parties", "number")
QUORUM = Needed(frozenset(PARTIES), 2, "parties", "quorum")


def members(*names: str) -> Members:
    return Members("room", "origin", None, MappingProxyType(dict.fromkeys(names)), quorum=2)


def carried(chosen, needs, epochs) -> int:
    """Up to where an auditor follows these checkpoints, each carrying what is new in it; -1 where one does not."""
    coverage, covered, seen = Coverage(), 0, 0
    for size, names in chosen:
        for seq in range(seen, size):
            if seq + 1 in epochs:
                coverage.members(epochs[seq + 1])
            coverage.add(seq, needs[seq])
        seen = size
        try:
            coverage.check(names, covered)
        except IntegrityError:
            return -1
        covered = size
    return covered


SIGNERS = st.sampled_from([PARTIES, ("alpha", "beta"), ("beta", "gamma"), ("alpha",)])
HISTORIES = st.lists(st.tuples(st.sampled_from([EVERYBODY, QUORUM]), st.none() | SIGNERS), min_size=1, max_size=9)


@settings(deadline=None, max_examples=300)
@given(HISTORIES, st.sets(st.integers(1, 9)))
def test_no_fewer_checkpoints_carry_as_much(history, kept) -> None:
    needs = [[need] for need, _ in history]
    candidates = [(size, names) for size, (_, names) in enumerate(history, 1) if names]
    epochs = {1: members(*PARTIES)}
    chosen = fewest(candidates, needs.__getitem__, epochs, kept)
    by_size = dict(candidates)
    assert carried([(size, by_size[size]) for size in chosen], needs, epochs) == (chosen[-1] if chosen else 0)
    choices = [c for n in range(len(candidates) + 1) for c in combinations(candidates, n)]
    sound = [c for c in choices if carried(c, needs, epochs) > -1]
    furthest = max((carried(c, needs, epochs) for c in sound), default=0)
    assert furthest == (chosen[-1] if chosen else 0)
    complete = {size for c in sound for size, _ in c}
    wanted = {size for size in kept if size in complete and size <= furthest}
    assert wanted <= set(chosen)
    enough = [c for c in sound if carried(c, needs, epochs) == furthest and wanted <= {size for size, _ in c}]
    assert len(chosen) == min(map(len, enough))


def test_the_last_checkpoint_before_the_members_change_is_kept() -> None:
    epochs = {1: members(*PARTIES), 4: members(*PARTIES)}
    candidates = [(size, PARTIES) for size in range(1, 7)]
    assert fewest(candidates, lambda _: [EVERYBODY], epochs) == [3, 6]


def test_a_party_that_came_anew_does_not_carry_what_needed_the_old_one() -> None:
    """Others vouched for the new key: the old one's word is not theirs to give."""
    epochs = {1: members(*PARTIES), 3: members("alpha", "beta"), 4: members(*PARTIES)}
    two = Needed(frozenset(("alpha", "beta")), 2, "parties", "number")
    needs = [[EVERYBODY], [EVERYBODY], [two], [EVERYBODY]]
    assert fewest([(4, PARTIES)], needs.__getitem__, epochs) == []
    assert fewest([(2, PARTIES), (4, PARTIES)], needs.__getitem__, epochs) == [2, 4]
    assert carried([(4, PARTIES)], needs, epochs) == -1


def test_a_party_that_rotated_its_key_carries_what_it_carried() -> None:
    epochs = {1: members(*PARTIES), 3: members(*PARTIES)}
    assert carried([(4, PARTIES)], [[EVERYBODY]] * 4, epochs) == 4


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([EVERYBODY, QUORUM]))), st.randoms(), SIGNERS)
def test_what_entries_need_may_be_said_in_any_order(said, draw, names) -> None:
    in_order, shuffled = Coverage(), Coverage()
    for coverage, pairs in (
        (in_order, sorted(said, key=lambda pair: pair[0])),
        (shuffled, draw.sample(said, len(said))),
    ):
        coverage.members(members(*PARTIES))
        for seq, need in pairs:
            coverage.add(seq, [need])
    assert shuffled.reach(names) == in_order.reach(names)
