"""The way out: full noise, then masks, then a signature over the very bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from party_node import share
from protocols import keys
from protocols.encoding import digest
from protocols.errors import IntegrityError
from protocols.masking import MaskKey, Occasion, offer
from protocols.messages import share_body
from protocols.plan import Mechanism

PARTIES = ("alpha", "beta", "gamma")
MECHANISM = Mechanism(sensitivity_sq=3, variance="250", slots=400, adders=list(PARTIES), quorum=3, collusion=2)
OCCASION = Occasion(room="trial", plan="a" * 64, round="b" * 32, step="cuts", nonce="c" * 32, state="e" * 64, attempt=1)
TOTALS = {party: np.arange(400, dtype=np.int64) * (k + 1) for k, party in enumerate(PARTIES)}


class Parties:
    """Three parties with their keys, and the roster of their mask keys."""

    def __init__(self) -> None:
        self.signing = {party: Ed25519PrivateKey.generate() for party in PARTIES}
        self.private = {party: X25519PrivateKey.generate() for party in PARTIES}
        self.roster: dict[str, MaskKey] = {
            party: offer(self.private[party], self.signing[party], party, OCCASION) for party in PARTIES
        }

    def build(self, party: str, **changes: Any) -> share.Sealed:
        given: dict[str, Any] = {
            "party": party,
            "signing": self.signing[party],
            "private": self.private[party],
            "roster": self.roster,
            **changes,
        }
        return share.build(TOTALS[party], MECHANISM, OCCASION, **given)


@pytest.fixture
def parties() -> Parties:
    return Parties()


def words(sealed: share.Sealed) -> Any:
    return np.frombuffer(sealed.payload, dtype="<u8").astype(np.uint64)


def test_three_shares_add_up_to_the_sum_and_the_noise_of_all_three(parties: Parties) -> None:
    with np.errstate(over="ignore"):
        total = sum(words(parties.build(party)) for party in PARTIES).view(np.int64)
    error = total - sum(TOTALS.values())
    # 400 slots, variance 750: the sum of squares is within 7 standard deviations of its mean for all but 1 in 1e11.
    assert 0.5 < float((error.astype(float) ** 2).mean()) / 750 < 1.5


def test_one_share_alone_or_two_look_nothing_like_a_sum(parties: Parties) -> None:
    shares = [words(parties.build(party)) for party in PARTIES]
    with np.errstate(over="ignore"):
        seen = [shares[0], shares[1] + shares[2]]
    for one in seen:
        distance = np.minimum(one, np.uint64(0) - one).astype(float)
        assert float((distance < 2**55).mean()) < 0.05


def test_the_mechanisms_own_noise_is_asked_for_before_masking(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noise(total: Any, **named: int) -> Any:
        asked.append((total.tolist(), named))
        return total

    monkeypatch.setattr(share, "add_noise", noise)
    parties.build("beta")
    assert asked == [(TOTALS["beta"].tolist(), {"bound_sq": 3, "variance_micro": 250_000_000})]


def test_the_signature_binds_the_party_the_occasion_and_the_bytes(parties: Parties) -> None:
    sealed = parties.build("alpha")
    public = parties.signing["alpha"].public_key()
    assert sealed.share.payload == digest(sealed.payload)
    assert len(sealed.payload) == 8 * MECHANISM.slots
    keys.check(public, "share", share_body("alpha", OCCASION, digest(sealed.payload)), sealed.share.signature, who="a")
    for party, occasion, payload in (
        ("beta", OCCASION, digest(sealed.payload)),
        ("alpha", OCCASION.model_copy(update={"nonce": "d" * 32}), digest(sealed.payload)),
        ("alpha", OCCASION, digest(sealed.payload + b"x")),
    ):
        with pytest.raises(IntegrityError, match="does not verify"):
            keys.check(public, "share", share_body(party, occasion, payload), sealed.share.signature, who="a")


def test_a_roster_with_another_key_for_this_party_gets_no_share(parties: Parties) -> None:
    with pytest.raises(IntegrityError, match="another mask key for this party"):
        parties.build("alpha", private=X25519PrivateKey.generate())


def test_a_peers_key_that_gives_a_secret_known_to_all_gets_no_share(parties: Parties) -> None:
    low_order = MaskKey(public=keys.base64_text(bytes(32)), signature=parties.roster["beta"].signature)
    with pytest.raises(IntegrityError, match="not a usable X25519 key"):
        parties.build("alpha", roster={**parties.roster, "beta": low_order})


def test_noise_and_masks_differ_with_every_share(parties: Parties) -> None:
    assert parties.build("alpha").payload != parties.build("alpha").payload
