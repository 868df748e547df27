"""The only way out for what was computed from data: noise, then masks, then a signature.

1. `draw`: the exact sum gets this party's noise, drawn by OpenDP; nothing before this line ever leaves
2. `build`: masks make the noised sum look uniform to everybody who misses one pair's secret
3. the signature binds room, plan, round, step, nonce, attempt and the digest of the very bytes

The caller keeps what was drawn before anything that follows from it leaves, and draws once for a step
(`store.add_drawing`). Built again from what was drawn, a share is the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys
from protocols.encoding import digest
from protocols.masking import MaskKey, Secrets, mask
from protocols.messages import Share, share_body
from protocols.noise import add_noise
from protocols.plan import Mechanism
from protocols.statistic import Integers

EVERYWHERE = slice(None)


@dataclass(frozen=True)
class Sealed:
    """A share ready to travel. `payload`: (slots,) words mod 2^64, little-endian."""

    share: Share
    payload: bytes


def draw(total: Integers, mechanism: Mechanism, own: slice = EVERYWHERE) -> Integers:
    """An exact sum, (slots,) int64, with this party's share of the noise. For each step once.

    own   the slots that are this party's (`Statistic.own`). In the others there is a zero, whatever the sum says there:
          neither its people nor its noise are in a number that is another party's alone
    """
    # (1)
    noised = np.zeros_like(total)
    if len(total[own]):
        noise = {"bound_sq": mechanism.sensitivity_sq, "variance_micro": mechanism.variance_micro}
        noised[own] = add_noise(total[own], **noise)
    return noised


def build(noised: Integers, own: Secrets, *, party: str, signing: Ed25519PrivateKey,
          group: Mapping[str, MaskKey]) -> Sealed:  # fmt: skip
    """Turn what was drawn, (slots,) int64, into the one share of this occasion. The group has been checked."""
    # (2)
    payload = mask(noised, party, own, group).astype("<u8", copy=False).tobytes()
    # (3)
    words = digest(payload)
    signature = keys.sign(signing, "share", share_body(party, own.occasion, words))
    return Sealed(Share(party=party, occasion=own.occasion, payload=words, signature=signature), payload)
