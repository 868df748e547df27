"""The demo's plan, and a circle of parties whose shares travel as they do in a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
        occasion = masking.Occasion(
            room="lab", plan="0" * 64, round="1" * 32, step="any-step", nonce="2" * 32, state="0" * 64, attempt=1
        )
        signing = {party: Ed25519PrivateKey.generate() for party in totals}
        own = {party: masking.Secrets.fresh(occasion, recoverable=False) for party in totals}
        roster = {party: own[party].offer(signing[party], party) for party in totals}
        identities = {party: key.public_key() for party, key in signing.items()}
        masking.check_roster(roster, identities, occasion, recoverable=False)
        words = {}
        for party, total in totals.items():
            noised = total if party in silent else share.draw(total, mechanism)
            sealed = share.build(noised, own[party], party=party, signing=signing[party], group=roster)
            words[party] = np.frombuffer(sealed.payload, dtype="<u8").astype(np.uint64)
        return masking.add_up(words).view(np.int64)

    return run
