"""Masks vanish in the sum of all and hide each part, and only for the occasion and the keys that everybody signed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from protocols import keys
from protocols.errors import IntegrityError
from protocols.masking import MaskKey, Occasion, Words, _seed, add_up, check_roster, mask, offer

MODEST = settings(deadline=None, derandomize=True, max_examples=25)
SLOTS = 64
NAMES = ("aldi", "boots", "coop", "dm", "edeka", "fnac")
OCCASION = Occasion(
    room="lab", plan="0" * 64, round="1" * 32, step="rfm-cuts", nonce="2" * 32, state="3" * 64, attempt=1
)
OTHER = {
    "room": "lab2",
    "plan": "4" * 64,
    "round": "5" * 32,
    "step": "rfm-cohorts",
    "nonce": "6" * 32,
    "state": "7" * 64,
    "attempt": 2,
}
# Points of small order on Curve25519 (RFC 7748, section 6.1; Bernstein's list): with each the secret is zero.
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


@dataclass(frozen=True)
class Circle:
    signing: dict[str, Ed25519PrivateKey]
    private: dict[str, X25519PrivateKey]
    roster: dict[str, MaskKey]
    occasion: Occasion

    @property
    def identities(self) -> dict[str, Ed25519PublicKey]:
        return {party: key.public_key() for party, key in self.signing.items()}

    def mask(self, party: str, values: NDArray[np.int64]) -> Words:
        return mask(values, party, self.private[party], self.roster, self.occasion)

    def check(self) -> None:
        check_roster(self.roster, self.identities, self.occasion)


def circle(count: int, occasion: Occasion = OCCASION) -> Circle:
    signing = {party: Ed25519PrivateKey.generate() for party in NAMES[:count]}
    private = {party: X25519PrivateKey.generate() for party in NAMES[:count]}
    roster = {party: offer(private[party], signing[party], party, occasion) for party in NAMES[:count]}
    return Circle(signing, private, roster, occasion)


# -- masks cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_masks_cancel_exactly_in_the_sum_of_all_parties(count: int) -> None:
    parties = circle(count)
    parties.check()

    @MODEST
    @given(
        values=st.lists(st.lists(st.integers(-(2**50), 2**50), min_size=5, max_size=5), min_size=count, max_size=count)
    )
    def check(values: list[list[int]]) -> None:
        exact = [sum(column) for column in zip(*values, strict=True)]
        words = {p: parties.mask(p, np.array(v, dtype=np.int64)) for p, v in zip(parties.roster, values, strict=True)}
        assert add_up(words).tolist() == exact

    check()


def test_the_sum_does_not_depend_on_the_order_of_shares_or_of_the_roster() -> None:
    parties = circle(4)
    turned = replace(parties, roster=dict(reversed(parties.roster.items())))
    values = {p: np.arange(SLOTS, dtype=np.int64) * (i + 1) for i, p in enumerate(parties.roster)}
    words = {p: (parties if i % 2 else turned).mask(p, v) for i, (p, v) in enumerate(values.items())}
    assert add_up(words).tolist() == add_up(dict(reversed(words.items()))).tolist() == [10 * i for i in range(SLOTS)]


def test_masking_leaves_the_values_as_they_were() -> None:
    parties = circle(3)
    values = np.arange(SLOTS, dtype=np.int64)
    parties.mask("boots", values)
    assert values.tolist() == list(range(SLOTS))


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_the_sum_of_any_parties_but_all_is_still_masked(count: int) -> None:
    parties = circle(count)
    zeros = {p: parties.mask(p, np.zeros(SLOTS, dtype=np.int64)) for p in parties.roster}
    for some in (set(c) for n in range(1, count) for c in combinations(parties.roster, n)):
        assert np.count_nonzero(add_up({p: zeros[p] for p in some})) == SLOTS


def test_a_masked_share_looks_uniform_and_unlike_any_other_pair_or_slot() -> None:
    parties = circle(3)
    zeros = np.zeros(20_000, dtype=np.int64)
    words = [parties.mask(p, zeros) for p in parties.roster]
    for word in words:
        found = np.bincount(word.view(np.uint8), minlength=256)
        expected = len(word) * 8 / 256
        assert chi2.sf(((found - expected) ** 2 / expected).sum(), 255) > 1e-6
    assert len(np.unique(np.concatenate(words))) == 60_000


# -- only for this occasion and this roster ----------------------------------------------------------------------------


@pytest.mark.parametrize("field", sorted(Occasion.model_fields))
def test_every_field_of_the_occasion_changes_the_whole_stream(field: str) -> None:
    parties = circle(2)
    elsewhere = replace(parties, occasion=OCCASION.model_copy(update={field: OTHER[field]}))
    zeros = np.zeros(SLOTS, dtype=np.int64)
    here, there = parties.mask("aldi", zeros), elsewhere.mask("aldi", zeros)
    assert np.count_nonzero(here != there) == SLOTS
    mixed = add_up({"aldi": there, "boots": parties.mask("boots", zeros)})
    assert np.count_nonzero(mixed) == SLOTS  # parties shown different occasions give noise, not a sum


@pytest.mark.parametrize("field", sorted(Occasion.model_fields))
def test_a_mask_key_signed_for_another_occasion_is_refused(field: str) -> None:
    elsewhere = replace(circle(3), occasion=OCCASION.model_copy(update={field: OTHER[field]}))
    with pytest.raises(IntegrityError, match="mask-key signature of aldi does not verify"):
        elsewhere.check()


def test_a_pairs_secret_depends_on_the_keys_of_everybody_in_the_roster() -> None:
    """Only the third party's key differs between what two parties are shown: their own stream does not cancel."""
    parties = circle(3)
    entry = offer(X25519PrivateKey.generate(), parties.signing["coop"], "coop", OCCASION)
    rosters = [parties.roster, {**parties.roster, "coop": entry}, {p: parties.roster[p] for p in ("aldi", "boots")}]
    seeds = [
        {_seed(parties.private[me], me, peer, roster, OCCASION) for me, peer in (("aldi", "boots"), ("boots", "aldi"))}
        for roster in rosters
    ]
    assert [len(seed) for seed in seeds] == [1, 1, 1]  # the two agree where they are shown the same
    assert len(set.union(*seeds)) == 3


# -- rosters that are refused ------------------------------------------------------------------------------------------


def test_a_key_that_the_coordinator_slipped_in_is_refused() -> None:
    parties = circle(3)
    own = Ed25519PrivateKey.generate()
    forged = offer(X25519PrivateKey.generate(), own, "boots", OCCASION)
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        replace(parties, roster={**parties.roster, "boots": forged}).check()


def test_a_genuine_signature_under_another_key_is_refused() -> None:
    parties = circle(3)
    stranger = keys.base64_text(X25519PrivateKey.generate().public_key().public_bytes_raw())
    swapped = parties.roster["boots"].model_copy(update={"public": stranger})
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        replace(parties, roster={**parties.roster, "boots": swapped}).check()


def test_one_partys_entry_does_not_pass_for_anothers() -> None:
    parties = circle(3)
    entry = offer(parties.private["aldi"], parties.signing["boots"], "aldi", OCCASION)
    private = X25519PrivateKey.generate()
    roster = {**parties.roster, "aldi": offer(private, parties.signing["aldi"], "aldi", OCCASION), "boots": entry}
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        replace(parties, roster=roster).check()


def test_two_parties_with_one_key_are_refused() -> None:
    parties = circle(3)
    again = offer(parties.private["aldi"], parties.signing["boots"], "boots", OCCASION)
    with pytest.raises(IntegrityError, match="same mask key"):
        replace(parties, roster={**parties.roster, "boots": again}).check()


@pytest.mark.parametrize("named", [("aldi", "boots"), ("aldi", "boots", "coop", "dm")])
def test_a_roster_names_exactly_the_contributing_parties(named: tuple[str, ...]) -> None:
    parties, more = circle(3), circle(4)
    with pytest.raises(IntegrityError, match="exactly the contributing parties"):
        replace(parties, roster={party: more.roster[party] for party in named}).check()


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "QQ=", "A" * 88])
def test_a_signature_of_another_shape_is_refused(signature: str) -> None:
    parties = circle(2)
    entry = parties.roster["boots"].model_copy(update={"signature": signature})
    with pytest.raises(IntegrityError):
        replace(parties, roster={**parties.roster, "boots": entry}).check()


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda raw: raw.hex()[:8])
def test_a_key_of_low_order_is_refused_even_when_it_is_signed(point: bytes) -> None:
    parties = circle(2)
    text = keys.base64_text(point)
    body = {"party": "boots", "public": text, "occasion": OCCASION.body()}
    entry = MaskKey(public=text, signature=keys.sign(parties.signing["boots"], "mask-key", body))
    shown = replace(parties, roster={**parties.roster, "boots": entry})
    # The signature is genuine: only an exchange can tell, and must before anybody agrees or computes.
    for use in (shown.check, lambda: shown.mask("aldi", np.zeros(4, dtype=np.int64))):
        with pytest.raises(IntegrityError, match="mask key shown for boots is not a usable X25519 key"):
            use()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    parties = circle(2)
    entry = parties.roster["boots"].model_copy(update={"public": keys.base64_text(bytes([9]) * length)})
    with pytest.raises(IntegrityError, match="not a usable X25519 key"):
        replace(parties, roster={**parties.roster, "boots": entry}).mask("aldi", np.zeros(4, dtype=np.int64))


def test_a_party_shown_another_key_for_itself_does_not_mask() -> None:
    parties = circle(2)
    other = offer(X25519PrivateKey.generate(), parties.signing["aldi"], "aldi", OCCASION)
    with pytest.raises(IntegrityError, match="another mask key for this party"):
        replace(parties, roster={**parties.roster, "aldi": other}).mask("aldi", np.zeros(4, dtype=np.int64))
