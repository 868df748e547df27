"""What a party deals out of its secrets: fewer pieces than the threshold say nothing, and no box opens for another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from protocols import keys, recovery
from protocols.errors import IntegrityError
from protocols.masking import PRIME, Secrets
from tests.protocols.circles import NAMES, OCCASION, Step, circle, fresh, step, steps

MODEST = settings(deadline=None, derandomize=True, max_examples=30)
OTHER_STEP = OCCASION.model_copy(update={"step": "rfm-cohorts", "nonce": "8" * 32})


# -- what one piece, and fewer than the threshold, say -----------------------------------------------------------------


def at_zero(points: Mapping[int, int]) -> int:
    """Lagrange's interpolation, with nothing of the product."""
    found = 0
    for x, y in points.items():
        term = y
        for other in points:
            if other != x:
                term = term * other * pow(other - x, -1, PRIME) % PRIME
        found += term
    return found % PRIME


def pieces_of(made: Step, party: str, kind: str) -> dict[int, int]:
    """Place → what every other party of the roster, and the party itself, gives out if it is asked about this kind."""
    survivors = made.group if kind == "seed" else [p for p in made.group if p != party]
    found = {}
    for helper in made.circle.roster:
        out = made.dealer(helper).give_out(made.boxes_for(helper), survivors, made.group)
        raw = keys.unbase64(out[party])
        assert len(raw) == 32
        found[NAMES.index(helper) + 1] = int.from_bytes(raw, "little")
    return found


@pytest.mark.parametrize("kind", ["seed", "key"])
def test_any_threshold_of_the_pieces_make_the_secret_and_one_less_makes_another(kind: str) -> None:
    made = step(6, 4, away=1)
    own = made.parties.secrets["boots"]
    secret = int.from_bytes(own.seed if kind == "seed" and own.seed else own.mask_bytes, "little")
    pieces = pieces_of(made, "boots", kind)
    assert sorted(pieces) == [1, 2, 3, 4, 5]
    assert all(piece < PRIME for piece in pieces.values())
    for some in combinations(pieces, 4):
        assert at_zero({place: pieces[place] for place in some}) == secret
    for few in combinations(pieces, 3):
        assert at_zero({place: pieces[place] for place in few}) != secret


@MODEST
@given(candidate=st.integers(0, PRIME - 1), kind=st.sampled_from(["seed", "key"]), left_out=st.integers(1, 5))
def test_fewer_pieces_than_the_threshold_are_consistent_with_every_secret(
    candidate: int, kind: str, left_out: int
) -> None:
    """For any secret there is a polynomial of the degree that is dealt through it and any threshold − 1 pieces: the
    piece that would have to lie at the next place is one that could as well have been dealt."""
    made = step(5, 5, lost=0)
    pieces = {place: piece for place, piece in pieces_of(made, "coop", kind).items() if place != left_out}
    moved = {place - left_out: piece for place, piece in pieces.items()} | {-left_out: candidate}
    needed = at_zero(moved)
    assert 0 <= needed < PRIME
    assert at_zero({**pieces, left_out: needed}) == candidate


def test_the_pieces_of_one_secret_are_uniform_over_all_rosters() -> None:
    """The same root, so the same secrets, dealt out 600 times: a piece tells nothing, whatever the secret is."""
    made = step(5, 4)
    own, entry = made.parties.secrets["aldi"], made.parties.roster["boots"]
    found = []
    for number in range(600):
        roster = {**made.parties.roster, "boots": entry.model_copy(update={"signature": f"{number:04d}"})}
        dealer = recovery.Dealer(replace(made.circle, roster=roster), "aldi", own)
        for survivors in ([], ["aldi"]):
            found.append(keys.unbase64(dealer.give_out({}, survivors, ["aldi"])["aldi"]))
    assert len(set(found)) == len(found)
    counts = np.bincount(np.frombuffer(b"".join(found), dtype=np.uint8), minlength=256)
    expected = len(found) * 32 / 256
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 255) > 1e-6


@MODEST
@given(made=steps(), data=st.data())
def test_a_party_gives_out_one_secrets_piece_of_each_and_never_the_others(made: Step, data: st.DataObject) -> None:
    helper = data.draw(st.sampled_from(made.survivors))
    out = made.give_out([helper])[helper]
    assert sorted(out) == sorted(made.group)
    place = NAMES.index(helper) + 1
    for party, piece in out.items():
        other = pieces_of(made, party, "key" if party in made.survivors else "seed")[place]
        assert len(keys.unbase64(piece)) == 32
        assert int.from_bytes(keys.unbase64(piece), "little") != other


# -- boxes -------------------------------------------------------------------------------------------------------------


def test_the_same_root_deals_the_same_boxes_and_to_another_roster_others() -> None:
    made = step()
    assert made.dealer("aldi").deal() == made.boxes["aldi"]
    assert sorted(made.boxes["aldi"]) == ["boots", "coop", "dm", "edeka"]
    entry = fresh(recoverable=True).offer(made.parties.signing["edeka"], "edeka")
    other = replace(made, parties=made.parties.shown(edeka=entry))
    for peer, box in other.boxes["aldi"].items():
        assert box != made.boxes["aldi"][peer]


def test_no_box_is_another_and_each_is_as_long_as_any() -> None:
    boxes = [box for dealt in step().boxes.values() for box in dealt.values()]
    assert len(set(boxes)) == len(boxes) == 20
    assert {len(keys.unbase64(box)) for box in boxes} == {2 * 32 + 16}


def refused(made: Step, box: str, dealer: str = "aldi", party: str = "boots") -> None:
    boxes = {**made.boxes_for(party), dealer: box}
    with pytest.raises(IntegrityError, match=f"the pieces that {dealer} dealt cannot be opened|not base64|stray bits"):
        made.dealer(party).give_out(boxes, made.survivors, made.group)


def test_a_box_opens_for_the_one_it_is_sealed_for_only() -> None:
    made = step()
    made.dealer("boots").give_out(made.boxes_for("boots"), made.survivors, made.group)
    refused(made, made.boxes["aldi"]["coop"])


def test_a_box_of_another_dealer_does_not_open() -> None:
    made = step()
    refused(made, made.boxes["coop"]["boots"])
    refused(made, made.boxes["boots"]["aldi"])


def test_a_box_for_another_occasion_does_not_open() -> None:
    """The same roots and the same roster: only the occasion is another."""
    made = step()
    elsewhere = replace(made.circle, occasion=OTHER_STEP)
    box = recovery.Dealer(elsewhere, "aldi", made.parties.secrets["aldi"]).deal()["boots"]
    refused(made, box)


def test_a_box_for_another_roster_does_not_open() -> None:
    made = step()
    without = {party: key for party, key in made.circle.roster.items() if party != "edeka"}
    box = recovery.Dealer(replace(made.circle, roster=without), "aldi", made.parties.secrets["aldi"]).deal()["boots"]
    refused(made, box)


@MODEST
@given(bit=st.integers(0, 8 * 80 - 1))
def test_a_box_of_which_one_bit_is_changed_does_not_open(bit: int) -> None:
    raw = bytearray(keys.unbase64(BOXES.boxes["aldi"]["boots"]))
    raw[bit // 8] ^= 1 << bit % 8
    refused(BOXES, keys.base64_text(bytes(raw)))


BOXES = step()


@pytest.mark.parametrize("box", ["", "AAAA", "QQ=", "A" * 108, "not base64"])
def test_what_is_no_box_does_not_open(box: str) -> None:
    refused(BOXES, box)


def test_a_box_that_is_missing_is_said_to_be_its_dealers() -> None:
    boxes = {dealer: box for dealer, box in BOXES.boxes_for("boots").items() if dealer != "coop"}
    with pytest.raises(IntegrityError, match="the pieces that coop dealt cannot be opened"):
        BOXES.dealer("boots").give_out(boxes, BOXES.survivors, BOXES.group)


@pytest.mark.parametrize("length", [0, 32, 63, 65, 96])
def test_a_box_with_pieces_of_another_length_is_refused(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(recovery.Dealer, "_pieces", lambda self, peer: bytes(length))
        box = BOXES.dealer("aldi").deal()["boots"]
    boxes = {**BOXES.boxes_for("boots"), "aldi": box}
    with pytest.raises(IntegrityError, match="aldi dealt pieces of another length"):
        BOXES.dealer("boots").give_out(boxes, BOXES.survivors, BOXES.group)


def test_boxes_of_parties_that_did_not_agree_are_not_needed() -> None:
    made = step(6, 4, quiet=1)
    out = made.dealer("aldi").give_out(
        {dealer: box for dealer, box in made.boxes_for("aldi").items() if dealer in made.group},
        made.survivors,
        made.group,
    )
    assert sorted(out) == made.group


def test_no_pieces_are_dealt_where_nobody_may_be_lost() -> None:
    parties = circle(5)
    dealing = recovery.Circle(OCCASION, parties.roster, NAMES[:5], 4)
    with pytest.raises(IntegrityError, match="this plan deals out no pieces"):
        recovery.Dealer(dealing, "aldi", parties.secrets["aldi"]).deal()
    with pytest.raises(IntegrityError, match="this plan deals out no pieces"):
        recovery.Dealer(dealing, "aldi", fresh(recoverable=True)).deal()


def test_nothing_secret_shows_where_a_dealer_is_printed() -> None:
    made = step()
    own = Secrets(hashlib.sha256(b"root").digest(), OCCASION, True)
    shown = repr(recovery.Dealer(made.circle, "aldi", own))
    assert repr(own.root)[2:-1] not in shown
