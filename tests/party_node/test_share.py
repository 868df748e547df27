"""The way out: full noise, then masks, then a signature over the very bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from party_node import share
from protocols import keys
from protocols.encoding import digest
from protocols.errors import IntegrityError
from protocols.masking import MaskKey, Occasion, Secrets
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
        self.own = {party: Secrets.fresh(OCCASION, recoverable=False) for party in PARTIES}
        self.group: dict[str, MaskKey] = {party: self.own[party].offer(self.signing[party], party) for party in PARTIES}

    def build(self, party: str, noised: Any = None, **changes: Any) -> share.Sealed:
        drawn = share.draw(TOTALS[party], MECHANISM) if noised is None else noised
        given: dict[str, Any] = {"party": party, "signing": self.signing[party], "group": self.group, **changes}
        return share.build(drawn, self.own[party], **given)


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


def test_the_mechanisms_own_noise_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noise(total: Any, **named: int) -> Any:
        asked.append((total.tolist(), named))
        return total

    monkeypatch.setattr(share, "add_noise", noise)
    assert share.draw(TOTALS["beta"], MECHANISM).tolist() == TOTALS["beta"].tolist()
    assert asked == [(TOTALS["beta"].tolist(), {"bound_sq": 3, "variance_micro": 250_000_000})]


def test_in_slots_that_are_not_its_own_a_party_leaves_zeros_whatever_its_sum_says() -> None:
    noised = share.draw(TOTALS["gamma"], MECHANISM, slice(100, 300))
    assert not noised[:100].any()
    assert not noised[300:].any()
    error = (noised - TOTALS["gamma"])[100:300].astype(float)
    assert 0.4 < float((error**2).mean()) / 250 < 1.7  # 200 draws: within 7 standard deviations of its mean
    assert not share.draw(TOTALS["gamma"], MECHANISM, slice(0, 0)).any()


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


def test_a_peers_key_that_gives_a_secret_known_to_all_gets_no_share(parties: Parties) -> None:
    low_order = MaskKey(public=keys.base64_text(bytes(32)), signature=parties.group["beta"].signature)
    with pytest.raises(IntegrityError, match="not a usable X25519 key"):
        parties.build("alpha", group={**parties.group, "beta": low_order})


def test_built_again_from_what_was_drawn_a_share_is_the_same_bytes(parties: Parties) -> None:
    noised = share.draw(TOTALS["alpha"], MECHANISM)
    assert parties.build("alpha", noised) == parties.build("alpha", noised.copy())


def test_noise_is_drawn_anew_each_time_it_is_asked_for() -> None:
    assert share.draw(TOTALS["alpha"], MECHANISM).tolist() != share.draw(TOTALS["alpha"], MECHANISM).tolist()


def test_another_group_makes_other_words_of_the_same_drawing(parties: Parties) -> None:
    """Two parties that are told of different groups have masks that do not cancel: their sum is noise."""
    noised = {party: TOTALS[party] for party in ("alpha", "beta")}
    two = {party: parties.group[party] for party in noised}
    with np.errstate(over="ignore"):
        agreed = words(parties.build("alpha", noised["alpha"], group=two))
        agreed += words(parties.build("beta", noised["beta"], group=two))
        parted = words(parties.build("alpha", noised["alpha"], group=two))
        parted += words(parties.build("beta", noised["beta"]))
    assert agreed.view(np.int64).tolist() == sum(noised.values()).tolist()
    assert float((np.minimum(parted, np.uint64(0) - parted).astype(float) < 2**55).mean()) < 0.05
