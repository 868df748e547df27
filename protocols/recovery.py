"""Finishing a step without a party: Shamir shares of two secrets of each, of which no party gives away more than one.

A party whose plan's quorum is below the number of parties adds, besides the pairs' streams, a mask of its own, and
deals out to the others pieces of two secrets: of the key behind its pairs' streams, and of its own mask's seed. When
the shares are in, those who contributed are settled once and for all: they sign who the survivors are. Only then pieces
are given out: of a survivor's seed, or of a lost party's key, never both. So a share that comes late stays masked by
its own mask, and a survivor's by its pairs' streams until they vanish in the sum.

    Σ_{i ∈ survivors} x_i  =  Σ y_i  −  Σ PRG(b_i)  −  Σ_{i ∈ survivors} Σ_{d lost} ± PRG(s_id)        (mod 2^64)

Source: Bonawitz et al. 2017, section 4 and figure 4, with the consistency check for active servers; Shamir 1979. Any
`recovery_threshold` of the pieces make a secret, fewer say nothing about it. Two settled sets of so many signers have
an honest party in common (`budget.recovery_threshold`), and an honest party signs one. Pieces travel by way of the
coordinator, sealed for the one they are for (X25519, HKDF-SHA256, ChaCha20-Poly1305 of RFC 8439).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import keys
from .encoding import canonical
from .errors import IntegrityError
from .masking import PRIME, MaskKey, Occasion, Secrets, Streams, Words, exchange, roster_digest

SIZE = 32  # bytes of a secret, and of a piece of one
MOST_CHOICES = 500  # of helpers, to find those who gave out what they were dealt: all with up to two liars among 30
_COEFFICIENT = 48  # bytes that become a number below PRIME; 2^-128 away from uniform
_BOX = len(keys.base64_text(bytes(2 * SIZE + 16)))  # the tag of RFC 8439 has 16 bytes
_NONCE = bytes(12)  # one message is ever sealed under a key


@dataclass(frozen=True)
class Circle:
    """Who deals to whom. The place of a party in `contributors` + 1 is where its pieces lie on the polynomials.

    contributors   all of the step's, ascending, whoever of them is in the roster
    threshold      pieces that make a secret
    """

    occasion: Occasion
    roster: Mapping[str, MaskKey]
    contributors: Sequence[str]
    threshold: int

    @cached_property
    def digest(self) -> str:
        """Of the roster."""
        return roster_digest(self.roster)

    def place(self, party: str) -> int:
        return self.contributors.index(party) + 1


@dataclass(frozen=True)
class Dealer:
    """One party's side of it: what it deals to the others, and what it gives out in the end."""

    circle: Circle
    party: str
    secrets: Secrets

    def deal(self) -> dict[str, str]:
        """A sealed box for each other party of the roster: its pieces of this party's two secrets. Always the same."""
        return {peer: self._seal(peer, self._pieces(peer)) for peer in self.circle.roster if peer != self.party}

    def give_out(self, boxes: Mapping[str, str], survivors: Sequence[str], group: Sequence[str]) -> dict[str, str]:
        """Of every party of the group one piece: of its seed where it survived, of its key where it was lost.

        boxes   what the others dealt to this party, by dealer
        group   those who agreed to the roster: nobody masked with the others
        Raises IntegrityError where a box is missing or was not sealed by its dealer for this party and occasion.
        """
        given = {}
        for peer in sorted(group):
            pieces = self._pieces(peer) if peer == self.party else self._open(peer, boxes.get(peer, ""))
            given[peer] = keys.base64_text(pieces[SIZE:] if peer in survivors else pieces[:SIZE])
        return given

    def _pieces(self, peer: str) -> bytes:
        """Of this party's key, then of its seed: what lies at the peer's place of two polynomials."""
        place = self.circle.place(peer)
        return b"".join(self._piece(polynomial, place) for polynomial in self._polynomials)

    @cached_property
    def _polynomials(self) -> list[list[int]]:
        """Of the key and of the seed: coefficients below PRIME, the secret first."""
        seed, above = self.secrets.seed, self.circle.threshold - 1
        if seed is None:
            raise IntegrityError("this plan deals out no pieces")
        found = []
        for what, secret in (("key", self.secrets.mask_bytes), ("seed", seed)):
            # Derived, not drawn: a party that is asked again, or was killed in between, deals the same pieces.
            raw = self.secrets.derive(f"shamir-{what}-{self.circle.digest}", above * _COEFFICIENT)
            parts = [raw[at : at + _COEFFICIENT] for at in range(0, len(raw), _COEFFICIENT)]
            found.append([int.from_bytes(secret, "little"), *(int.from_bytes(x, "little") % PRIME for x in parts)])
        return found

    @staticmethod
    def _piece(polynomial: Sequence[int], place: int) -> bytes:
        value = 0
        for coefficient in reversed(polynomial):
            value = (value * place + coefficient) % PRIME
        return value.to_bytes(SIZE, "little")

    def _seal(self, peer: str, pieces: bytes) -> str:
        cipher = ChaCha20Poly1305(self._key(peer, self.party, peer))
        return keys.base64_text(cipher.encrypt(_NONCE, pieces, None))

    def _open(self, peer: str, box: str) -> bytes:
        try:
            pieces = ChaCha20Poly1305(self._key(peer, peer, self.party)).decrypt(_NONCE, keys.unbase64(box), None)
        except (InvalidTag, ValueError):
            raise IntegrityError(f"the pieces that {peer} dealt cannot be opened") from None
        if len(pieces) != 2 * SIZE:
            raise IntegrityError(f"{peer} dealt pieces of another length")
        return pieces

    def _key(self, peer: str, dealer: str, receiver: str) -> bytes:
        sealing, shown = self.secrets.sealing, self.circle.roster[peer].sealing
        if sealing is None or shown is None:
            raise IntegrityError("this plan deals out no pieces")
        info = canonical(
            {"use": "sumroom/pieces/v1", "from": dealer, "to": receiver, "occasion": self.circle.occasion.body()}
        )
        salt = bytes.fromhex(self.circle.digest)
        return HKDF(hashes.SHA256(), 32, salt, info).derive(exchange(sealing, shown, peer))


def check_dealt(dealer: str, boxes: Mapping[str, str], others: Collection[str]) -> None:
    """Raise IntegrityError unless there is a box of the right size for exactly these others."""
    if set(boxes) != set(others) or any(len(box) != _BOX for box in boxes.values()):
        raise IntegrityError(f"{dealer} did not deal two pieces to exactly the others of the roster")


def settle(signing: Ed25519PrivateKey, party: str, occasion: Occasion, group: Mapping[str, MaskKey],
           survivors: Sequence[str]) -> str:  # fmt: skip
    """This party's signature over who contributed. The caller keeps it, and gives no second for the occasion."""
    return keys.sign(signing, "survivors", {**_settled(occasion, group, survivors), "party": party})


def check_settled(signatures: Mapping[str, str], identities: Mapping[str, Ed25519PublicKey], occasion: Occasion,
                  group: Mapping[str, MaskKey], survivors: Sequence[str], threshold: int) -> None:  # fmt: skip
    """Raise IntegrityError unless so many of the survivors have signed that these are the survivors."""
    if not set(signatures) <= set(survivors):
        raise IntegrityError("others than the survivors signed who they are")
    if len(signatures) < threshold:
        raise IntegrityError(f"the survivors are settled by {len(signatures)} of them, fewer than {threshold}")
    stated = _settled(occasion, group, survivors)
    for party, signature in signatures.items():
        body = {**stated, "party": party}
        keys.check(identities[party], "survivors", body, signature, who=party)


def unmask(total: Words, group: Mapping[str, MaskKey], survivors: Sequence[str],
           given: Mapping[str, Mapping[str, str]], circle: Circle) -> Words:  # fmt: skip
    """The sum of the survivors' words, (slots,), without their masks.

    given   helper → party → the piece it gave out
    Raises IntegrityError where fewer than the threshold helped, or where what a party dealt does not make its secrets.
    One helper that gives out what is no piece, or a wrong one, is done without where there is one to spare.
    """
    if len(given) < circle.threshold:
        raise IntegrityError(f"{len(given)} parties gave out pieces, fewer than {circle.threshold}")
    streams, total = Streams(group, circle.occasion, len(total)), total.copy()
    together = _Together(circle, given)
    for party, entry in sorted(group.items()):
        if party in survivors:
            total -= streams.of_seed(together.secret(party, partial(_is_seed, entry)), party)
            continue
        key = X25519PrivateKey.from_private_bytes(together.secret(party, partial(_is_key, entry)))
        for survivor in survivors:
            place = np.subtract if survivor < party else np.add
            place(total, streams.of_pair(key, party, survivor), out=total)
    return total


class _Together:
    """Secrets put together from the pieces that helpers gave out."""

    def __init__(self, circle: Circle, given: Mapping[str, Mapping[str, str]]) -> None:
        self._circle, self._given = circle, given
        self._helpers, self._weights = sorted(given), dict[tuple[str, ...], list[int]]()

    def secret(self, party: str, fits: Callable[[bytes], bool]) -> bytes:
        """Why more than one choice of helpers: one that gives out a wrong piece must not stop the others."""
        for chosen in self._choices():
            weights = self._weights_of(chosen)
            made = sum(w * self._piece(helper, party) for w, helper in zip(weights, chosen, strict=True)) % PRIME
            if fits(secret := made.to_bytes(SIZE, "little")):
                return secret
        raise IntegrityError(f"the pieces of the secrets that {party} dealt do not fit together")

    def _choices(self) -> Iterator[tuple[str, ...]]:
        """The first so many helpers; then without one of them, for each; then without two, and so on."""
        needed, tried = self._circle.threshold, 0
        for few in range(len(self._helpers) - needed + 1):
            for without in combinations(self._helpers, few):
                yield tuple([helper for helper in self._helpers if helper not in without][:needed])
                tried += 1
                if tried == MOST_CHOICES:
                    return

    def _weights_of(self, chosen: tuple[str, ...]) -> list[int]:
        """Lagrange's weights at 0: Π x_j / (x_j − x_i) over the others, mod PRIME."""
        if chosen not in self._weights:
            places = [self._circle.place(helper) for helper in chosen]
            self._weights[chosen] = [_weight(at, places) for at in places]
        return self._weights[chosen]

    def _piece(self, helper: str, party: str) -> int:
        try:
            raw = keys.unbase64(self._given[helper].get(party, ""))
        except IntegrityError:
            return 0  # as wrong as any other
        return int.from_bytes(raw, "little") % PRIME if len(raw) == SIZE else 0


def _weight(at: int, places: Sequence[int]) -> int:
    above = below = 1
    for other in places:
        if other != at:
            above, below = above * other % PRIME, below * (other - at) % PRIME
    return above * pow(below, -1, PRIME) % PRIME


def _is_seed(entry: MaskKey, made: bytes) -> bool:
    return hashlib.sha256(made).hexdigest() == entry.seed_digest


def _is_key(entry: MaskKey, made: bytes) -> bool:
    return keys.base64_text(X25519PrivateKey.from_private_bytes(made).public_key().public_bytes_raw()) == entry.public


def _settled(occasion: Occasion, group: Mapping[str, MaskKey], survivors: Sequence[str]) -> dict[str, Any]:
    return {"occasion": occasion.body(), "group": roster_digest(group), "survivors": sorted(survivors)}
