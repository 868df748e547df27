"""The demo's plan, and a circle of parties whose shares travel as they do in a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from party_node import share
from protocols import masking
from protocols.plan import Mechanism, Plan
from protocols.statistic import Integers

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"


@pytest.fixture(scope="session")
def demo_plan() -> Plan:
    return Plan.from_toml(DEMO.read_bytes())


@pytest.fixture(scope="session")
def through_masks() -> Callable[..., Integers]:
    """(party → exact sum, mechanism, parties that add no noise) → the noised sum, by way of masked words."""

    def run(totals: Mapping[str, Integers], mechanism: Mechanism, silent: frozenset[str] = frozenset()) -> Integers:
        signing = {party: Ed25519PrivateKey.generate() for party in totals}
        private = {party: X25519PrivateKey.generate() for party in totals}
        occasion = masking.Occasion(
            room="lab", plan="0" * 64, round="1" * 32, step="any-step", nonce="2" * 32, state="0" * 64, attempt=1
        )
        roster = {party: masking.offer(private[party], signing[party], party, occasion) for party in totals}
        masking.check_roster(roster, {party: key.public_key() for party, key in signing.items()}, occasion)
        words = {}
        for party, total in totals.items():
            if party in silent:
                words[party] = masking.mask(total, party, private[party], roster, occasion)
                continue
            sealed = share.build(
                total,
                mechanism,
                occasion,
                party=party,
                signing=signing[party],
                private=private[party],
                roster=roster,
            )
            words[party] = np.frombuffer(sealed.payload, dtype="<u8").astype(np.uint64)
        return masking.add_up(words)

    return run
