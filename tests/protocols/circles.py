"""Parties who mask with one another: their keys, the secrets behind their masks, the roster that they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import strategies as st
from numpy.typing import NDArray

from protocols import keys, recovery
from protocols.budget import recovery_threshold
from protocols.masking import MaskKey, Occasion, Secrets, Words, check_roster, mask

NAMES = ("aldi", "boots", "coop", "dm", "edeka", "fnac", "gant", "hema", "ikea", "jysk", "kiko", "lidl")
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


@dataclass(frozen=True)
class Circle:
    """Parties with the secrets that they keep and the roster that they are shown."""

    signing: dict[str, Ed25519PrivateKey]
    secrets: dict[str, Secrets]
    roster: dict[str, MaskKey]
    recoverable: bool

    @property
    def identities(self) -> dict[str, Ed25519PublicKey]:
        return {party: key.public_key() for party, key in self.signing.items()}

    @property
    def occasion(self) -> Occasion:
        return next(iter(self.secrets.values())).occasion

    def mask(self, party: str, values: NDArray[np.int64]) -> Words:
        return mask(values, party, self.secrets[party], self.roster)

    def check(self, occasion: Occasion = OCCASION) -> None:
        check_roster(self.roster, self.identities, occasion, recoverable=self.recoverable)

    def shown(self, **entries: MaskKey) -> Circle:
        """The same parties with other entries in the roster."""
        return replace(self, roster={**self.roster, **entries})

    def elsewhere(self, **changes: object) -> Circle:
        """The same roots used on another occasion."""
        other = self.occasion.model_copy(update=changes)
        moved = {party: replace(own, occasion=other) for party, own in self.secrets.items()}
        return replace(self, secrets=moved)


def circle(count: int, *, recoverable: bool = False) -> Circle:
    signing = {party: Ed25519PrivateKey.generate() for party in NAMES[:count]}
    secrets = {party: Secrets.fresh(OCCASION, recoverable=recoverable) for party in NAMES[:count]}
    roster = {party: secrets[party].offer(signing[party], party) for party in NAMES[:count]}
    return Circle(signing, secrets, roster, recoverable)


def fresh(recoverable: bool = False) -> Secrets:
    return Secrets.fresh(OCCASION, recoverable=recoverable)


def signed(party: str, signing: Ed25519PrivateKey, **stated: str) -> MaskKey:
    """An entry with these fields, genuinely signed for the occasion."""
    body = {**stated, "party": party, "occasion": OCCASION.body()}
    return MaskKey.model_validate({**stated, "signature": keys.sign(signing, "mask-key", body)})


def public_of(key: X25519PrivateKey | None) -> str:
    assert key is not None
    return keys.base64_text(key.public_key().public_bytes_raw())


@dataclass(frozen=True)
class Step:
    """A step of which parties may be lost: in the plan, in the roster, in the group, among the survivors."""

    parties: Circle
    threshold: int
    group: list[str]
    survivors: list[str]

    @cached_property
    def circle(self) -> recovery.Circle:
        named = NAMES[: len(self.parties.signing)]
        return recovery.Circle(self.parties.occasion, self.parties.roster, named, self.threshold)

    def dealer(self, party: str) -> recovery.Dealer:
        return recovery.Dealer(self.circle, party, self.parties.secrets[party])

    @cached_property
    def boxes(self) -> dict[str, dict[str, str]]:
        return {party: self.dealer(party).deal() for party in self.circle.roster}

    def boxes_for(self, party: str) -> dict[str, str]:
        return {dealer: dealt[party] for dealer, dealt in self.boxes.items() if dealer != party}

    @property
    def shown(self) -> dict[str, MaskKey]:
        return {party: self.circle.roster[party] for party in self.group}

    def give_out(self, helpers: Iterable[str] = ()) -> dict[str, dict[str, str]]:
        chosen = [*helpers] or self.survivors
        return {p: self.dealer(p).give_out(self.boxes_for(p), self.survivors, self.group) for p in chosen}

    def share(self, party: str, values: Sequence[int]) -> Words:
        return mask(np.array(values, dtype=np.int64), party, self.parties.secrets[party], self.shown)

    def unmask(self, total: Words, given: Mapping[str, Mapping[str, str]]) -> NDArray[np.int64]:
        return recovery.unmask(total, self.shown, self.survivors, given, self.circle).view(np.int64)

    def settled(self, by: Iterable[str], **other: Any) -> dict[str, str]:
        """Signatures to what this step's survivors are, or to something else."""
        stated: dict[str, Any] = {
            "occasion": OCCASION,
            "group": self.shown,
            "survivors": self.survivors,
            **other,
        }
        return {party: recovery.settle(self.parties.signing[party], party, **stated) for party in by}

    def check_settled(self, signatures: Mapping[str, str]) -> None:
        identities = {party: self.parties.identities[party] for party in self.survivors}
        survivors, threshold = self.survivors, self.threshold
        recovery.check_settled(signatures, identities, OCCASION, self.shown, survivors, threshold)


def step(count: int = 5, threshold: int = 4, *, away: int = 0, quiet: int = 0, lost: int = 1) -> Step:
    """So many parties are not in the roster, do not agree to it, and do not send their share, from the last name on."""
    parties = circle(count, recoverable=True)
    roster = {party: parties.roster[party] for party in NAMES[: count - away]}
    group = list(NAMES[: count - away - quiet])
    return Step(replace(parties, roster=roster), threshold, group, group[: len(group) - lost])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Any plan of up to twelve parties that can do without one, and any loss, at any word, that leaves its quorum."""
    count = draw(st.integers(4, 12))
    collusion = draw(st.sampled_from([c for c in range(count) if recovery_threshold(count, c) < count]))
    threshold = recovery_threshold(count, collusion)
    quorum = draw(st.integers(threshold, count - 1))
    parties = circle(count, recoverable=True)
    lost = draw(st.lists(st.sampled_from(NAMES[:count]), unique=True, max_size=count - quorum))
    when = {
        party: draw(st.sampled_from(["before the roster", "before agreeing", "before its share"])) for party in lost
    }
    roster = {p: key for p, key in parties.roster.items() if when.get(p) != "before the roster"}
    group = [p for p in roster if when.get(p) != "before agreeing"]
    return Step(replace(parties, roster=roster), threshold, group, [p for p in group if p not in when])
