"""What a party refuses in a roster of mask keys, before it agrees to it or masks with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols.errors import IntegrityError
from protocols.masking import check_own, roster_digest
from tests.protocols.circles import OCCASION, OTHER, circle, fresh, public_of, signed

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


@pytest.mark.parametrize("recoverable", [False, True])
def test_a_roster_of_what_everybody_signed_is_taken(recoverable: bool) -> None:
    circle(4, recoverable=recoverable).check()


@pytest.mark.parametrize("field", sorted(OTHER))
def test_a_mask_key_signed_for_another_occasion_is_refused(field: str) -> None:
    other = OCCASION.model_copy(update={field: OTHER[field]})
    with pytest.raises(IntegrityError, match="mask-key signature of aldi does not verify"):
        circle(3).check(other)


def test_a_key_that_the_coordinator_slipped_in_is_refused() -> None:
    parties = circle(3)
    forged = fresh().offer(Ed25519PrivateKey.generate(), "boots")
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        parties.shown(boots=forged).check()


@pytest.mark.parametrize("field", ["public", "sealing", "seed_digest"])
def test_a_genuine_signature_under_another_key_is_refused(field: str) -> None:
    parties, stranger = circle(3, recoverable=True), fresh(recoverable=True).offer(Ed25519PrivateKey.generate(), "dm")
    swapped = parties.roster["boots"].model_copy(update={field: getattr(stranger, field)})
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        parties.shown(boots=swapped).check()


def test_one_partys_entry_does_not_pass_for_anothers() -> None:
    parties = circle(3)
    entry = parties.secrets["aldi"].offer(parties.signing["boots"], "aldi")
    with pytest.raises(IntegrityError, match="signature of boots does not verify"):
        parties.shown(aldi=fresh().offer(parties.signing["aldi"], "aldi"), boots=entry).check()


def test_two_parties_with_one_key_are_refused() -> None:
    parties = circle(3)
    again = parties.secrets["aldi"].offer(parties.signing["boots"], "boots")
    with pytest.raises(IntegrityError, match="same mask key"):
        parties.shown(boots=again).check()


@pytest.mark.parametrize("of", ["mask", "sealing"])
@pytest.mark.parametrize("owner", ["aldi", "boots"])
def test_a_sealing_key_that_is_shown_before_is_refused_whoevers_and_whatever_for(of: str, owner: str) -> None:
    parties = circle(3, recoverable=True)
    entry = parties.roster["boots"]
    text = public_of(getattr(parties.secrets[owner], of))
    if (owner, of) == ("boots", "sealing"):
        entry = entry.model_copy(update={"public": text})
    stated = {"public": entry.public, "sealing": text, "seed_digest": str(entry.seed_digest)}
    with pytest.raises(IntegrityError, match="same mask key"):
        parties.shown(boots=signed("boots", parties.signing["boots"], **stated)).check()


@pytest.mark.parametrize("recoverable", [False, True])
@pytest.mark.parametrize("fields", [(), ("sealing",), ("seed_digest",), ("sealing", "seed_digest")])
def test_a_key_is_of_the_kind_that_the_plan_needs(fields: tuple[str, ...], recoverable: bool) -> None:
    """With both fields where a party may be lost, with none elsewhere; one alone is neither."""
    parties, own = circle(3, recoverable=recoverable), fresh(recoverable=True)
    made = own.offer(parties.signing["boots"], "boots")
    stated = {name: str(getattr(made, name)) for name in ("public", *fields)}
    shown = parties.shown(boots=signed("boots", parties.signing["boots"], **stated))
    if len(fields) == (2 if recoverable else 0):
        shown.check()
    else:
        with pytest.raises(IntegrityError, match="the mask key of boots is not of the kind that this plan needs"):
            shown.check()


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
        parties.shown(boots=entry).check()


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda raw: raw.hex()[:8])
def test_a_key_of_low_order_is_refused_even_when_it_is_signed(point: bytes) -> None:
    parties = circle(2)
    shown = parties.shown(boots=signed("boots", parties.signing["boots"], public=keys.base64_text(point)))
    # The signature is genuine: only an exchange can tell, and must before anybody agrees or masks.
    for use in (shown.check, lambda: shown.mask("aldi", np.zeros(4, dtype=np.int64))):
        with pytest.raises(IntegrityError, match="mask key shown for boots is not a usable X25519 key"):
            use()


@pytest.mark.parametrize("raw", [*LOW_ORDER, b"", bytes([9]) * 31, bytes([9]) * 33], ids=lambda raw: raw.hex()[:8])
def test_a_sealing_key_that_is_none_is_refused_even_when_it_is_signed(raw: bytes) -> None:
    parties = circle(2, recoverable=True)
    stated = {"public": parties.roster["boots"].public, "seed_digest": str(parties.roster["boots"].seed_digest)}
    body = {**stated, "sealing": keys.base64_text(raw), "party": "boots", "occasion": OCCASION.body()}
    signature = keys.sign(parties.signing["boots"], "mask-key", body)
    entry = parties.roster["boots"].model_copy(update={"sealing": body["sealing"], "signature": signature})
    with pytest.raises(IntegrityError, match="mask key shown for boots is not a usable X25519 key"):
        parties.shown(boots=entry).check()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    parties = circle(2)
    entry = parties.roster["boots"].model_copy(update={"public": keys.base64_text(bytes([9]) * length)})
    with pytest.raises(IntegrityError, match="not a usable X25519 key"):
        parties.shown(boots=entry).mask("aldi", np.zeros(4, dtype=np.int64))


@pytest.mark.parametrize("recoverable", [False, True])
def test_a_party_shown_another_key_for_itself_is_told(recoverable: bool) -> None:
    parties = circle(2, recoverable=recoverable)
    check_own(parties.roster, "aldi", parties.secrets["aldi"].offer(parties.signing["aldi"], "aldi"))
    other = fresh(recoverable).offer(parties.signing["aldi"], "aldi")
    with pytest.raises(IntegrityError, match="another mask key for this party"):
        check_own(parties.shown(aldi=other).roster, "aldi", parties.roster["aldi"])


@pytest.mark.parametrize("field", ["public", "sealing", "seed_digest", "signature"])
def test_every_field_of_a_key_changes_the_rosters_digest(field: str) -> None:
    parties, other = circle(2, recoverable=True), circle(2, recoverable=True)
    entry = parties.roster["aldi"].model_copy(update={field: getattr(other.roster["aldi"], field)})
    assert roster_digest(parties.shown(aldi=entry).roster) != roster_digest(parties.roster)
