"""Masks vanish without the parties that were lost: exactly, and whoever of those who help lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import keys
from protocols.budget import recovery_threshold
from protocols.errors import IntegrityError
from protocols.masking import PRIME, Secrets, Streams, Words, add_up
from protocols.recovery import check_dealt
from tests.protocols.circles import NAMES, OCCASION, Circle, Step, step, steps

MODEST = settings(deadline=None, derandomize=True, max_examples=30)
SLOTS = 8
OTHER_STEP = OCCASION.model_copy(update={"step": "rfm-cohorts", "nonce": "8" * 32})
words = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=SLOTS, max_size=SLOTS)


def total_of(made: Step, values: Mapping[str, Sequence[int]]) -> tuple[Words, list[int]]:
    """The sum of the survivors' masked shares, and of their values mod 2^64."""
    masked = add_up({party: made.share(party, values[party]) for party in made.survivors})
    exact = [sum(column) % 2**64 for column in zip(*(values[p] for p in made.survivors), strict=True)]
    return masked, exact


def ones(made: Step) -> tuple[Words, list[int]]:
    return total_of(made, {party: [1] * SLOTS for party in made.survivors})


# -- the sum of the survivors ------------------------------------------------------------------------------------------


@MODEST
@given(made=steps(), data=st.data())
def test_unmasking_gives_exactly_the_survivors_sum_whoever_is_lost_whenever(made: Step, data: st.DataObject) -> None:
    total, exact = total_of(made, {party: data.draw(words) for party in made.survivors})
    size = data.draw(st.integers(made.threshold, len(made.survivors)))
    helpers = data.draw(st.permutations(made.survivors))[:size]
    before = total.copy()
    assert made.unmask(total, made.give_out(helpers)).view(np.uint64).tolist() == exact
    assert total.tolist() == before.tolist()  # what was summed is left as it was


@MODEST
@given(made=steps())
def test_fewer_pieces_than_the_threshold_unmask_nothing(made: Step) -> None:
    total, _ = ones(made)
    helpers = made.survivors[: made.threshold - 1]
    with pytest.raises(IntegrityError, match=f"{len(helpers)} parties gave out pieces, fewer than {made.threshold}"):
        made.unmask(total, made.give_out(helpers))


def test_what_two_steps_gave_out_for_one_sum_does_not_fit_together() -> None:
    made, other = step(), step()
    with pytest.raises(IntegrityError, match="that aldi dealt do not fit together"):
        made.unmask(ones(made)[0], other.give_out())


# -- helpers and dealers that lie --------------------------------------------------------------------------------------


def broken(piece: str, how: str) -> str:
    raw = keys.unbase64(piece)
    wrong = {
        "another": keys.base64_text(((int.from_bytes(raw, "little") + 2**99) % PRIME).to_bytes(32, "little")),
        "zero": keys.base64_text(bytes(32)),
        "above the prime": keys.base64_text(bytes([255]) * 32),
        "short": keys.base64_text(raw[:31]),
        "long": keys.base64_text(raw + b"\0"),
        "empty": "",
        "no base64": piece[:-2],
        "stray bits": piece[:-2] + chr(ord(piece[-2]) + 1) + "=",
    }
    return wrong[how]


WRONG = ("another", "zero", "above the prime", "short", "long", "empty", "no base64", "stray bits")


@pytest.mark.parametrize("how", [*WRONG, "missing"])
@pytest.mark.parametrize("liar", [0, 2, 3, 4])
def test_a_helper_that_gives_out_a_wrong_piece_is_done_without_where_there_is_one_to_spare(how: str, liar: int) -> None:
    made = step(6, 4)
    assert len(made.survivors) == 5
    total, exact = ones(made)
    given_out, name = made.give_out(), made.survivors[liar]
    given_out[name] = {p: broken(x, how) for p, x in given_out[name].items()} if how != "missing" else {}
    assert made.unmask(total, given_out).tolist() == exact


@pytest.mark.parametrize("how", [*WRONG, "missing"])
@pytest.mark.parametrize("about", ["aldi", "edeka"])
def test_a_wrong_piece_is_refused_where_there_is_no_helper_to_spare(how: str, about: str) -> None:
    """Of a survivor's seed, and of the key of the one that was lost."""
    made = step(5, 4)
    total, _ = ones(made)
    given_out = made.give_out()
    wrong = {about: broken(given_out["boots"][about], how)} if how != "missing" else {}
    given_out["boots"] = {p: x for p, x in given_out["boots"].items() if p != about} | wrong
    with pytest.raises(IntegrityError, match=f"that {about} dealt do not fit together"):
        made.unmask(total, given_out)


def test_as_many_wrong_helpers_are_done_without_as_there_are_to_spare() -> None:
    made = step(10, 7, lost=0)
    total, exact = ones(made)
    given_out = made.give_out()
    for liar in (0, 4, 8):
        name = made.survivors[liar]
        given_out[name] = {party: broken(piece, "another") for party, piece in given_out[name].items()}
    assert made.unmask(total, given_out).tolist() == exact


@MODEST
@given(liars=st.lists(st.integers(0, 6), unique=True, min_size=2), about=st.integers(0, 7))
def test_however_many_lie_the_sum_is_the_true_one_or_none(liars: list[int], about: int) -> None:
    made = step(8, 6)
    total, exact = ones(made)
    given_out = made.give_out()
    for liar in liars:
        helper, party = made.survivors[liar], made.group[about]
        given_out[helper][party] = broken(given_out[helper][party], "another")
    told = f"the pieces of the secrets that {made.group[about]} dealt do not fit together"
    try:
        found = made.unmask(total, given_out).tolist()
    except IntegrityError as exc:
        found, told = exact, exc.message
    assert (found, told) == (exact, f"the pieces of the secrets that {made.group[about]} dealt do not fit together")


@pytest.mark.parametrize("about", ["aldi", "edeka"])
def test_pieces_that_fit_together_and_make_another_secret_are_refused(about: str) -> None:
    """What a party would give away that deals out another seed, or another key, than it shows in the roster."""
    made, other = step(), step()
    given_out, theirs = made.give_out(), other.give_out()
    for helper in given_out:
        given_out[helper][about] = theirs[helper][about]
    with pytest.raises(IntegrityError, match=f"that {about} dealt do not fit together"):
        made.unmask(ones(made)[0], given_out)


# -- what stays masked -------------------------------------------------------------------------------------------------


def test_a_share_that_comes_late_stays_masked_by_its_own_mask() -> None:
    made = step(5, 4)
    late = made.share("edeka", [5] * SLOTS)
    known = X25519PrivateKey.from_private_bytes(made.parties.secrets["edeka"].mask_bytes)  # from the pieces
    streams = Streams(made.shown, OCCASION, SLOTS)
    for peer in made.survivors:  # edeka is the last of the group, and so subtracted them all
        late += streams.of_pair(known, "edeka", peer)
    assert np.count_nonzero(late != 5) == SLOTS
    seed = made.parties.secrets["edeka"].seed
    assert seed is not None
    assert (late - streams.of_seed(seed, "edeka")).tolist() == [5] * SLOTS


def test_a_survivors_share_stays_masked_when_its_seed_and_the_keys_of_the_lost_are_known() -> None:
    made = step(5, 4)
    one, own = made.share("aldi", [1] * SLOTS), made.parties.secrets["aldi"]
    streams, lost = Streams(made.shown, OCCASION, SLOTS), made.parties.secrets["edeka"].mask
    assert own.seed is not None
    one -= streams.of_seed(own.seed, "aldi")
    one -= streams.of_pair(lost, "edeka", "aldi")
    assert np.count_nonzero(one != 1) == SLOTS
    for peer in made.survivors[1:]:  # nobody gives these away
        one -= streams.of_pair(own.mask, "aldi", peer)
    assert one.tolist() == [1] * SLOTS


def test_masks_and_pieces_of_two_steps_do_not_cancel() -> None:
    """Neither the difference of a party's two shares nor a sum mixed of two steps is free of masks."""
    made, zeros = step(5, 4), [0] * SLOTS
    later = replace(made, parties=at_other_step(made.parties))
    for party in made.survivors:
        assert np.count_nonzero(made.share(party, zeros) - later.share(party, zeros)) == SLOTS
    mixed = add_up({p: (later if p == "aldi" else made).share(p, zeros) for p in made.survivors})
    assert np.count_nonzero(made.unmask(mixed, made.give_out())) == SLOTS
    with pytest.raises(IntegrityError, match="do not fit together"):
        later.unmask(ones(later)[0], made.give_out())


def at_other_step(parties: Circle) -> Circle:
    secrets = {party: Secrets.fresh(OTHER_STEP, recoverable=True) for party in parties.secrets}
    roster = {party: own.offer(parties.signing[party], party) for party, own in secrets.items()}
    return Circle(parties.signing, secrets, roster, recoverable=True)


# -- settled -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [("aldi", "boots", "coop", "dm"), ("aldi", "boots", "coop", "dm", "edeka")])
def test_survivors_are_settled_by_the_threshold_of_them_or_more(by: tuple[str, ...]) -> None:
    made = step(6, 4)
    made.check_settled(made.settled(by))


def test_survivors_are_the_same_in_whatever_order_they_are_named() -> None:
    made = step()
    made.check_settled(made.settled(made.survivors, survivors=made.survivors[::-1]))


def test_survivors_settled_by_too_few_are_refused() -> None:
    made = step()
    with pytest.raises(IntegrityError, match="settled by 3 of them, fewer than 4"):
        made.check_settled(made.settled(made.survivors[:3]))


def test_a_lost_partys_signature_settles_nothing() -> None:
    made = step()
    with pytest.raises(IntegrityError, match="others than the survivors signed"):
        made.check_settled(made.settled([*made.survivors[:3], "edeka"]))


@pytest.mark.parametrize("what", ["occasion", "group", "survivors"])
def test_a_signature_to_another_occasion_group_or_survivors_settles_nothing(what: str) -> None:
    made = step()
    others: dict[str, Any] = {
        "occasion": OCCASION.model_copy(update={"attempt": 2}),
        "group": {party: made.shown[party] for party in made.survivors},
        "survivors": made.group,
    }
    late = made.settled(["coop"], **{what: others[what]})
    with pytest.raises(IntegrityError, match="the survivors signature of coop does not verify"):
        made.check_settled(made.settled(made.survivors) | late)


def test_one_partys_signature_does_not_pass_for_anothers() -> None:
    made = step()
    signatures = made.settled(made.survivors)
    with pytest.raises(IntegrityError, match="the survivors signature of boots does not verify"):
        made.check_settled({**signatures, "boots": signatures["aldi"]})


@MODEST
@given(data=st.data(), count=st.integers(4, 9), collusion=st.integers(0, 6))
def test_two_sets_of_survivors_are_never_both_settled(data: st.DataObject, count: int, collusion: int) -> None:
    """Those who collude sign both; every honest party signs one, whichever the coordinator asks it for first."""
    collusion = min(collusion, count - 2)
    threshold, names = recovery_threshold(count, collusion), NAMES[:count]
    colluding = data.draw(st.permutations(names))[:collusion]
    first = {party for party in names if party in colluding or data.draw(st.booleans())}
    second = {party for party in names if party in colluding or party not in first}
    whole, settled = step(count, threshold, lost=0), []
    for signers, survivors in ((first, list(names)), (second, list(names[1:]))):
        made = replace(whole, survivors=survivors)
        signatures = made.settled(signers & set(survivors))
        settled.append(len(signatures) >= threshold)
        if settled[-1]:
            made.check_settled(signatures)
        else:
            with pytest.raises(IntegrityError, match="fewer than"):
                made.check_settled(signatures)
    assert settled != [True, True]


def test_boxes_are_for_exactly_the_others_and_of_one_size() -> None:
    made = step()
    dealer, *others = sorted(made.boxes)
    boxes = made.boxes[dealer]
    check_dealt(dealer, boxes, others)
    check_dealt(dealer, {}, ())
    for wrong in (
        {},
        {**boxes, dealer: boxes[others[0]]},
        {name: box for name, box in boxes.items() if name != others[0]},
        {**boxes, others[0]: boxes[others[0]] + "AAAA"},
        {**boxes, others[0]: ""},
    ):
        with pytest.raises(IntegrityError, match=f"{dealer} did not deal two pieces to exactly the others"):
            check_dealt(dealer, wrong, others)
