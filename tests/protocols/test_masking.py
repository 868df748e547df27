"""Masks vanish in the sum of all and hide each part, and only for the occasion and the keys that everybody signed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from protocols.masking import PRIME, Occasion, Secrets, Streams, add_up, mask
from tests.protocols.circles import OCCASION, OTHER, circle, fresh, public_of

MODEST = settings(deadline=None, derandomize=True, max_examples=25)
SLOTS = 64


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
        assert add_up(words).view(np.int64).tolist() == exact

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


@pytest.mark.parametrize("kind", ["pair", "own"])
@pytest.mark.parametrize("field", sorted(Occasion.model_fields))
def test_every_field_of_the_occasion_changes_the_whole_stream(field: str, kind: str) -> None:
    """The same secret, the same group: only the occasion differs."""
    parties, streams = circle(2, recoverable=True), []
    own = parties.secrets["aldi"]
    for occasion in (OCCASION, OCCASION.model_copy(update={field: OTHER[field]})):
        made, seed = Streams(parties.roster, occasion, SLOTS), own.seed
        assert seed is not None
        words = made.of_pair(own.mask, "aldi", "boots") if kind == "pair" else made.of_seed(seed, "aldi")
        streams.append(words.copy())
    assert np.count_nonzero(streams[0] != streams[1]) == SLOTS


@pytest.mark.parametrize("recoverable", [False, True])
@pytest.mark.parametrize("field", sorted(Occasion.model_fields))
def test_parties_that_are_shown_different_occasions_give_noise(field: str, recoverable: bool) -> None:
    parties = circle(2, recoverable=recoverable)
    elsewhere, zeros = parties.elsewhere(**{field: OTHER[field]}), np.zeros(SLOTS, dtype=np.int64)
    mixed = add_up({"aldi": elsewhere.mask("aldi", zeros), "boots": parties.mask("boots", zeros)})
    assert np.count_nonzero(mixed) == SLOTS


def test_a_pairs_stream_depends_on_the_keys_of_everybody_in_the_group() -> None:
    """Only the third party's key differs, or it is missing, between what two are shown: their stream differs."""
    parties = circle(3)
    entry = fresh().offer(parties.signing["coop"], "coop")
    groups = [parties.roster, {**parties.roster, "coop": entry}, {p: parties.roster[p] for p in ("aldi", "boots")}]
    found = [
        {
            Streams(group, OCCASION, SLOTS).of_pair(parties.secrets[me].mask, me, peer).tobytes()
            for me, peer in (("aldi", "boots"), ("boots", "aldi"))
        }
        for group in groups
    ]
    assert [len(streams) for streams in found] == [1, 1, 1]  # the two agree where they are shown the same
    assert len(set.union(*found)) == 3


def test_a_partys_own_mask_depends_on_the_group_and_on_the_party() -> None:
    parties, seed = circle(3, recoverable=True), bytes(range(32))
    two = {party: parties.roster[party] for party in ("aldi", "boots")}
    asked = [(parties.roster, "aldi"), (two, "aldi"), (parties.roster, "boots")]
    assert len({Streams(group, OCCASION, SLOTS).of_seed(seed, party).tobytes() for group, party in asked}) == 3


def test_no_stream_of_a_step_is_another_ones() -> None:
    parties = circle(5, recoverable=True)
    streams, made = Streams(parties.roster, OCCASION, SLOTS), []
    for party, own in parties.secrets.items():
        assert own.seed is not None
        made.append(streams.of_seed(own.seed, party).tobytes())
        made += [streams.of_pair(own.mask, party, peer).tobytes() for peer in parties.roster if peer > party]
    assert len(made) == len(set(made)) == 5 + 10


# -- what follows from a root ------------------------------------------------------------------------------------------


def test_the_same_root_gives_the_same_secrets_offer_and_words_and_another_root_others() -> None:
    signing, zeros = Ed25519PrivateKey.generate(), np.zeros(SLOTS, dtype=np.int64)
    first, second = fresh(recoverable=True), fresh(recoverable=True)
    again = Secrets(first.root, OCCASION, True)
    assert again.offer(signing, "aldi") == first.offer(signing, "aldi") != second.offer(signing, "aldi")
    group = {"aldi": first.offer(signing, "aldi")}
    assert mask(zeros, "aldi", again, group).tolist() == mask(zeros, "aldi", first, group).tolist()
    assert np.count_nonzero(mask(zeros, "aldi", first, group) != mask(zeros, "aldi", second, group)) == SLOTS


@pytest.mark.parametrize("field", sorted(Occasion.model_fields))
def test_no_secret_of_one_occasion_is_one_of_another(field: str) -> None:
    here = fresh(recoverable=True)
    there = replace(here, occasion=OCCASION.model_copy(update={field: OTHER[field]}))
    found = [
        secret
        for own in (here, there)
        for secret in (own.mask_bytes, own.seed, own.sealing and own.sealing.private_bytes_raw(), own.derive("more"))
    ]
    assert len(set(found)) == 8
    assert here.root not in found


@MODEST
@given(one=st.text(max_size=20), other=st.text(max_size=20), length=st.integers(33, 255))
def test_what_is_derived_for_one_purpose_is_not_what_is_derived_for_another(one: str, other: str, length: int) -> None:
    own = Secrets(bytes(range(32)), OCCASION, True)
    assert (own.derive(one) == own.derive(other)) == (one == other)
    assert len(own.derive(one, length)) == length


@MODEST
@given(root=st.binary(min_size=32, max_size=32))
def test_every_secret_that_is_shared_out_is_a_number_below_the_prime(root: bytes) -> None:
    own = Secrets(root, OCCASION, True)
    assert own.seed is not None
    for secret in (own.mask_bytes, own.seed):
        assert len(secret) == 32
        assert int.from_bytes(secret, "little") < PRIME


def test_a_secret_that_would_not_be_below_the_prime_is_derived_again(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = {"mask-0": bytes([255]) * 32, "mask-1": PRIME.to_bytes(32, "little"), "mask-2": bytes([7]) * 32}
    monkeypatch.setattr(Secrets, "derive", lambda self, what: derived[what])
    assert Secrets(bytes(32), OCCASION, False).mask_bytes == bytes([7]) * 32


def test_a_root_does_not_show_where_secrets_are_printed() -> None:
    own = Secrets(b"nobody must read this root, ever", OCCASION, True)
    assert "nobody" not in repr(own)


def test_an_offer_shows_a_sealing_key_and_the_digest_of_a_seed_where_a_party_may_be_lost_only() -> None:
    signing = Ed25519PrivateKey.generate()
    plain, own = fresh(), fresh(recoverable=True)
    assert (plain.seed, plain.sealing) == (None, None)
    assert set(plain.offer(signing, "aldi").body()) == {"public", "signature"}
    entry = own.offer(signing, "aldi")
    assert own.seed is not None
    assert entry.seed_digest == hashlib.sha256(own.seed).hexdigest()
    assert (entry.public, entry.sealing) == (public_of(own.mask), public_of(own.sealing))
    assert entry.recoverable
    assert not plain.offer(signing, "aldi").recoverable


@pytest.mark.parametrize("count", [2, 5])
def test_where_a_party_may_be_lost_the_sum_of_all_is_still_masked_by_each_ones_own(count: int) -> None:
    parties = circle(count, recoverable=True)
    total = add_up({p: parties.mask(p, np.full(SLOTS, 3, dtype=np.int64)) for p in parties.roster})
    assert np.count_nonzero(total.view(np.int64) != 3 * count) == SLOTS
    streams = Streams(parties.roster, OCCASION, SLOTS)
    for party, own in parties.secrets.items():
        assert own.seed is not None
        total -= streams.of_seed(own.seed, party)
    assert total.tolist() == [3 * count] * SLOTS
