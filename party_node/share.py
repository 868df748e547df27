"""The only way out for what was computed from data: noise, then masks, then a signature.

1. the exact sum gets this party's full noise, drawn by OpenDP; nothing before this line ever leaves
2. masks make the noised sum look uniform to everybody who misses one pair's secret
3. the signature binds room, plan, round, step, nonce, attempt and the digest of the very bytes

The caller journals the result before sending it, and never calls this twice for one step (`store.add_share`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import keys
from protocols.encoding import digest
from protocols.masking import MaskKey, Occasion, mask
from protocols.messages import Share, share_body
from protocols.noise import add_noise
from protocols.plan import Mechanism
from protocols.statistic import Integers


@dataclass(frozen=True)
class Sealed:
    """A share ready to travel. `payload`: (slots,) words mod 2^64, little-endian."""

    share: Share
    payload: bytes


def build(total: Integers, mechanism: Mechanism, occasion: Occasion, *, party: str, signing: Ed25519PrivateKey,
          private: X25519PrivateKey, roster: Mapping[str, MaskKey]) -> Sealed:  # fmt: skip
    """Turn an exact sum, (slots,) int64, into the one share of this occasion. The roster has been checked."""
    # (1)
    noised = add_noise(total, bound_sq=mechanism.sensitivity_sq, variance_micro=mechanism.variance_micro)
    # (2)
    payload = mask(noised, party, private, roster, occasion).astype("<u8").tobytes()
    # (3)
    signature = keys.sign(signing, "share", share_body(party, occasion, digest(payload)))
    return Sealed(Share(party=party, occasion=occasion, payload=digest(payload), signature=signature), payload)
