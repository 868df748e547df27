"""Masks that vanish in the sum: each pair of parties shares a secret stream; one adds it, the other subtracts it.

    y_i = x_i + Σ_{j>i} PRG(s_ij) − Σ_{j<i} PRG(s_ij) (+ PRG(b_i) where a party may be lost: `recovery.py`)   (mod 2^64)

Source: Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", section 4, full
graph. X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-CTR. The seed is bound to room, plan, round, step, attempt and
the *signed roster* of mask keys: a coordinator that slips in a key of its own breaks a signature, one that shows
different rosters gets different streams and so noise, never a share.

All secrets of a party for one occasion follow from 32 random bytes, its *root*, which it keeps on disk in one
transaction with the noised sum that they mask (`party_node/store.py`). So a node may be killed at any moment and go on
with the same words. And before any of them masks, all parties, or so many that no others can, sign that this is the
one roster they know for the occasion (`agree`), and each signs one only. So a party that was put back to an older copy
of its disk, or runs twice, cannot be led to have a second drawing of noise added up: its new root makes another roster,
and there is no second agreement to be had.

What masks do not do: with two parties the sum shows each the other's part, and with k colluders among N it shows the
sum of the other N − k. What protects there is the noise each party adds before it masks (`share.py`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

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
PRIME = 2**256 - 189  # the largest below 2^256: every secret that can be shared out is a number below it
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
    """A party's keys for one occasion, signed with its long-term key.

    public       X25519: with it the others make the streams they share with this party
    sealing      X25519, where a party may be lost: with it the others seal for this party their pieces of secrets
    seed_digest  SHA-256 of the seed of this party's own mask, where a party may be lost: whoever puts the seed together
                 again knows whether it is the one
    """

    public: Base64
    sealing: Base64 | None = None
    seed_digest: Digest | None = None
    signature: Base64

    @property
    def recoverable(self) -> bool:
        return self.sealing is not None and self.seed_digest is not None


@dataclass(frozen=True)
class Secrets:
    """What a party keeps to itself for one occasion; all of it follows from `root`, 32 bytes of the operating system's.

    recoverable   whether a party of the step may be lost: then there is a mask of its own, and a key to seal with
    """

    root: bytes = field(repr=False)  # a traceback or a log shows values by their repr
    occasion: Occasion
    recoverable: bool

    @classmethod
    def fresh(cls, occasion: Occasion, *, recoverable: bool) -> Secrets:
        return cls(secrets.token_bytes(32), occasion, recoverable)

    @cached_property
    def mask(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.mask_bytes)

    @cached_property
    def mask_bytes(self) -> bytes:
        return self._below_prime("mask")

    @cached_property
    def seed(self) -> bytes | None:
        """The seed of the party's own mask, 32 bytes."""
        return self._below_prime("seed") if self.recoverable else None

    @cached_property
    def sealing(self) -> X25519PrivateKey | None:
        return X25519PrivateKey.from_private_bytes(self.derive("sealing")) if self.recoverable else None

    def derive(self, what: str, length: int = 32) -> bytes:
        """`length` bytes for one purpose; who knows them learns nothing about those for another."""
        info = canonical({"use": f"sumroom/{what}/v1", "occasion": self.occasion.body()})
        return HKDF(hashes.SHA256(), length, None, info).derive(self.root)

    def offer(self, signing: Ed25519PrivateKey, party: str) -> MaskKey:
        """This party's entry in the roster."""
        stated = {"public": keys.base64_text(self.mask.public_key().public_bytes_raw())}
        if self.sealing is not None and self.seed is not None:
            stated["sealing"] = keys.base64_text(self.sealing.public_key().public_bytes_raw())
            stated["seed_digest"] = hashlib.sha256(self.seed).hexdigest()
        signature = keys.sign(signing, "mask-key", {**stated, "party": party, "occasion": self.occasion.body()})
        return MaskKey.model_validate({**stated, "signature": signature})

    def _below_prime(self, what: str) -> bytes:
        """A secret that can be shared out: uniform below PRIME. One derivation in 2^248 has to be made again."""
        number = 0
        while int.from_bytes(found := self.derive(f"{what}-{number}"), "little") >= PRIME:
            number += 1
        return found


def check_roster(roster: Mapping[str, MaskKey], identities: Mapping[str, Ed25519PublicKey], occasion: Occasion, *,
                 recoverable: bool) -> None:  # fmt: skip
    """Raise IntegrityError unless exactly these parties signed these keys for this occasion, no key twice, each usable.

    Usable is found out here, before a party agrees or masks.
    """
    if set(roster) != set(identities):
        raise IntegrityError("the roster of mask keys does not name exactly the contributing parties")
    public = [key for entry in roster.values() for key in (entry.public, entry.sealing) if key is not None]
    if len(set(public)) != len(public):
        raise IntegrityError("two parties are shown with the same mask key")
    used = occasion.body()
    for party, entry in roster.items():
        if entry.recoverable != recoverable or (entry.sealing is None) != (entry.seed_digest is None):
            raise IntegrityError(f"the mask key of {party} is not of the kind that this plan needs")
        stated = {name: value for name, value in entry.body().items() if name != "signature"}
        body = {**stated, "party": party, "occasion": used}
        keys.check(identities[party], "mask-key", body, entry.signature, who=party)
        exchange(_PROBE, entry.public, party)
        if entry.sealing is not None:
            exchange(_PROBE, entry.sealing, party)


def check_own(roster: Mapping[str, MaskKey], me: str, mine: MaskKey) -> None:
    """Raise IntegrityError unless the roster shows for this party what it offered."""
    if roster[me] != mine:
        raise IntegrityError("the roster shows another mask key for this party than the one it offered")


def agreeing(contributors: Sequence[str], room: Collection[str]) -> list[str]:
    """Whose agreement a roster needs: its own parties'; everybody's in the room where there is one contributor alone,
    whose word would otherwise be the only one."""
    return sorted(contributors) if len(contributors) > 1 else sorted(room)


def agree(signing: Ed25519PrivateKey, party: str, occasion: Occasion, roster: Mapping[str, MaskKey]) -> str:
    """This party's signature over an occasion and the one roster of it. The caller keeps it, and gives no second."""
    body = {"party": party, "occasion": occasion.body(), "roster": roster_digest(roster)}
    return keys.sign(signing, "agreement", body)


def check_agreements(
    agreements: Mapping[str, str],
    identities: Mapping[str, Ed25519PublicKey],
    occasion: Occasion,
    roster: Mapping[str, MaskKey],
) -> None:
    """Raise IntegrityError unless exactly these parties have agreed to exactly this roster for this occasion."""
    if set(agreements) != set(identities):
        raise IntegrityError("the roster of mask keys is not agreed to by exactly the parties that must")
    known, used = roster_digest(roster), occasion.body()
    for party, signature in agreements.items():
        body = {"party": party, "occasion": used, "roster": known}
        keys.check(identities[party], "agreement", body, signature, who=party)


def roster_digest(roster: Mapping[str, MaskKey]) -> str:
    """SHA-256, in hex, of the roster's canonical form."""
    return digest(canonical({party: entry.body() for party, entry in roster.items()}))


def mask(values: NDArray[np.int64], me: str, own: Secrets, group: Mapping[str, MaskKey]) -> Words:
    """(slots,) noised integers → (slots,) words mod 2^64 that look uniform to whoever misses one pair's secret.

    group   of the roster, those who agreed to it. Everybody must mean the same ones: others make other streams.
    The caller has checked them. A single contributor has no peer, and its noised values go as they are.
    """
    masked, streams = values.view(np.uint64).copy(), Streams(group, own.occasion, len(values))
    for peer in sorted(group):
        if peer != me:
            place = np.add if me < peer else np.subtract
            place(masked, streams.of_pair(own.mask, me, peer), out=masked)
    if own.seed is not None:
        masked += streams.of_seed(own.seed, me)
    return masked


class Streams:
    """The streams of one group on one occasion, each (slots,) words, each to be used before the next is made."""

    def __init__(self, group: Mapping[str, MaskKey], occasion: Occasion, slots: int) -> None:
        self._group, self._occasion, self._slots = group, occasion.body(), slots
        self._salt = bytes.fromhex(roster_digest(group))
        self._zeros, self._out = bytes(8 * slots), bytearray(8 * slots + 15)  # once: fresh memory costs more than AES

    def of_pair(self, private: X25519PrivateKey, me: str, peer: str) -> Words:
        """What `me`, whose private key this is, and `peer` share."""
        secret = exchange(private, self._group[peer].public, peer)
        return self._stream(secret, {"use": "sumroom/pair-mask/v1", "pair": sorted([me, peer])})

    def of_seed(self, seed: bytes, party: str) -> Words:
        """A party's own mask."""
        return self._stream(seed, {"use": "sumroom/own-mask/v1", "party": party})

    def _key(self, secret: bytes, use: dict[str, object]) -> bytes:
        info = canonical({**use, "occasion": self._occasion})
        return HKDF(hashes.SHA256(), 32, self._salt, info).derive(secret)

    def _stream(self, secret: bytes, use: dict[str, object]) -> Words:
        # A zero counter block is safe: the key is used for this one stream and never again.
        encryptor = Cipher(algorithms.AES256(self._key(secret, use)), modes.CTR(bytes(16))).encryptor()
        written = encryptor.update_into(self._zeros, self._out)
        return np.frombuffer(self._out, dtype="<u8", count=written // 8).astype(np.uint64, copy=False)


def add_up(shares: Mapping[str, Words]) -> Words:
    """The sum mod 2^64 of all parties' masked shares."""
    total = np.zeros_like(next(iter(shares.values())))
    for share in shares.values():
        total += share
    return total


def exchange(private: X25519PrivateKey, public: str, who: str) -> bytes:
    """The X25519 secret with the key shown for `who`. Raises IntegrityError for a key that is none."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(keys.unbase64(public)))
    except ValueError:  # another length; or a low-order point: the secret would be zero, and known to all
        raise IntegrityError(f"the mask key shown for {who} is not a usable X25519 key") from None
