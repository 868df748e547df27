"""Masks that vanish in the sum: each pair of parties shares a secret stream; one adds it, the other subtracts it.

    y_i = x_i + Σ_{j>i} PRG(s_ij) − Σ_{j<i} PRG(s_ij)   (mod 2^64)

Source: Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", section 4, full
graph. X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-CTR. The seed is bound to room, plan, round, step, attempt and
the *signed roster* of mask keys: a coordinator that slips in a key of its own breaks a signature, one that shows
different rosters gets different streams and so noise, never a share.

Before any of them masks, all parties sign that this is the one roster they know for the occasion (`agree`), and each
signs one only. So a party that was put back to an older copy of its disk, or runs twice, cannot be led to draw noise a
second time: its new mask key makes another roster, and there is no second agreement to be had.

What masks do not do: with two parties the sum shows each the other's part, and with k colluders among N it shows the
sum of the other N − k. What protects there is the noise each party adds before it masks (`share.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from . import keys
from .encoding import canonical, digest
from .errors import IntegrityError
from .schema import Base64, Digest, Frozen, Hex16, Name, Positive

Words = NDArray[np.uint64]
_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))  # no secret: a low-order point gives zero with every key


class Occasion(Frozen):
    """The one use of a set of masks.

    state   digest of the release that the step starts from, or of the plan for a round's first step: parties that are
            shown different states get masks that do not cancel
    """

    room: Name
    plan: Digest
    round: Hex16
    step: Name
    nonce: Hex16
    state: Digest
    attempt: Positive


class MaskKey(Frozen):
    """A party's X25519 public key for one occasion, signed with its long-term key."""

    public: Base64
    signature: Base64


def offer(private: X25519PrivateKey, signing: Ed25519PrivateKey, party: str, occasion: Occasion) -> MaskKey:
    """This party's entry in the roster."""
    public = keys.base64_text(private.public_key().public_bytes_raw())
    return MaskKey(public=public, signature=keys.sign(signing, "mask-key", _signed(party, public, occasion)))


def check_roster(roster: Mapping[str, MaskKey], identities: Mapping[str, Ed25519PublicKey], occasion: Occasion) -> None:
    """Raise IntegrityError unless exactly these parties signed these keys for this occasion, no key twice, each usable.

    Usable is found out here, before a party agrees or computes: later, a refusal would show how long it computed.
    """
    if set(roster) != set(identities):
        raise IntegrityError("the roster of mask keys does not name exactly the contributing parties")
    if len({entry.public for entry in roster.values()}) != len(roster):
        raise IntegrityError("two parties are shown with the same mask key")
    for party, entry in roster.items():
        keys.check(identities[party], "mask-key", _signed(party, entry.public, occasion), entry.signature, who=party)
        _exchange(_PROBE, entry.public, party)


def check_own(roster: Mapping[str, MaskKey], me: str, private: X25519PrivateKey) -> None:
    """Raise IntegrityError unless the roster shows the public half of `private` as this party's key."""
    if keys.base64_text(private.public_key().public_bytes_raw()) != roster[me].public:
        raise IntegrityError("the roster shows another mask key for this party than the one it offered")


def agreeing(contributors: Sequence[str], room: Collection[str]) -> list[str]:
    """Whose agreement a roster needs: its own parties'; everybody's in the room where there is one contributor alone,
    whose word would otherwise be the only one."""
    return sorted(contributors) if len(contributors) > 1 else sorted(room)


def agree(signing: Ed25519PrivateKey, party: str, occasion: Occasion, roster: Mapping[str, MaskKey]) -> str:
    """This party's signature over an occasion and the one roster of it. The caller keeps it, and gives no second."""
    return keys.sign(signing, "agreement", _agreed(party, occasion, roster))


def check_agreements(
    agreements: Mapping[str, str],
    identities: Mapping[str, Ed25519PublicKey],
    occasion: Occasion,
    roster: Mapping[str, MaskKey],
) -> None:
    """Raise IntegrityError unless exactly these parties have agreed to exactly this roster for this occasion."""
    if set(agreements) != set(identities):
        raise IntegrityError("the roster of mask keys is not agreed to by exactly the parties that must")
    for party, signature in agreements.items():
        keys.check(identities[party], "agreement", _agreed(party, occasion, roster), signature, who=party)


def roster_digest(roster: Mapping[str, MaskKey]) -> str:
    """SHA-256, in hex, of the roster's canonical form."""
    return digest(canonical({party: entry.body() for party, entry in roster.items()}))


def mask(
    values: NDArray[np.int64], me: str, private: X25519PrivateKey, roster: Mapping[str, MaskKey], occasion: Occasion
) -> Words:
    """(slots,) noised integers → (slots,) words mod 2^64 that look uniform to whoever misses one pair's secret.

    The caller has checked the roster. A single contributor has no peer, and its noised values go as they are.
    """
    check_own(roster, me, private)
    masked = values.view(np.uint64)
    for peer in sorted(roster):
        if peer == me:
            continue
        stream = _stream(_seed(private, me, peer, roster, occasion), len(values))
        masked = masked + stream if me < peer else masked - stream
    return masked


def add_up(shares: Mapping[str, Words]) -> NDArray[np.int64]:
    """The sum mod 2^64 of all parties' masked shares, as signed integers: masks cancel, noise stays."""
    total = np.zeros_like(next(iter(shares.values())))
    for share in shares.values():
        total = total + share
    return total.view(np.int64)


def _seed(private: X25519PrivateKey, me: str, peer: str, roster: Mapping[str, MaskKey], occasion: Occasion) -> bytes:
    secret = _exchange(private, roster[peer].public, peer)
    salt = bytes.fromhex(roster_digest(roster))
    info = canonical({"use": "sumroom/pair-mask/v1", "pair": sorted([me, peer]), "occasion": occasion.body()})
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _exchange(private: X25519PrivateKey, public: str, who: str) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(keys.unbase64(public)))
    except ValueError:  # another length; or a low-order point: the secret would be zero, and known to all
        raise IntegrityError(f"the mask key shown for {who} is not a usable X25519 key") from None


def _stream(seed: bytes, length: int) -> Words:
    # A zero counter block is safe: the key is used for this one stream and never again.
    encryptor = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    out = bytearray(8 * length + 15)
    written = encryptor.update_into(bytes(8 * length), out)
    return np.frombuffer(out, dtype="<u8", count=written // 8).astype(np.uint64)


def _signed(party: str, public: str, occasion: Occasion) -> dict[str, object]:
    return {"party": party, "public": public, "occasion": occasion.body()}


def _agreed(party: str, occasion: Occasion, roster: Mapping[str, MaskKey]) -> dict[str, object]:
    return {"party": party, "occasion": occasion.body(), "roster": roster_digest(roster)}
