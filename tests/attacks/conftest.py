"""Attackers over real sockets: `besiege(stage)` opens a room whose real keys are in an attacker's hands (`siege.py`).

Each test is named after its attack, and asserts what the attacker gets and that no row of any store has changed. What
stops it, and what a patch must take out for the test to turn red (N node.py, P participation.py, W witness.py of
party_node; R reducer.py of protocols/ledger; M masking.py of protocols):

    test_forged_messages
      another key, another party's key, moved to another run   protocols/carrier/seal.py unseal (1)
      to one party sent to another, share in another's name    protocols/carrier/seal.py unseal (3)
      payload altered, share altered                           protocols/carrier/frames.py collect
      the same instruction again                               party_node/attendant.py _answer, P contribute (3)
      a party that poses as the coordinator                    pki.py RoomCA.party: client use, and no host name (both)
      share over the limit, for another plan                   coordinator/hub.py _reply (1); seal.py check_reply
    test_unapproved_plans
      no rule; withdrawn                                       party_node/policy.py check_consent; N _check_allowed
      nobody approved                                          P plan
      approvals never given; the old yes                       R _approve; R _check_holds
    test_false_reserves
      charge, noise, steps, data                               N _check_draft
      expired, not for a year; in the ledger already           N _hold (2)
      asked for again with a later expiry                      party_node/filter.py _take
      two of three holds, forged, replayed                     R _check_holds
      cheaper than its noise                                   R _check_mechanism
      a nonce of an earlier round                              R _reserve (2)
    test_false_steps
      plan, nonce, step, attempt, round, room, state           P _open_step, a line each
      repeated after its commit                                P _open_step
      not cosigned by one; a checkpoint from before            W check_covered; R check_cosigners
      expired                                                  P prepare (2)
      a hold kept back                                         W _spend_held
    test_false_rosters
      the coordinator's key, another step's; left out, stranger, copied      M check_roster
      a second roster; different rosters                       party_node/store.py agree_once; M check_agreements
      no agreement, another step's, another's name             M check_agreements
      a mask key that is none                                  M check_roster
      a second roster for an answered step                     P contribute (3), store.agree_once
    test_false_survivors
      too few, strangers, twice, not the one asked             P _check_survivors, a line each
      never masked; settled before its share                   P _check_survivors; P _sent
      too few signatures, another's, another step's            protocols/recovery.py check_settled
      a second set; different sets to different parties        P _settle: party_node/store.py and filter.py settle_once
      a late share                                             P _check_survivors; protocols/masking.py mask (own mask)
    test_shrunken_rooms
      a roster, a group below the quorum; without the one asked  P _check_named, agree (2)
      a key that cannot be recovered, another's sealing key    M check_roster
      another group to each party                              P contribute (3); M mask (the group's digest is the salt)
      a commit that names others                               P check_settled
    test_stolen_pieces
      boxes swapped, altered, another's, another step's        protocols/recovery.py _open, _key
      thousands of names, keys, signatures; floods             P _check_named, _check_survivors; recovery.py
    test_forked_histories
      two releases; a step that goes on; before the reserve    W cosign (1); R check_cosigners; M check_roster
      rolled back                                              W cosign (1); coordinator/ledger.py _known
      commits: survivors, order, round                         R _commit, R _open_round
      a sum that was made up                                   P _open_step (nobody contributes to it any more)
    test_false_releases
      figures, charge, recipients, slots, state, box           protocols/release.py recompute, compose; states.py _reals
      nonce, shares of noise, differing, not committed         N _receive (2)
      and what comes next                                      P earlier
    test_lookalike_seeds, test_lookalike_coordinators (no sockets: `guessing.py`)
      seed of one, repeated; hostile states; sums; halves      party_node/share.py draw; overlap.py Meeting._draw
    test_evil_parties
      holds, approvals, clock, size                            R _check_holds; coordinator/rounds.py, ledger.py _known
      cosignatures                                             protocols/ledger/notes.py verify_cosignature
      mask keys, agreements                                    coordinator/steps.py _offered, _agreed, _reply_of; M
      shares                                                   coordinator/aggregate.py check_share; hub.py _reply (1)
    test_oversized_and_slow
      over the limit, expired; cannot be read                  attendant.py _decide; protocols/carrier/codec.py
      trickled                                                 coordinator/hub.py _reply (3)
    test_restored_nodes
      put back to before it drew                               P _own, store.agree_once, M check_agreements
      put back to after it drew                                nothing to stop: the same words (store.add_drawing)
      state alone                                              party_node/filter.py check_undrawn, draw_once
    test_overlap_cheats
      another scalar                                           protocols/overlap/counting.py matrix (2)
      many times, a duplicate, its inverse                     party_node/overlap_lists.py finish (2)
      two spellings, small order, off the curve                protocols/overlap/points.py check
      short, oversized; truncated and says so                  party_node/overlap.py take (2); agreement.py Box.open
      truncated; another size; another normaliser              coordinator/overlap.py _part; agreement.py
      others when the coordinator comes back                   party_node/overlap.py take (2)
    test_evil_members
      keys, boxes, signatures, pieces                          coordinator/steps.py; recovery.py _Together
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from party_node.contribution import contribute
from tests.attacks.siege import Siege
from tests.attacks.stages import Stage, Stages
from tests.rounds import lab

Besiege = Callable[[Stage], Siege]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="session")
def stages_of_five(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Of a room of five, one of which may be lost and one of which may collude."""
    return Stages(tmp_path_factory.mktemp("stages-of-five"), lab.FIVE, **lab.FOUR_OF_FIVE)


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    """Mask keys leave at once: the plan's second, at which they would, is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("party_node.app._wait_for_schedule", lambda answered, began: None)
        yield


@pytest.fixture
def besiege(tmp_path: Path) -> Iterator[Besiege]:
    """A room for one attack."""
    yield from _besiege(tmp_path)


@pytest.fixture(scope="module")
def besiege_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besiege]:
    """A room for all attacks of a module, each of which must leave it as it was."""
    yield from _besiege(tmp_path_factory.mktemp("siege"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every step whose sum a node computes from its data, from here on."""
    seen: list[str] = []

    def watched(plan: Any, step: Any, *rest: Any) -> Any:
        seen.append(step.name)
        return contribute(plan, step, *rest)

    monkeypatch.setattr("party_node.participation.contribute", watched)
    return seen


def _besiege(place: Path) -> Iterator[Besiege]:
    opened: list[Siege] = []

    def make(stage: Stage) -> Siege:
        opened.append(Siege(stage, place / f"room-{len(opened)}"))
        return opened[-1]

    yield make
    for siege in opened:
        siege.close()
